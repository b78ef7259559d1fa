//! Everything that can happen, in any order; and then the promise that all ends well.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use knm_shared::access::Access;
use knm_shared::epoch::Cursor;
use knm_shared::ids::Seq;
use knm_shared::notification::Notification;
use knm_shared::session::Role;
use knm_shared::status::ItemStatus;
use prometheus::Registry;
use proptest::prelude::*;
use tokio::sync::Notify;
use uuid::Uuid;

use super::model::{Row, View, database, user};
use crate::hub::{ConnId, Frame, Hub, HubMetrics, Job, Next, Owner};
use crate::protocol::{Mode, ModeKind};

/// More than any test connects but the one about it.
pub(super) const MAX_OF_USER: usize = 2_000;

pub(in crate::hub) fn hub() -> Hub {
    let mode = Mode {
        kind: ModeKind::Live,
        since: jiff::Timestamp::UNIX_EPOCH,
        reason: None,
        poll_interval_ms: None,
    };
    let metrics = HubMetrics::register(&Registry::new()).expect("a registry of one's own");
    let mut hub = Hub::new(mode, MAX_OF_USER, metrics);
    hub.enter(database(1));
    hub
}

pub(super) fn connect(hub: &mut Hub) -> ConnId {
    let owner = Owner { session: Uuid::nil(), user: user() };
    hub.connect(owner, Access::everywhere(Role::Viewer), Arc::new(Notify::new()))
        .expect("an epoch is known")
        .id
}

/// So many answers of an old server are not believed, even if there are no others.
const MAX_STALE: usize = 9;

