//! The stack and its worker.

use std::path::PathBuf;

use sandbox::process::Guarded;
use sandbox::provider::Settings;
use sandbox::{Options, Stack, StoreKind};

use super::{Args, run};

/// The provider the arguments ask for.
pub(super) fn provider(args: &Args) -> Settings {
    Settings { speed: args.speed, max_in_flight: Some(args.slots as usize), ..Settings::aggregator() }
}

/// The worker's slots the arguments ask for, as variables of its environment.
pub(super) fn slots(args: &Args) -> Vec<(String, String)> {
    vec![
        ("DARKROOM_GENERATE__SLOTS".into(), args.slots.to_string()),
        // The seed's ratio of calls to transfers.
        ("DARKROOM_TRANSFER__SLOTS".into(), (args.slots * 5 / 3).max(1).to_string()),
    ]
}

/// A running stack and its worker.
pub(super) struct Running {
    pub(super) stack: Stack,
    /// Everything a `darkroom` command needs to use the stack.
    pub(super) environment: Vec<(String, String)>,
    pub(super) worker: Option<Guarded>,
}

impl Running {
    /// Starts the stack, with the schema and a worker, leaving it in `kept` from the first moment on.
    pub(super) async fn start(
        provider: Settings,
        variables: Vec<(String, String)>,
        kept: &mut Option<Running>,
    ) -> anyhow::Result<&mut Running> {
        eprintln!("starting Postgres, Temporal, an S3 server and a stand-in image provider on loopback …");
        let began = std::time::Instant::now();
        let options =
            Options { provider, store: StoreKind::InProcess, headless: false, ..Options::default() };
        let stack = Stack::start(options).await?;
        let mut environment = stack.environment();
        environment.extend(variables);
        let running = kept.insert(Running { stack, environment, worker: None });
        run::prepare(&running.environment).await?;
        running.worker = Some(worker(&running.stack, &running.environment).await?);
        eprintln!("ready in {:.1} s\n", began.elapsed().as_secs_f64());
        Ok(running)
    }

    pub(super) fn worker_log(&self) -> Option<PathBuf> {
        self.worker.as_ref().map(Guarded::log)
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        // Dropped before the stack stops: it holds the stack's folder.
        if let Some(mut worker) = self.worker.take() {
            worker.stop().await?;
        }
        self.stack.stop().await
    }
}

/// Starts a worker. It is a process of its own, as in production: this very binary.
pub(super) async fn worker(stack: &Stack, environment: &[(String, String)]) -> anyhow::Result<Guarded> {
    let binary = crate::darkroom()?;
    let worker = stack.program("worker", binary)?;
    let variables = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    worker.arg("worker").envs(variables).start().await
}
