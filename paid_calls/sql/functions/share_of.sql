-- Returns a lease's share of the calls that are free for all of the key's leases.
CREATE OR REPLACE FUNCTION share_of(p_own leases, p_all leases[], p_free integer, t timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    others  lease_pressure := pressure(p_all, t);
    demands integer[];
    keeps   integer[];
    place   integer;
BEGIN
    SELECT array_agg(l.demand ORDER BY l.place), array_agg(least(l.demand, l.idle_slots, l.granted) ORDER BY l.place),
           max(l.place) FILTER (WHERE l.lease_id = p_own.lease_id)
      INTO demands, keeps, place
      FROM (SELECT l.lease_id, l.idle_slots, l.granted, weighed_demand(l, others) AS demand,
                   -- Workers with work come first, and keep their share. A poll whose share has
                   -- gone takes work that must be queued again.
                   row_number() OVER (ORDER BY l.idle_slots > 0, l.granted = 0, l.starving_since, l.lease_id) AS place
              FROM unnest(p_all) AS l) AS l;
    RETURN fair_share(p_free, demands, keeps, place);
END $$;
