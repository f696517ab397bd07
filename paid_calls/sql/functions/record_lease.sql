-- Writes what a renewal changed. The row is found by its place (ctid), because nobody else writes
-- to it while the key is locked. A second scan would read all versions of the row.
CREATE OR REPLACE FUNCTION record_lease(own leases, at tid) RETURNS void LANGUAGE sql AS $$
    UPDATE leases l
       SET granted = own.granted, demand = own.demand, idle_slots = own.idle_slots, calls = own.calls,
           renewal = own.renewal, max_calls = own.max_calls, cut_off = own.cut_off,
           starving_since = own.starving_since, seen_at = own.seen_at, expires_at = own.expires_at
     WHERE l.ctid = at
$$;
