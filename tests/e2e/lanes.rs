//! The order of paid calls: lanes by their weights, a lane in the order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use chaos::Disruptions;
use client::Task;
use database::tasks::Lanes;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use tests::{GivenTask, Stack, a_task};
use workflows::keys;
use workflows::types::{Lane, Stage};

/// A stack that makes one call at a time, and holds each until it is released. Plans are small: 2, 10 and 10 images, so 2, 3 and 3 calls.
async fn held() -> Stack {
    let stack = Stack::with().configure(|config| {
        config.generate.slots = 1;
        for plan in ["start", "pro"] {
            config.plans.get_mut(plan).unwrap().images = 10;
        }
    });
    let stack = stack.start().await;
    stack.provider.hold();
    stack
}

/// Starts a task and waits until its first call is in the queue.
async fn queue(stack: &Stack, given: &GivenTask) -> Task {
    let task = stack.begin(given).await;
    stack.wait_until(&task, |progress| progress.stage == Stage::Beautify).await;
    task
}

/// Starts the tasks one after the other. The first of them takes the only slot.
async fn queue_all(stack: &Stack, given: &[GivenTask]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for task in given {
        tasks.push(queue(stack, task).await);
        stack.provider.meter().wait_until(|meter| meter.in_flight == 1).await.unwrap();
    }
    tasks
}

/// Lets everything be done, and returns the task of each call, in the order of the calls.
async fn order(stack: &Stack, given: &[GivenTask], tasks: &[Task]) -> Vec<String> {
    stack.provider.release();
    for task in tasks {
        stack.result(task).await.unwrap();
    }
    stack.assert_invariants(&given.iter().collect::<Vec<_>>(), &Disruptions::default()).await;
    stack.provider.meter().snapshot().calls.iter().map(|call| task_of(call).to_owned()).collect()
}

fn task_of(call: &sandbox::Call) -> &str {
    call.idempotency_key.as_deref().unwrap().split_once('/').unwrap().0
}

fn id(given: &GivenTask) -> &str {
    &given.0.task_id
}

