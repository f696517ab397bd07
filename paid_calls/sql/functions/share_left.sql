-- Returns a lease's share, as far as the key's other leases leave it over and its worker can use
-- it.
CREATE OR REPLACE FUNCTION share_left(p_own leases, p_all leases[], p_free integer, t timestamptz) RETURNS integer
LANGUAGE sql AS $$
    SELECT greatest(0, least(share_of(p_own, p_all, p_free, t), p_own.max_calls,
                             p_free - (SELECT coalesce(sum(l.granted), 0)
                                         FROM unnest(p_all) AS l WHERE l.lease_id <> p_own.lease_id)::integer))
$$;
