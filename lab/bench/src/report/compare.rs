//! What changed since an earlier report.

use serde_json::Value;

use super::{Report, number};
use crate::figures::{Better, Figure};

/// Below this nothing changed.
const NOTHING_PERCENT: f64 = 0.05;

/// The figures of both, old → new, and the conditions that differ. Without any difference in conditions, better and worse
/// are told.
pub fn compare(old: &Report, new: &Report) -> String {
    let mut text = String::new();
    for (name, old, new) in differences(old, new) {
        text += &format!("condition {name}: {old} → {new}\n");
    }
    let width = new.figures.iter().map(|figure| figure.label.chars().count()).max().unwrap_or(0);
    for figure in &new.figures {
        let before = old.figures.iter().find(|before| before.name == figure.name);
        let gap = " ".repeat(width - figure.label.chars().count());
        let change = match before {
            Some(before) => change(before, figure),
            None => "new".into(),
        };
        text += &format!("{}{gap}  {change}\n", figure.label);
    }
    for gone in old.figures.iter().filter(|old| new.figures.iter().all(|new| new.name != old.name)) {
        text += &format!("{}: no longer there\n", gone.label);
    }
    text
}

fn change(before: &Figure, now: &Figure) -> String {
    let values = format!("{} → {} {}", number(before.value), number(now.value), now.unit);
    if before.value == now.value {
        return format!("{values} (the same)");
    }
    if before.value == 0.0 {
        return values;
    }
    let percent = (now.value / before.value - 1.0) * 100.0;
    let verdict = match now.better {
        _ if percent.abs() < NOTHING_PERCENT => ", the same",
        Better::Lower if percent < 0.0 => ", better",
        Better::Higher if percent > 0.0 => ", better",
        Better::Lower | Better::Higher => ", worse",
        Better::Neither => "",
    };
    // Noise is told by the runs themselves.
    let apart = now.min > before.max || now.max < before.min;
    let noise = if apart { "" } else { ", within the spread of the runs" };
    format!("{} ({percent:+.1} %{verdict}{noise})", values.trim_end())
}

/// The conditions that differ; not the command, which names files.
fn differences(old: &Report, new: &Report) -> Vec<(String, String, String)> {
    let values = |report: &Report| serde_json::to_value(&report.conditions).unwrap_or_default();
    let (old, new) = (values(old), values(new));
    let none = serde_json::Map::new();
    let fields = new.as_object().unwrap_or(&none);
    let missing = Value::Null;
    let gone = old.as_object().unwrap_or(&none).keys().filter(|name| !fields.contains_key(*name));
    let differing = fields.keys().chain(gone).filter_map(|name| {
        let (before, now) = (old.get(name).unwrap_or(&missing), new.get(name).unwrap_or(&missing));
        (before != now && name != "command").then(|| (name.clone(), before.to_string(), now.to_string()))
    });
    differing.collect()
}
