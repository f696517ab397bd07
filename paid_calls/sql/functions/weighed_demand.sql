-- Returns the demand with which a lease is weighed against the others. Polls that wait for work
-- give way. All but one give way to a worker whose calls fill its share. One after the other gives
-- way to a worker without a share. The last one gives way to a worker that has had no share for as
-- long as a lease.
CREATE OR REPLACE FUNCTION weighed_demand(l leases, others lease_pressure) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN l.idle_slots = 0 THEN l.demand
                WHEN others.starving AND l.starving_since IS NULL THEN 0
                WHEN others.pressed THEN least(1, l.demand)
                WHEN others.hungry AND l.granted > 0 THEN least(greatest(1, l.idle_slots - 1), l.demand)
                ELSE l.demand END
$$;
