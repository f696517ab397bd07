//! The workers under measurement: processes of their own, whose use is kept beyond their death.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sandbox::Stack;
use sandbox::process::Guarded;

use crate::measure::process::{Usage, usage};

/// All of them.
pub(crate) struct Workers {
    program: PathBuf,
    environment: Vec<(String, String)>,
    workers: Vec<Worker>,
}

struct Worker {
    name: String,
    /// None while it is dead.
    process: Option<Guarded>,
    /// What it had used when the load began.
    before_s: f64,
    /// What its killed predecessors used of the load.
    dead_s: f64,
    peak_bytes: u64,
    last: Usage,
}

impl Workers {
    pub(crate) async fn start(
        stack: &Stack,
        count: u32,
        program: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let mut workers = Workers { program, environment, workers: Vec::new() };
        for number in 1..=count {
            let name = format!("worker-{number}");
            let process = Some(workers.spawn(stack, &name).await?);
            workers.workers.push(Worker {
                name,
                process,
                before_s: 0.0,
                dead_s: 0.0,
                peak_bytes: 0,
                last: Usage::default(),
            });
        }
        Ok(workers)
    }

    async fn spawn(&self, stack: &Stack, name: &str) -> Result<Guarded> {
        let variables = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        stack.program(name, &self.program)?.arg("worker").envs(variables).start().await
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.workers.iter().filter_map(|worker| worker.process.as_ref().map(Guarded::pid)).collect()
    }

    /// Looks at all; an error if one has died that nobody killed.
    pub(crate) fn sample(&mut self) -> Result<()> {
        for worker in &mut self.workers {
            let Some(process) = &mut worker.process else { continue };
            if let Some(status) = process.ended()? {
                let log = process.log();
                bail!("{} has ended ({status}); its log is {}", worker.name, log.display());
            }
            // One that ends just now is found by the next look.
            if let Ok(usage) = usage(process.pid()) {
                worker.last = usage;
                worker.peak_bytes = worker.peak_bytes.max(usage.peak_bytes);
            }
        }
        Ok(())
    }

    /// From here on it counts.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.sample()?;
        self.workers.iter_mut().for_each(|worker| worker.before_s = worker.last.cpu_s);
        Ok(())
    }

    /// kill -9 of the first.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.sample()?;
        let worker = self.workers.first_mut().context("there is no worker")?;
        if let Some(mut process) = worker.process.take() {
            process.kill().await?;
        }
        worker.dead_s += worker.last.cpu_s - worker.before_s;
        (worker.before_s, worker.last) = (0.0, Usage::default());
        Ok(())
    }

    /// Another in its place.
    pub(crate) async fn restart(&mut self, stack: &Stack) -> Result<()> {
        let name = self.workers.first().context("there is no worker")?.name.clone();
        let process = self.spawn(stack, &name).await?;
        if let Some(worker) = self.workers.first_mut() {
            worker.process = Some(process);
        }
        Ok(())
    }

    /// CPU seconds since the beginning, of all that ran.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.workers.iter().map(|worker| worker.dead_s + worker.last.cpu_s - worker.before_s).sum()
    }

    /// The sum of each one's peak.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.peak_bytes).sum()
    }

    /// Memory at the last look.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.workers.iter().map(|worker| worker.last.memory_bytes).sum()
    }

    pub(crate) async fn stop(self) -> Result<()> {
        for mut process in self.workers.into_iter().filter_map(|worker| worker.process) {
            process.stop().await?;
        }
        Ok(())
    }
}
