//! Compares rows that say `running` with Temporal.

use database::reconcile::{self as rows, RunningRow};
use workflows::reconcile::{Finding, ReconcileOutput};

use super::judge::{self, End, Workflow};
use super::{Error, Run, workflow};

/// Largest number of rows of a page, because Temporal is asked about each row.
const MAX_PAGE: u64 = 100;

impl Run<'_> {
    pub(super) async fn tasks(
        &self,
        after: &str,
        output: &mut ReconcileOutput,
    ) -> Result<Option<String>, Error> {
        let page = rows::running(&self.env.database, after, self.env.page.min(MAX_PAGE)).await?;
        for row in &page {
            output.looked_at.running_tasks += 1;
            let workflow = workflow::of_task(&self.env.client, &row.task_id).await?;
            let Some(finding) = judge::running_row(row, &workflow, self.min_age) else { continue };
            // A task's row is final before its workflow closes, so the row that was read earlier
            // may be out of date.
            if !rows::is_unchanged(&self.env.database, row).await? {
                continue;
            }
            if self.record(row, finding, &workflow).await? {
                output.add(finding, format!("{}: {}", row.task_id, judge::end_in_words(&workflow)));
            }
        }
        Ok(page.into_iter().next_back().map(|row| row.place))
    }

    /// Records the end of a task. Returns false if the row has changed since it was read.
    async fn record(&self, row: &RunningRow, finding: Finding, workflow: &Workflow) -> Result<bool, Error> {
        if self.input.dry_run || finding.repair().is_none() {
            return Ok(true);
        }
        if let Workflow::Closed(_, End::Result(result)) = workflow {
            database::tasks::finish(&self.env.database, result, None).await?;
            return Ok(true);
        }
        let (output, failure) = judge::ending(row, workflow);
        Ok(rows::close(&self.env.database, row, &output, failure.as_ref()).await?)
    }
}
