//! `darkroom demo`, as a newcomer runs it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A demo whose servers keep their data in a folder of its own.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_darkroom"));
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
    for _ in 0..100 {
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
