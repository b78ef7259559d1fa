//! A database that commits steps, and a client that checks every frame it gets.

use std::collections::BTreeMap;

use jiff::Timestamp;
use knm_shared::epoch::{Cursor, DatabaseEpoch};
use knm_shared::ids::{Seq, TaskId, UserId};
use knm_shared::notification::{ItemChange, Notification};
use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use uuid::Uuid;

use crate::hub::{Answer, Found, Frame};
use crate::protocol::{Head, ItemRow, PAGE_ITEMS, Progress};

pub(super) const ITEMS: usize = 6;

pub(super) fn user() -> UserId {
    UserId(Uuid::from_u128(1))
}

/// One task's rows, and what they were after each commit.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: TaskId,
    pub(super) seq: i64,
    pub(super) status: TaskStatus,
    pub(super) items: [(ItemStatus, i64, Option<String>); ITEMS],
}

impl Row {
    pub(super) fn new(n: u128) -> Self {
        Self {
            id: TaskId(Uuid::from_u128(100 + n)),
            seq: 1,
            status: TaskStatus::Queued,
            items: std::array::from_fn(|_| (ItemStatus::Pending, 1, None)),
        }
    }

    /// Commits a step; the notification that tells of it.
    pub(super) fn step(&mut self, changes: &[(usize, ItemStatus)], end: bool) -> Notification {
        let prev = self.seq;
        self.seq += 1;
        self.status = if end { TaskStatus::Completed } else { TaskStatus::Running };
        for (item, status) in changes {
            let message = (*status == ItemStatus::Failed).then(|| format!("at {}", self.seq));
            self.items[item % ITEMS] = (*status, self.seq, message);
        }
        let changed = self.items.iter().enumerate().filter(|(_, i)| i.1 == self.seq);
        Notification {
            task: self.id,
            user: user(),
            prev: Seq(prev),
            seq: Seq(self.seq),
            published_us: self.seq,
            status: self.status,
            counts: self.counts(),
            error: None,
            items: Some(
                changed
                    .map(|(ordinal, (status, _, message))| ItemChange {
                        ordinal: u32::try_from(ordinal).expect("few"),
                        status: *status,
                        message: message.clone(),
                    })
                    .collect(),
            ),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts::of(self.items.iter().map(|i| &i.0))
    }

    /// What a read of the rows sees.
    pub(super) fn found(&self, from: Seq) -> Found {
        let items = self.items.iter().enumerate().filter(|(_, i)| i.1 > from.0);
        Found {
            head: Head {
                id: self.id,
                user_id: user(),
                cluster: "default".into(),
                action: "label".into(),
                reason: "".into(),
                progress: Progress { status: self.status, counts: self.counts(), error: None },
                seq: Seq(self.seq),
                created_at: Timestamp::UNIX_EPOCH,
                started_at: None,
                completed_at: None,
                updated_at: Timestamp::UNIX_EPOCH,
            },
            items: items
                .map(|(ordinal, (status, seq, message))| ItemRow {
                    ordinal: u32::try_from(ordinal).expect("few"),
                    node: format!("node-{ordinal}").into(),
                    status: *status,
                    message: message.as_deref().map(Into::into),
                    seq: Seq(*seq),
                })
                .collect(),
        }
    }
}

pub(super) fn database(timeline: i32) -> DatabaseEpoch {
    DatabaseEpoch::new(1, timeline, 2, 3)
}

/// What a client has of one task, and the promises made to it.
#[derive(Debug, Default, Clone)]
pub(super) struct View {
    pub(super) cursor: Option<Cursor>,
    pub(super) items: BTreeMap<u32, (ItemStatus, Option<String>)>,
    pub(super) progress: Option<Progress>,
    pub(super) ends: usize,
    /// The page of a snapshot that comes next, and the number that all of its pages share.
    pub(super) paging: Option<(usize, Seq)>,
    /// Its cursor is made up: until it gets a snapshot it has no items.
    pub(super) made_up: bool,
}

impl View {
    /// Applies a frame, and fails on a broken promise.
    pub(super) fn apply(&mut self, frame: &Frame) {
        match frame {
            Frame::Page { answer, page } => self.page(answer, *page),
            Frame::Step { step, .. } => {
                assert_eq!(self.paging, None, "steps wait for the last page");
                let cursor = self.cursor.as_mut().expect("a snapshot or a cursor comes first");
                assert_eq!(cursor.epoch, step.epoch);
                assert_eq!(cursor.seq, step.prev, "a step starts where the client is");
                assert!(step.seq > step.prev || (step.end && step.seq == step.prev));
                assert_eq!(self.ends, 0, "nothing follows the end");
                for item in step.items() {
                    let message = item.message.map(str::to_owned);
                    self.items.insert(item.ordinal, (item.status, message));
                }
                self.progress = Some(Progress::clone(&step.progress));
                assert_eq!(step.end, step.progress.status.is_terminal(), "the end is told as such");
                cursor.seq = step.seq;
                self.ends += usize::from(step.end);
            }
            other => panic!("no frame of a task: {other:?}"),
        }
    }

    fn page(&mut self, answer: &Answer, page: usize) {
        let Found { head, items } = answer.found();
        assert_eq!(items.len(), ITEMS, "a snapshot has every item");
        assert_eq!(answer.pages(), ITEMS.div_ceil(PAGE_ITEMS));
        let epoch = answer.epoch();
        if page == 0 {
            let behind = |c: &Cursor| c.epoch == *epoch && c.seq > head.seq;
            let behind = self.cursor.as_ref().is_some_and(behind);
            assert!(self.made_up || !behind, "it has had more than that");
            *self = Self::default();
        } else {
            assert_eq!(self.paging, Some((page, head.seq)), "one page after the other");
        }
        for item in items.chunks(PAGE_ITEMS).nth(page).expect("a page") {
            let message = item.message.as_deref().map(str::to_owned);
            self.items.insert(item.ordinal, (item.status, message));
        }
        self.paging = Some((page + 1, head.seq)).filter(|(next, _)| *next < answer.pages());
        if self.paging.is_none() {
            self.progress = Some(head.progress.clone());
            self.cursor = Some(Cursor { epoch: epoch.clone(), seq: head.seq });
        }
    }

    /// Whether the client has the rows, and the end if they ended.
    pub(super) fn assert_is(&self, row: &Row) {
        assert_eq!(self.paging, None, "every page has come");
        let cursor = self.cursor.as_ref().expect("something has arrived");
        assert_eq!(cursor.seq, Seq(row.seq), "the client is where the row is");
        assert_eq!(self.ends, usize::from(row.status.is_terminal()), "the end once");
        if self.made_up {
            return;
        }
        let rows: BTreeMap<u32, _> =
            (0..).zip(row.items.iter().map(|(s, _, m)| (*s, m.clone()))).collect();
        assert_eq!(self.items, rows);
        let progress = self.progress.as_ref().expect("with the items");
        assert_eq!((progress.status, progress.counts), (row.status, row.counts()));
    }
}
