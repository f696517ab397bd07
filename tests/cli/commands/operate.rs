//! Paid calls as whoever runs Darkroom sees and steers them.

use serde_json::{Value, json};
use tests::{Stack, a_task};

use super::{darkroom, lines};

/// What a command shows as JSON.
pub(crate) async fn shown(stack: &Stack, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = darkroom(stack, &[arguments, &["--json"]].concat(), "").await;
    assert_eq!(code, 0, "{stderr}");
    lines(&stdout).pop().unwrap()
}

#[tokio::test]
async fn limits_are_set_and_kept_and_the_queue_says_why_a_task_waits() {
    let stack = Stack::start().await;
    let (code, _, stderr) = darkroom(&stack, &["limits", "set", "--ceiling", "2"], "").await;
    assert_eq!(code, 0, "{stderr}");
    let first = a_task().plan("start").user("ann");
    stack.provider.hold();
    let held = stack.begin(&first).await;
    let meter = stack.provider.meter();
    meter.wait_until(|meter| meter.in_flight == 1).await.unwrap();
    stack.provider.release_one();
    meter.wait_until(|meter| meter.in_flight == 2).await.unwrap();
    let second = a_task().plan("free").user("bob");
    let queued = stack.begin(&second).await;
    stack.wait_until(&queued, |progress| progress.images_planned > 0).await;

    let queue = shown(&stack, &["queue"]).await;
    let of = |user: &str, name: &str| {
        let waiting = queue["waiting"].as_array().unwrap();
        waiting.iter().find(|group| group["user_id"] == user).unwrap()[name].clone()
    };
    assert_eq!((of("ann", "in_flight"), of("ann", "waiting")), (json!(2), json!(4)));
    assert_eq!((of("bob", "in_flight"), of("bob", "waiting")), (json!(0), json!(1)));
    let key = &queue["keys"][0];
    assert_eq!((&key["in_flight"], &key["ceiling"], &key["workers"]), (&json!(2), &json!(2), &json!(1)));
    let worker = &queue["workers"][0];
    assert_eq!(
        (&worker["in_flight"], &worker["granted"], &worker["state"]),
        (&json!(2), &json!(2), &json!("held"))
    );

    let task = shown(&stack, &["queue", &second.0.task_id]).await;
    let why = task["why"].as_str().unwrap();
    assert!(why.contains("all 2 calls of provider key `default` are in use"), "{why}");
    // The Free lane weighs four times as much as that of Start.
    assert_eq!((&task["position"], &task["waiting"], &task["later"]), (&json!(1), &json!(1), &json!(1)));
    assert!(task["eta_s"].as_f64().unwrap() > 0.0, "{task}");
    assert!(
        task["method"].as_str().unwrap().starts_with("1 calls before its last one, 2 concurrently"),
        "{task}"
    );
    let task = shown(&stack, &["queue", &first.0.task_id]).await;
    assert_eq!(task["position"], 2, "{task}");

    assert_eq!(darkroom(&stack, &["limits", "pause"], "").await.0, 0);
    let task = shown(&stack, &["queue", &second.0.task_id]).await;
    assert!(task["why"].as_str().unwrap().contains("paused: `darkroom limits resume default`"), "{task}");
    stack.provider.release();
    meter.wait_until(|meter| meter.in_flight == 0).await.unwrap();
    assert_eq!(meter.snapshot().calls.len(), 3, "none was begun while it was paused");

    assert_eq!(darkroom(&stack, &["limits", "resume", "default"], "").await.0, 0);
    stack.result(&queued).await.unwrap();
    stack.result(&held).await.unwrap();
    assert_eq!(meter.snapshot().max_in_flight, 2);
    let task = shown(&stack, &["queue", &second.0.task_id]).await;
    assert!(task["why"].as_str().unwrap().contains("it has ended (completed)"), "{task}");
    assert_eq!(darkroom(&stack, &["queue", "nobody"], "").await.0, 6);
}

#[tokio::test]
async fn positions_are_the_order_in_which_the_calls_are_made() {
    let stack = Stack::with().configure(|config| config.generate.slots = 1).start().await;
    stack.provider.hold();
    // The first takes the only slot. Ann's and bob's second tasks wait in lanes of their own.
    let given = [
        ("pro", "ann"),
        ("pro", "ann"),
        ("start", "bob"),
        ("start", "bob"),
        ("pro", "dan"),
        ("free", "cyd"),
        ("start", "eve"),
        ("free", "eve"),
    ]
    .map(|(plan, user)| a_task().plan(plan).user(user));
    let mut tasks = Vec::new();
    for given in &given {
        let task = stack.begin(given).await;
        stack.wait_until(&task, |progress| progress.images_planned > 0).await;
        stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
        tasks.push(task);
    }
    let mut told = Vec::new();
    for given in &given[1..] {
        let task_id = given.0.task_id.clone();
        let task = shown(&stack, &["queue", &task_id]).await;
        told.push((task["position"].as_u64().unwrap(), task_id));
    }
    told.sort();

    stack.provider.release();
    for task in &tasks {
        stack.result(task).await.unwrap();
    }

    let calls = stack.provider.meter().snapshot().calls;
    let names = calls.iter().map(|call| call.idempotency_key.as_deref().unwrap());
    let seen: Vec<&str> = names.filter_map(|name| Some(name.split_once("/beautify/")?.0)).skip(1).collect();
    let told: Vec<&str> = told.iter().map(|(_, task_id)| task_id.as_str()).collect();
    assert_eq!(told, seen);
}

