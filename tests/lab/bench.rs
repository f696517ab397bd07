//! `darkroom-lab bench`: its report's shape and what must hold in it. Nothing here depends on how fast this machine is.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A bench whose servers keep their data in a folder of its own.
fn bench(temporary: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom-lab"));
    command.arg("bench").args(arguments).env("TMPDIR", temporary).current_dir(temporary);
    command.output().unwrap()
}

/// A folder that servers running as somebody else can enter.
fn temporary() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

fn stderr(bench: &Output) -> String {
    String::from_utf8_lossy(&bench.stderr).into_owned()
}

fn figure<'a>(report: &'a Value, name: &str) -> &'a Value {
    let figures = report["figures"].as_array().unwrap();
    figures.iter().find(|figure| figure["name"] == name).unwrap_or_else(|| panic!("no figure {name}"))
}

#[test]
fn a_free_task_is_measured_delivered_as_billed_and_no_faster_than_possible() {
    let temporary = temporary();
    let measured = bench(
        temporary.path(),
        &["single", "--plan", "free", "--speed", "50", "--json", "new.json", "--html", "new.html"],
    );
    assert_eq!(measured.status.code(), Some(0), "{}", stderr(&measured));
    let stdout = String::from_utf8(measured.stdout).unwrap();
    assert!(
        stdout.contains("last task done") && stdout.contains("provider seconds: real ones × 50"),
        "{stdout}"
    );

    let json = std::fs::read_to_string(temporary.path().join("new.json")).unwrap();
    let report: Value = serde_json::from_str(&json).unwrap();
    let value = |name: &str| figure(&report, name)["value"].as_f64().unwrap();
    assert_eq!(report["conditions"]["slots"], 12);
    assert_eq!(value("images_billed"), 3.0, "two images and the retouched photo");
    assert_eq!(value("images_delivered"), value("images_billed"));
    assert_eq!(value("images_billed_beyond"), 0.0);
    assert_eq!((value("calls"), value("calls_in_flight_max")), (2.0, 1.0));
    assert_eq!(figure(&report, "makespan")["bound"], 18.0);
    for figure in report["figures"].as_array().unwrap() {
        // Clocks are read in whole milliseconds, which are 50 of the provider's.
        assert!(figure["times_bound"].as_f64().is_none_or(|times| times > 0.98), "{figure}");
    }
    for counted in
        ["temporal_events_per_image", "history_bytes_per_image", "statements_per_image", "worker_memory_peak"]
    {
        assert!(value(counted) > 1.0, "{counted}");
    }
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    let page = std::fs::read_to_string(temporary.path().join("new.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() == 4);

    let left: Vec<_> =
        std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only the two files are left: {left:?}");
}

#[test]
fn bad_flags_are_told_before_anything_starts() {
    let temporary = temporary();
    std::fs::write(temporary.path().join("other.json"), "{}").unwrap();
    for (arguments, code, says) in [
        (&["s4"][..], 2, "s4"),
        (&["queue"], 2, "queue needs the number of tasks"),
        (&["s1", "10"], 2, "for `queue` and `flood` alone"),
        (&["s1", "--plan", "free"], 2, "--plan is for `single`, `queue`, `flood` and `crowd`"),
        (&["s1", "--kept-by", "semaphore-row"], 2, "--limit"),
        (&["single", "--plan", "gold"], 2, "use one of free, pro, start"),
        (&["s1", "--speed", "0"], 2, "use 0.01 to 1000"),
        (&["s1", "--image-bytes", "5 potatoes"], 2, "such as 50KB or 1.5MB"),
        (&["s1", "--kill-at", "35"], 2, "--restart-after"),
        (&["s1", "--workers", "2", "--kill-at", "35", "--restart-after", "10"], 2, "--workers 1"),
        (&["s1", "--compare", "nowhere.json"], 3, "nowhere.json"),
        (&["s1", "--compare", "other.json"], 3, "no report of `darkroom-lab bench --json`"),
        (&["s1", "--json", "no/folder/new.json"], 3, "there is no folder no/folder"),
    ] {
        let told = bench(temporary.path(), arguments);
        let stderr = stderr(&told);
        assert_eq!(told.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "`{says}` is not in: {stderr}");
        assert!(!stderr.contains("starting Postgres"), "{stderr}");
    }
}
