DROP FUNCTION begin_call, end_call, grant_lease, release_lease, set_limits, note_limits, raise_limit, cut_limit, note_failing, free_for_leases,
              good_calls, calls_without_a_lease, is_living, darkroom_now, darkroom_up_since;
DROP TABLE calls, leases, limit_changes, provider_keys;
