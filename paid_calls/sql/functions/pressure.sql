-- Returns what a key's leases ask of polls that wait for work, as `lease_pressure` describes it.
CREATE OR REPLACE FUNCTION pressure(p_all leases[], t timestamptz) RETURNS lease_pressure LANGUAGE sql AS $$
    SELECT coalesce(bool_or(l.calls > 0 AND l.calls >= l.granted AND l.demand > l.granted), false),
           coalesce(bool_or(l.granted = 0 AND l.demand > 0), false),
           coalesce(bool_or(l.starving_since < t - (l.expires_at - l.seen_at)), false)
      FROM unnest(p_all) AS l
$$;
