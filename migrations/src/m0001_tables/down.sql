DO $$ DECLARE
    ours record;
BEGIN
    FOR ours IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = current_schema()::regnamespace LOOP
        EXECUTE 'DROP FUNCTION ' || ours.name;
    END LOOP;
END $$;
DROP TYPE call_intent, call_admission, call_end, lease_renewal, lease_grant, lease_pressure;
DROP TABLE installed_functions, calls, leases, limit_changes, provider_keys, images, tasks;
