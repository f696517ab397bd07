-- Returns how many calls of a key began after a moment and succeeded, counted up to `p_most`.
CREATE OR REPLACE FUNCTION good_calls(p_key text, p_since timestamptz, p_most integer) RETURNS integer
LANGUAGE sql AS $$
    SELECT count(*)::integer
      FROM (SELECT FROM calls WHERE provider_key = p_key AND begun_at > p_since AND state = 'done' LIMIT p_most) AS good
$$;
