//! What must hold on every frame that a client gets, and at the end.
//!
//! Design section 6: per task and epoch a client sees the sequence strictly rising without a gap, the
//! latest state of every item at each step, and the end exactly once; resuming sends only what is
//! missing. [`Checker`] is pure: frames go in, the first [`Violation`] comes out. [`Rows`] is the
//! truth that the last picture is compared with.

use std::collections::{BTreeMap, BTreeSet};

use knm_shared::ids::TaskId;

use crate::ws::frame::{HeadProgress, ServerFrame};

mod list;
mod picture;
mod rows;
mod subscription;
mod violation;

pub use picture::{ItemView, Picture};
pub use rows::Rows;
pub use violation::Violation;

use list::TaskList;
use subscription::Subscription;

/// Follows one client over all its connections.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    greeted: Option<Greeted>,
    subscriptions: BTreeMap<TaskId, Subscription>,
    list: TaskList,
}

/// What `hello` and `resync` have said on the present connection.
#[derive(Debug, Clone)]
struct Greeted {
    epoch: String,
    earlier: BTreeSet<String>,
}

impl Checker {
    /// A new connection: `hello` comes first, and nothing is subscribed.
    pub fn connected(&mut self) {
        self.greeted = None;
        self.list.forget();
        self.subscriptions.values_mut().for_each(Subscription::disconnect);
    }

    /// The client subscribes now. Returns the cursor that it sends: where it stands, if anywhere.
    pub fn subscribe(&mut self, task: TaskId) -> Option<String> {
        self.subscriptions.entry(task).or_default().begin()
    }

    /// Looks at a frame and applies it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn apply(&mut self, frame: &ServerFrame) -> Result<(), Violation> {
        if let ServerFrame::Hello(hello) = frame {
            if self.greeted.is_some() {
                return Err(Violation::SecondHello);
            }
            let epoch = hello.epoch.clone();
            self.greeted = Some(Greeted { epoch, earlier: BTreeSet::new() });
            return Ok(());
        }
        let greeted = self.greeted.as_mut().ok_or(Violation::NoHello)?;
        match frame {
            ServerFrame::Resync(resync) => {
                greeted.renew(&resync.epoch)?;
                self.list.forget_numbers();
                self.subscriptions.values_mut().for_each(Subscription::renew);
                Ok(())
            }
            ServerFrame::Snapshot(page) => {
                greeted.same_epoch(&page.epoch)?;
                self.subscribed(page.task_id)?.page(page)
            }
            ServerFrame::Progress(delta) => {
                greeted.same_epoch(&delta.epoch)?;
                self.subscribed(delta.task_id)?.progress(delta)
            }
            ServerFrame::Complete(delta) => {
                greeted.same_epoch(&delta.epoch)?;
                self.subscribed(delta.task_id)?.complete(delta)
            }
            ServerFrame::Tasks(tasks) => self.list.apply(tasks),
            ServerFrame::Hello(_)
            | ServerFrame::Mode(_)
            | ServerFrame::Error(_)
            | ServerFrame::Goodbye(_)
            | ServerFrame::Unknown => Ok(()),
        }
    }

    fn subscribed(&mut self, task: TaskId) -> Result<&mut Subscription, Violation> {
        let subscription = self.subscriptions.get_mut(&task);
        subscription.filter(|s| s.is_open()).ok_or(Violation::NotSubscribed { task })
    }

    /// Whether the task's end has been signalled.
    #[must_use]
    pub fn completed(&self, task: TaskId) -> bool {
        self.subscriptions.get(&task).is_some_and(Subscription::ended)
    }

    /// What the client knows of a task.
    #[must_use]
    pub fn picture(&self, task: TaskId) -> Option<&Picture> {
        self.subscriptions.get(&task)?.picture()
    }

    /// How far the task is, as the client sees it.
    #[must_use]
    pub fn progress(&self, task: TaskId) -> Option<&HeadProgress> {
        self.picture(task).map(Picture::progress)
    }

    /// Where the client stands, for messages.
    #[must_use]
    pub fn describe(&self, task: TaskId) -> String {
        self.picture(task).map_or_else(
            || "nothing has come".into(),
            |p| {
                let HeadProgress { status, counts, .. } = p.progress();
                format!("at {} it is {status}, {counts:?}", p.cursor())
            },
        )
    }

    /// Compares the final picture with the rows.
    ///
    /// # Errors
    /// What differs.
    pub fn check_final(&self, task: TaskId, rows: &Rows) -> Result<(), Violation> {
        if !self.completed(task) {
            return Err(Violation::NeverComplete { task });
        }
        let picture = self.picture(task).ok_or(Violation::NeverComplete { task })?;
        rows.compare(picture)
    }
}

impl Greeted {
    fn renew(&mut self, epoch: &str) -> Result<(), Violation> {
        let old = std::mem::replace(&mut self.epoch, epoch.to_owned());
        self.earlier.insert(old);
        if self.earlier.contains(epoch) {
            return Err(Violation::OldEpoch { epoch: epoch.to_owned() });
        }
        Ok(())
    }

    fn same_epoch(&self, epoch: &str) -> Result<(), Violation> {
        if self.epoch == epoch {
            return Ok(());
        }
        Err(Violation::WrongEpoch { expected: self.epoch.clone(), found: epoch.to_owned() })
    }
}

#[cfg(test)]
mod tests;
