-- Returns how long the longest of a key's last hundred answered calls took; NULL if there is none.
CREATE OR REPLACE FUNCTION longest_call(p_key text) RETURNS interval LANGUAGE sql AS $$
    SELECT max(last.ended_at - last.begun_at)
      FROM (SELECT ended_at, begun_at FROM calls
             WHERE provider_key = p_key AND state = 'done' ORDER BY begun_at DESC LIMIT 100) AS last
$$;
