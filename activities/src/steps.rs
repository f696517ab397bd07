//! The declared activities, implemented: each hands over to its file.
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

use crate::heartbeat::Done;
use crate::{Activities, beautify, generate, insert, prepare, reconcile, transfer};

pub use self::activities::{Beautify, Generate, Insert, Prepare, Reconcile, Transfer};

#[activities]
impl Activities {
    /// See `prepare.rs`.
    #[activity(definition = declared::Prepare)]
    pub async fn prepare(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PrepareInput,
    ) -> Result<PrepareOutput, ActivityError> {
        let tries = Done::resume(&ctx);
        Ok(tries.beat(&ctx, Box::pin(prepare::prepare(&self, &ctx, &tries, input))).await?)
    }

    /// See `beautify.rs`.
    #[activity(definition = declared::Beautify)]
    pub async fn beautify(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: BeautifyInput,
    ) -> Result<GenerateOutput, ActivityError> {
        if ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        Done::<()>::resume(&ctx).beat(&ctx, Box::pin(beautify::beautify(&self, &ctx, input))).await
    }

    /// See `generate.rs`.
    #[activity(definition = declared::Generate)]
    pub async fn generate(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: GenerateInput,
    ) -> Result<GenerateOutput, ActivityError> {
        if ctx.is_cancelled() {
            return Err(ActivityError::cancelled());
        }
        Done::<()>::resume(&ctx).beat(&ctx, Box::pin(generate::generate(&self, &ctx, input))).await
    }

    /// See `transfer.rs`.
    #[activity(definition = declared::Transfer)]
    pub async fn transfer(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: TransferInput,
    ) -> Result<TransferOutput, ActivityError> {
        transfer::transfer(&self, &ctx, input).await
    }

    /// See `insert.rs`.
    #[activity(definition = declared::Insert)]
    pub async fn insert(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: InsertInput,
    ) -> Result<InsertOutput, ActivityError> {
        Ok(Done::<()>::resume(&ctx).beat(&ctx, Box::pin(insert::insert(&self, input))).await?)
    }

    /// See `reconcile.rs`.
    #[activity(definition = declared::Reconcile)]
    pub async fn reconcile(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ReconcileInput,
    ) -> Result<ReconcileOutput, ActivityError> {
        Box::pin(reconcile::reconcile(&self, &ctx, input)).await
    }
}
