//! `darkroom-lab soak`: two minutes of it, with a fixed seed.

use std::process::Command;

#[test]
fn two_minutes_of_faults_and_kills_violate_nothing() {
    let soak = Command::new(env!("CARGO_BIN_EXE_darkroom-lab"))
        // With timeouts of seconds: with the default ones a call that hangs takes three minutes. The long soak has them for its first third.
        .args(["soak", "--minutes", "2", "--workers", "4", "--seed", "20261126"])
        .output();
    let soak = soak.expect("the soak can be started");
    let (report, told) = (String::from_utf8_lossy(&soak.stdout), String::from_utf8_lossy(&soak.stderr));
    assert_eq!(soak.status.code(), Some(0), "{report}\n{told}");
    assert!(report.contains("**No invariant was violated.**"), "{report}");
}

#[test]
fn no_time_is_refused_before_anything_starts() {
    let soak = Command::new(env!("CARGO_BIN_EXE_darkroom-lab")).args(["soak", "--minutes", "0"]).output();
    let soak = soak.expect("the soak can be started");
    let told = String::from_utf8_lossy(&soak.stderr);
    assert!(!soak.status.success() && told.contains("--minutes 0") && !told.contains("starting"), "{told}");
}
