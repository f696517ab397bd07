//! Temporal answers that it can't do it now: our client waits.

use std::time::Duration;

use client::{Client, Error, Settings};
use sandbox::Provider;
use temporalio_client::tonic::Code;
use tests::{GivenTask, Stack, TemporalProxy, a_task};

/// Longer than the SDK waits by itself.
const A_WHILE: Duration = Duration::from_secs(12);
/// The first request alone.
const ONCE: Duration = Duration::ZERO;

/// What a caller does, beside connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    ToStart,
    WhetherClosed,
    ForProgress,
    ForInput,
    ForResult,
    ToCancel,
    ForBacklog,
}

/// What is refused, and what is done meanwhile.
const CASES: [(&str, Code, Duration, Asks); 18] = [
    ("GetSystemInfo", Code::Unavailable, A_WHILE, Asks::Nothing),
    ("StartWorkflowExecution", Code::Unavailable, A_WHILE, Asks::ToStart),
    ("DescribeWorkflowExecution", Code::Unavailable, A_WHILE, Asks::WhetherClosed),
    ("QueryWorkflow", Code::Unavailable, A_WHILE, Asks::ForProgress),
    ("GetWorkflowExecutionHistory", Code::Unavailable, A_WHILE, Asks::ForInput),
    ("GetWorkflowExecutionHistory", Code::Unavailable, A_WHILE, Asks::ForResult),
    ("RequestCancelWorkflowExecution", Code::Unavailable, A_WHILE, Asks::ToCancel),
    ("DescribeTaskQueue", Code::Unavailable, A_WHILE, Asks::ForBacklog),
    ("GetSystemInfo", Code::ResourceExhausted, ONCE, Asks::Nothing),
    ("StartWorkflowExecution", Code::ResourceExhausted, ONCE, Asks::ToStart),
    ("StartWorkflowExecution", Code::Aborted, ONCE, Asks::ToStart),
    ("StartWorkflowExecution", Code::Internal, ONCE, Asks::ToStart),
    ("StartWorkflowExecution", Code::Unknown, ONCE, Asks::ToStart),
    ("QueryWorkflow", Code::ResourceExhausted, ONCE, Asks::ForProgress),
    ("RequestCancelWorkflowExecution", Code::ResourceExhausted, ONCE, Asks::ToCancel),
    ("GetWorkflowExecutionHistory", Code::DeadlineExceeded, ONCE, Asks::ForResult),
    // The client's own deadline.
    ("GetWorkflowExecutionHistory", Code::Cancelled, ONCE, Asks::ForResult),
    ("GetWorkflowExecutionHistory", Code::ResourceExhausted, ONCE, Asks::ForResult),
];

/// Asks about a task that has ended well, or starts another.
async fn ask(client: &Client, ended: &GivenTask, what: Asks) -> Result<(), Error> {
    let task = client.task(&ended.0.task_id);
    match what {
        Asks::Nothing => {}
        Asks::ToStart => {
            assert!(!client.start(&a_task().0).await?.existed(), "an attempt that was refused started it")
        }
        Asks::WhetherClosed => assert!(task.is_closed().await?),
        Asks::ForProgress => assert_eq!(task.progress().await?.images_stored, 2),
        Asks::ForInput => assert_eq!(task.input().await?, ended.0),
        Asks::ForResult => assert_eq!(task.result().await?.images.len(), 2),
        Asks::ToCancel => task.cancel("test").await?,
        Asks::ForBacklog => drop(client.backlog("default").await?),
    }
    Ok(())
}

#[tokio::test]
async fn a_passing_state_is_waited_out_by_every_call() {
    let stack = Stack::start().await;
    let ended = a_task();
    stack.run(&ended).await;

    let asked = CASES.map(async |(method, code, lasts, what)| {
        let between = TemporalProxy::start(&stack.config.temporal.address).await;
        between.refuse(method, code, lasts);
        let settings = Settings { address: between.address(), ..stack.config.temporal.clone() };
        let asked = match Client::connect(&settings).await {
            Ok(client) => ask(&client, &ended, what).await,
            Err(error) => Err(error),
        };
        assert!(between.refused(method) > 0, "{method} was not called");
        asked.err().map(|error| (method, code, what, error.to_string()))
    });
    let failed: Vec<_> = futures::future::join_all(asked).await.into_iter().flatten().collect();

    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn an_address_without_a_temporal_is_told_soon_and_by_name() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let other = Provider::start(sandbox::provider::Settings::aggregator()).await.unwrap();
    let elsewhere = other.url().replace("http://", "");
    for address in [format!("127.0.0.1:{nobody}"), format!("localhost:{nobody}"), elsewhere] {
        let settings = Settings { address: address.clone(), ..Settings::local() };

        let connected = tokio::time::timeout(Duration::from_secs(30), Client::connect(&settings)).await;

        let error = connected.expect("it waits for a server").err().expect("there is none").to_string();
        assert!(error.contains(&format!("no connection to {address} (namespace default)")), "{error}");
    }
}
