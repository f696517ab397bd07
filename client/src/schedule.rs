//! Creates and ends the schedule of `reconcile`.

use std::time::Duration;

use temporalio_client::schedules::{
    CreateScheduleOptions, ScheduleAction, ScheduleError, ScheduleOverlapPolicy, ScheduleSpec,
};
use temporalio_client::tonic::Code;
use workflows::reconcile::{ReconcileInput, SCHEDULE_ID};
use workflows::{Reconcile, task_queue};

use crate::{Client, Error};

/// Longest delay after which a missed run is made up for. After a longer delay the next run finds
/// the same.
const CATCH_UP: Duration = Duration::from_secs(60);

impl Client {
    /// Has Temporal run `reconcile` with this input at this interval, one run at a time. A second
    /// call replaces the schedule.
    pub async fn schedule_reconcile(&self, every: Duration, input: &ReconcileInput) -> Result<(), Error> {
        let spec = ScheduleSpec::from_interval(every);
        let action = ScheduleAction::start_workflow(
            Reconcile::run,
            input.clone().into(),
            task_queue::TASKS,
            SCHEDULE_ID,
        );
        let overlap = ScheduleOverlapPolicy::Skip;
        let options = CreateScheduleOptions::builder()
            .action(action.clone())
            .spec(spec.clone())
            .overlap_policy(overlap)
            .build();
        match self.temporal.create_schedule(SCHEDULE_ID, options).await {
            Ok(_) => {}
            Err(ScheduleError::Rpc(status)) if status.code() == Code::AlreadyExists => {}
            Err(error) => return Err(failed(&error)),
        }
        let change = move |update: &mut temporalio_client::schedules::ScheduleUpdate| {
            update.set_spec(spec).set_action(action).set_overlap_policy(overlap).set_catchup_window(CATCH_UP);
        };
        let schedule = self.temporal.get_schedule_handle(SCHEDULE_ID);
        schedule.update(change, Default::default()).await.map_err(|error| failed(&error))
    }

    /// Ends the schedule of `reconcile`. Returns false if there was none.
    pub async fn unschedule_reconcile(&self) -> Result<bool, Error> {
        match self.temporal.get_schedule_handle(SCHEDULE_ID).delete(Default::default()).await {
            Ok(()) => Ok(true),
            Err(ScheduleError::Rpc(status)) if status.code() == Code::NotFound => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed(error: &ScheduleError) -> Error {
    Error::Temporal(format!("the schedule `{SCHEDULE_ID}`: {error}"))
}
