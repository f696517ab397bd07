//! CPU and memory of processes, from /proc (proc(5)).

use std::fs;

use anyhow::{Context, Result};

/// Linux reports CPU time to user space in hundredths of a second, whatever its timer's rate (USER_HZ).
pub(crate) const TICKS_PER_S: f64 = 100.0;

/// What a process has used and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// CPU seconds, user and system, of all its threads.
    pub(crate) cpu_s: f64,
    /// Memory now.
    pub(crate) memory_bytes: u64,
    /// The most memory it ever held.
    pub(crate) peak_bytes: u64,
}

/// What a living process has used; an error once it is gone.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let stat = Stat::read(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading /proc")?;
    Ok(Usage {
        cpu_s: stat.own_ticks as f64 / TICKS_PER_S,
        memory_bytes: kilobytes(&status, "VmRSS:") * 1024,
        peak_bytes: kilobytes(&status, "VmHWM:") * 1024,
    })
}

/// CPU seconds of a process and all its descendants, those that have ended and been waited for included.
pub(crate) fn tree_cpu_s(root: u32) -> Result<f64> {
    let mut stats = Vec::new();
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let name = entry.context("listing /proc")?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            // One that ends meanwhile is in its parent's account.
            stats.extend(Stat::read(pid));
        }
    }
    let mut family = vec![root];
    let mut ticks = 0;
    while let Some(pid) = family.pop() {
        ticks +=
            stats.iter().find(|stat| stat.pid == pid).map_or(0, |stat| stat.own_ticks + stat.childrens_ticks);
        family.extend(stats.iter().filter(|stat| stat.parent == pid).map(|stat| stat.pid));
    }
    Ok(ticks as f64 / TICKS_PER_S)
}

/// One line of /proc/<pid>/stat.
#[derive(Debug, PartialEq)]
struct Stat {
    pid: u32,
    parent: u32,
    own_ticks: u64,
    /// Of children that have ended and been waited for.
    childrens_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> Result<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} is gone"))?;
        Self::parse(&line).with_context(|| format!("/proc/{pid}/stat can't be read"))
    }

    /// The second field is the program's name in brackets, which may hold blanks and brackets of its own.
    fn parse(line: &str) -> Option<Self> {
        let pid = line.split(' ').next()?.parse().ok()?;
        let fields: Vec<&str> = line.get(line.rfind(')')? + 2..)?.split(' ').collect();
        let number = |at: usize| fields.get(at)?.trim().parse::<u64>().ok();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: number(11)? + number(12)?,
            childrens_ticks: number(13)? + number(14)?,
        })
    }
}

fn kilobytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_one_field() {
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        assert_eq!(Stat::parse(line), Some(Stat { pid: 42, parent: 7, own_ticks: 30, childrens_ticks: 70 }));
    }

    #[test]
    fn our_own_process_has_memory_and_is_in_its_own_tree() {
        let own = std::process::id();
        let usage = usage(own).unwrap();
        assert!(usage.memory_bytes > 0 && usage.peak_bytes >= usage.memory_bytes);
        assert!(tree_cpu_s(own).unwrap() >= usage.cpu_s);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(usage(u32::MAX).is_err());
    }
}
