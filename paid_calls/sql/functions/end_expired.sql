-- Ends the leases of a key whose workers are dead, except the one that is being renewed. Returns their
-- ids.
CREATE OR REPLACE FUNCTION end_expired(p lease_renewal, p_held leases[], t timestamptz) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    dead bigint[] := array(SELECT l.lease_id FROM unnest(p_held) AS l
                            WHERE NOT (l.lease_id IS NOT DISTINCT FROM p.lease_id AND l.worker = p.worker)
                              AND NOT is_living(l));
BEGIN
    IF cardinality(dead) > 0 THEN
        PERFORM end_leases(dead, t);
    END IF;
    RETURN dead;
END $$;
