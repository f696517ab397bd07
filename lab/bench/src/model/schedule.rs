//! The list schedule: events in virtual time, where each free line takes the next of the queue at once.

use super::queue::{Lane, Moments, Place, Queue, Served};
use super::{Limits, Task, WHOLE_STRIDE};
use crate::timeline::{Interval, Timeline};

/// The only worker is dead in `from_ms..to_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// It dies.
    pub from_ms: u64,
    /// Another one is there.
    pub to_ms: u64,
    /// Whether a call that ran is found again by its idempotency key: the provider went on with it. Else it is made again.
    pub keys_honoured: bool,
}

/// When a task was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskTimes {
    /// Its first call began.
    pub first_call_ms: u64,
    /// Its last image was there.
    pub finished_ms: u64,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    /// Each task, in the order given.
    pub tasks: Vec<TaskTimes>,
    /// Each call.
    pub calls: Vec<Interval>,
    /// Each call's wait for a line.
    pub waits: Vec<Interval>,
    /// Each download.
    pub downloads: Vec<Interval>,
}

impl Schedule {
    /// When the last task was done.
    pub fn makespan_ms(&self) -> u64 {
        self.tasks.iter().map(|task| task.finished_ms).max().unwrap_or(0)
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> Timeline {
        Timeline::of(self.calls.iter().copied())
    }

    /// Calls that wait for a line.
    pub fn waiting(&self) -> Timeline {
        Timeline::of(self.waits.iter().copied())
    }
}

#[derive(Debug, Clone, Copy)]
struct Call {
    task: usize,
    /// None: the retouching.
    images: Option<u32>,
    wanted_ms: u64,
    /// When the provider is done with it, where it was begun before the outage and is found again.
    ready_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Running<T> {
    place: Place,
    began_ms: u64,
    work: T,
}

/// The schedule of a load: calls are served by lanes, downloads in the order of arrival.
pub fn schedule(tasks: &[Task], limits: &Limits, outage: Option<Outage>) -> Schedule {
    let mut run = Run::new(tasks, limits, outage);
    while let Some(now_ms) = run.moments.pop_first() {
        run.step(now_ms);
    }
    run.schedule
}

struct Run<'a> {
    tasks: &'a [Task],
    limits: &'a Limits,
    outage: Option<Outage>,
    moments: Moments,
    calls: Queue<Call>,
    transfers: Queue<usize>,
    calling: Served<Running<Call>>,
    moving: Served<Running<usize>>,
    images_left: Vec<u32>,
    /// Of each task that has arrived: where its calls wait, and its stride.
    lanes: Vec<(Lane, u64)>,
    schedule: Schedule,
}

impl<'a> Run<'a> {
    fn new(tasks: &'a [Task], limits: &'a Limits, outage: Option<Outage>) -> Self {
        let untouched = TaskTimes { first_call_ms: u64::MAX, finished_ms: 0 };
        let arrivals = tasks.iter().map(|task| task.at_ms);
        Run {
            tasks,
            limits,
            outage,
            moments: arrivals
                .chain(outage.iter().flat_map(|outage| [outage.from_ms, outage.to_ms]))
                .collect(),
            calls: Queue::default(),
            transfers: Queue::default(),
            calling: Served::default(),
            moving: Served::default(),
            images_left: tasks.iter().map(|task| task.images).collect(),
            lanes: vec![(Lane::All, WHOLE_STRIDE); tasks.len()],
            schedule: Schedule { tasks: vec![untouched; tasks.len()], ..Schedule::default() },
        }
    }

