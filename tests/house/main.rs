//! The house rules that a machine can count: links, circles, comments, sizes. A budget of comments
//! is today's count, rounded up, and may only fall.
#![allow(clippy::unwrap_used, reason = "tests")]

mod circles;
mod code;
mod links;
mod prose;

use std::path::{Path, PathBuf};

/// The crates of the product.
const PRODUCT: [&str; 8] =
    ["activities", "cli", "client", "database", "migrations", "paid_calls", "worker", "workflows"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files under a folder of the repository with one of these endings, without what is built or downloaded.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "node_modules", ".git", ".venv", "demo-output"].contains(&name.as_str()) {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The product's source, without its tests.
fn product(endings: &[&str]) -> Vec<PathBuf> {
    let all = PRODUCT.iter().flat_map(|name| files(&root().join(name), endings));
    let is_test = |path: &PathBuf| {
        path.file_name().unwrap() == "tests.rs"
            || path
                .components()
                .any(|part| ["tests", "examples"].iter().any(|name| part.as_os_str() == *name))
    };
    all.filter(|path| !is_test(&path.strip_prefix(root()).unwrap().to_owned())).collect()
}

/// The path as a reader of a failure knows it.
fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
