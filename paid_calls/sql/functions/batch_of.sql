-- Returns the batch of a call's name, such as 3 for `3` and for `3.2`; NULL for `beautify`.
CREATE OR REPLACE FUNCTION batch_of(p_name text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_name ~ '^[0-9]' THEN split_part(p_name, '.', 1)::integer END
$$;
