//! Output of the commands that show something. People get a table, scripts get JSON and
//! spreadsheets get CSV. `--watch` repeats the output.

use std::io::IsTerminal;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::exit::Exit;

const INTERVAL: Duration = Duration::from_secs(1);

/// Options for the form of the output.
#[derive(clap::Args)]
pub(crate) struct Format {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Print again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

/// Content of one output, as JSON and as text.
pub(crate) struct View {
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl View {
    /// Returns rows as a table. `columns` are the keys that people see, and the JSON has all keys.
    pub(crate) fn table<T: Serialize>(columns: &[&str], rows: &[T]) -> Self {
        let rows = objects(rows);
        let text = table(columns, &rows);
        Self { json: Value::Array(rows), text }
    }
}

/// Returns each row as a JSON object.
pub(crate) fn objects<T: Serialize>(rows: &[T]) -> Vec<Value> {
    rows.iter().map(|row| serde_json::to_value(row).unwrap_or_default()).collect()
}

/// Prints what `look` finds, once or every second.
pub(crate) async fn show(
    format: &Format,
    look: impl AsyncFn() -> anyhow::Result<View>,
) -> anyhow::Result<Exit> {
    loop {
        let view = look().await?;
        if format.watch && std::io::stdout().is_terminal() {
            print!("\x1b[2J\x1b[H");
        }
        if format.json {
            println!("{}", view.json);
        } else {
            print!("{}", view.text);
        }
        if !format.watch {
            return Ok(Exit::Success);
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(Exit::Interrupted);
            }
        }
    }
}

/// Returns an aligned table, with numbers to the right.
pub(crate) fn table(columns: &[&str], rows: &[Value]) -> String {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| text(&row[*column])).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            cells.iter().map(|row| row[at].chars().count()).chain([column.len()]).max().unwrap_or(0)
        })
        .collect();
    let is_number = |at: usize| rows.iter().any(|row| row[columns[at]].is_number());
    let line = |row: Vec<String>| {
        let padded = row.iter().enumerate().map(|(at, cell)| {
            let width = widths[at];
            if is_number(at) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let head = line(columns.iter().map(|column| column.replace('_', " ")).collect());
    std::iter::once(head).chain(cells.into_iter().map(line)).collect()
}

/// Returns comma-separated values with a header, as RFC 4180 defines them.
pub(crate) fn csv(columns: &[&str], rows: &[Value]) -> String {
    let cell = |value: &Value| match text(value) {
        _ if value.is_null() => String::new(),
        text if text.contains([',', '"', '\n', '\r']) => format!("\"{}\"", text.replace('"', "\"\"")),
        text => text,
    };
    let lines =
        rows.iter().map(|row| columns.iter().map(|column| cell(&row[*column])).collect::<Vec<_>>().join(","));
    std::iter::once(columns.join(",")).chain(lines).map(|line| line + "\r\n").collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or_default()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_align_and_csv_quotes() {
        let rows = [
            json!({"name": "a,\"b\"", "calls": 3, "cost_usd": 0.5}),
            json!({"name": "c", "calls": 12, "cost_usd": null}),
        ];
        let columns = ["name", "calls", "cost_usd"];
        assert_eq!(
            table(&columns, &rows),
            "name   calls  cost usd\na,\"b\"      3     0.500\nc         12         -\n"
        );
        assert_eq!(csv(&columns, &rows), "name,calls,cost_usd\r\n\"a,\"\"b\"\"\",3,0.500\r\nc,12,\r\n");
    }
}