#[tokio::test]
async fn equal_tasks_are_done_one_after_the_other_in_the_order_of_arrival() {
    let stack = held().await;
    let given: Vec<GivenTask> =
        (0..10).map(|user| a_task().plan("start").user(&format!("user-{user}"))).collect();
    let tasks = queue_all(&stack, &given).await;
    for task in &tasks {
        stack.provider.release_one();
        stack.wait_until(task, |progress| progress.stage == Stage::Generate).await;
    }

    let order = order(&stack, &given, &tasks).await;

    let retouched = given.iter().map(id);
    let batches = given.iter().flat_map(|given| [id(given), id(given)]);
    assert_eq!(order, retouched.chain(batches).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_user_who_floods_delays_nobody_elses_first_task() {
    let stack = held().await;
    let start = |user: &str| a_task().plan("start").user(user);
    let given: Vec<GivenTask> =
        ["flood", "flood", "flood", "flood", "flood", "flood", "ann", "bob", "cyd"].map(start).into();
    let tasks = queue_all(&stack, &given).await;

    let order = order(&stack, &given, &tasks).await;

    let others: Vec<&str> = given[6..].iter().map(id).collect();
    let further: Vec<&str> = given[1..6].iter().map(id).collect();
    let last = order.iter().rposition(|task| others.contains(&task.as_str())).unwrap();
    let before = order[..last].iter().filter(|task| further.contains(&task.as_str())).count();
    assert!(before <= 2, "the others' 9 calls wait for one in ten of the flood's: {order:?}");
    assert!(order[..last].contains(&given[0].0.task_id), "the flood's first task is as any other: {order:?}");
}

/// Releases one call after the other until the first call of each of these tasks is answered, and waits until their batches are in the queue.
async fn release_first_calls(stack: &Stack, tasks: &[Task]) {
    let mut retouched = BTreeSet::new();
    for call in 1.. {
        if retouched.len() == tasks.len() {
            return;
        }
        stack.provider.release_one();
        let meter = stack.provider.meter().wait_until(|meter| meter.calls.len() > call).await.unwrap();
        let ended: Vec<&str> = meter.calls[..call].iter().map(task_of).collect();
        for task in tasks.iter().filter(|task| ended.contains(&task.task_id())) {
            if retouched.insert(task.task_id()) {
                stack.wait_until(task, |progress| progress.stage == Stage::Generate).await;
            }
        }
    }
}

/// So many tasks of the plan, each of a user of its own, flood the queue before one task of each other plan comes.
async fn a_flood_starves_nobody(plan: &str, tasks: usize) {
    let stack = held().await;
    let flood: Vec<GivenTask> =
        (0..tasks).map(|user| a_task().plan(plan).user(&format!("user-{user}"))).collect();
    let others = ["free", "start", "pro"].into_iter().filter(|other| *other != plan);
    let others: Vec<GivenTask> = others.map(|other| a_task().plan(other).user(other)).collect();
    let mut begun = queue_all(&stack, &flood[..1]).await;
    begun.extend(futures::future::join_all(flood[1..].iter().map(|given| queue(&stack, given))).await);
    begun.extend(queue_all(&stack, &others).await);
    release_first_calls(&stack, &begun[tasks..]).await;
    let made = stack.provider.meter().snapshot().calls.len();

    let given = [flood, others].concat();
    let order = order(&stack, &given, &begun).await;

    let weights: f32 = stack.config.plans.values().map(|plan| plan.weight).sum();
    let of_flood = |task: &String| given[..tasks].iter().any(|given| id(given) == task);
    let floods_last = order.iter().rposition(of_flood).unwrap();
    for other in &given[tasks..] {
        let plan = &other.0.plan;
        let share = stack.config.plans[plan].weight / weights;
        let of_task = |task: &String| task == id(other);
        // The call in flight before all is no lane's.
        let first = order.iter().position(of_task).unwrap() as f32 - 1.0;
        assert!(first * share <= 1.0, "{plan} begins after {first} calls: {order:?}");
        let last = order.iter().rposition(of_task).unwrap();
        let batches = order[made..].iter().filter(|task| of_task(task)).count();
        let waited = (last + 1).saturating_sub(made) as f32;
        assert!(
            waited * share <= batches as f32,
            "{plan} waits for {waited} calls from {made} on: {order:?}"
        );
        assert!(last < floods_last, "{plan} has waited for the end of the flood: {order:?}");
    }
}

#[tokio::test]
async fn a_flood_of_free_tasks_starves_nobody() {
    a_flood_starves_nobody("free", 22).await;
}

#[tokio::test]
async fn a_flood_of_start_tasks_starves_nobody() {
    a_flood_starves_nobody("start", 8).await;
}

#[tokio::test]
async fn a_flood_of_pro_tasks_starves_nobody() {
    a_flood_starves_nobody("pro", 8).await;
}

#[tokio::test]
async fn transfers_go_oldest_first_whatever_the_plan() {
    let stack = Stack::with().configure(|config| config.transfer.slots = 1).start().await;
    stack.provider.hold_downloads();
    let [older, younger] = ["pro", "free"].map(|plan| a_task().plan(plan).user(plan));
    let first = stack.begin(&older).await;
    // Its fourteen batches wait for the only slot, then the retouched photo of the other.
    stack.wait_until(&first, |progress| progress.calls_answered == 15).await;
    let second = stack.begin(&younger).await;
    stack.wait_until(&second, |progress| progress.calls_answered == 1).await;

    stack.provider.release_downloads();
    stack.result(&first).await.unwrap();
    stack.result(&second).await.unwrap();

    let meter = stack.provider.meter().snapshot();
    let of_younger =
        |call: u64| task_of(meter.calls.iter().find(|made| made.seq == call).unwrap()) == id(&younger);
    let order: Vec<bool> = meter.download_log.iter().map(|download| of_younger(download.call)).collect();
    assert_eq!(order, [vec![false; 70], vec![true; 2]].concat());
}

#[tokio::test]
async fn each_step_has_its_place_whatever_the_workflow_was_started_with() {
    let stack = Stack::start().await;
    stack.provider.short_answer("in a garden", 3);
    let given = a_task().plan("start").prompts(["in a garden", "at sea"]);
    let first = stack.begin(&given).await;
    stack.result(&first).await.unwrap();

    let mut places = BTreeMap::new();
    for event in stack.history(&first).await {
        if let Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) = event.attributes {
            let place = scheduled.priority.unwrap();
            places.insert(
                scheduled.activity_id,
                (place.priority_key, place.fairness_key, place.fairness_weight),
            );
        }
    }
    let place = |priority, key: &str, weight| (priority, key.to_owned(), weight);
    let again = places.keys().find(|id| id.starts_with("generate-") && id.ends_with(".2")).unwrap().clone();
    let expected = [
        ("prepare", place(3, "ann", 1.0)),
        ("beautify", place(3, "plan:start", 10.0)),
        ("transfer-beautify", place(3, "transfer", 1.0)),
        ("generate-1", place(3, "plan:start", 10.0)),
        (&again, place(2, "plan:start", 10.0)),
        ("transfer-1", place(3, "transfer", 1.0)),
        ("insert", place(2, "ann", 1.0)),
    ];
    for (activity, expected) in expected {
        assert_eq!(places.get(activity), Some(&expected), "{activity}: {places:#?}");
    }
}

/// Lanes as `prepare` gives them, with so many of a user's tasks in the plan's.
fn lanes(plan: &str, user: &str, tasks_in_plan: u32) -> Lanes {
    Lanes {
        plan: Lane { key: keys::plan_lane(plan), weight: 10.0 },
        tasks_in_plan,
        user: Lane { key: keys::user_lane(user), weight: 1.0 },
    }
}

/// Makes a task's row; true if it stands in its plan's lane.
async fn in_plans_lane(stack: &Stack, given: &GivenTask, tasks_in_plan: u32) -> bool {
    let lanes = lanes(&given.0.plan, &given.0.user_id, tasks_in_plan);
    let lane = database::tasks::begin(&stack.database, &given.0, 2, Some(&lanes)).await.unwrap().unwrap();
    assert!(lane == lanes.plan || lane == lanes.user, "{lane:?}");
    lane == lanes.plan
}

async fn execute(stack: &Stack, sql: &str) {
    use sea_orm::ConnectionTrait;
    stack.database.execute_unprepared(sql).await.unwrap();
}

#[tokio::test]
async fn a_lane_is_decided_with_the_row_and_stays() {
    let stack = Stack::with().without_worker().start().await;
    let task = |plan: &str, user: &str| a_task().plan(plan).user(user);
    let (first, second) = (task("start", "ann"), task("start", "ann"));
    assert!(in_plans_lane(&stack, &first, 1).await);
    assert!(!in_plans_lane(&stack, &second, 1).await, "an earlier one runs");
    assert!(in_plans_lane(&stack, &task("start", "bob"), 1).await, "another user's");
    assert!(in_plans_lane(&stack, &task("free", "ann"), 1).await, "another plan's");
    assert!(in_plans_lane(&stack, &task("start", "ann"), 3).await, "the third of three");

    // A second attempt of `prepare` gets the same, whatever has happened since.
    let ended = format!("state = 'completed', finished_at = now() WHERE task_id = '{}'", id(&first));
    execute(&stack, &format!("UPDATE tasks SET {ended}")).await;
    assert!(!in_plans_lane(&stack, &second, 1).await);
    assert!(!in_plans_lane(&stack, &task("start", "ann"), 1).await, "an earlier one runs in the user's lane");
    execute(&stack, "UPDATE tasks SET state = 'completed', finished_at = now() WHERE user_id = 'ann'").await;
    assert!(in_plans_lane(&stack, &task("start", "ann"), 1).await, "all earlier ones have ended");

    // A row whose workflow can't run any more keeps nobody out.
    execute(&stack, "UPDATE tasks SET created_at = now() - interval '25 hours'").await;
    assert!(in_plans_lane(&stack, &task("start", "ann"), 1).await);
}

#[tokio::test]
async fn of_a_users_tasks_that_start_concurrently_one_stands_in_the_plans_lane() {
    let stack = Stack::with().without_worker().start().await;
    // A row's transaction stays open for a while, so that they overlap on any machine.
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END';
                CREATE TRIGGER slow AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION slow()";
    execute(&stack, slow).await;
    let pool = database::connect(&stack.config.database, 8).await.unwrap();
    for tasks_in_plan in [1, 3] {
        let user = format!("user-{tasks_in_plan}");
        let given: Vec<GivenTask> = (0..8).map(|_| a_task().plan("start").user(&user)).collect();
        let lanes = lanes("start", &user, tasks_in_plan);
        let begun = given.iter().map(async |given| {
            database::tasks::begin(&pool, &given.0, 30, Some(&lanes)).await.unwrap().unwrap()
        });
        let begun = futures::future::join_all(begun).await;
        let in_plan = begun.iter().filter(|lane| **lane == lanes.plan).count();
        assert_eq!(in_plan, tasks_in_plan as usize, "{begun:?}");
    }
}
