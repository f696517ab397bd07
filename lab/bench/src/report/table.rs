//! The table on the terminal.

use super::{Report, number};
use crate::figures::Figure;

const COLUMNS: [&str; 7] = ["", "measured", "", "bound", "×", "schedule", "×"];

/// The report for people.
pub fn table(report: &Report) -> String {
    let spread = report.conditions.runs > 1;
    let rows: Vec<[String; 7]> = std::iter::once(COLUMNS.map(str::to_owned))
        .chain(report.figures.iter().map(|figure| row(figure, spread)))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut text = report.conditions.lines().join("\n") + "\n\n";
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let gap = " ".repeat(width - cell.chars().count());
            // Words to the left, numbers to the right.
            if column == 0 || column == 2 { format!("{cell}{gap}") } else { format!("{gap}{cell}") }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text += "\nbound: what nothing beats under the same limits; schedule: nothing lost between two calls. × is how many times worse.\n";
    text += &format!("SQL statements: {}.\n", report.conditions.statements);
    for warning in &report.warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}

fn row(figure: &Figure, spread: bool) -> [String; 7] {
    let maybe = |value: Option<f64>| value.map(number).unwrap_or_default();
    let times = |value: Option<f64>| value.map(|times| format!("{times:.3}")).unwrap_or_default();
    let unit = match (spread, figure.unit.is_empty()) {
        (true, false) => format!("{} ({}–{})", figure.unit, number(figure.min), number(figure.max)),
        (true, true) => format!("({}–{})", number(figure.min), number(figure.max)),
        (false, _) => figure.unit.clone(),
    };
    [
        figure.label.clone(),
        number(figure.value),
        unit,
        maybe(figure.bound),
        times(figure.times_bound),
        maybe(figure.schedule),
        times(figure.times_schedule),
    ]
}
