//! Slots of the queue `generate`. Each slot stands for a call that the provider key's lease allows.

use std::sync::Arc;

use async_trait::async_trait;
use paid_calls::{PaidCalls, Slot};
use temporalio_sdk_core::{
    ActivitySlotKind, FixedSizeSlotSupplier, LocalActivitySlotKind, NexusSlotKind, SlotMarkUsedContext,
    SlotReleaseContext, SlotReservationContext, SlotSupplier, SlotSupplierPermit, WorkerTuner,
    WorkflowSlotKind,
};

/// Slots of a worker that only makes paid calls.
pub(crate) struct Leased(pub(crate) Arc<PaidCalls>);

impl WorkerTuner for Leased {
    fn workflow_task_slot_supplier(
        &self,
    ) -> Arc<dyn SlotSupplier<SlotKind = WorkflowSlotKind> + Send + Sync> {
        Arc::new(FixedSizeSlotSupplier::new(2))
    }

    fn activity_task_slot_supplier(
        &self,
    ) -> Arc<dyn SlotSupplier<SlotKind = ActivitySlotKind> + Send + Sync> {
        Arc::new(Supplier(self.0.clone()))
    }

    fn local_activity_slot_supplier(
        &self,
    ) -> Arc<dyn SlotSupplier<SlotKind = LocalActivitySlotKind> + Send + Sync> {
        Arc::new(FixedSizeSlotSupplier::new(1))
    }

    fn nexus_task_slot_supplier(&self) -> Arc<dyn SlotSupplier<SlotKind = NexusSlotKind> + Send + Sync> {
        Arc::new(FixedSizeSlotSupplier::new(1))
    }
}

/// Supplier of the SDK's slots. The SDK reserves a slot before each poll, and gives the slot back
/// by dropping the permit.
struct Supplier(Arc<PaidCalls>);

#[async_trait]
impl SlotSupplier for Supplier {
    type SlotKind = ActivitySlotKind;

    async fn reserve_slot(&self, _: &dyn SlotReservationContext) -> SlotSupplierPermit {
        SlotSupplierPermit::with_user_data(self.0.slot().await)
    }

    fn try_reserve_slot(&self, _: &dyn SlotReservationContext) -> Option<SlotSupplierPermit> {
        self.0.try_slot().map(SlotSupplierPermit::with_user_data)
    }

    fn mark_slot_used(&self, ctx: &dyn SlotMarkUsedContext<SlotKind = ActivitySlotKind>) {
        if let Some(slot) = ctx.permit().user_data::<Slot>() {
            slot.worked();
        }
    }

    fn release_slot(&self, _: &dyn SlotReleaseContext<SlotKind = ActivitySlotKind>) {}

    fn slot_supplier_kind(&self) -> String {
        "Leased".into()
    }
}
