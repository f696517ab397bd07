//! Every relative link of a Markdown file leads to a file that exists, and to a heading that exists.

use std::collections::HashSet;
use std::path::Path;

use super::{files, root, short};

/// The targets of a text's links: `[words](target)`, outside of code.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            if let Some(end) = rest.find(')') {
                found.push(rest[..end].split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

/// The anchors of a text's headings, as GitHub makes them.
fn anchors(text: &str) -> HashSet<String> {
    let mut in_code = false;
    let mut found = HashSet::new();
    for line in text.lines() {
        in_code ^= line.trim_start().starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !in_code) else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|char| char.is_alphanumeric() || "-_ ".contains(*char));
        let slug: String = kept.map(|char| if char == ' ' { '-' } else { char }).collect();
        let mut numbered = slug.clone();
        for number in 1.. {
            if found.insert(numbered) {
                break;
            }
            numbered = format!("{slug}-{number}");
        }
    }
    found
}

fn wrong(file: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") || target.is_empty() {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let leads_to = if path.is_empty() { file.to_owned() } else { file.parent().unwrap().join(path) };
    if !leads_to.exists() {
        return Some(format!("{}: {target}: there is no such file", short(file)));
    }
    let anchor = anchor.filter(|_| leads_to.extension().is_some_and(|ending| ending == "md"))?;
    let known = anchors(&std::fs::read_to_string(&leads_to).unwrap());
    (!known.contains(anchor)).then(|| format!("{}: {target}: there is no such heading", short(file)))
}

#[test]
fn every_link_leads_somewhere() {
    let wrong: Vec<String> = files(&root(), &[".md"])
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            targets(&text).into_iter().filter_map(|target| wrong(file, &target)).collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_dead_link_is_found() {
    let file = root().join("README.md");
    assert!(wrong(&file, "docs/not-there.md").is_some());
    assert!(wrong(&file, "docs/operations.md#not-there").is_some());
    assert!(wrong(&file, "docs/operations.md#limits").is_none());
    assert_eq!(targets("[a](b.md) and [c](d#e)\n```\n[x](y)\n```"), ["b.md", "d#e"]);
}
