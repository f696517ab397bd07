//! A worker is killed exactly before and after each statement and each step of a paid call; what is paid, and what is on record of it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use futures::StreamExt;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use tests::{PATIENCE, Stack, a_task, side_by_side};
use workflows::keys::task_and_call;

const DARKROOM: &str = env!("CARGO_BIN_EXE_darkroom");
/// The advisory lock that holds a statement up.
const GATE: i64 = 7;

/// Where the worker is when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Its statement has not been executed, and never is.
    Before(&'static str),
    /// Its statement is executed; the answer never arrives.
    After(&'static str),
    /// Its call is at the provider.
    Sent,
    /// The provider has answered; the answer's bytes are not in the store yet.
    Answered,
}

/// What comes of it: how often the call was paid, and how many losses are on record.
type Cost = (usize, i64);

/// Each point, and the cost where idempotency keys are ignored, and where they are honoured. After `begin_call` and before the call is sent are
/// one point, seen from outside; so are the answer kept and before `end_call`.
const POINTS: [(At, Cost, Cost); 8] = [
    (At::Before("grant_lease"), (1, 0), (1, 0)),
    (At::After("grant_lease"), (1, 0), (1, 0)),
    (At::Before("begin_call"), (1, 0), (1, 0)),
    (At::After("begin_call"), (1, 1), (1, 0)),
    (At::Sent, (2, 1), (1, 0)),
    (At::Answered, (2, 1), (1, 0)),
    (At::Before("end_call"), (2, 1), (1, 0)),
    (At::After("end_call"), (1, 0), (1, 0)),
];

/// Puts a gate before or after a statement: the function under its old name, in one that waits.
async fn gate(db: &DatabaseConnection, function: &str, before: bool) {
    let of = |what: &str| format!("SELECT {what} AS text FROM pg_proc WHERE proname = '{function}'");
    let text = async |what: &str| {
        let row =
            db.query_one_raw(Statement::from_string(db.get_database_backend(), of(what))).await.unwrap();
        row.unwrap().try_get::<String>("", "text").unwrap()
    };
    let parameters = text("pg_get_function_arguments(oid)").await;
    let result = text("pg_get_function_result(oid)").await;
    let count = text("pronargs::text").await.parse::<usize>().unwrap();
    let arguments: Vec<String> = (1..=count).map(|number| format!("${number}")).collect();
    let call = format!("SELECT * FROM open_{function}({})", arguments.join(", "));
    let wait = format!("SELECT pg_advisory_lock_shared({GATE}), pg_advisory_unlock_shared({GATE})");
    // The statement's own work is done before the gate, or after it; it is committed at the end.
    let body = if result.starts_with("TABLE") {
        let (first, last) = if before {
            (format!("PERFORM {};", &wait[7..]), String::new())
        } else {
            (String::new(), format!("PERFORM {};", &wait[7..]))
        };
        format!("BEGIN {first} RETURN QUERY {call}; {last} END")
    } else {
        let own = format!("SELECT * INTO answer FROM open_{function}({});", arguments.join(", "));
        let wait = format!("PERFORM {};", &wait[7..]);
        let (first, last) = if before { (wait, own) } else { (own, wait) };
        format!("DECLARE answer {result}; BEGIN {first} {last} RETURN answer; END")
    };
    db.execute_unprepared(&format!(
        "ALTER FUNCTION {function} RENAME TO open_{function};
         CREATE FUNCTION {function}({parameters}) RETURNS {result} LANGUAGE plpgsql AS $gate$ {body} $gate$"
    ))
    .await
    .unwrap();
}

/// Waits until a statement waits at the gate.
async fn reached(db: &DatabaseConnection) {
    let waiting = "SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    let look = async || {
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), waiting)).await.unwrap();
        row.unwrap().try_get::<i64>("", "count").unwrap() > 0
    };
    let wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !look().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("nobody comes to the gate");
}

