-- Returns a lease with what its worker says now. A worker that is cut off from Temporal gets no
-- work, and so demands no more than the calls that it has in flight.
CREATE OR REPLACE FUNCTION renewed(l leases, p lease_renewal, t timestamptz) RETURNS leases
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    l.demand := CASE WHEN p.cut_off THEN p.calls ELSE p.demand END;
    l.idle_slots := CASE WHEN p.cut_off THEN 0 ELSE least(p.idle_slots, p.demand) END;
    l.calls := p.calls;
    l.renewal := p.renewal;
    l.max_calls := p.max_calls;
    l.cut_off := p.cut_off;
    l.seen_at := t;
    l.expires_at := t + p.ttl_ms * interval '1 ms';
    RETURN l;
END $$;
