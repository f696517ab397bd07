-- Records what became of a call, and returns the state that is on record. The states are done,
-- rejected, failed (not billed), ambiguous (may have been billed), unusable (billed, as a rule, but
-- of no use) and unsent. A third refusal of a request may be recorded as rejected. A second
-- execution records the same. An unknown outcome never overwrites a known one.
--
-- A row that is gone, as after a failover to a replica that lacks it, is made again. The worker
-- knows all of the row.
CREATE OR REPLACE FUNCTION end_call(p call_intent, e call_end) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    call calls;
    t    timestamptz;
BEGIN
    -- A success locks no key, unless the provider failed before. So calls of one key don't wait for
    -- each other. The key is locked before the call, as everywhere.
    IF e.says IS NOT NULL
       OR e.state IN ('done', 'rejected')
          AND EXISTS (SELECT FROM provider_keys k WHERE k.provider_key = p.provider_key AND k.failing > 0) THEN
        PERFORM FROM provider_keys k WHERE k.provider_key = p.provider_key FOR NO KEY UPDATE;
    END IF;
    t := darkroom_now();
    SELECT * INTO call FROM calls c WHERE c.token = p.token AND (c.state <> 'unsent' OR e.state = 'unsent')
     ORDER BY c.call_id DESC LIMIT 1;
    IF NOT FOUND THEN
        call := call_made_again(p, e, t);
    END IF;
    e := end_as_recorded(p, e, call, t);
    UPDATE calls c
       SET state = e.state, ended_at = t, images_billed = e.images_billed, cost_usd = e.cost_usd,
           request_id = e.request_id, failure_kind = e.failure_kind, message = e.message,
           result = CASE WHEN e.state IN ('done', 'rejected') THEN e.result END, wait_ms = e.wait_ms,
           runs_until = CASE WHEN e.may_run THEN c.runs_until ELSE least(c.runs_until, t) END,
           written_off_at = CASE WHEN e.state = 'unusable' THEN t ELSE c.written_off_at END
     WHERE c.call_id = call.call_id
       AND (c.state = 'open' OR c.state IN ('ambiguous', 'settled') AND (e.state <> 'ambiguous' OR c.ended_at IS NULL));
    IF NOT FOUND THEN
        RETURN call.state;
    END IF;
    IF e.state IN ('done', 'rejected') THEN
        PERFORM settle_calls(p, call.call_id);
    END IF;
    PERFORM note_end(p.provider_key, call, e);
    RETURN e.state;
END $$;
