DROP FUNCTION begin_call, end_call, deciding_call, give_up_call, verdict_of_call, verdict_of_key, rate_wait_ms, note_losses,
              end_as_recorded, call_made_again, settle_calls, note_end, note_success, note_refused, end_leases, fair_share, pressure, demand, share_of, begin_lease,
              renewed, orphan_span, longest_call, probes_allowed, grant_lease, release_lease, set_limits, note_limits, raise_limit, cut_limit, note_failing, free_for_leases,
              good_calls, calls_without_a_lease, is_living, darkroom_now, darkroom_up_since;
DROP TYPE call_intent, call_verdict, call_end, lease_renewal, lease_grant, lease_pressure;
DROP TABLE calls, leases, limit_changes, provider_keys;