    fn step(&mut self, now_ms: u64) {
        for Running { began_ms, work: call, .. } in self.calling.done(now_ms) {
            // One that was found again is there already, as the provider had it.
            if call.ready_ms.is_none() {
                self.schedule.calls.push(Interval { from_ms: began_ms, to_ms: now_ms });
            }
            self.called(call, now_ms);
        }
        for Running { began_ms, work: task, .. } in self.moving.done(now_ms) {
            self.schedule.downloads.push(Interval { from_ms: began_ms, to_ms: now_ms });
            self.moved(task, now_ms);
        }
        for (task, _) in self.tasks.iter().enumerate().filter(|(_, task)| task.at_ms == now_ms) {
            self.lanes[task] = self.lane(task);
            self.want(task, None, now_ms);
        }
        match self.outage {
            Some(outage) if outage.from_ms == now_ms => self.die(outage),
            Some(outage) if (outage.from_ms..outage.to_ms).contains(&now_ms) => {}
            _ => self.serve(now_ms),
        }
        let next = [self.calling.next_ms(), self.moving.next_ms()];
        self.moments.extend(next.into_iter().flatten());
    }

    /// The lane of a task that arrives: its plan's, or, where too many of its user's earlier ones run, the user's own.
    fn lane(&self, task: usize) -> (Lane, u64) {
        let Task { at_ms, lane, user, .. } = self.tasks[task];
        let earlier =
            self.tasks.iter().zip(&self.images_left).enumerate().filter(|(number, (other, left))| {
                **left > 0
                    && (other.at_ms, *number) < (at_ms, task)
                    && (other.user, other.lane.plan) == (user, lane.plan)
            });
        if earlier.count() < lane.tasks as usize {
            (Lane::Plan(lane.plan), lane.stride)
        } else {
            (Lane::User(user), WHOLE_STRIDE)
        }
    }

    fn want(&mut self, task: usize, images: Option<u32>, now_ms: u64) {
        let (lane, stride) = self.lanes[task];
        self.calls.push(lane, stride, Call { task, images, wanted_ms: now_ms, ready_ms: None });
    }

    fn called(&mut self, call: Call, now_ms: u64) {
        let images = self.tasks[call.task].images;
        match call.images {
            Some(images) => (0..images).for_each(|_| self.transfers.push(Lane::All, 1, call.task)),
            None => {
                let mut left = images;
                while left > 0 {
                    let batch = left.min(self.limits.batch_size.max(1));
                    self.want(call.task, Some(batch), now_ms);
                    left -= batch;
                }
            }
        }
    }

    fn moved(&mut self, task: usize, now_ms: u64) {
        self.images_left[task] -= 1;
        if self.images_left[task] == 0 {
            self.schedule.tasks[task].finished_ms = now_ms;
        }
    }

    fn serve(&mut self, now_ms: u64) {
        while self.calling.len() < self.limits.calls as usize {
            let Some((place, call)) = self.calls.pop() else { break };
            self.schedule.waits.push(Interval { from_ms: call.wanted_ms, to_ms: now_ms });
            let first = &mut self.schedule.tasks[call.task].first_call_ms;
            *first = now_ms.min(*first);
            let done_ms = call.ready_ms.map_or(now_ms + self.limits.call_ms, |ready_ms| ready_ms.max(now_ms));
            self.calling.begin(done_ms, Running { place, began_ms: now_ms, work: call });
        }
        while self.moving.len() < self.limits.transfers as usize {
            let Some((place, task)) = self.transfers.pop() else { break };
            let done_ms = now_ms + self.limits.download_ms;
            self.moving.begin(done_ms, Running { place, began_ms: now_ms, work: task });
        }
    }

    /// What runs is lost to the worker; the provider goes on with its calls.
    fn die(&mut self, outage: Outage) {
        for (done_ms, Running { place, began_ms, work: call }) in self.calling.drain() {
            self.schedule.calls.push(Interval { from_ms: began_ms, to_ms: done_ms });
            let ready_ms = outage.keys_honoured.then_some(done_ms);
            self.calls.put_back(place, Call { ready_ms, wanted_ms: outage.from_ms, ..call });
        }
        for (_, Running { place, began_ms, work }) in self.moving.drain() {
            self.schedule.downloads.push(Interval { from_ms: began_ms, to_ms: outage.from_ms });
            self.transfers.put_back(place, work);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
