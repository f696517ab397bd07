//! Where the servers' programs are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Darkroom's cache: `DARKROOM_CACHE`, or `darkroom` below the user's cache folder. The set-up script puts programs in its `tools`.
pub(crate) fn cache() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DARKROOM_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|home| home.join("darkroom")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/darkroom")))
}

/// The folders of `PATH`.
pub(crate) fn path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

/// One program: named by the environment variable, or in the cache's tools, or on `PATH`.
pub(crate) fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(chosen) = env::var_os(variable).map(PathBuf::from) {
        if !chosen.is_file() {
            bail!("{variable} names {}, which is no file", chosen.display());
        }
        return Ok(chosen);
    }
    let tools = cache().map(|cache| cache.join("tools"));
    let found = tools.into_iter().chain(path()).map(|folder| folder.join(name)).find(|file| file.is_file());
    let Some(found) = found else {
        bail!(
            "the program '{name}' is neither in Darkroom's cache nor on PATH; run ./demo once, which installs it, \
             or let {variable} name it"
        );
    };
    Ok(found)
}

/// Is every one of these programs in the folder?
pub(crate) fn holds(folder: &Path, programs: &[&str]) -> bool {
    programs.iter().all(|program| folder.join(program).is_file())
}
