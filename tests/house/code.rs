//! Sizes of the product's files and functions, Rust and SQL.

use std::path::Path;

use super::{product, short};

/// The functions of a file, by name, with their lines. Rust is formatted: a function ends at the brace in its own column.
fn functions(text: &str) -> Vec<(String, usize)> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let signature = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async "]
            .iter()
            .fold(trimmed, |text, word| text.strip_prefix(word).unwrap_or(text));
        let Some(rest) = signature.strip_prefix("fn ") else { continue };
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        let close = format!("{}}}", &line[..line.len() - trimmed.len()]);
        let length =
            if line.ends_with('}') { Some(0) } else { lines[at..].iter().position(|line| *line == close) };
        found.push((name.to_owned(), length.unwrap_or_default() + 1));
    }
    found
}

fn percentile(lengths: &mut [usize], part: usize) -> usize {
    lengths.sort_unstable();
    lengths[(lengths.len() - 1) * part / 100]
}

fn check(what: &str, mut found: Vec<(String, usize)>, median: usize, p90: usize, most: usize) -> Vec<String> {
    let mut lengths: Vec<usize> = found.iter().map(|(_, lines)| *lines).collect();
    let (is_median, is_p90) = (percentile(&mut lengths, 50), percentile(&mut lengths, 90));
    found.retain(|(_, lines)| *lines > most);
    let mut wrong: Vec<String> = found
        .iter()
        .map(|(name, lines)| format!("{name} has {lines} lines, and {most} are allowed"))
        .collect();
    if is_median > median || is_p90 > p90 {
        wrong.push(format!("{what}: median {is_median} of {median}, p90 {is_p90} of {p90}"));
    }
    wrong
}

#[test]
fn files_and_functions_are_short() {
    let all = product(&[".rs", ".sql"]);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let files = all.iter().map(|path| (short(path), read(path).lines().count())).collect();
    let in_rust = all.iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    let of_file = |path: &std::path::PathBuf| {
        let functions = functions(&read(path)).into_iter();
        functions.map(|(name, lines)| (format!("{} in {}", name, short(path)), lines)).collect::<Vec<_>>()
    };
    let in_rust = in_rust.flat_map(of_file).collect();
    let is_sql = |path: &&std::path::PathBuf| path.components().any(|part| part.as_os_str() == "functions");
    let in_sql = all.iter().filter(is_sql).map(|path| {
        let body = read(path).lines().filter(|line| !line.starts_with("--")).count();
        (short(path), body)
    });
    let wrong = [
        check("files", files, 120, 250, 400),
        check("functions", in_rust, 12, 35, 60),
        check("SQL functions", in_sql.collect(), 20, 50, 60),
    ];
    assert!(wrong.iter().all(Vec::is_empty), "{}", wrong.concat().join("\n"));
}

#[test]
fn a_function_ends_at_its_own_brace() {
    let text = "    pub(crate) async fn one<T>(\n        a: T,\n    ) {\n        if a {\n        }\n    }\nfn two() {}\n";
    assert_eq!(functions(text), [("one".to_owned(), 6), ("two".to_owned(), 1)]);
}