#[tokio::test]
async fn a_task_waits_for_a_worker_and_the_queue_says_so() {
    let stack = Stack::with().without_worker().start().await;
    let mut tasks = stack.spawn_worker(env!("CARGO_BIN_EXE_darkroom"), &["tasks"]);
    let given = a_task();
    let task = stack.begin(&given).await;
    stack.wait_until(&task, |progress| progress.images_planned > 0).await;

    let shown = shown(&stack, &["queue", &given.0.task_id]).await;
    assert!(shown["why"].as_str().unwrap().contains("no worker makes paid calls"), "{shown}");
    let (_, stdout, _) = darkroom(&stack, &["queue"], "").await;
    assert!(stdout.contains("1 tasks run: 0 calls in flight, 1 wait"), "{stdout}");
    tasks.start_kill().unwrap();
}

#[tokio::test]
async fn the_ledger_sums_up_to_the_providers_bill() {
    let stack = Stack::start().await;
    stack.provider.fails(503, 1);
    stack.run(&a_task().id("ledger-1").user("ann").plan("start")).await;
    stack.run(&a_task().id("ledger-2").user("bob")).await;
    let bill = stack.provider.bill();

    let rows = shown(&stack, &["ledger", "--by", "user"]).await;
    let of = |user: &str| rows.as_array().unwrap().iter().find(|row| row["group"] == user).unwrap().clone();
    let sum = |name: &str| of("ann")[name].as_u64().unwrap() + of("bob")[name].as_u64().unwrap();
    assert_eq!((sum("images_billed"), sum("failed"), sum("open")), (bill.images, 1, 0));
    assert_eq!(sum("done"), bill.calls);
    let price = stack.config.provider.price_usd(1);
    let cost = of("ann")["cost_usd"].as_f64().unwrap() + of("bob")["cost_usd"].as_f64().unwrap();
    assert!((cost - price * bill.images as f64).abs() < 1e-9, "{cost}");

    let (code, csv, _) = darkroom(&stack, &["ledger", "--by", "task", "--user", "bob", "--csv"], "").await;
    assert_eq!(code, 0);
    let csv: Vec<&str> = csv.split("\r\n").collect();
    assert!(
        csv[0].starts_with("group,calls,done,") && csv[1].starts_with("ledger-2,2,2,") && csv.len() == 3,
        "{csv:?}"
    );
    let one = shown(&stack, &["ledger", "--task", "ledger-2", "--by", "plan"]).await;
    assert_eq!((&one[0]["group"], &one[0]["images_billed"]), (&json!("free"), &json!(3)));
}

#[tokio::test]
async fn the_ledger_names_each_call_of_which_nobody_knows() {
    let stack = Stack::start().await;
    stack.provider.faults().add(sandbox::Rule::new(sandbox::ProviderFault::ResetAfterBilling).times(1));
    stack.provider.hold();
    let given = a_task();
    let task = stack.begin(&given).await;
    let open = async || shown(&stack, &["ledger", "--open"]).await;
    stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    assert_eq!(
        (open().await[0]["name"].clone(), open().await[0]["state"].clone()),
        (json!("beautify"), json!("open"))
    );
    stack.provider.release();
    stack.result(&task).await.unwrap();

    assert_eq!(open().await, json!([]));
    let ambiguous = shown(&stack, &["ledger", "--ambiguous"]).await;
    let call = &ambiguous[0];
    assert_eq!((&call["task_id"], &call["state"]), (&json!(given.0.task_id), &json!("ambiguous")));
    assert!(
        call["written_off_at"].is_string() && call["possible_cost_usd"].as_f64().unwrap() > 0.0,
        "{call}"
    );
}

#[tokio::test]
async fn what_is_no_limit_or_no_key_is_refused() {
    let stack = Stack::start().await;
    for (arguments, code, words) in [
        (&["limits", "set"][..], 3, "nothing to set"),
        (&["limits", "set", "--ceiling", "many"], 2, "use a number from 0 to 1000000, or none"),
        (&["limits", "pause", "defualt"], 3, "there is no provider key `defualt`"),
    ] {
        let (exit, _, stderr) = darkroom(&stack, arguments, "").await;
        assert!(exit == code && stderr.contains(words), "{arguments:?}: {exit}, {stderr}");
    }
}
