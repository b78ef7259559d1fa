//! One task of one client: what the relay owes it next.

use super::picture::{Picture, cursor};
use super::{HeadProgress, Violation};
use crate::ws::frame::{Delta, Snapshot, SnapshotItem};

/// A task over all connections of its client.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscription {
    phase: Phase,
    /// What the client has applied; it survives the connection.
    picture: Option<Picture>,
}

#[derive(Debug, Clone, Default)]
enum Phase {
    /// Not subscribed on the present connection.
    #[default]
    Idle,
    /// Subscribed; the first page, or a step from the cursor, comes next.
    Asked,
    /// Some pages have come.
    Paging(Pages),
    /// Steps come.
    Following,
    /// The end has come.
    Ended,
}

#[derive(Debug, Clone)]
struct Pages {
    epoch: String,
    seq: i64,
    next: u32,
    progress: HeadProgress,
    items: Vec<SnapshotItem>,
}

impl Subscription {
    pub(super) fn begin(&mut self) -> Option<String> {
        self.phase = Phase::Asked;
        self.picture.as_ref().map(Picture::cursor)
    }

    /// The end that was seen stays seen: a client does not ask for it again.
    pub(super) fn disconnect(&mut self) {
        if !self.ended() {
            self.phase = Phase::Idle;
        }
    }

    /// A new epoch: what is known means nothing, a snapshot is due.
    pub(super) fn renew(&mut self) {
        self.picture = None;
        if self.is_open() {
            self.phase = Phase::Asked;
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
    }

    pub(super) const fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    pub(super) const fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref()
    }

    pub(super) fn page(&mut self, page: &Snapshot) -> Result<(), Violation> {
        check_cursor(&page.epoch, page.seq, &page.cursor)?;
        let mut pages = match std::mem::take(&mut self.phase) {
            Phase::Ended => return Err(Violation::AfterTheEnd { seq: page.seq }),
            Phase::Paging(pages) => pages,
            Phase::Idle | Phase::Asked | Phase::Following => Pages::starting_with(page),
        };
        pages.add(page)?;
        self.phase = if page.last {
            let picture = pages.finish()?;
            if let Some(old) = &self.picture {
                old.check_successor(&picture)?;
            }
            self.picture = Some(picture);
            Phase::Following
        } else {
            Phase::Paging(pages)
        };
        Ok(())
    }

    pub(super) fn progress(&mut self, delta: &Delta) -> Result<(), Violation> {
        let status = delta.progress.status;
        if status.is_terminal() {
            return Err(Violation::EndInProgress { status });
        }
        self.step(delta)?;
        self.phase = Phase::Following;
        Ok(())
    }

    pub(super) fn complete(&mut self, delta: &Delta) -> Result<(), Violation> {
        let HeadProgress { status, counts, .. } = delta.progress;
        if !status.is_terminal() || counts.done() != counts.total {
            return Err(Violation::NotAnEnd { status, counts });
        }
        if delta.prev == delta.seq {
            self.repeated_end(delta)?;
        } else {
            self.step(delta)?;
        }
        self.phase = Phase::Ended;
        Ok(())
    }

    /// After a snapshot of an ended task, or a resume at its last number: the end and no step.
    fn repeated_end(&self, delta: &Delta) -> Result<(), Violation> {
        let picture = self.ready_for(delta)?;
        if picture.seq() != delta.seq || picture.epoch() != delta.epoch {
            return Err(Violation::Gap { prev: delta.prev, position: picture.seq() });
        }
        if !delta.items.is_empty() || *picture.progress() != delta.progress {
            return Err(Violation::EndDiffers);
        }
        Ok(())
    }

    fn step(&mut self, delta: &Delta) -> Result<(), Violation> {
        self.ready_for(delta)?;
        if delta.seq <= delta.prev {
            return Err(Violation::NotRising { prev: delta.prev, seq: delta.seq });
        }
        let picture = self.picture.as_mut();
        picture.ok_or(Violation::StepWithoutPicture { seq: delta.seq })?.step(delta)
    }

    fn ready_for(&self, delta: &Delta) -> Result<&Picture, Violation> {
        check_cursor(&delta.epoch, delta.seq, &delta.cursor)?;
        match self.phase {
            Phase::Paging(_) => Err(Violation::StepBetweenPages),
            Phase::Ended => Err(Violation::AfterTheEnd { seq: delta.seq }),
            Phase::Idle | Phase::Asked | Phase::Following => {
                self.picture.as_ref().ok_or(Violation::StepWithoutPicture { seq: delta.seq })
            }
        }
    }
}

impl Pages {
    fn starting_with(page: &Snapshot) -> Self {
        Self {
            epoch: page.epoch.clone(),
            seq: page.seq,
            next: 0,
            progress: page.task.progress.clone(),
            items: Vec::new(),
        }
    }

    fn add(&mut self, page: &Snapshot) -> Result<(), Violation> {
        if page.page != self.next {
            return Err(Violation::Page { expected: self.next, found: page.page });
        }
        let same = (self.epoch.as_str(), self.seq) == (page.epoch.as_str(), page.seq)
            && page.task.seq == self.seq
            && self.progress == page.task.progress;
        if !same {
            let first = cursor(&self.epoch, self.seq);
            return Err(Violation::MixedPages { first, other: page.cursor.clone() });
        }
        self.next += 1;
        self.items.extend_from_slice(&page.items);
        Ok(())
    }

    fn finish(self) -> Result<Picture, Violation> {
        Picture::new(self.epoch, self.seq, self.progress, self.items)
    }
}

fn check_cursor(epoch: &str, seq: i64, found: &str) -> Result<(), Violation> {
    let expected = cursor(epoch, seq);
    if expected == found {
        return Ok(());
    }
    Err(Violation::Cursor { expected, found: found.to_owned() })
}
