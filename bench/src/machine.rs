//! What processes cost, read from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

/// How often it looks. A process that is killed is charged up to its last look.
const INTERVAL: Duration = Duration::from_millis(200);
/// Clock ticks a second in /proc, on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;

/// What some processes have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// CPU seconds, theirs and the kernel's for them.
    pub cpu_s: f64,
    /// The most memory they had at once, in bytes.
    pub peak_bytes: u64,
}

/// Looks at groups of processes by name, each a root process with all its children.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    looking: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    roots: Vec<(String, u32)>,
    /// CPU ticks of each process, by group, process and its start: an id may be used again.
    ticks: BTreeMap<(String, u32), u64>,
    peaks: BTreeMap<String, u64>,
}

impl Watch {
    /// Begins to look.
    pub fn start() -> Watch {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        let looking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            loop {
                ticks.tick().await;
                shared.lock().unwrap_or_else(PoisonError::into_inner).look();
            }
        });
        Watch { seen, looking }
    }

    /// One more root process of this group.
    pub fn add(&self, group: &str, pid: u32) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.roots.push((group.to_owned(), pid));
    }

    /// What a group has cost so far.
    pub fn cost(&self, group: &str) -> Cost {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.look();
        let ticks: u64 =
            seen.ticks.iter().filter(|((name, _), _)| name == group).map(|(_, ticks)| ticks).sum();
        Cost {
            cpu_s: ticks as f64 / TICKS_PER_S,
            peak_bytes: seen.peaks.get(group).copied().unwrap_or_default(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Seen {
    fn look(&mut self) {
        let processes = processes();
        let mut memory: BTreeMap<&str, u64> = BTreeMap::new();
        for (group, root) in &self.roots {
            let mut family = vec![*root];
            let mut next = 0;
            while let Some(parent) = family.get(next).copied() {
                family.extend(
                    processes.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid),
                );
                next += 1;
            }
            for pid in family {
                if let Some(process) = processes.get(&pid) {
                    self.ticks.insert((group.clone(), pid), process.ticks);
                    *memory.entry(group).or_default() += process.resident_bytes;
                }
            }
        }
        for (group, bytes) in memory {
            let peak = self.peaks.entry(group.to_owned()).or_default();
            *peak = (*peak).max(bytes);
        }
    }
}

struct Process {
    parent: u32,
    ticks: u64,
    resident_bytes: u64,
}

fn processes() -> BTreeMap<u32, Process> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, process(pid)?))).collect()
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state, parent, … utime and stime are fields 14 and 15 of all. (man 5 proc)
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let resident_pages = number(24)?;
    Some(Process {
        parent: number(4)? as u32,
        ticks: number(14)? + number(15)?,
        resident_bytes: resident_pages * 4096,
    })
}

/// CPU seconds that the machine has worked, all processes together.
pub fn busy_s() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system; then idle, iowait; then irq, softirq.
    let busy: u64 = fields.iter().take(3).sum::<u64>() + fields.iter().skip(5).take(2).sum::<u64>();
    busy as f64 / TICKS_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_and_its_children_are_charged() {
        let watch = Watch::start();
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done & wait";
        let mut child =
            tokio::process::Command::new("/bin/sh").args(["-c", script]).spawn().expect("a shell");
        watch.add("shell", child.id().expect("it runs"));
        tokio::time::sleep(Duration::ZERO).await;
        while watch.cost("shell").cpu_s == 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().await.expect("it can be killed");
        assert!(watch.cost("shell").peak_bytes > 0);
        assert_eq!(watch.cost("nobody"), Cost::default());
    }
}
