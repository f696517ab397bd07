-- Returns the time at which the server started. Tests replace this function instead of restarting
-- the server.
CREATE OR REPLACE FUNCTION darkroom_up_since() RETURNS timestamptz LANGUAGE sql STABLE
AS 'SELECT pg_postmaster_start_time()';