/// One event. Numbers choose among what there is, modulo.
#[derive(Debug, Clone)]
enum Event {
    Commit {
        task: usize,
        changes: Vec<(usize, ItemStatus)>,
        end: bool,
        tell: Tell,
    },
    /// Delivers a notification on its way: any, not only the oldest.
    Deliver(usize),
    Lose(usize),
    Repeat(usize),
    Forge {
        task: usize,
        prev: i64,
        step: i64,
        end: bool,
    },
    Connect,
    Leave(usize),
    Subscribe {
        client: usize,
        task: usize,
        resume: bool,
    },
    SubscribeFar {
        client: usize,
        task: usize,
        ahead: i64,
    },
    Unsubscribe {
        client: usize,
        task: usize,
    },
    /// Takes a client's frames, if it was woken: up to so many.
    Pull {
        client: usize,
        frames: usize,
    },
    BeginRead,
    /// The statement of a read that has begun takes its snapshot.
    SeeRows(usize),
    EndRead(usize),
    FailRead(usize),
    EndReadOfOld(usize),
    Retry,
    Compare,
    /// Commits are lost; the database says so by a new timeline, or its rows alone do.
    FailOver {
        task: usize,
        lost: i64,
        marked: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Tell {
    Whole,
    Head,
    Nothing,
}

fn event() -> impl Strategy<Value = Event> {
    let n = 0usize..64;
    let tell = prop_oneof![
        6 => Just(Tell::Whole), 1 => Just(Tell::Head), 1 => Just(Tell::Nothing)
    ];
    let status = prop_oneof![
        Just(ItemStatus::Running),
        Just(ItemStatus::Succeeded),
        Just(ItemStatus::Failed)
    ];
    let changes = prop::collection::vec((0usize..6, status), 0..4);
    prop_oneof![
        12 => (n.clone(), changes, prop::bool::weighted(0.06), tell)
            .prop_map(|(task, changes, end, tell)| Event::Commit { task, changes, end, tell }),
        12 => (0usize..3).prop_map(Event::Deliver),
        2 => n.clone().prop_map(Event::Deliver),
        1 => n.clone().prop_map(Event::Lose),
        1 => n.clone().prop_map(Event::Repeat),
        1 => (n.clone(), 0i64..12, 1i64..4, any::<bool>())
            .prop_map(|(task, prev, step, end)| Event::Forge { task, prev, step, end }),
        2 => Just(Event::Connect),
        1 => n.clone().prop_map(Event::Leave),
        4 => (n.clone(), n.clone(), any::<bool>())
            .prop_map(|(client, task, resume)| Event::Subscribe { client, task, resume }),
        1 => (n.clone(), n.clone(), 0i64..4)
            .prop_map(|(client, task, ahead)| Event::SubscribeFar { client, task, ahead }),
        1 => (n.clone(), n.clone())
            .prop_map(|(client, task)| Event::Unsubscribe { client, task }),
        10 => (n.clone(), 1usize..4).prop_map(|(client, frames)| Event::Pull { client, frames }),
        6 => Just(Event::BeginRead),
        6 => n.clone().prop_map(Event::SeeRows),
        6 => n.clone().prop_map(Event::EndRead),
        1 => n.clone().prop_map(Event::FailRead),
        1 => n.clone().prop_map(Event::EndReadOfOld),
        1 => Just(Event::Retry),
        1 => Just(Event::Compare),
        1 => (n, 1i64..4, any::<bool>())
            .prop_map(|(task, lost, marked)| Event::FailOver { task, lost, marked }),
    ]
}

struct Client {
    id: ConnId,
    /// It pulls only when it was woken, as a session does.
    woken: bool,
    subscribed: HashSet<usize>,
    views: HashMap<usize, View>,
}

struct Reading {
    job: Job,
    seen: Option<(Row, i32)>,
}

struct World {
    hub: Hub,
    timeline: i32,
    rows: Vec<Row>,
    history: Vec<Vec<Row>>,
    flying: Vec<Notification>,
    told: Vec<Notification>,
    clients: Vec<Client>,
    reading: Vec<Reading>,
    resting: Vec<usize>,
    /// The rows and the timeline of the server before the last failover.
    old: Option<(Vec<Row>, i32)>,
    /// Its answers since the hub last heard of the present server.
    stale: usize,
    /// A forged step may lead the hub astray until the rows are compared; views may then be wrong
    /// for a while, but the promises about order hold all the same.
    resumable: HashMap<usize, View>,
}

impl World {
    fn new() -> Self {
        let rows: Vec<Row> = (0..4).map(Row::new).collect();
        Self {
            hub: hub(),
            timeline: 1,
            history: rows.iter().map(|r| vec![r.clone()]).collect(),
            rows,
            flying: Vec::new(),
            told: Vec::new(),
            clients: Vec::new(),
            reading: Vec::new(),
            resting: Vec::new(),
            old: None,
            stale: 0,
            resumable: HashMap::new(),
        }
    }

    fn task_index(&self, frame: &Frame) -> usize {
        let id = match frame {
            Frame::Page { answer, .. } => answer.found().head.id,
            Frame::Step { step, .. } => step.task,
            other => panic!("no frame of a task: {other:?}"),
        };
        self.rows.iter().position(|r| r.id == id).expect("a known task")
    }

    fn wake(&mut self) {
        for (id, _) in self.hub.take_wakes() {
            if let Some(client) = self.clients.iter_mut().find(|c| c.id == id) {
                client.woken = true;
            }
        }
        self.hub.take_stirred();
    }

    fn pull(&mut self, client: usize, frames: usize) {
        for _ in 0..frames {
            if !self.clients[client].woken {
                return;
            }
            match self.hub.next(self.clients[client].id) {
                Next::Frame(Frame::Resync(_) | Frame::Mode(_)) => {}
                Next::Frame(frame) => {
                    let task = self.task_index(&frame);
                    let client = &mut self.clients[client];
                    assert!(client.subscribed.contains(&task), "only what was asked for");
                    client.views.entry(task).or_default().apply(&frame);
                }
                Next::Idle => self.clients[client].woken = false,
                other => panic!("unexpected {other:?}"),
            }
            self.wake();
        }
    }

    fn happen(&mut self, event: Event) {
        let (tasks, clients) = (self.rows.len(), self.clients.len().max(1));
        match event {
            Event::Commit { task, changes, end, tell } => {
                self.commit(task % tasks, &changes, end, tell)
            }
            Event::Deliver(n) if !self.flying.is_empty() => {
                let note = self.flying.remove(n % self.flying.len());
                self.hub.notify(&note);
                self.told.push(note);
            }
            Event::Lose(n) if !self.flying.is_empty() => {
                self.flying.remove(n % self.flying.len());
            }
            Event::Repeat(n) if !self.told.is_empty() => {
                let note = self.told[n % self.told.len()].clone();
                self.hub.notify(&note);
            }
            Event::Forge { task, prev, step, end } => self.forge(task % tasks, prev, step, end),
            Event::Connect if self.clients.len() < 4 => {
                let id = connect(&mut self.hub);
                let client =
                    Client { id, woken: true, subscribed: HashSet::new(), views: HashMap::new() };
                self.clients.push(client);
            }
            Event::Leave(n) if !self.clients.is_empty() => {
                let client = self.clients.remove(n % clients);
                self.hub.disconnect(client.id);
                self.resumable.extend(client.views);
            }
            Event::Subscribe { client, task, resume } if !self.clients.is_empty() => {
                self.subscribe(client % clients, task % tasks, resume);
            }
            Event::SubscribeFar { client, task, ahead } if !self.clients.is_empty() => {
                let (client, task) = (client % clients, task % tasks);
                let epoch = self.hub.epoch().expect("known").clone();
                let seq = Seq(self.rows[task].seq + 1 + ahead);
                // Such a client has nothing that we gave it: it may only be given a snapshot, or, if
                // the row gets there first, what follows its claim.
                let cursor = Some(Cursor { epoch, seq });
                let view = View { cursor, made_up: true, ..View::default() };
                self.begin(client, task, view);
            }
            Event::Unsubscribe { client, task } if !self.clients.is_empty() => {
                let (client, task) = (client % clients, task % tasks);
                self.clients[client].subscribed.remove(&task);
                self.hub.unsubscribe(self.clients[client].id, self.rows[task].id);
                if let Some(view) = self.clients[client].views.remove(&task) {
                    self.resumable.insert(task, view);
                }
            }
            Event::Pull { client, frames } if !self.clients.is_empty() => {
                self.pull(client % clients, frames);
            }
            Event::BeginRead => {
                if let Some(job) = self.hub.take_read() {
                    self.reading.push(Reading { job, seen: None });
                }
            }
            Event::SeeRows(n) if !self.reading.is_empty() => self.see(n),
            Event::EndRead(n) if !self.reading.is_empty() => self.end_read(n),
            Event::FailRead(n) if !self.reading.is_empty() => {
                let reading = self.reading.remove(n % self.reading.len());
                self.fail(reading.job);
            }
            Event::EndReadOfOld(n) if !self.reading.is_empty() && self.stale < MAX_STALE => {
                self.end_read_of_old(n);
            }
            Event::Retry => self.retry(),
            Event::Compare => self.compare(),
            Event::FailOver { task, lost, marked } => self.fail_over(task % tasks, lost, marked),
            _ => {}
        }
        self.wake();
    }

    fn commit(&mut self, task: usize, changes: &[(usize, ItemStatus)], end: bool, tell: Tell) {
        if self.rows[task].status.is_terminal() {
            return;
        }
        let note = self.rows[task].step(changes, end);
        self.history[task].push(self.rows[task].clone());
        match tell {
            Tell::Whole => self.flying.push(note),
            Tell::Head => self.flying.push(Notification { items: None, ..note }),
            Tell::Nothing => {}
        }
    }

    /// Anyone may NOTIFY. What can be told from the truth must be: an end that did not happen, and
    /// a step from where the task never was. (One that fits exactly cannot, which is why the
    /// database is dedicated.)
    fn forge(&mut self, task: usize, prev: i64, step: i64, end: bool) {
        let mut forged = self.rows[task].clone();
        forged.seq = if end { prev } else { 1_000_000 + prev };
        let mut note = forged.step(&[(0, ItemStatus::Failed)], end);
        note.seq = Seq(note.seq.0 + step);
        self.hub.notify(&note);
    }

    fn subscribe(&mut self, client: usize, task: usize, resume: bool) {
        let saved = self.resumable.get(&task).cloned().filter(|_| resume);
        let mut view = saved.unwrap_or_default();
        // A client that resumes at the end is told of it again: it may not have heard.
        view.ends = 0;
        view.paging = None;
        self.begin(client, task, view);
    }

    fn begin(&mut self, client: usize, task: usize, view: View) {
        let client = &mut self.clients[client];
        let cursor = view.cursor.clone();
        client.views.insert(task, view);
        client.subscribed.insert(task);
        self.hub.subscribe(client.id, self.rows[task].id, cursor).expect("few");
    }

    fn see(&mut self, n: usize) {
        let count = self.reading.len();
        let reading = &mut self.reading[n % count];
        if reading.seen.is_none() {
            let row = self.rows.iter().find(|r| r.id == reading.job.task).expect("known");
            reading.seen = Some((row.clone(), self.timeline));
        }
    }

    fn end_read(&mut self, n: usize) {
        self.see(n);
        let reading = self.reading.remove(n % self.reading.len());
        let (row, timeline) = reading.seen.expect("just seen");
        let found = row.found(reading.job.from);
        let done = self.hub.read_done(reading.job, database(timeline), Some(found));
        done.expect("of the present server");
    }

    /// The old server lives on after a failover, and a read has gone there.
    fn end_read_of_old(&mut self, n: usize) {
        let Some((rows, timeline)) = &self.old else {
            return;
        };
        let job = self.reading.remove(n % self.reading.len()).job;
        let row = rows.iter().find(|r| r.id == job.task).expect("known");
        let epoch = self.hub.epoch().cloned();
        let found = row.found(job.from);
        if self.hub.read_done(job, database(*timeline), Some(found)).is_err() {
            self.stale += 1;
        }
        assert_eq!(self.hub.epoch().cloned(), epoch, "nothing leads back");
        self.fail(job);
    }

    fn fail(&mut self, job: Job) {
        if self.hub.read_failed(job).is_some() {
            let task = self.rows.iter().position(|r| r.id == job.task);
            self.resting.extend(task);
        }
    }

    fn retry(&mut self) {
        for task in self.resting.drain(..) {
            self.hub.retry(self.rows[task].id);
        }
    }

    fn compare(&mut self) {
        self.hub.observe(database(self.timeline)).expect("the present server");
        self.stale = 0;
        for (id, asked) in self.hub.positions() {
            let row = self.rows.iter().find(|r| r.id == id).expect("known");
            let row = Some(Seq(row.seq));
            if row != Some(asked) {
                self.hub.repair(crate::hub::Behind { task: id, asked, row });
            }
        }
    }

    /// A standby without the last commits takes over. Connections break, so that no notification of the
    /// old history arrives afterwards; where it is marked as another, the old server may answer reads.
    fn fail_over(&mut self, task: usize, lost: i64, marked: bool) {
        let before = self.rows.clone();
        let keep = usize::try_from((self.rows[task].seq - lost).max(1)).expect("positive");
        self.history[task].truncate(keep);
        if !marked {
            self.forget_what_only_clients_saw(task, Seq(self.history[task][keep - 1].seq));
        }
        self.rows[task] = self.history[task][keep - 1].clone();
        self.flying.clear();
        self.told.clear();
        for reading in std::mem::take(&mut self.reading) {
            self.fail(reading.job);
        }
        if marked {
            self.old = Some((before, self.timeline));
            self.timeline += 1;
            self.hub.observe(database(self.timeline)).expect("it leads on");
            self.resumable.clear();
        } else {
            // Without a mark, only a comparison before the next commit can tell; a client that is
            // away meanwhile could not be told apart from one that is up to date.
            self.retry();
            self.quiesce();
            self.resumable.clear();
        }
        self.wake();
    }

    /// A client may have come back with a cursor that nobody but it can vouch for any more, since the hub had
    /// forgotten the task: where its commit is lost without a mark, that cursor is as good as made up.
    fn forget_what_only_clients_saw(&mut self, task: usize, kept: Seq) {
        let id = self.rows[task].id;
        let known = self.hub.positions().into_iter().find(|(known, _)| *known == id);
        let known = known.map_or(kept, |(_, seq)| seq.max(kept));
        for view in self.clients.iter_mut().filter_map(|c| c.views.get_mut(&task)) {
            view.made_up |= view.cursor.as_ref().is_some_and(|cursor| cursor.seq > known);
        }
    }

    /// Nothing more happens but what the feed and the sessions do by themselves.
    fn quiesce(&mut self) {
        for _ in 0..3 {
            self.compare();
            self.wake();
            for _ in 0..200 {
                self.retry();
                self.wake();
                while let Some(job) = self.hub.take_read() {
                    self.reading.push(Reading { job, seen: None });
                }
                while !self.reading.is_empty() {
                    self.end_read(0);
                    self.wake();
                }
                for client in 0..self.clients.len() {
                    self.pull(client, 1_000);
                }
                if self.hub.is_settled() && self.clients.iter().all(|c| !c.woken) {
                    break;
                }
            }
            assert!(self.hub.is_settled(), "reads come to an end");
        }
    }

    fn assert_everybody_has_the_rows(&self) {
        for client in &self.clients {
            for task in &client.subscribed {
                client.views[task].assert_is(&self.rows[*task]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_client_ends_with_the_rows(
        events in prop::collection::vec(event(), 1..120)
    ) {
        let mut world = World::new();
        world.happen(Event::Connect);
        world.happen(Event::Subscribe { client: 0, task: 0, resume: false });
        for event in events {
            world.happen(event);
        }
        world.quiesce();
        world.assert_everybody_has_the_rows();
    }
}
