-- Returns the milliseconds from t until a moment, rounded up; 0 if the moment is past or NULL.
CREATE OR REPLACE FUNCTION ms_until(p_at timestamptz, t timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(0, ceil(extract(epoch FROM p_at - t) * 1000))::bigint
$$;
