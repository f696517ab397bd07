//! Waits until a passing failure of Temporal is over.
//!
//! By default the SDK retries a status that may pass (Unavailable, ResourceExhausted, Aborted,
//! Internal, Unknown) for 10 s. A history shard that another host takes over needs longer.
//! Temporal's SDK for Java retries for a minute. So does Darkroom, with the pauses of the SDK for
//! Rust.
//!
//! Darkroom also retries three things that the SDK doesn't: the first call on a new connection, a
//! long poll that its deadline ended, and a long poll that broke after it had been open for longer
//! than that minute.

use std::time::Duration;

use temporalio_client::errors::ClientConnectError;
use temporalio_client::tonic::{Code, Status};
use temporalio_client::{Connection, ConnectionOptions, RetryOptions};
use tokio::time::{Instant, sleep};

/// Time for which Temporal's SDK for Java retries by default. The SDK for TypeScript gives up after
/// about 20 s, and the SDK for Go after 10 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the retry options for every call of a connection. The pauses grow from 100 ms to 5 s by
/// a factor of 1.7, each 20 % longer or shorter by chance.
pub(crate) fn options() -> RetryOptions {
    // Time alone limits the retries, because 0 retries means no limit.
    RetryOptions::builder().max_elapsed_time(Some(PATIENCE)).max_retries(0).build()
}

/// Connects, and waits for a server that answers that it is not ready. An address where no server
/// answers is an error immediately.
pub(crate) async fn connect(options: ConnectionOptions) -> Result<Connection, ClientConnectError> {
    let (began, retry) = (Instant::now(), &options.retry_options);
    let mut pause = retry.initial_interval;
    loop {
        match Connection::connect(options.clone()).await {
            Err(ClientConnectError::SystemInfoCallError(status))
                if is_passing(&status) && began.elapsed() + pause < PATIENCE =>
            {
                sleep(pause).await;
                pause = pause.mul_f64(retry.multiplier).min(retry.max_interval);
            }
            connected => return connected,
        }
    }
}

/// Returns true if a server itself says that the failure passes. A failure of the connection has a
/// source, and another kind of server answers with another status.
fn is_passing(status: &Status) -> bool {
    let codes = [Code::Unavailable, Code::ResourceExhausted, Code::Aborted];
    codes.contains(&status.code()) && std::error::Error::source(status).is_none()
}

/// Returns true if the end of a long poll says nothing about the workflow that is polled for.
///
/// Either the poll's deadline is over, which the client itself calls Cancelled, or its connection
/// broke. Another call has to find out whether Temporal can be reached.
pub(crate) fn ends_poll_only(status: &Status) -> bool {
    let codes =
        [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable, Code::ResourceExhausted, Code::Unknown];
    codes.contains(&status.code())
}

/// Pause between two polls, if the first ended without an answer.
pub(crate) const POLLS_AGAIN_AFTER: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_server_is_waited_out_and_a_failed_connection_is_not() {
        for code in [Code::Unavailable, Code::ResourceExhausted, Code::Aborted] {
            assert!(is_passing(&Status::new(code, "shard status unknown")), "{code:?}");
        }
        for code in [Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented, Code::Unknown] {
            assert!(!is_passing(&Status::new(code, "no")), "{code:?}");
        }
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let mut status = Status::unavailable("tcp connect error");
        status.set_source(std::sync::Arc::new(refused));
        assert!(!is_passing(&status));
    }
}
