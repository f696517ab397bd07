//! Compares paid calls with leases and tasks.

use paid_calls::reconcile::{self as rows, CallRow};
use workflows::reconcile::{Finding, ReconcileOutput};

use super::{Error, Run};

impl Run<'_> {
    /// Reports open calls whose end nobody will record, and closes them unless it is a dry run.
    pub(super) async fn calls(
        &self,
        after: &str,
        output: &mut ReconcileOutput,
    ) -> Result<Option<String>, Error> {
        let page =
            rows::abandoned_calls(&self.env.database, number(after), self.min_age, self.env.page).await?;
        let next = page.last().map(|call| call.call_id.to_string());
        let found = if self.input.dry_run {
            page
        } else {
            rows::close_calls(&self.env.database, &page, self.min_age).await?
        };
        found.iter().for_each(|call| output.add(Finding::AbandonedCall, name(call)));
        Ok(next)
    }

    /// Reports results that nobody will ask for, and empties them unless it is a dry run.
    pub(super) async fn results(
        &self,
        after: &str,
        output: &mut ReconcileOutput,
    ) -> Result<Option<String>, Error> {
        let page = rows::results(&self.env.database, number(after), self.env.page).await?;
        output.looked_at.calls += page.calls;
        if !self.input.dry_run && !page.leftover.is_empty() {
            rows::empty_results(&self.env.database, &page.leftover).await?;
        }
        page.leftover.iter().for_each(|call| output.add(Finding::LeftoverResult, name(call)));
        Ok(page.last.map(|last| last.to_string()))
    }
}

fn number(after: &str) -> i64 {
    after.parse().unwrap_or_default()
}

fn name(call: &CallRow) -> String {
    format!("{}/{}", call.task_id, call.name)
}
