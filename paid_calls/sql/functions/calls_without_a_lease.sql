-- Returns how many calls may be executing at the provider and are nobody's any more. Such calls
-- have leases that have ended, or were given up by their workers. p_leases are the key's leases
-- that have not ended, which a renewal has read already.
CREATE OR REPLACE FUNCTION calls_without_a_lease(key provider_keys, p_leases bigint[]) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz[];
BEGIN
    SELECT array_agg(calls.begun_at) INTO begun
      FROM calls
     WHERE calls.provider_key = key.provider_key AND calls.state IN ('open', 'ambiguous')
       AND calls.runs_until > darkroom_now()
       AND (calls.state = 'ambiguous' OR calls.lease_id <> ALL (p_leases));
    IF begun IS NULL THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM unnest(begun) AS at WHERE coalesce(at + orphan_span(key) > darkroom_now(), true));
END $$;
