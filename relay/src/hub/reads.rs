//! Which reads are needed, and what their answers do.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use knm_shared::epoch::DatabaseEpoch;
use knm_shared::ids::{Seq, TaskId};

use super::answer::{Answer, Found};
use super::session::Position;
use super::step::{Changes, Step};
use super::{ConnId, Hub, Stale};
use crate::protocol::ErrorCode;

/// Whether a task is being read. Each state lasts until the feed reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Read {
    /// Not needed.
    #[default]
    Idle,
    /// Needed since the wish of this number; the feed takes it when it can.
    Wanted(u64),
    /// On its way.
    InFlight {
        /// Its number.
        began: u64,
        /// Items that changed after this are asked for.
        from: Seq,
        /// What was known when it began.
        floor: Option<Seq>,
        /// Something has come up since that only a later read can answer.
        again: bool,
    },
    /// The last one failed; the feed says when to try again.
    Resting,
}

/// One read to carry out: the task's head and its items with `seq > from`, in one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Which task.
    pub task: TaskId,
    /// Items that changed after this.
    pub from: Seq,
    began: u64,
}

/// What a failed read means for the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// How many reads of this task have failed in a row.
    pub failures: u32,
}

impl Hub {
    pub(super) fn want_read(&mut self, task_id: TaskId) {
        let wish = self.number();
        let Some(task) = self.tasks.get_mut(&task_id) else {
            return;
        };
        match &mut task.read {
            Read::Idle => {
                task.read = Read::Wanted(wish);
                self.wanted.insert(wish, task_id);
                self.stirred = true;
            }
            Read::InFlight { again, .. } => *again = true,
            Read::Wanted(_) | Read::Resting => {}
        }
    }

    /// The next read to start, if any is needed.
    pub fn take_read(&mut self) -> Option<Job> {
        let (_, task_id) = self.wanted.pop_first()?;
        let task = self.tasks.get(&task_id)?;
        let floor = task.seq();
        let from = task
            .subscribers
            .iter()
            .filter_map(|id| self.sessions.get(id)?.subs.get(&task_id)?.needs())
            .chain(floor)
            .min()
            .unwrap_or_default();
        let began = self.number();
        if let Some(task) = self.tasks.get_mut(&task_id) {
            task.read = Read::InFlight { began, from, floor, again: false };
        }
        Some(Job { task: task_id, from, began })
    }

