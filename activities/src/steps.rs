//! Implementations of the declared activities. Each activity passes its input to the file of its
//! name.
#![expect(missing_docs, reason = "the macro documents none of what it generates")]

use std::sync::Arc;

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use workflows::activities as declared;
use workflows::reconcile::{ReconcileInput, ReconcileOutput};
use workflows::types::{
    BeautifyInput, GenerateInput, GenerateOutput, InsertInput, InsertOutput, PrepareInput, PrepareOutput,
    TransferInput, TransferOutput,
};

use crate::heartbeat::Checkpoint;
use crate::{PaidSteps, TaskSteps, TransferSteps, beautify, generate, insert, prepare, reconcile, transfer};

pub use self::paid_steps::{Beautify, Generate};
pub use self::task_steps::{Insert, Prepare, Reconcile};
pub use self::transfer_steps::Transfer;

#[activities]
impl TaskSteps {
    /// Runs `prepare.rs`, and sends heartbeats meanwhile.
    #[activity(definition = declared::Prepare)]
    pub async fn prepare(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PrepareInput,
    ) -> Result<PrepareOutput, ActivityError> {
        let tries = Checkpoint::resume(&ctx);
        let prepared = tries.beat(&ctx, Box::pin(prepare::prepare(&self, &ctx, &tries, input))).await;
        Ok(prepared.map_err(|failure| failure.logged(ctx.info()))?)
    }

    /// Runs `insert.rs`, and sends heartbeats meanwhile.
    #[activity(definition = declared::Insert)]
    pub async fn insert(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: InsertInput,
    ) -> Result<InsertOutput, ActivityError> {
        let inserted =
            Checkpoint::<()>::resume(&ctx).beat(&ctx, Box::pin(insert::insert(&self, input))).await;
        Ok(inserted.map_err(|failure| failure.logged(ctx.info()))?)
    }

    /// Runs `reconcile.rs`, which sends the heartbeats.
    #[activity(definition = declared::Reconcile)]
    pub async fn reconcile(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ReconcileInput,
    ) -> Result<ReconcileOutput, ActivityError> {
        Box::pin(reconcile::reconcile(&self, &ctx, input)).await
    }
}

#[activities]
impl PaidSteps {
    /// Runs `beautify.rs` and sends heartbeats meanwhile, unless the activity is cancelled already.
    #[activity(definition = declared::Beautify)]
    pub async fn beautify(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: BeautifyInput,
    ) -> Result<GenerateOutput, ActivityError> {
        if ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        Checkpoint::<()>::resume(&ctx).beat(&ctx, Box::pin(beautify::beautify(&self, &ctx, input))).await
    }

    /// Runs `generate.rs` and sends heartbeats meanwhile, unless the activity is cancelled already.
    #[activity(definition = declared::Generate)]
    pub async fn generate(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: GenerateInput,
    ) -> Result<GenerateOutput, ActivityError> {
        if ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        Checkpoint::<()>::resume(&ctx).beat(&ctx, Box::pin(generate::generate(&self, &ctx, input))).await
    }
}

#[activities]
impl TransferSteps {
    /// Runs `transfer.rs`, which sends the heartbeats.
    #[activity(definition = declared::Transfer)]
    pub async fn transfer(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: TransferInput,
    ) -> Result<TransferOutput, ActivityError> {
        transfer::transfer(&self, &ctx, input).await
    }
}
