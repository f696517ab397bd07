//! The decisions, as tables.

use std::time::Duration;

use database::reconcile::{RunningRow, TaskRow};
use workflows::failure::FailureKind;
use workflows::keys::ObjectKind;
use workflows::reconcile::Finding;
use workflows::types::{GenerateImagesOutput, TaskFailure, TaskState};

use super::judge::{End, Owner, Workflow, end_in_words, ending, object, running_row};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

fn row(age: Duration) -> RunningRow {
    let (place, version) = (String::new(), String::new());
    RunningRow { task_id: "a".into(), images_planned: 3, prompts: 2, age, place, version }
}

fn result(state: TaskState) -> End {
    let (images, missing) = (Vec::new(), Vec::new());
    End::Result(GenerateImagesOutput { task_id: "a".into(), state, images_planned: 3, images, missing })
}

fn refused() -> End {
    End::Failed(TaskFailure { kind: FailureKind::InvalidInput, message: "photo: no image".into() })
}

fn terminated() -> End {
    End::FromOutside("terminated".into())
}

#[test]
fn a_row_that_says_running_is_closed_only_when_nobody_can_go_on_with_its_task() {
    use Finding::{AbandonedTask, EndedTask, UnrecordedTask};
    let closed = Workflow::Closed;
    for (workflow, age, expected) in [
        (Workflow::Open, 9 * DAY, None),
        (closed(Duration::ZERO, result(TaskState::Completed)), HOUR, Some(UnrecordedTask)),
        (closed(HOUR, result(TaskState::Cancelled)), 9 * DAY, Some(UnrecordedTask)),
        (closed(HOUR, terminated()), 9 * DAY, Some(EndedTask)),
        (closed(HOUR, refused()), 9 * DAY, Some(EndedTask)),
        (closed(HOUR, End::Cancelled), 9 * DAY, Some(EndedTask)),
        (closed(DAY, terminated()), 9 * DAY, Some(AbandonedTask)),
        (closed(DAY, refused()), 9 * DAY, Some(AbandonedTask)),
        (closed(DAY, End::Cancelled), 9 * DAY, Some(AbandonedTask)),
        (Workflow::Unknown, HOUR, Some(EndedTask)),
        (Workflow::Unknown, DAY, Some(AbandonedTask)),
    ] {
        assert_eq!(running_row(&row(age), &workflow, DAY), expected, "{workflow:?}, {age:?}");
    }
}

#[test]
fn an_abandoned_task_ends_with_every_image_missing_and_says_why() {
    for (workflow, state, kind) in [
        (Workflow::Unknown, TaskState::Failed, Some(FailureKind::Internal)),
        (Workflow::Closed(DAY, terminated()), TaskState::Failed, Some(FailureKind::Internal)),
        (Workflow::Closed(DAY, refused()), TaskState::Failed, Some(FailureKind::InvalidInput)),
        (Workflow::Closed(DAY, End::Cancelled), TaskState::Cancelled, None),
    ] {
        let (output, failure) = ending(&row(DAY), &workflow);
        assert_eq!((output.state, failure.map(|failure| failure.kind)), (state, kind));
        let missing: Vec<_> = output.missing.iter().map(|image| (image.index, image.prompt_index)).collect();
        assert_eq!((output.images_planned, missing), (3, vec![(0, 0), (1, 0), (2, 1)]));
        assert!(output.missing.iter().all(|image| image.message == end_in_words(&workflow)));
    }
}

#[test]
fn an_object_is_removed_only_when_its_task_can_not_need_it() {
    use Finding::{LostTask, StrayObject, UnknownObject};
    use ObjectKind::{Image, Reference, Staged};
    let ended = |since| Owner::Row(TaskRow::Ended(since));
    let closed = |since, end| Owner::Workflow(Workflow::Closed(since, end));
    let running = Owner::Row(TaskRow::Running);
    let unknown = Owner::Workflow(Workflow::Unknown);
    for (parts, owner, age, expected) in [
        (&[Reference, Image, Staged][..], &running, 9 * DAY, None),
        (&[Reference], &ended(9 * DAY), 9 * DAY, None),
        (&[Image, Staged], &ended(9 * DAY), HOUR, None),
        (&[Image, Staged], &ended(HOUR), 9 * DAY, None),
        (&[Image, Staged], &ended(DAY), DAY, Some(StrayObject)),
        (&[Reference, Image, Staged], &Owner::Workflow(Workflow::Open), 9 * DAY, None),
        (&[Reference, Image, Staged], &closed(HOUR, refused()), 9 * DAY, None),
        (&[Reference, Image, Staged], &closed(DAY, refused()), HOUR, None),
        (&[Reference, Image, Staged], &closed(DAY, refused()), DAY, Some(StrayObject)),
        (&[Reference, Image, Staged], &closed(DAY, terminated()), DAY, Some(StrayObject)),
        (&[Reference, Image, Staged], &unknown, HOUR, None),
        (&[Reference, Staged], &unknown, DAY, Some(StrayObject)),
        (&[Image], &unknown, DAY, Some(UnknownObject)),
        (&[Reference, Image], &closed(HOUR, result(TaskState::Partial)), HOUR, Some(LostTask)),
        (&[Staged], &closed(9 * DAY, result(TaskState::Partial)), 9 * DAY, None),
    ] {
        for part in parts {
            assert_eq!(object(*part, age, owner, DAY, true), expected, "{part:?}, {age:?}, {owner:?}");
            let untrusted =
                expected.map(|finding| if finding == StrayObject { UnknownObject } else { finding });
            assert_eq!(object(*part, age, owner, DAY, false), untrusted, "{part:?}, {age:?}, {owner:?}");
        }
    }
}
