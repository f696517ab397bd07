-- Returns the provider key's row, made where there is none, and locks it. So the limits of a key
-- change one after the other.
CREATE OR REPLACE FUNCTION locked_key(p_key text) RETURNS provider_keys LANGUAGE plpgsql AS $$
DECLARE
    key provider_keys;
BEGIN
    SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p_key FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO provider_keys (provider_key) VALUES (p_key) ON CONFLICT DO NOTHING;
        SELECT * INTO key FROM provider_keys k WHERE k.provider_key = p_key FOR NO KEY UPDATE;
    END IF;
    RETURN key;
END $$;
