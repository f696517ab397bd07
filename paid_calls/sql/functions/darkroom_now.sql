-- Returns the time of the clock that decides about leases and calls. Tests replace this function to
-- stop the clock and to turn it.
CREATE OR REPLACE FUNCTION darkroom_now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()';
