//! Where Postgres' programs are, which few have on `PATH`. scripts/setup.sh looks in the same places.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::find;

const NEEDED: [&str; 2] = ["initdb", "postgres"];

/// The folder with Postgres' programs; `for_anybody`: where not only we can run them.
pub(super) fn folder(for_anybody: bool) -> Result<PathBuf> {
    let usable = |folder: &PathBuf| find::holds(folder, &NEEDED) && (!for_anybody || all_can_reach(folder));
    if let Some(chosen) = std::env::var_os("DARKROOM_POSTGRES_BIN").map(PathBuf::from) {
        if !usable(&chosen) {
            bail!(
                "DARKROOM_POSTGRES_BIN names {}, where initdb and postgres are not, or can't be reached by the user who runs them: \
                 Postgres refuses to run as root",
                chosen.display()
            );
        }
        return Ok(chosen);
    }
    places().into_iter().find(usable).context(
        "Postgres is not installed: run ./demo once, which installs it, or install it yourself (Debian: apt-get install \
         postgresql), or let DARKROOM_POSTGRES_BIN name the folder with initdb and postgres",
    )
}

fn places() -> Vec<PathBuf> {
    let mut places = find::path();
    // The packages of Debian, PostgreSQL and Red Hat, SUSE, and Homebrew keep each major version apart.
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/usr/lib", "postgresql"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ] {
        places.extend(newest_first(Path::new(parent), prefix));
    }
    places.extend(find::cache().map(|cache| cache.join("tools/postgres/bin")));
    // Where setup.sh puts it for root, whose own cache is closed to others.
    places.push(PathBuf::from("/var/cache/darkroom/postgres/bin"));
    places
}

/// The `bin` of each folder that is called `prefix` and a number.
fn newest_first(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let version = |name: &str| name.strip_prefix(prefix)?.parse::<u32>().ok();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| entry.ok())
        .filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn all_can_reach(folder: &Path) -> bool {
    let open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    // Where a link leads is what has to be open.
    folder.canonicalize().is_ok_and(|folder| folder.ancestors().all(open))
}
