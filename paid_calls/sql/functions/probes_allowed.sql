-- Returns how many calls may try a key that is stopped. One call tries first. While this call isn't
-- refused, more try, which are two after a second, then four, eight and so on. A refused account is
-- tried by one call.
CREATE OR REPLACE FUNCTION probes_allowed(key provider_keys) RETURNS integer LANGUAGE sql AS $$
    SELECT CASE WHEN key.refused IS NOT NULL THEN 1
                ELSE (SELECT 2 ^ least(16, coalesce(floor(extract(epoch FROM darkroom_now() - min(calls.begun_at))), 0))
                        FROM calls
                       WHERE calls.provider_key = key.provider_key AND calls.state = 'open'
                         AND calls.begun_at > key.failing_at AND calls.runs_until > darkroom_now()) END::integer
$$;
