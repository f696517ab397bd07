//! No two files of a product's crate need each other, but for a module and its own parts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{PRODUCT, files, root};

type Module = Vec<String>;

/// The modules of a crate, with what each names of the others.
fn needs(name: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let src = root().join(name).join("src");
    let is_test = |path: &Path| path.to_string_lossy().contains("tests");
    let texts: BTreeMap<Module, String> = files(&src, &[".rs"])
        .into_iter()
        .filter(|path| !is_test(path.strip_prefix(&src).unwrap()))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(&src).unwrap().with_extension("");
            let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
            let module = parts.filter(|part| !["lib", "main"].contains(&part.as_str())).collect();
            (module, text.split("#[cfg(test)]").next().unwrap_or_default().to_owned())
        })
        .collect();
    let known: BTreeSet<Module> = texts.keys().cloned().collect();
    texts.iter().map(|(module, text)| (module.clone(), named(module, text, &known))).collect()
}

/// The modules that a text names.
fn named(module: &Module, text: &str, known: &BTreeSet<Module>) -> BTreeSet<Module> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (start, base) in [("crate::", Vec::new()), ("super::", parent(module)), ("self::", module.clone())] {
        for (at, _) in code.match_indices(start) {
            let is_path = code[..at].ends_with(|char: char| char.is_alphanumeric() || "_:".contains(char));
            if !is_path {
                expand(&base, &code[at + start.len()..], &mut |path| {
                    found.extend(
                        (0..=path.len())
                            .rev()
                            .map(|end| path[..end].to_vec())
                            .find(|path| known.contains(path)),
                    );
                });
            }
        }
    }
    for child in known.iter().filter(|other| other.len() == module.len() + 1 && other.starts_with(module)) {
        if code.contains(&format!("{}::", child.last().unwrap())) {
            found.insert(child.clone());
        }
    }
    found
}

fn parent(module: &Module) -> Module {
    module.split_last().map(|(_, parent)| parent.to_vec()).unwrap_or_default()
}

/// Calls `each` with every path of `a::{b, c::d}`, beginning at `base`.
fn expand(base: &[String], text: &str, each: &mut dyn FnMut(&[String])) {
    if let Some(list) = text.strip_prefix('{') {
        let (mut depth, mut from) = (1, 0);
        for (at, char) in list.char_indices() {
            depth += i32::from(char == '{') - i32::from(char == '}');
            if depth == 0 || (depth == 1 && char == ',') {
                expand(base, list[from..at].trim(), each);
                from = at + 1;
            }
            if depth == 0 {
                return;
            }
        }
        return;
    }
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
    if end == 0 {
        return;
    }
    let word = &text[..end];
    let path = if word == "super" { parent(&base.to_vec()) } else { [base, &[word.to_owned()]].concat() };
    match text[end..].strip_prefix("::") {
        Some(rest) => expand(&path, rest, each),
        None => each(&path),
    }
}

fn is_family(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Tells whether a module is reached from the needs of another, without the other's own parts.
fn reaches(
    needs: &BTreeMap<Module, BTreeSet<Module>>,
    from: &Module,
    to: &Module,
    seen: &mut BTreeSet<Module>,
) -> bool {
    needs[from]
        .iter()
        .filter(|next| !is_family(from, next))
        .any(|next| next == to || (seen.insert(next.clone()) && reaches(needs, next, to, seen)))
}

#[test]
fn no_files_need_each_other() {
    let mut circles = Vec::new();
    for name in PRODUCT {
        let needs = needs(name);
        for module in needs.keys() {
            if reaches(&needs, module, module, &mut BTreeSet::new()) {
                circles.push(format!("{name}/src/{}", module.join("/")));
            }
        }
    }
    assert!(circles.is_empty(), "these files need each other:\n{}", circles.join("\n"));
}

#[test]
fn every_path_of_a_list_is_followed() {
    let mut found = Vec::new();
    expand(&[], "a::{b, c::{d, self}, e}; use x", &mut |path| found.push(path.join("/")));
    assert_eq!(found, ["a/b", "a/c/d", "a/c/self", "a/e"]);
    let module = vec!["a".to_owned(), "b".to_owned()];
    found.clear();
    expand(&parent(&module), "super::c", &mut |path| found.push(path.join("/")));
    assert_eq!(found, ["c"]);
}
