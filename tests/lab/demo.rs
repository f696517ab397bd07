//! `darkroom-lab demo`, as a newcomer runs it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A demo whose servers keep their data in a folder of its own.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom-lab"));
    command.arg("demo").args(arguments).arg("--output").arg(temporary.join("output"));
    command.env("TMPDIR", temporary).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A folder that servers running as somebody else can enter.
fn temporary() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// What the demo's stack has left in its folder, once it has gone.
fn left_behind(temporary: &Path) -> Vec<String> {
    let mut left = Vec::new();
    // A minute at most.
    for _ in 0..600 {
        left = std::fs::read_dir(temporary)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "output")
            .collect();
        if left.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    left
}

#[test]
fn it_ends_with_rows_objects_bill_and_contact_sheet_and_leaves_nothing() {
    let temporary = temporary();
    let demo =
        demo(temporary.path(), &["--plan", "start", "--tasks", "2", "--speed", "50"]).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(demo.stdout).unwrap(), String::from_utf8(demo.stderr).unwrap());

    assert_eq!(demo.status.code(), Some(0), "{stderr}");
    for line in ["rows in Postgres     60", "objects in S3        60", "14 calls, 62 images"] {
        assert!(stdout.contains(line), "`{line}` is not in:\n{stdout}");
    }
    assert!(stderr.contains("50× faster than real"), "{stderr}");
    let sheet = stdout.lines().find_map(|line| line.strip_prefix("contact sheet        ")).unwrap();
    let sheet = image::open(sheet).unwrap();
    assert!(sheet.width() > 700 && sheet.height() > 500, "60 tiles of 128 px");
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}

/// Runs `demo --crash`: its exit code, what it printed, and the two numbers in a line of its table.
fn crash(arguments: &[&str]) -> (Option<i32>, String, impl Fn(&str) -> (u64, u64)) {
    let temporary = temporary();
    let demo = demo(temporary.path(), &[&["--crash", "--speed", "50"], arguments].concat()).output().unwrap();
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
    let printed = String::from_utf8([demo.stdout, demo.stderr].concat()).unwrap();
    let text = printed.clone();
    let numbers = move |line: &str| {
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        let found = found.unwrap_or_else(|| panic!("`{line}` is not in:\n{text}"));
        let numbers: Vec<u64> = found.split_whitespace().map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1])
    };
    (demo.status.code(), printed, numbers)
}

/// The calls a line of the report names: without their numbers at the provider, in the order told.
fn named<'a>(printed: &'a str, line: &str) -> Vec<Vec<&'a str>> {
    let named = printed.lines().filter_map(|found| found.strip_prefix(line)?.split_once(": "));
    named
        .map(|(_, calls)| {
            calls.split([',', ';']).map(|call| call.split('#').next().unwrap().trim()).collect()
        })
        .collect()
}

#[test]
fn a_crash_loses_nothing_and_pays_twice_only_what_was_in_flight_and_only_where_keys_are_ignored() {
    let (code, printed, numbers) = crash(&["--plan", "start"]);

    assert_eq!(code, Some(0), "{printed}");
    for line in ["images delivered", "rows in Postgres", "objects in S3"] {
        assert_eq!(numbers(line), (30, 30));
    }
    // Of the photo and 6 batches, the photo and 2 batches are made by then.
    assert_eq!(numbers("calls in flight at the kill"), (4, 4));
    assert_eq!(numbers("calls paid twice"), (4, 0));
    assert_eq!(numbers("images billed"), (31 + 20, 31));
    let (in_flight, paid_twice) = (named(&printed, "in flight "), named(&printed, "paid twice "));
    assert_eq!((in_flight.len(), in_flight[0].len(), in_flight[1].len()), (2, 4, 4), "{printed}");
    assert_eq!(paid_twice, [in_flight[0].clone()], "{printed}");
    let kept = "2 batches and 1 retouched photo made, ";
    assert_eq!(printed.matches(kept).count(), 2, "{printed}");
    assert!(!printed.contains(" made, 0 images stored"), "{printed}");
    assert_eq!(printed.matches("no call for these was made again").count(), 2, "{printed}");
    assert_eq!(printed.matches("contact sheet ").count(), 1, "{printed}");
}

#[test]
fn a_crash_with_more_calls_than_slots_finds_every_slot_in_use() {
    let (code, printed, numbers) = crash(&["--plan", "start", "--tasks", "2", "--slots", "3"]);

    assert_eq!(code, Some(0), "{printed}");
    assert_eq!((numbers("images delivered"), numbers("objects in S3")), ((60, 60), (60, 60)));
    assert_eq!((numbers("calls in flight at the kill"), numbers("calls paid twice")), ((3, 3), (3, 0)));
    assert_eq!(numbers("images billed"), (62 + 15, 62));
}

#[test]
fn a_crash_of_a_task_of_one_batch_finds_that_in_flight() {
    let (code, printed, numbers) = crash(&["--plan", "free"]);

    assert_eq!(code, Some(0), "{printed}");
    assert_eq!((numbers("images delivered"), numbers("images billed")), ((2, 2), (5, 3)));
    assert_eq!(named(&printed, "paid twice "), [["demo-1 batch 1"]]);
}

#[test]
fn a_crash_of_tasks_that_fail_before_says_so() {
    let (code, printed, _) = crash(&["--photo", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);

    assert_eq!(code, Some(3), "{printed}");
    assert!(printed.contains("the tasks ended before the worker was killed"), "{printed}");
}

#[test]
fn an_interrupt_after_the_kill_stops_everything_it_started() {
    let temporary = temporary();
    let mut demo = demo(temporary.path(), &["--crash", "--plan", "start", "--speed", "50"]).spawn().unwrap();
    let stderr = BufReader::new(demo.stderr.take().unwrap());
    let mut lines = stderr.lines();
    assert!(lines.any(|line| line.unwrap().starts_with("kill -9")), "it gets to the kill");

    let interrupt = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(interrupt.success());

    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}

#[test]
fn bad_arguments_are_told_before_anything_starts() {
    for (arguments, says) in [
        (&["--photo", "nowhere.jpg"][..], "nowhere.jpg"),
        (&["--plan", "gold"], "use one of free, pro, start"),
        (&["--speed", "0"], "--speed 0"),
        (&["--tasks", "0"], "--tasks"),
    ] {
        let temporary = temporary();
        let demo = demo(temporary.path(), arguments).output().unwrap();
        let stderr = String::from_utf8(demo.stderr).unwrap();
        assert!(!demo.status.success());
        assert!(stderr.contains(says), "`{says}` is not in: {stderr}");
        assert!(!stderr.contains("starting Postgres"), "{stderr}");
    }
}

#[test]
fn an_interrupt_in_the_middle_stops_everything_it_started() {
    let temporary = temporary();
    let mut demo = demo(temporary.path(), &["--speed", "1"]).spawn().unwrap();
    let stderr = BufReader::new(demo.stderr.take().unwrap());
    let mut lines = stderr.lines();
    assert!(lines.any(|line| line.unwrap().starts_with("beautify")), "it gets to work");

    let interrupt = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(interrupt.success());

    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_eq!(left_behind(temporary.path()), Vec::<String>::new());
}