    /// Takes in what a read saw; `None`: there is no such task.
    ///
    /// # Errors
    /// When it counts for nothing: the read has failed then.
    pub fn read_done(
        &mut self,
        job: Job,
        db: DatabaseEpoch,
        found: Option<Found>,
    ) -> Result<(), Stale> {
        if self.in_flight(job).is_some() {
            self.observe(db)?;
            // In another history, all reads begin anew.
            if let Some((floor, again)) = self.in_flight(job) {
                self.take_in(job, db, found, floor, again);
            }
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        job: Job,
        db: DatabaseEpoch,
        found: Option<Found>,
        floor: Option<Seq>,
        again: bool,
    ) {
        let Some(epoch) = self.epoch().cloned() else {
            return;
        };
        let Some(found) = found else {
            return self.end(job.task, ErrorCode::UnknownTask);
        };
        self.turn_away(job.task, &found.head.cluster);
        let answer = Answer::new(epoch, job.from, found);
        let Some(task) = self.tasks.get_mut(&job.task) else {
            return;
        };
        task.read = Read::Idle;
        match task.absorb(&answer, job.began, floor) {
            Err(_) => self.diverge(db),
            Ok(held) => {
                let unserved = self.serve(job, &answer);
                if held || again || unserved {
                    self.want_read(job.task);
                }
            }
        }
    }

    /// Takes note that a read failed: nothing is lost, it is tried again after [`Hub::retry`].
    pub fn read_failed(&mut self, job: Job) -> Option<Failed> {
        self.in_flight(job)?;
        let task = self.tasks.get_mut(&job.task)?;
        task.read = Read::Resting;
        task.failures += 1;
        for id in &task.subscribers {
            // Its other tasks do not wait for this one.
            if let Some(session) = self.sessions.get_mut(id).filter(|s| s.has_parked()) {
                session.wake(*id, &mut self.wakes);
            }
        }
        Some(Failed { failures: task.failures })
    }

    /// The time to try a failed read again has come.
    pub fn retry(&mut self, task_id: TaskId) {
        let Some(task) = self.tasks.get_mut(&task_id) else {
            return;
        };
        if task.read == Read::Resting {
            task.read = Read::Idle;
            self.want_read(task_id);
        }
    }

    /// Whether `job` is still the one that the task waits for; another answer came too late.
    fn in_flight(&self, job: Job) -> Option<(Option<Seq>, bool)> {
        match self.tasks.get(&job.task)?.read {
            Read::InFlight { began, floor, again, .. } if began == job.began => {
                Some((floor, again))
            }
            _ => None,
        }
    }

    /// Takes note that a read saw what this release does not understand. The next would see the same.
    pub fn read_unusable(&mut self, job: Job) {
        if self.in_flight(job).is_some() {
            self.end(job.task, ErrorCode::Internal);
        }
    }

    /// Ends every subscription to a task whose read has just come, so that none is wanted.
    fn end(&mut self, task_id: TaskId, code: ErrorCode) {
        let Some(task) = self.tasks.remove(&task_id) else {
            return;
        };
        for id in task.subscribers {
            self.fail_subscription(id, task_id, code);
        }
    }

    /// Gives everybody who waited what the answer has for them; true when it lacks something. Who has no
    /// room for it gets another later.
    fn serve(&mut self, job: Job, answer: &Arc<Answer>) -> bool {
        let Some(task) = self.tasks.get(&job.task) else {
            return false;
        };
        let Some(known) = &task.known else {
            return true;
        };
        let mut unserved = false;
        // Clients with the same cursor share one frame; `None`: a snapshot is better.
        let mut steps: HashMap<Seq, Option<Arc<Step>>> = HashMap::new();
        for id in &task.subscribers {
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            let has_room = session.has_room_for(answer.len());
            let Some(sub) = session.subs.get_mut(&job.task) else {
                continue;
            };
            if let Position::Resume { seq, after } = sub.position {
                if seq <= known.seq {
                    sub.position = Position::Waiting { seq, joined: known.seq };
                } else if after < job.began {
                    self.metrics.resyncs.cursor_ahead.inc();
                    sub.position = Position::Snapshot;
                }
            }
            let parked = std::mem::take(&mut sub.parked);
            if let Position::At { seq, joined } = sub.position
                && seq < known.seq
                && known.ring.behind(seq).is_none()
            {
                // This very answer was too large for the ring.
                sub.position = Position::Waiting { seq, joined };
            }
            match sub.position {
                Position::Snapshot if answer.is_whole() && has_room => {
                    sub.position = Position::Paging { answer: Arc::clone(answer), page: 0 };
                }
                Position::Waiting { seq, joined }
                    if answer.from() <= seq && seq < answer.seq() && has_room =>
                {
                    let step = steps.entry(seq).or_insert_with(|| {
                        (!answer.is_better_whole(seq)).then(|| since(answer, seq))
                    });
                    match step {
                        Some(step) => {
                            let step = Arc::clone(step);
                            sub.position = Position::Behind { step, joined };
                        }
                        None if answer.is_whole() => {
                            let answer = Arc::clone(answer);
                            sub.position = Position::Paging { answer, page: 0 };
                        }
                        None => {
                            sub.position = Position::Snapshot;
                            unserved = true;
                        }
                    }
                }
                Position::Waiting { seq, joined }
                    if seq == known.seq || known.ring.behind(seq).is_some() =>
                {
                    sub.position = Position::At { seq, joined };
                }
                Position::Snapshot | Position::Waiting { .. } if parked || !has_room => {
                    sub.parked = true;
                }
                Position::Snapshot | Position::Waiting { .. } | Position::Resume { .. } => {
                    unserved = true;
                }
                _ => {}
            }
            session.ready(job.task);
            session.wake(*id, &mut self.wakes);
        }
        unserved
    }

    /// After a subscription: asks for a read unless what is known can serve it.
    pub(super) fn settle(&mut self, id: ConnId, task_id: TaskId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(sub) = session.subs.get_mut(&task_id) else {
            return;
        };
        let seq = self.tasks.get(&task_id).and_then(super::task::Task::seq);
        match (sub.position.clone(), seq) {
            (Position::Resume { seq, .. }, Some(known)) if seq <= known => {
                sub.position = Position::At { seq, joined: known };
                session.ready(task_id);
                session.wake(id, &mut self.wakes);
            }
            _ => self.want_snapshot_or_proof(task_id),
        }
    }

    /// A read that is already on its way serves a newcomer too, if it has every item; else another
    /// one has to follow.
    fn want_snapshot_or_proof(&mut self, task_id: TaskId) {
        let whole = self
            .tasks
            .get(&task_id)
            .is_some_and(|t| matches!(t.read, Read::InFlight { from: Seq(0), .. }));
        if !whole {
            self.want_read(task_id);
        }
    }
}

fn since(answer: &Arc<Answer>, prev: Seq) -> Arc<Step> {
    Arc::new(Step {
        task: answer.task(),
        epoch: answer.epoch().clone(),
        prev,
        seq: answer.seq(),
        published_us: answer.updated_us(),
        progress: Arc::clone(answer.progress()),
        end: answer.end(),
        changes: Changes::Rows(Arc::clone(answer)),
        encoded: OnceLock::new(),
    })
}
