//! `darkroom-lab bench`: a load on the whole stack on this machine, measured. What `./bench` runs.

mod args;

use std::path::Path;

use anyhow::Context;
use benchmark::report::{compare, page, plot, table};
use benchmark::{Report, Run, Settings};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use args::Args;

use cli::exit::Exit;

/// The users' photo: the sample portrait.
const PORTRAIT: &[u8] = include_bytes!("../../fixtures/portrait.jpg");

pub(crate) async fn run(args: Args) -> anyhow::Result<Exit> {
    let settings = args.settings()?;
    // What can be wrong with the files is told before minutes have gone by.
    let old = match &args.compare {
        None => None,
        Some(file) => match read(file) {
            Ok(old) => Some(old),
            Err(error) => return Ok(bad(&format!("--compare {}: {error:#}", file.display()))),
        },
    };
    for (flag, file) in [("--json", &args.json), ("--html", &args.html), ("--svg", &args.svg)] {
        let folder = file.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Ok(bad(&format!("{flag}: there is no folder {}", folder.display())));
        }
    }

    let mut interrupt = Interrupt::new()?;
    let mut runs = Vec::new();
    for number in 1..=settings.repeat {
        if settings.repeat > 1 {
            eprintln!("run {number} of {}", settings.repeat);
        }
        match one(&settings, &mut interrupt).await? {
            Some(seen) => runs.push(seen),
            None => return Ok(Exit::Interrupted),
        }
    }

    let report = Report::new(&settings, &runs, args::command());
    print!("{}", table(&report));
    if let Some(file) = &args.json {
        write(file, &report.to_json()?)?;
    }
    // The run in the middle is the one to look at.
    runs.sort_by(|a, b| a.makespan_s().total_cmp(&b.makespan_s()));
    if let Some(middle) = runs.get((runs.len() - 1) / 2) {
        if let Some(file) = &args.html {
            write(file, &page(&report, middle))?;
        }
        if let Some(file) = &args.svg {
            write(file, &plot(middle))?;
        }
    }
    if let Some(old) = old {
        print!("\nsince {}:\n{}", old.conditions.command, compare(&old, &report));
    }
    let errors: Vec<String> = runs.iter().flat_map(benchmark::figures::Observed::errors).collect();
    for error in errors.iter().take(10) {
        eprintln!("error: {error}");
    }
    Ok(if errors.is_empty() { Exit::Success } else { Exit::TaskFailed })
}

/// One run; none if it was interrupted. Stops what it started, however it ends.
async fn one(
    settings: &Settings,
    interrupt: &mut Interrupt,
) -> anyhow::Result<Option<benchmark::figures::Observed>> {
    let mut run = Run::default();
    let say = |line: String| eprintln!("{line}");
    eprintln!(
        "starting Postgres, Temporal, an S3 server, a stand-in image provider and {} worker(s) …",
        settings.workers
    );
    let seen = tokio::select! {
        seen = run.measure(settings, PORTRAIT, &say) => seen.map(Some),
        () = interrupt.wait() => Ok(None),
    };
    tokio::select! {
        stopped = run.stop() => stopped?,
        // Whoever can't wait: the guards of the servers see to the rest.
        () = interrupt.wait() => return Ok(None),
    }
    seen
}

struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn bad(what: &str) -> Exit {
    eprintln!("error: {what}");
    Exit::BadInput
}

fn read(file: &Path) -> anyhow::Result<Report> {
    Report::from_json(&std::fs::read_to_string(file)?)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
