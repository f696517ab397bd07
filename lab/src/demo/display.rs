//! Live progress: bars on a terminal, lines elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sandbox::Meter;
use workflows::types::Progress;

use super::Args;
use super::run::SHOWN;
use cli::render;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Display {
    bars: Option<Bars>,
    slots: u32,
    bound: Duration,
    last_line: Cell<Option<Duration>>,
}

struct Bars {
    all: MultiProgress,
    tasks: Vec<ProgressBar>,
    provider: ProgressBar,
}

impl Display {
    pub(super) fn new(args: &Args, images: u32, bound: Duration) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let style = ProgressStyle::with_template("{prefix:<8} {bar:30} {pos:>3}/{len} images  {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            let shown = if args.tasks as usize <= SHOWN { args.tasks } else { 1 };
            let tasks = (1..=shown).map(|number| {
                let total = if shown == args.tasks { images } else { images * args.tasks };
                let bar = all.add(ProgressBar::new(total.into()).with_style(style.clone()));
                bar.set_prefix(if shown == args.tasks { format!("demo-{number}") } else { "all".into() });
                bar
            });
            let tasks = tasks.collect();
            let style = ProgressStyle::with_template("provider {msg}");
            let provider =
                ProgressBar::new(1).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            Bars { provider: all.add(provider), all, tasks }
        });
        Self { bars, slots: args.slots, bound, last_line: Cell::new(None) }
    }

    /// Shows the tasks' progress and the provider's meter at one moment.
    pub(super) fn show(&self, tasks: &[Option<Progress>], meter: &Meter, elapsed: Duration) {
        let provider = format!(
            "calls in flight {:>2}/{}  done {:>3}  downloads {:>2}  images billed {:>3}  elapsed {:>5.1} s (at least {:.1} s)",
            meter.in_flight,
            self.slots,
            meter.billed_calls,
            meter.downloads_in_flight,
            meter.images_billed,
            elapsed.as_secs_f64(),
            self.bound.as_secs_f64()
        );
        match &self.bars {
            Some(bars) => bars.show(tasks, provider),
            None => self.line(tasks, &provider, elapsed),
        }
    }

    fn line(&self, tasks: &[Option<Progress>], provider: &str, elapsed: Duration) {
        if self.last_line.get().is_some_and(|last| elapsed < last + LINE_EVERY) {
            return;
        }
        self.last_line.set(Some(elapsed));
        let known: Vec<&Progress> = tasks.iter().flatten().collect();
        let first = known.first().map(|progress| render::line(progress)).unwrap_or_default();
        let more = if tasks.len() > 1 {
            let stored: u32 = known.iter().map(|progress| progress.images_stored).sum();
            format!(" (demo-1; all: {stored} images stored)")
        } else {
            String::new()
        };
        eprintln!("{first}{more}  |  {provider}");
    }

    /// Says something that happened, between the pictures.
    pub(super) fn say(&self, what: &str) {
        match &self.bars {
            // Fails only where stderr has gone, and with it whoever would read.
            Some(bars) => drop(bars.all.println(what)),
            None => eprintln!("{what}"),
        }
    }

    /// Leaves the last picture standing.
    pub(super) fn end(&self) {
        if let Some(bars) = &self.bars {
            bars.tasks.iter().chain([&bars.provider]).for_each(ProgressBar::abandon);
            let _ = bars.all.println("");
        }
    }
}

impl Bars {
    fn show(&self, tasks: &[Option<Progress>], provider: String) {
        if self.tasks.len() == tasks.len() {
            for (bar, progress) in self.tasks.iter().zip(tasks) {
                let Some(progress) = progress else { continue };
                bar.set_position(progress.images_stored.into());
                bar.set_message(format!(
                    "{}  batches {}/{}",
                    render::stage(progress.stage),
                    progress.batches_generated,
                    progress.batches
                ));
            }
        } else if let Some(bar) = self.tasks.first() {
            let known = || tasks.iter().flatten();
            bar.set_position(known().map(|progress| u64::from(progress.images_stored)).sum());
            let done = known().filter(|progress| progress.stage == workflows::types::Stage::Done).count();
            bar.set_message(format!("{done} of {} tasks done", tasks.len()));
        }
        self.provider.set_message(provider);
        self.provider.tick();
    }
}
