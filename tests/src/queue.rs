//! The provider answers one call after the other, so that the order of calls is the queue's, however slow the machine.

use client::Task;
use sandbox::Meter;
use workflows::keys::task_and_call;
use workflows::types::Stage;

use crate::Stack;

impl Stack {
    /// Answers held calls one by one until it is enough. Each answer waits until so many calls are in flight, and until every task whose
    /// photo is retouched has asked for its batches: else others would be served while that task's next calls are on their way into the
    /// queue.
    pub async fn answer_one_by_one(&self, in_flight: u64, tasks: &[Task], enough: impl Fn(&Meter) -> bool) {
        let recorder = self.provider.meter();
        let mut beautifying: Vec<&Task> = tasks.iter().collect();
        loop {
            let full = |meter: &Meter| enough(meter) || meter.in_flight == in_flight;
            let meter = recorder.wait_until(full).await.unwrap();
            if enough(&meter) {
                return;
            }
            let mut still = Vec::new();
            for task in beautifying {
                if is_retouched(&meter, task.task_id()) {
                    let before = [Stage::Prepare, Stage::Beautify];
                    self.wait_until(task, |progress| !before.contains(&progress.stage)).await;
                } else {
                    still.push(task);
                }
            }
            beautifying = still;
            self.provider.release_one();
            recorder.wait_until(|now| now.billed_calls > meter.billed_calls).await.unwrap();
        }
    }
}

fn is_retouched(meter: &Meter, task_id: &str) -> bool {
    let name = format!("{task_id}/beautify");
    let mut answered = meter.calls.iter().filter(|call| call.done_ms.is_some());
    answered.any(|call| call.idempotency_key.as_deref().map(task_and_call) == Some(&name))
}
