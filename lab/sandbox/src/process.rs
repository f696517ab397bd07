//! A server process that cannot outlive us.
//!
//! Nothing we do at our end helps when we are killed with -9. So each program has a guard: a shell of a few lines, whose standard input
//! is a pipe that only we hold. It starts the program and waits; when the pipe closes, whatever the reason, it ends the program. It lives
//! in its own process group, where the terminal's Ctrl-C doesn't reach, and holds the program's folder (see [`crate::folder`]).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::folder::Folder;

/// `$1` the signal that asks the program to end, `$2` how many tenths of a second it has, `$3` its log, then the program and its arguments.
///
/// The first line on standard output is the program's id. A stopped program (STOP) takes no signal but KILL, hence the CONT.
const GUARD: &str = r#"
signal=$1 patience=$2 log=$3
shift 3
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
program=$!
echo "$program"
exec >/dev/null
{
    read -r _ <&3
    kill -s "$signal" "$program"
    kill -s CONT "$program"
    tries=0
    while [ "$tries" -lt "$patience" ] && kill -0 "$program"; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -s KILL "$program"
} 2>/dev/null &
watcher=$!
wait "$program"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// How long a program may take to end when asked to, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much longer, once it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(60);
const READY_WITHIN: Duration = Duration::from_secs(300);
const LOG_LINES_SHOWN: usize = 20;

/// A program to be run under guard.
#[derive(Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Folder,
    stop_signal: &'static str,
    patience: Duration,
    user: Option<User>,
}

/// Who a program runs as, if not as us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Program {
    /// `name` is what messages and the log file call it. It runs in `folder`, where its log is too.
    pub fn new(name: &str, path: impl Into<PathBuf>, folder: Folder) -> Program {
        Program {
            name: name.to_owned(),
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder,
            stop_signal: "TERM",
            patience: PATIENCE,
            user: None,
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Variables of its environment, beside ours.
    pub fn envs<V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (V, V)>) -> Program {
        let variables = variables.into_iter();
        let owned = variables.map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned()));
        self.environment.extend(owned);
        self
    }

    /// The signal that asks it to end, without `SIG`; TERM unless said otherwise.
    pub fn stop_with(mut self, signal: &'static str) -> Program {
        self.stop_signal = signal;
        self
    }

    /// How long it may take to end when asked to, before it is killed; 5 s unless said otherwise.
    pub fn patience(mut self, patience: Duration) -> Program {
        self.patience = patience;
        self
    }

    /// Runs it as somebody else, which only root can do.
    pub(crate) fn run_as(mut self, user: Option<User>) -> Program {
        self.user = user;
        self
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.name))
    }

    /// Starts it under guard.
    pub async fn start(self) -> Result<Guarded> {
        let (guard, pipe, pid) = self.spawn().await?;
        Ok(Guarded { program: self, guard, pipe: Some(pipe), pid })
    }

    /// Runs it to its end; an error if it doesn't succeed.
    pub async fn run(self) -> Result<()> {
        let mut guarded = self.start().await?;
        let status = guarded.guard.wait().await.context("waiting for the guard")?;
        if !status.success() {
            return Err(guarded.failed(&format!("failed ({status})")));
        }
        Ok(())
    }

    async fn spawn(&self) -> Result<(Child, ChildStdin, u32)> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARD, "darkroom-guard", self.stop_signal])
            .arg(self.patience.as_millis().div_ceil(100).to_string())
            .arg(self.log())
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(self.folder.hold().context("holding the folder")?))
            .process_group(0);
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        let mut guard =
            command.spawn().with_context(|| format!("cannot start the guard of {}", self.name))?;
        let pipe = guard.stdin.take().context("the guard has no standard input")?;
        let output = guard.stdout.take().context("the guard has no standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await.context("reading from the guard")?;
        let pid =
            line.trim().parse().with_context(|| format!("the guard of {} did not start it", self.name))?;
        Ok((guard, pipe, pid))
    }
}

/// A program under guard. Dropping it ends the program, soon; [`Guarded::stop`] also waits for it.
#[derive(Debug)]
pub struct Guarded {
    program: Program,
    guard: Child,
    /// Closing it is what tells the guard. None once stopped.
    pipe: Option<ChildStdin>,
    pid: u32,
}

impl Guarded {
    /// The program's process id (not the guard's).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where the program's output goes.
    pub fn log(&self) -> PathBuf {
        self.program.log()
    }

    /// Waits until `check` says yes. An error, with the end of the log, when the program ends instead or it takes too long.
    pub async fn ready(&mut self, mut check: impl AsyncFnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        while !check().await {
            if let Some(status) = self.ended()? {
                return Err(self.failed(&format!("ended before it was ready ({status})")));
            }
            if started.elapsed() > READY_WITHIN {
                return Err(self.failed(&format!("is not ready after {} s", READY_WITHIN.as_secs())));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.guard.try_wait().with_context(|| format!("asking after {}", self.program.name))
    }

    /// Sends the program a signal by name: KILL, STOP, CONT …
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.pid.to_string();
        let sent = Command::new("/bin/sh")
            .args(["-c", r#"kill -s "$1" "$2""#, "kill", signal, &pid])
            .output()
            .await
            .context("/bin/sh cannot be started")?;
        if !sent.status.success() {
            bail!(
                "{} takes no {signal}: {}",
                self.program.name,
                String::from_utf8_lossy(&sent.stderr).trim()
            );
        }
        Ok(())
    }

    /// Kills the program with -9 and waits until it has ended. Its folder stays.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal("KILL").await?;
        self.wait().await
    }

    /// Starts the program again, with the same arguments in the same folder, after it has ended. Wait for it to be ready.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            bail!("{} still runs: stop or kill it first", self.program.name);
        }
        let (guard, pipe, pid) = self.program.spawn().await?;
        (self.guard, self.pipe, self.pid) = (guard, Some(pipe), pid);
        Ok(())
    }

    /// Asks the program to end, and waits until it has; it is killed if it takes too long. Harmless when it has ended before.
    pub async fn stop(&mut self) -> Result<()> {
        drop(self.pipe.take());
        self.wait().await
    }

    async fn wait(&mut self) -> Result<()> {
        let ended = timeout(self.program.patience + STOP_WITHIN, self.guard.wait()).await;
        ended
            .with_context(|| format!("{} (process {}) does not end", self.program.name, self.pid))?
            .context("waiting for the guard")?;
        Ok(())
    }

    /// An error that ends with what the program said last.
    fn failed(&self, what: &str) -> anyhow::Error {
        let log = self.log();
        let said = tail(&log).unwrap_or_else(|error| format!("(the log can't be read: {error})"));
        anyhow!("{} {what}. Its log, {}, ends:\n{said}", self.program.name, log.display())
    }
}

fn tail(log: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(log)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
    Ok(lines.get(from..).unwrap_or_default().join("\n"))
}
