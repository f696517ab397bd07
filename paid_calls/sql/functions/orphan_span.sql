-- Returns how long an orphan uses capacity, counted from its begin. The span is the one that was
-- set, or else twice the key's longest call and at least 15 s. NULL means that neither is known,
-- and that the call counts until `runs_until`.
CREATE OR REPLACE FUNCTION orphan_span(key provider_keys) RETURNS interval LANGUAGE sql AS $$
    SELECT CASE WHEN key.orphan_ms IS NOT NULL THEN key.orphan_ms * interval '1 ms'
                ELSE (SELECT greatest(interval '15 s', 2 * longest)
                        FROM longest_call(key.provider_key) AS longest WHERE longest IS NOT NULL) END
$$;
