use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// What differs from a task with two calls in the queue behind four that run, which is all that its key allows.
#[derive(Default)]
struct Case {
    calls: Option<u32>,
    later: u32,
    in_flight: u32,
    left_behind: u32,
    is_closed: bool,
    pending: Option<Vec<Pending>>,
    key: Value,
    orphans_ms: Vec<f64>,
}

fn pending(activity: &str, state: PendingState) -> Pending {
    Pending { activity: activity.into(), state, failure: Some("503 from the provider".into()) }
}

/// Why the task waits, and the estimate or why there is none.
fn told(case: &Case) -> (String, String) {
    let mut key = json!({
        "calls_at_once": 4, "in_flight": 4, "granted": 4, "idle": 0, "workers": 1, "cut_off": 0, "paused": false, "throttled_ms": 0,
        "failing": 0, "refused": null, "calls_last_minute": 9, "images_last_minute": 41, "provider_key": "default", "ceiling": 4, "floor": 1,
        "calls_per_minute": null, "images_per_minute": null, "orphan_ms": null, "orphans": 0, "last_change": null,
    });
    for (name, value) in case.key.as_object().into_iter().flatten() {
        key[name] = value.clone();
    }
    let task = RunningTask {
        task_id: "t".into(),
        user_id: "ann".into(),
        plan: "pro".into(),
        lane: "plan:pro".into(),
        lane_weight: 5.0,
        images_planned: 70,
        prompts: 1,
        waits_ms: 0,
        has_reference: true,
        answered: 0,
        in_flight: case.in_flight,
        left_behind: case.left_behind,
        failed: 0,
        failure: None,
    };
    let own = Waiting {
        task_id: "t".into(),
        lane: "plan:pro".into(),
        weight: 5.0,
        since_ms: 0,
        calls: case.calls.unwrap_or(2),
        later: case.later,
    };
    let key: KeyLimits = serde_json::from_value(key).unwrap();
    let in_flight_ms = vec![4_000.0; key.in_flight as usize - case.orphans_ms.len()];
    let standing = Standing {
        task: &task,
        is_closed: case.is_closed,
        pending: case.pending.clone().unwrap_or_else(|| vec![pending("generate", PendingState::Queued)]),
        ahead: (own.calls > 0).then_some(0),
        next_images: 5,
        key_name: "default",
        key,
        pace: Pace { mean_ms: Some(8_000.0), in_flight_ms, orphans_ms: case.orphans_ms.clone() },
        own: &own,
    };
    let explanation = standing.explain(own.calls.checked_sub(1));
    let estimate = explanation.eta_s.map_or(explanation.method, |eta_s| format!("{eta_s} s"));
    (explanation.why, estimate)
}

#[test]
fn each_state_of_a_call_has_its_reason_and_its_estimate() {
    let queued = Case::default;
    let with = |key: Value| Case { key, ..queued() };
    let started = |activity| Some(vec![pending(activity, PendingState::Started)]);
    let later = PendingState::TriedAgain(SystemTime::now() + Duration::from_secs(40));
    let never = "no estimate while no call may begin";
    let cases = [
        (queued(), "all 4 calls of provider key `default` are in use, and 0 calls", "12 s"),
        (with(json!({"calls_at_once": null})), "the workers' slots are in use", "12 s"),
        (with(json!({"in_flight": 2})), "it is next, and is given to a worker now", "8 s"),
        (with(json!({"in_flight": 2, "idle": 1})), "it is next, and is given to a worker now", "8 s"),
        (with(json!({"in_flight": 3, "idle": 1})), "1 of the key's calls are kept by workers", "12 s"),
        (
            Case { orphans_ms: vec![30_000.0; 4], ..queued() },
            "4 of them by calls whose answers nobody waits for any more: the provider may still be working on them, for 30 s",
            "38 s",
        ),
        (Case { calls: Some(0), in_flight: 2, ..queued() }, "it doesn't: its calls are in flight", "8 s"),
        (
            Case { calls: Some(0), pending: started("transfer"), ..queued() },
            "its last images are being stored",
            "no estimate: its paid calls are done",
        ),
        (
            Case { calls: Some(0), pending: Some(vec![pending("insert", later)]), ..queued() },
            "what failed is tried again in 40 s, after: 503",
            "no estimate: its paid calls are done",
        ),
        (
            Case { pending: Some(vec![pending("generate", later)]), ..with(json!({"in_flight": 0})) },
            "its next call is tried again in 40 s, after: 503 from the provider",
            "48 s",
        ),
        (
            Case { pending: started("generate"), left_behind: 1, ..queued() },
            "the worker that made its call is gone",
            "12 s",
        ),
        (
            Case { pending: started("generate"), ..queued() },
            "a worker has its next call, and holds it until it may begin: all 4 calls of provider key",
            "12 s",
        ),
        (
            Case { is_closed: true, ..queued() },
            "its workflow is not open any more",
            "no estimate: nobody works on it",
        ),
        (with(json!({"workers": 0})), "no worker makes paid calls", never),
        (
            with(json!({"workers": 0, "cut_off": 2})),
            "none of the workers that make paid calls reaches",
            never,
        ),
        (with(json!({"paused": true})), "is paused: `darkroom limits resume default`", never),
        (with(json!({"calls_at_once": 0})), "may make 0 calls", never),
        (
            with(json!({"refused": "no credit", "throttled_ms": 29_001})),
            "the provider refuses the account: no credit; the next try is in 30 s",
            never,
        ),
        (with(json!({"failing": 5})), "has failed 5 times in a row; it is being tried now", never),
        (with(json!({"throttled_ms": 20_000})), "the provider asked to wait: for 20 s", "28 s"),
        (with(json!({"calls_per_minute": 9})), "the last minute had 9 calls, and may have 9", "68 s"),
        (with(json!({"calls_per_minute": 0})), "the last minute had 9 calls, and may have 0", never),
        (with(json!({"calls_per_minute": 10})), "all 4 calls of provider key", "68 s"),
        (
            with(json!({"images_per_minute": 45})),
            "the last minute had 41 images, and may have 45: its next call asks for 5",
            "no estimate: the key's images a minute are limited",
        ),
        (
            with(json!({"images_per_minute": 46})),
            "all 4 calls of provider key",
            "no estimate: the key's images a minute are limited",
        ),
    ];
    for (case, why, estimate) in cases {
        let seen = told(&case);
        assert!(seen.0.contains(why), "{why}: {seen:?}");
        assert_eq!(seen.1, estimate, "{why}: {seen:?}");
    }
}
