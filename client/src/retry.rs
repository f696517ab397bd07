//! How long a passing state of Temporal is waited out.
//!
//! The SDK retries what the server calls passing (Unavailable, ResourceExhausted, Aborted, Internal, Unknown) for 10 s by default. A
//! history shard that is acquired anew takes longer. Temporal's SDK for Java waits for a minute, and so do we, with the same pauses.
//! Three things the SDK doesn't retry, and we do: its first call on a new connection, a long poll that its deadline ended, and a long
//! poll that broke after it had been open for longer than that minute.

use std::time::Duration;

use temporalio_client::errors::ClientConnectError;
use temporalio_client::tonic::{Code, Status};
use temporalio_client::{Connection, ConnectionOptions, RetryOptions};
use tokio::time::{Instant, sleep};

/// As long as Temporal's SDK for Java waits by default. The one for TypeScript gives up after about 20 s, the one for Go after 10 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// For every call of a connection: pauses of 100 ms, times 1.7 up to 5 s, each 20 % longer or shorter by chance.
pub(crate) fn options() -> RetryOptions {
    // By time alone: 0 is no limit.
    RetryOptions::builder().max_elapsed_time(Some(PATIENCE)).max_retries(0).build()
}

/// Connects. A server that answers, and says that it isn't ready, is waited for; an address where no server answers is an error
/// immediately.
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

/// Is this a server's word that it will do in a moment? A failure of the connection itself has a source, and a server of another kind
/// says something else.
fn is_passing(status: &Status) -> bool {
    let codes = [Code::Unavailable, Code::ResourceExhausted, Code::Aborted];
    codes.contains(&status.code()) && std::error::Error::source(status).is_none()
}

/// Does the end of a long poll say nothing of what is polled for? Its deadline is over, which the client itself calls Cancelled, or
/// its connection broke. Whether Temporal is there is a question for another call.
pub(crate) fn ends_poll_only(status: &Status) -> bool {
    let codes =
        [Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable, Code::ResourceExhausted, Code::Unknown];
    codes.contains(&status.code())
}

/// Between two polls, where the first ended without an answer.
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
