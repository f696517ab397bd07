-- Returns how many calls workers may have in flight under their leases; NULL for any number.
CREATE OR REPLACE FUNCTION free_for_leases(key provider_keys, p_leases bigint[]) RETURNS integer LANGUAGE sql AS $$
    SELECT CASE WHEN key.failing >= 5 THEN least(probes_allowed(key), free) ELSE free END
      FROM (SELECT CASE WHEN key.calls_at_once IS NOT NULL
                        THEN greatest(0, key.calls_at_once - calls_without_a_lease(key, p_leases)) END AS free
           ) AS counted
$$;