/// Kills the only worker at this point of a task's first batch, and starts another. What the batch cost.
async fn cost(at: At, keys_are_honoured: bool) -> Cost {
    let stack = Stack::with()
        .provider(|provider| {
            provider.idempotency_header = keys_are_honoured.then(|| "Idempotency-Key".to_owned())
        })
        .without_worker()
        .proxied()
        .start()
        .await;
    // A session of its own holds the gate.
    let keeper = database::connect(&stack.config.database, 1).await.unwrap();
    let close = format!("SELECT pg_advisory_lock({GATE})");
    let at_grant = matches!(at, At::Before("grant_lease") | At::After("grant_lease"));
    if let At::Before(function) | At::After(function) = at {
        gate(&stack.database, function, matches!(at, At::Before(_))).await;
        if at_grant {
            keeper.execute_unprepared(&close).await.unwrap();
        }
    }
    let given = a_task();
    stack.provider.hold();
    let mut doomed = stack.spawn_worker(DARKROOM, &[]);
    let task = stack.begin(&given).await;
    if !at_grant {
        // Beautify passes, and the gate closes behind it; what is held is the batch.
        let meter = stack.provider.meter();
        meter.wait_until(|meter| meter.in_flight == 1).await.unwrap();
        match at {
            At::Before("begin_call") | At::After("begin_call") => {
                keeper.execute_unprepared(&close).await.unwrap();
                stack.provider.release();
            }
            At::Sent => {
                stack.provider.release_one();
                meter.wait_until(|meter| meter.billed_calls == 1 && meter.in_flight == 1).await.unwrap();
            }
            At::Answered => {
                stack.provider.release_one();
                meter.wait_until(|meter| meter.billed_calls == 1 && meter.in_flight == 1).await.unwrap();
                stack.links().proxy(chaos::Link::Store).stall();
                stack.provider.release();
                meter.wait_until(|meter| meter.billed_calls == 2).await.unwrap();
            }
            At::Before(_) | At::After(_) => {
                stack.provider.release_one();
                meter.wait_until(|meter| meter.billed_calls == 1 && meter.in_flight == 1).await.unwrap();
                keeper.execute_unprepared(&close).await.unwrap();
                stack.provider.release();
            }
        }
    }
    if matches!(at, At::Before(_) | At::After(_)) {
        reached(&stack.database).await;
    }

    doomed.start_kill().unwrap();
    doomed.wait().await.unwrap();
    if let At::Before(_) = at {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
        stack.database.execute_unprepared(end).await.unwrap();
    }
    keeper.close().await.unwrap();
    stack.links().mend();
    stack.provider.release();
    let _other = stack.spawn_worker(DARKROOM, &[]);

    stack.result(&task).await.unwrap();
    stack.outcome(&given).await;
    let meter = stack.provider.meter().snapshot();
    let name = format!("{}/1", given.0.task_id);
    let paid = meter
        .calls
        .iter()
        .filter(|call| call.billed && call.idempotency_key.as_deref().map(task_and_call) == Some(&name))
        .count();
    let sum = "SELECT count(written_off_at) FILTER (WHERE name = '1') AS lost, sum(images_billed) AS billed,
                      count(*) FILTER (WHERE state IN ('open', 'ambiguous', 'unusable')) AS in_doubt FROM calls";
    let row = stack
        .database
        .query_one_raw(Statement::from_string(stack.database.get_database_backend(), sum))
        .await;
    let row = row.unwrap().unwrap();
    let number = |column: &str| row.try_get::<i64>("", column).unwrap();
    if keys_are_honoured {
        let settled = (number("in_doubt"), number("billed"));
        assert_eq!(settled, (0, meter.images_billed as i64), "{at:?}: the ledger is the bill");
    }
    (paid, number("lost"))
}

async fn costs(keys_are_honoured: bool) -> Vec<(At, Cost)> {
    let costs = POINTS.iter().map(|(at, ..)| async move { (*at, cost(*at, keys_are_honoured).await) });
    futures::stream::iter(costs).buffered(side_by_side(3)).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_point_of_a_call_costs_what_is_on_record() {
    assert_eq!(costs(false).await, POINTS.map(|(at, ignored, _)| (at, ignored)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_point_of_a_call_costs_nothing_where_keys_are_honoured() {
    assert_eq!(costs(true).await, POINTS.map(|(at, _, honoured)| (at, honoured)));
}
