//! Exit codes, which scripts rely on.

use std::process::ExitCode;

use workflows::failure::FailureKind;

/// End of the process, as an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; of a task: completed or partial.
    Success,
    /// A part of the system is unavailable or broken.
    Failure,
    /// The input or the configuration can't be used.
    BadInput,
    /// The task failed.
    TaskFailed,
    /// The task was cancelled.
    TaskCancelled,
    /// There is no such task.
    NotFound,
    /// Some lines of `start --stdin` were refused.
    SomeRefused,
    /// A signal ended the command.
    Interrupted,
}

/// Table of exit codes that `--help` prints.
pub const HELP: &str = "\
Exit codes:
  0    done (for a task: completed or partial; a task of which every prompt was rejected is partial, without an image)
  1    something is unavailable or broken; the message says what
  2    wrong usage
  3    bad input or configuration; the command paid nothing
  4    the task failed
  5    the task was cancelled
  6    there is no such task
  7    start --stdin: some lines were started, others refused; the answers say which
  130  interrupted
  141  nobody reads the output any more";

/// Exit code that shells report for a program that SIGPIPE has ended.
pub const NOBODY_READS: i32 = 141;

impl Exit {
    /// Returns the exit code for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.downcast_ref::<worker::config::Error>().is_some() {
            return Self::BadInput;
        }
        match error.downcast_ref::<client::Error>() {
            Some(client::Error::InvalidInput(_) | client::Error::InputDiffers { .. }) => Self::BadInput,
            Some(client::Error::Failed { failure, .. })
                if matches!(failure.kind, FailureKind::InvalidInput | FailureKind::InputDiffers) =>
            {
                Self::BadInput
            }
            Some(client::Error::Failed { .. } | client::Error::Ended { .. }) => Self::TaskFailed,
            Some(client::Error::CancelledEarly { .. }) => Self::TaskCancelled,
            Some(client::Error::NotFound { .. }) => Self::NotFound,
            Some(client::Error::Temporal(_)) | None => Self::Failure,
        }
    }

    /// Prints the error on stderr, with its causes, and returns the exit code.
    pub fn report(self, error: &anyhow::Error) -> ExitCode {
        let text: Vec<String> = error.chain().map(ToString::to_string).collect();
        eprintln!("error: {}", text.join(": "));
        self.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::BadInput => 3,
            Exit::TaskFailed => 4,
            Exit::TaskCancelled => 5,
            Exit::NotFound => 6,
            Exit::SomeRefused => 7,
            Exit::Interrupted => 130,
        })
    }
}
