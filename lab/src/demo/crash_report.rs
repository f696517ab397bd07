//! What a kill did, in words.

use super::crash::Outcome;

/// Tells one run.
pub(super) fn print(outcome: &Outcome) {
    let Outcome { kill, crash_cost, keys_honoured, .. } = outcome;
    let keys = if *keys_honoured {
        "honours idempotency keys"
    } else {
        "ignores idempotency keys, as image providers do: none documents any"
    };
    let in_flight = crash_cost.in_flight.iter().map(|(name, seq)| (name.as_str(), vec![*seq])).collect();
    let paid_twice = crash_cost.paid_twice.iter().map(|(name, seqs)| (name.as_str(), seqs.clone())).collect();
    println!("\nThe provider {keys}.\n");
    println!(
        "killed with -9   the worker (process {}), {:.1} s after the start; another was started at once",
        kill.pid,
        kill.after.as_secs_f64()
    );
    println!("in flight        {}", calls(in_flight, ""));
    println!("work went on     after {}", seconds(crash_cost.went_on_after_ms));
    if let Some((first, last)) = crash_cost.made_again_after_ms {
        println!(
            "                 the calls in flight were made again after {} to {}, when Temporal had missed their heartbeats",
            seconds(Some(first)),
            seconds(Some(last))
        );
    }
    println!(
        "not done again   {} and {} made, {} stored: {} made again, {} downloaded again",
        count(crash_cost.batches_made, "batch", "batches"),
        count(crash_cost.photos_retouched, "retouched photo", "retouched photos"),
        count(kill.images_stored, "image", "images"),
        none_or(crash_cost.answered_made_again, "call for these was", "calls for these were"),
        none_or(crash_cost.downloaded_again, "image was", "images were"),
    );
    let images = format!(", {}", count(crash_cost.images_paid_twice as usize, "image", "images"));
    println!("paid twice       {}\n", calls(paid_twice, &images));
}

/// The table at the end.
pub(super) fn compare(ignored: &Outcome, honoured: &Outcome) {
    let row = |what: &str, of: &dyn Fn(&Outcome) -> String| {
        println!("{what:<27}{:>14}{:>14}", of(ignored), of(honoured));
    };
    row("idempotency keys", &|outcome| if outcome.keys_honoured { "honoured" } else { "ignored" }.into());
    row("images delivered", &|outcome| outcome.counted.images.len().to_string());
    row("rows in Postgres", &|outcome| outcome.counted.rows.to_string());
    row("objects in S3", &|outcome| outcome.counted.objects.to_string());
    row("images billed", &|outcome| outcome.images_billed.to_string());
    row("calls in flight at the kill", &|outcome| outcome.crash_cost.in_flight.len().to_string());
    row("calls paid twice", &|outcome| outcome.crash_cost.further_payments().to_string());
    row("images paid twice", &|outcome| outcome.crash_cost.images_paid_twice.to_string());
    row("work went on after", &|outcome| seconds(outcome.crash_cost.went_on_after_ms));
    row("time in all", &|outcome| format!("{:.1} s", outcome.elapsed.as_secs_f64()));
    println!("\nImages billed are those delivered, one retouched photo a task, and those paid twice.\n");
}

/// Calls by their names `<task>/<call>` and the provider's numbers, a task's together.
fn calls(mut calls: Vec<(&str, Vec<u64>)>, more: &str) -> String {
    if calls.is_empty() {
        return "nothing".into();
    }
    let split = |name| str::split_once(name, '/').unwrap_or((name, ""));
    // Shorter ones first: batch 9, then batch 10.
    calls.sort_by_key(|(name, _)| {
        let (task, call) = split(name);
        (task.len(), task, call.len(), call)
    });
    let mut text = format!("{}{more} (# is the provider's number): ", count(calls.len(), "call", "calls"));
    let mut last_task = None;
    for (name, seqs) in &calls {
        let (task, call) = split(name);
        if last_task != Some(task) {
            text += &format!("{}{task} ", if last_task.is_some() { "; " } else { "" });
        } else {
            text += ", ";
        }
        let seqs: Vec<String> = seqs.iter().map(|seq| format!("#{seq}")).collect();
        text += &format!("{} {}", what(call), seqs.join(" and "));
        last_task = Some(task);
    }
    text
}

/// `3` is batch 3, `3.2` the second call for it.
fn what(call: &str) -> String {
    if call.starts_with(|first: char| first.is_ascii_digit()) {
        format!("batch {call}")
    } else {
        call.to_owned()
    }
}

fn seconds(ms: Option<u64>) -> String {
    ms.map_or("never".into(), |ms| format!("{:.1} s", ms as f64 / 1e3))
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn none_or(number: usize, one: &str, many: &str) -> String {
    if number == 0 { format!("no {one}") } else { count(number, one, many) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn calls_are_told_by_task_and_in_order() {
        let given =
            [("demo-10/1", 7), ("demo-2/10", 9), ("demo-2/9.2", 8), ("demo-2/9", 6), ("demo-2/beautify", 2)];
        let told = super::calls(given.map(|(name, seq)| (name, vec![seq, seq + 10])).to_vec(), ", 25 images");
        assert_eq!(
            told,
            "5 calls, 25 images (# is the provider's number): demo-2 batch 9 #6 and #16, batch 10 #9 and #19, \
             batch 9.2 #8 and #18, beautify #2 and #12; demo-10 batch 1 #7 and #17"
        );
        assert_eq!(super::calls(Vec::new(), ""), "nothing");
    }
}
