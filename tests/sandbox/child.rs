//! This test program, started once more as a child that can be killed.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Marks what the child has to say among what the test runner prints.
const SAYS: &str = "child says: ";

/// Starts one ignored test of this program.
pub(crate) fn start(
    test: &str,
    environment: &[(&str, &str)],
) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    Ok((child, BufReader::new(output).lines()))
}

/// Says something to the test that started us.
pub(crate) fn say(what: &str) -> Result<()> {
    // A line of its own: the runner has begun one.
    writeln!(std::io::stdout(), "\n{SAYS}{what}")?;
    Ok(())
}

/// What the child says next.
pub(crate) async fn hear(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    while let Some(line) = lines.next_line().await? {
        if let Some(said) = line.strip_prefix(SAYS) {
            return Ok(said.to_owned());
        }
    }
    anyhow::bail!("the child ended without a word")
}

/// Is there a process of this id?
pub(crate) async fn lives(pid: &str) -> bool {
    let asked =
        Command::new("/bin/sh").args(["-c", "kill -0 $1", "kill", pid]).stderr(Stdio::null()).status().await;
    asked.is_ok_and(|status| status.success())
}
