//! Temporal's dev server: what `temporal server start-dev` runs, with fairness on.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::folder::Folder;
use crate::process::{Guarded, Program};
use crate::{find, http, port};

/// The first server with fairness keys.
const OLDEST: (u32, u32) = (1, 29);

/// Settings the sandbox changes.
///
/// One partition: with four, the default, priority and fairness order tasks only roughly. So many fairness keys of a queue are counted
/// exactly, a hundred by default, beyond which their shares are estimates. The rates are a dev server's, which many
/// workers and tests at once would reach; then calls would wait for Temporal, not for what is tested.
///
/// A history shard reads its queue of tasks to be dispatched 20 times a second by default: where there are few shards, the dev server has one,
/// each step of a workflow then waits for up to 50 ms.
///
/// A write of a history shard that takes longer than 5 s, by default, is taken for a lost database: the shard is then acquired anew, and
/// answers meanwhile that its status is unknown. A slow machine's disk is no lost database.
///
/// A machine that is paused keeps its connection, and what is handed to its open polls is lost for a heartbeat each; the server's keep-alive
/// finds out after 3 s at most.
const DYNAMIC: [&str; 18] = [
    "matching.useNewMatcher=true",
    "matching.enableFairness=true",
    "matching.fairnessCounter={\"MapLimit\":10000}",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    "frontend.keepAliveTime=\"1s\"",
    "frontend.keepAliveTimeout=\"2s\"",
    "frontend.rps=20000",
    "frontend.namespaceRPS=20000",
    "frontend.namespaceCount=10000",
    "frontend.persistenceMaxQPS=20000",
    "history.rps=20000",
    "history.persistenceMaxQPS=50000",
    "history.shardIOTimeout=\"60s\"",
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "matching.rps=20000",
    "matching.persistenceMaxQPS=20000",
];

/// A running Temporal server.
#[derive(Debug)]
pub struct Temporal {
    server: Guarded,
    /// One of its namespaces.
    namespace: String,
    port: u16,
    http_port: u16,
    ui_port: Option<u16>,
}

impl Temporal {
    /// Starts a server with these namespaces, beside `default`, which is always there. `headless`: without the web UI.
    ///
    /// Its state is in the folder and survives a restart of the server.
    pub async fn start(folder: &Folder, namespaces: &[String], headless: bool) -> Result<Temporal> {
        let program = find::program("temporal", "DARKROOM_TEMPORAL")?;
        check_version(&program).await?;
        let (port, http_port) = (port::free()?, port::free()?);
        let ui_port = if headless { None } else { Some(port::free()?) };
        let mut command = Program::new("temporal", program, folder.share())
            // It survives that, and with clients connected its graceful stop takes seconds.
            .stop_with("KILL")
            // Go's garbage collector, a tenth of its time on two cores: memory is what we have more of.
            .envs([("GOGC", "400")])
            .args(["server", "start-dev", "--ip", "127.0.0.1", "--log-level", "warn", "--db-filename"])
            .arg(folder.path().join("temporal.db"))
            // The data need not survive the machine, only the process.
            .args(["--sqlite-pragma", "synchronous=OFF", "--sqlite-pragma", "journal_mode=WAL"])
            // Whatever the user keeps for the real thing stays out.
            .args(["--disable-config-file", "--disable-config-env"])
            .args(["--port", &port.to_string(), "--http-port", &http_port.to_string()]);
        command = match ui_port {
            Some(ui_port) => command.args(["--ui-port", &ui_port.to_string()]),
            None => command.arg("--headless"),
        };
        for namespace in namespaces {
            command = command.args(["--namespace", namespace]);
        }
        for setting in DYNAMIC {
            command = command.args(["--dynamic-config-value", setting]);
        }
        let server = command.start().await?;
        let namespace = namespaces.last().map_or("default", String::as_str).to_owned();
        let mut temporal = Temporal { server, namespace, port, http_port, ui_port };
        temporal.ready().await?;
        Ok(temporal)
    }

    /// `host:port` of its gRPC service.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its web UI, unless it was started headless.
    pub fn ui_url(&self) -> Option<String> {
        self.ui_port.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Its HTTP API.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Its process, to be killed and paused.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.server
    }

    /// Starts it again after it has ended, at the same address with the same data, and waits until it is ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart().await?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let client = http::client()?;
        // Two questions that go through the frontend to the history service and to the matching service: all three are up. Namespaces
        // are made before the services start, so one speaks for all.
        let root = format!("{}/api/v1/namespaces/{}", self.http_url(), self.namespace);
        let (history, matching) = (format!("{root}/workflows/none"), format!("{root}/task-queues/none"));
        let status =
            async |url: &str| client.get(url).send().await.ok().map(|answer| answer.status().as_u16());
        self.server
            .ready(async || status(&history).await == Some(404) && status(&matching).await == Some(200))
            .await
    }

    /// Stops it.
    pub async fn stop(mut self) -> Result<()> {
        self.server.stop().await
    }
}

async fn check_version(program: &Path) -> Result<()> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .await
        .with_context(|| format!("{} cannot be run", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (major, minor) = OLDEST;
    match server_version(&text) {
        Some(version) if version >= OLDEST => Ok(()),
        Some((old_major, old_minor)) => bail!(
            "{} brings Temporal server {old_major}.{old_minor}, which knows no fairness keys; Darkroom needs {major}.{minor} or \
             newer: let DARKROOM_TEMPORAL name a newer one, or remove it and run ./demo, which installs one",
            program.display()
        ),
        None => bail!(
            "{} --version says '{}', without a server version",
            program.display(),
            text.lines().next().unwrap_or_default()
        ),
    }
}

/// From `temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)`.
fn server_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split("Server ").nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
