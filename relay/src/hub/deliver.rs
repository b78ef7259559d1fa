//! A client's next frame.

use std::sync::Arc;

use knm_shared::ids::TaskId;

use super::frame::{Frame, Next};
use super::session::Position;
use super::step::Step;
use super::{ConnId, Hub};

/// What a position has for its client.
enum Turn {
    Frame(Frame),
    /// Nothing until the task moves or a read comes.
    Nothing,
    /// Nothing until a read comes, which has to be asked for.
    Read,
}

impl Hub {
    /// What to do next for a connection. After [`Next::Idle`] it will be woken.
    pub fn next(&mut self, id: ConnId) -> Next {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Next::Gone;
        };
        if let Some(reason) = session.close {
            return Next::Close(reason);
        }
        if let Some((task, code)) = session.refusals.pop_front() {
            return Next::Frame(Frame::Refused { task, code });
        }
        if std::mem::take(&mut session.tell_resync)
            && let Some(known) = &self.epoch
        {
            return Next::Frame(Frame::Resync(known.epoch.clone()));
        }
        if std::mem::take(&mut session.tell_mode) {
            return Next::Frame(Frame::Mode(Arc::clone(&self.mode)));
        }
        // Tasks and list take turns: neither waits until there is nothing of the other any more.
        let list_first = std::mem::take(&mut session.list_first);
        let frame = list_first.then(|| self.next_of_list(id)).flatten();
        match frame.or_else(|| self.next_of_tasks(id)).or_else(|| self.next_of_list(id)) {
            Some(frame) => Next::Frame(frame),
            None => self.rest(id),
        }
    }

    /// The same, and what follows a step: mostly nothing, which a second look would cost a turn at the lock.
    pub fn next_two(&mut self, id: ConnId) -> (Next, Option<Next>) {
        let first = self.next(id);
        let is_step = matches!(first, Next::Frame(Frame::Step { .. }));
        (first, is_step.then(|| self.next(id)))
    }

    /// The client has everything that was held for it. If that kept other answers out, one of them is read
    /// again; however that read ends, it leads back here.
    fn rest(&mut self, id: ConnId) -> Next {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.sleep();
            if let Some(task) = session.unpark() {
                self.want_read(task);
            }
        }
        Next::Idle
    }

    fn next_of_tasks(&mut self, id: ConnId) -> Option<Frame> {
        loop {
            let task_id = self.sessions.get_mut(&id)?.take_ready()?;
            match self.turn(id, task_id)? {
                Turn::Frame(frame) => {
                    // Tasks take turns, so that a busy one does not starve the others.
                    let session = self.sessions.get_mut(&id)?;
                    session.ready(task_id);
                    session.list_first = true;
                    return Some(frame);
                }
                Turn::Nothing => {}
                Turn::Read => self.want_read(task_id),
            }
        }
    }

    fn turn(&mut self, id: ConnId, task_id: TaskId) -> Option<Turn> {
        let sub = self.sessions.get_mut(&id)?.subs.get_mut(&task_id)?;
        let Some(known) = self.tasks.get_mut(&task_id)?.known.as_mut() else {
            return Some(Turn::Nothing);
        };
        if let Position::Resume { seq, .. } = sub.position
            && seq <= known.seq
        {
            sub.position = Position::At { seq, joined: known.seq };
        }
        Some(match sub.position.clone() {
            Position::Paging { answer, page } => {
                sub.position = if page + 1 < answer.pages() {
                    Position::Paging { answer: Arc::clone(&answer), page: page + 1 }
                } else {
                    Position::At { seq: answer.seq(), joined: known.seq }
                };
                Turn::Frame(Frame::Page { answer, page })
            }
            Position::Behind { step, joined } => {
                sub.position = after(&step, joined);
                Turn::Frame(Frame::Step { step, live: false })
            }
            Position::At { seq, joined } if seq == known.seq => {
                if known.end {
                    sub.position = Position::Ended;
                    let epoch = &self.epoch.as_ref()?.epoch;
                    let step = Arc::new(known.bare_end(task_id, epoch));
                    Turn::Frame(Frame::Step { step, live: seq > joined })
                } else {
                    Turn::Nothing
                }
            }
            Position::At { seq, joined } => match known.ring.next(seq) {
                Some(step) => {
                    sub.position = after(&step, joined);
                    let live = step.prev >= joined;
                    Turn::Frame(Frame::Step { step, live })
                }
                None => {
                    sub.position = Position::Waiting { seq, joined };
                    Turn::Read
                }
            },
            Position::Snapshot
            | Position::Resume { .. }
            | Position::Waiting { .. }
            | Position::Ended => Turn::Nothing,
        })
    }
}

fn after(step: &Step, joined: knm_shared::ids::Seq) -> Position {
    if step.end { Position::Ended } else { Position::At { seq: step.seq, joined } }
}
