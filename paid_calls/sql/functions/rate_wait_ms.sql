-- Returns for how many milliseconds the key's rates hold this call back; NULL if they don't. The
-- rates count 61 s, which are a minute and the second within which a call that was begun is sent.
CREATE OR REPLACE FUNCTION rate_wait_ms(p call_intent, key provider_keys, t timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    wait bigint;
BEGIN
    IF key.calls_per_minute IS NULL AND key.images_per_minute IS NULL THEN
        RETURN NULL;
    END IF;
    IF key.calls_per_minute = 0 OR key.images_per_minute < p.images THEN
        RETURN 60000;
    END IF;
    SELECT ceil(extract(epoch FROM max(c.begun_at) + interval '61 s' - t) * 1000) INTO wait
      FROM (SELECT begun_at,
                   row_number() OVER newest AS calls,
                   sum(images_asked) OVER newest AS images
              FROM calls
             WHERE provider_key = p.provider_key AND begun_at > t - interval '61 s' AND state <> 'unsent'
               AND token <> p.token
            WINDOW newest AS (ORDER BY begun_at DESC, call_id DESC)) AS c
     WHERE c.calls >= key.calls_per_minute OR c.images > key.images_per_minute - p.images;
    RETURN wait;
END $$;
