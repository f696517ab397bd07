-- Nobody else may enter the schema. `darkroom migrate up` takes the functions' rights from PUBLIC
-- when it installs them.
DO $$ BEGIN
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC', current_schema());
END $$;
