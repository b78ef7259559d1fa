//! Single rules of the hub, each where it can be read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use knm_shared::access::{Access, Reach};
use knm_shared::epoch::{Cursor, Epoch};
use knm_shared::ids::{Seq, TaskId};
use knm_shared::notification::{Notification, Revocation};
use knm_shared::session::Role;
use knm_shared::status::{Counts, ItemStatus};
use tokio::sync::Notify;
use uuid::Uuid;

use super::model::{ITEMS, Row, View, database, user};
use super::world::{MAX_OF_USER, connect, hub};
use crate::hub::ring::{MAX_MERGED, MAX_STEPS};
use crate::hub::session::{Position, Subscription};
use crate::hub::step::{Changes, MAX_STEP_ITEMS};
use crate::hub::{
    Behind, ConnId, Frame, Hub, ListQuery, MAX_SUBSCRIPTIONS, Next, Owner, Refused, Stale,
};
use crate::protocol::{CloseReason, ErrorCode, PAGE_ITEMS};

/// A client that may read these clusters and no others.
fn connect_bound(hub: &mut Hub, clusters: &[&str]) -> ConnId {
    let only = clusters.iter().map(|name| ((*name).to_owned(), Role::Viewer)).collect();
    let access = Access { role: Role::Viewer, reach: Reach::Only(Arc::new(only)) };
    let owner = Owner { session: Uuid::nil(), user: user() };
    hub.connect(owner, access, Arc::new(Notify::new())).expect("an epoch is known").id
}

/// What the hub refuses a client, and nothing else that it has for it.
fn refusals(hub: &mut Hub, id: ConnId) -> Vec<ErrorCode> {
    frames(hub, id)
        .into_iter()
        .map(|frame| match frame {
            Frame::Refused { code, .. } => code,
            other => panic!("nothing else: {other:?}"),
        })
        .collect()
}

#[test]
fn a_task_on_a_cluster_that_one_may_not_read_is_not_told() {
    let mut hub = hub();
    let row = Row::new(1);
    let cluster = row.found(Seq(0)).head.cluster.to_string();
    let (inside, outside) =
        (connect_bound(&mut hub, &[&cluster]), connect_bound(&mut hub, &["elsewhere"]));
    for id in [inside, outside] {
        hub.subscribe(id, row.id, None).expect("room");
    }
    read_all(&mut hub, &row);
    assert!(is_snapshot(&frames(&mut hub, inside)));
    assert_eq!(refusals(&mut hub, outside), [ErrorCode::Forbidden]);

    // Now the task is known: whoever comes later is refused without a read.
    hub.subscribe(outside, row.id, None).expect("room");
    assert_eq!(read_all(&mut hub, &row), 0);
    assert_eq!(refusals(&mut hub, outside), [ErrorCode::Forbidden]);
    let cursor = Cursor { epoch: hub.epoch().expect("known").clone(), seq: Seq(1) };
    hub.subscribe(outside, row.id, Some(cursor)).expect("room");
    assert_eq!(refusals(&mut hub, outside), [ErrorCode::Forbidden], "nor by a cursor");
    assert!(frames(&mut hub, inside).is_empty(), "the others notice nothing");
}

#[test]
fn a_client_whose_rights_have_changed_is_closed() {
    let mut hub = hub();
    let (bound, free) = (connect_bound(&mut hub, &["a"]), connect(&mut hub));
    let asked = hub.owners();
    let now = HashMap::from([(Uuid::nil(), Access::everywhere(Role::Viewer))]);
    hub.close_outdated(&asked, &now);
    assert!(matches!(hub.next(bound), Next::Close(CloseReason::Revoked)));
    assert!(!matches!(hub.next(free), Next::Close(_)));
}

/// Its session was looked up after the question was put, so the answer may be older than what it brought.
#[test]
fn a_client_that_came_after_the_question_is_not_closed_by_the_answer() {
    let mut hub = hub();
    let before = connect_bound(&mut hub, &["a"]);
    let asked = hub.owners();
    let since = connect_bound(&mut hub, &["a"]);
    hub.close_outdated(&asked, &HashMap::new());
    assert!(matches!(hub.next(before), Next::Close(CloseReason::Revoked)));
    assert!(!matches!(hub.next(since), Next::Close(_)));
    let asked = hub.owners();
    hub.close_outdated(&asked, &HashMap::new());
    assert!(matches!(hub.next(since), Next::Close(CloseReason::Revoked)));
}

/// Whether these are the pages of one snapshot and nothing else.
fn is_snapshot(frames: &[Frame]) -> bool {
    let page =
        |(n, frame): (usize, &Frame)| matches!(frame, Frame::Page { page, .. } if *page == n);
    frames.len() == ITEMS.div_ceil(PAGE_ITEMS) && frames.iter().enumerate().all(page)
}

/// Carries out every read that the hub wants; how many.
fn read_all(hub: &mut Hub, row: &Row) -> usize {
    let mut reads = 0;
    while let Some(job) = hub.take_read() {
        hub.read_done(job, database(1), Some(row.found(job.from))).expect("the present history");
        reads += 1;
    }
    reads
}

fn frames(hub: &mut Hub, id: ConnId) -> Vec<Frame> {
    std::iter::from_fn(|| match hub.next(id) {
        Next::Frame(frame) => Some(frame),
        _ => None,
    })
    .collect()
}

fn follow(hub: &mut Hub, row: &Row, view: &mut View) -> ConnId {
    let id = connect(hub);
    hub.subscribe(id, row.id, None).expect("few");
    read_all(hub, row);
    frames(hub, id).iter().for_each(|f| view.apply(f));
    id
}

#[test]
fn contiguous_steps_need_no_read_and_are_shared() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let (mut one, mut two) = (View::default(), View::default());
    let (first, second) = (follow(&mut hub, &row, &mut one), follow(&mut hub, &row, &mut two));
    hub.notify(&row.step(&[(0, ItemStatus::Running)], false));
    assert_eq!(read_all(&mut hub, &row), 0);
    let (a, b) = (frames(&mut hub, first), frames(&mut hub, second));
    let ([Frame::Step { step: a, live: true }], [Frame::Step { step: b, .. }]) = (&a[..], &b[..])
    else {
        panic!("one live step each: {a:?} {b:?}");
    };
    assert!(std::sync::Arc::ptr_eq(a, b));
}

/// Also of a page, and of what slow clients get merged.
#[test]
fn a_frame_is_encoded_once_however_many_get_it() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let crowd: Vec<_> = (0..200).map(|_| connect(&mut hub)).collect();
    for id in &crowd {
        hub.subscribe(*id, row.id, None).expect("few");
    }
    for steps in [0, 1, 100] {
        for n in 0..steps {
            hub.notify(&row.step(&[(n, ItemStatus::Running)], false));
        }
        let mut texts = Vec::new();
        // Who is too far behind asks for a read first.
        for _ in 0..2 {
            texts.extend(crowd.iter().flat_map(|id| frames(&mut hub, *id)).map(|f| f.encode()));
            read_all(&mut hub, &row);
        }
        let encoded: BTreeSet<_> = texts.iter().map(|text| text.as_ptr()).collect();
        assert!(!encoded.is_empty(), "nothing after {steps} steps");
        assert_eq!(encoded.len() * crowd.len(), texts.len(), "encodings after {steps} steps");
    }
}

#[test]
fn a_crowd_that_comes_at_once_is_served_by_one_read() {
    let (mut hub, row) = (hub(), Row::new(0));
    let crowd: Vec<_> = (0..1_000).map(|_| connect(&mut hub)).collect();
    for id in &crowd {
        hub.subscribe(*id, row.id, None).expect("few");
    }
    assert_eq!(read_all(&mut hub, &row), 1);
    for id in crowd {
        assert!(is_snapshot(&frames(&mut hub, id)));
    }
}

#[test]
fn a_slow_client_gets_one_large_step_and_costs_no_read() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    for n in 0..MAX_STEPS {
        hub.notify(&row.step(&[(n, ItemStatus::Running)], false));
    }
    let steps = frames(&mut hub, id);
    assert_eq!(steps.len(), 1);
    view.apply(&steps[0]);
    view.assert_is(&row);
    assert_eq!(read_all(&mut hub, &row), 0);
}

#[test]
fn what_the_ring_has_lost_is_read_from_where_the_client_is() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    for n in 0..1_000 {
        hub.notify(&row.step(&[(n % 2, ItemStatus::Running)], false));
    }
    assert!(frames(&mut hub, id).is_empty());
    let job = hub.take_read().expect("a read");
    assert_eq!(job.from, Seq(1));
    hub.read_done(job, database(1), Some(row.found(job.from))).expect("the present history");
    let steps = frames(&mut hub, id);
    assert_eq!(steps.len(), 1);
    view.apply(&steps[0]);
    view.assert_is(&row);
}

#[test]
fn what_arrives_during_a_read_that_did_not_see_it_is_replayed_or_read() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    row.step(&[(0, ItemStatus::Running)], false);
    hub.notify(&row.step(&[(1, ItemStatus::Running)], false));
    let job = hub.take_read().expect("a read for the gap");
    let seen = row.found(job.from);
    // One that continues what the read saw, then one that tells of too much to carry it.
    hub.notify(&row.step(&[(2, ItemStatus::Running)], false));
    let head = Notification { items: None, ..row.step(&[(3, ItemStatus::Running)], false) };
    hub.notify(&head);
    hub.read_done(job, database(1), Some(seen)).expect("the present history");
    assert_eq!(read_all(&mut hub, &row), 1);
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    view.assert_is(&row);
}

#[test]
fn a_step_that_no_row_confirms_is_read_for_once_and_forgotten() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    let mut forged = row.clone();
    forged.seq = 40;
    hub.notify(&forged.step(&[(0, ItemStatus::Failed)], false));
    assert_eq!(read_all(&mut hub, &row), 1);
    assert_eq!(hub.backlog(), 0);
    hub.notify(&row.step(&[(1, ItemStatus::Running)], false));
    assert_eq!(read_all(&mut hub, &row), 0);
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    view.assert_is(&row);
}

#[test]
fn an_end_that_the_row_does_not_confirm_is_not_told() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    let forged = row.clone().step(&[(0, ItemStatus::Failed)], true);
    hub.notify(&forged);
    assert_eq!(read_all(&mut hub, &row), 1);
    assert!(frames(&mut hub, id).is_empty());
    hub.notify(&row.step(&[(0, ItemStatus::Succeeded)], true));
    assert_eq!(read_all(&mut hub, &row), 1);
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    view.assert_is(&row);
}

#[test]
fn a_row_gone_backwards_is_another_history() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let old = row.clone();
    let id = follow(&mut hub, &row, &mut view);
    hub.notify(&row.step(&[(0, ItemStatus::Running)], false));
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    let before = hub.epoch().cloned();
    hub.hint(row.id, None);
    read_all(&mut hub, &old);
    assert_ne!(hub.epoch().cloned(), before);
    let mut after = frames(&mut hub, id).into_iter();
    assert!(matches!(after.next(), Some(Frame::Resync(_))));
    after.for_each(|f| view.apply(&f));
    view.assert_is(&old);
    // The marks are what they were: no second epoch follows.
    let after = hub.epoch().cloned();
    hub.observe(database(1)).expect("the present history");
    assert_eq!(hub.epoch().cloned(), after);
}

/// The standby has been promoted, the old server lives on, and a connection still leads there.
#[test]
fn what_a_succeeded_server_answers_counts_for_nothing() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let old = row.clone();
    hub.observe(database(2)).expect("it leads on");
    let epoch = hub.epoch().cloned();
    row.step(&[(0, ItemStatus::Running)], false);
    let id = connect(&mut hub);
    hub.subscribe(id, row.id, None).expect("few");
    hub.watch_tasks(id);
    let job = hub.take_read().expect("a read");
    assert_eq!(hub.read_done(job, database(1), Some(old.found(job.from))), Err(Stale));
    let jobs = hub.take_lists();
    assert_eq!(hub.list_done(&jobs[0], database(1), vec![old.found(Seq(0)).head]), Err(Stale));
    assert_eq!(hub.epoch().cloned(), epoch);
    assert!(frames(&mut hub, id).is_empty(), "nobody is told");
    // The feed takes both as failed, and reads again elsewhere.
    assert!(hub.read_failed(job).is_some());
    hub.list_failed(&jobs[0]);
    assert_eq!(hub.take_lists().len(), 1);
    hub.retry(row.id);
    let job = hub.take_read().expect("another");
    hub.read_done(job, database(2), Some(row.found(job.from))).expect("the present history");
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    view.assert_is(&row);
}

/// A server can be reset to what it was before its promotion.
#[test]
fn an_earlier_history_comes_back_with_a_new_connection_or_if_there_is_no_other() {
    let mut hub = hub();
    let (first, second) = (hub.epoch().cloned(), Epoch::of(database(2)));
    for _ in 0..3 {
        hub.observe(database(2)).expect("it leads on");
        assert_eq!(hub.epoch(), Some(&second));
        hub.enter(database(1));
        assert_eq!(hub.epoch().cloned(), first, "the listener has connected anew");
    }
    hub.observe(database(2)).expect("it leads on");
    // As long as anybody still answers from the present one, it is that.
    for _ in 0..5 {
        for _ in 0..9 {
            assert_eq!(hub.observe(database(1)), Err(Stale));
        }
        hub.observe(database(2)).expect("the present history");
    }
    for _ in 0..9 {
        assert_eq!(hub.observe(database(1)), Err(Stale));
    }
    hub.observe(database(1)).expect("nothing else is answered");
    assert_eq!(hub.epoch().cloned(), first);
}

#[test]
fn a_cursor_ahead_waits_for_the_row_and_then_for_a_snapshot() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let epoch = hub.epoch().expect("known").clone();
    let behind = row.clone();
    row.step(&[(0, ItemStatus::Running)], false);
    let cursor = |seq| Some(Cursor { epoch: epoch.clone(), seq: Seq(seq) });

    // Another relay was quicker than this one.
    let _first = follow(&mut hub, &behind, &mut View::default());
    let quick = connect(&mut hub);
    hub.subscribe(quick, row.id, cursor(2)).expect("few");
    read_all(&mut hub, &row);
    assert!(frames(&mut hub, quick).is_empty(), "it has everything");

    let lying = connect(&mut hub);
    hub.subscribe(lying, row.id, cursor(99)).expect("few");
    read_all(&mut hub, &row);
    assert!(is_snapshot(&frames(&mut hub, lying)));
}

#[test]
fn a_task_that_is_not_there_ends_its_subscriptions() {
    let (mut hub, row) = (hub(), Row::new(0));
    let id = connect(&mut hub);
    hub.subscribe(id, row.id, None).expect("few");
    let job = hub.take_read().expect("a read");
    hub.read_done(job, database(1), None).expect("the present history");
    let told = frames(&mut hub, id);
    assert!(matches!(told[..], [Frame::Refused { code: ErrorCode::UnknownTask, .. }]));
    assert!(hub.tasks.is_empty());
}

/// A status of a newer release's, say: no later read does better, so nobody is left waiting.
#[test]
fn a_task_whose_row_cannot_be_understood_ends_its_subscriptions() {
    let (mut hub, row) = (hub(), Row::new(0));
    let (id, other) = (connect(&mut hub), Row::new(1));
    hub.subscribe(id, row.id, None).expect("few");
    let job = hub.take_read().expect("a read");
    hub.subscribe(id, other.id, None).expect("few");
    hub.read_unusable(job);
    let told = frames(&mut hub, id);
    assert!(matches!(told[..], [Frame::Refused { code: ErrorCode::Internal, .. }]), "{told:?}");
    assert_eq!(hub.read_failed(job), None, "it is not repeated");
    assert_eq!(hub.tasks.keys().collect::<Vec<_>>(), [&other.id]);
    hub.subscribe(id, row.id, None).expect("it may be understood again");
    assert!(hub.take_read().is_some());
}

#[test]
fn memory_goes_with_the_last_subscriber() {
    let (mut hub, row) = (hub(), Row::new(0));
    let one = follow(&mut hub, &row, &mut View::default());
    let two = follow(&mut hub, &row, &mut View::default());
    hub.watch_tasks(one);
    hub.unsubscribe(two, row.id);
    assert_eq!(hub.tasks.len(), 1);
    hub.disconnect(one);
    assert!(hub.tasks.is_empty() && hub.lists.is_empty());
    hub.disconnect(two);
    assert!(hub.sessions.is_empty());
}

#[test]
fn subscriptions_are_limited_and_repeating_one_is_not_counted() {
    let mut hub = hub();
    let id = connect(&mut hub);
    for n in 0..MAX_SUBSCRIPTIONS {
        hub.subscribe(id, Row::new(n as u128).id, None).expect("room");
    }
    hub.subscribe(id, Row::new(0).id, None).expect("the same again");
    assert_eq!(hub.subscribe(id, Row::new(5_000).id, None), Err(Refused::TooManySubscriptions));
}

#[test]
fn a_revocation_closes_its_own_connections_only() {
    let mut hub = hub();
    let (one, two) = (connect(&mut hub), connect(&mut hub));
    hub.revoke(Revocation::Session(Uuid::from_u128(77)));
    assert!(matches!(hub.next(one), Next::Idle));
    hub.revoke(Revocation::User(user()));
    for id in [one, two] {
        assert!(matches!(hub.next(id), Next::Close(CloseReason::Revoked)));
    }
}

#[test]
fn held_notifications_are_bounded_and_nothing_is_lost_by_it() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    row.step(&[], false);
    hub.notify(&row.step(&[(1, ItemStatus::Running)], false));
    let job = hub.take_read().expect("a read for the gap");
    let seen = row.found(job.from);
    for n in 0..5_000 {
        hub.notify(&row.step(&[(n, ItemStatus::Succeeded)], false));
        assert!(hub.backlog() <= 1_024);
    }
    hub.read_done(job, database(1), Some(seen)).expect("the present history");
    read_all(&mut hub, &row);
    for _ in 0..3 {
        frames(&mut hub, id).iter().for_each(|f| view.apply(f));
        read_all(&mut hub, &row);
    }
    view.assert_is(&row);
}

#[test]
fn a_list_is_told_whole_once_and_then_by_its_changes() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let id = connect(&mut hub);
    hub.watch_tasks(id);
    let jobs = hub.take_lists();
    assert_eq!(jobs[0].query, ListQuery::Whole);
    hub.list_done(&jobs[0], database(1), vec![row.found(Seq(0)).head])
        .expect("the present history");
    let told = frames(&mut hub, id);
    assert!(matches!(&told[..], [Frame::List { full: true, heads }] if heads.len() == 1));

    // The state changes: the row is read. The counters alone: the notification is enough.
    let note = row.step(&[(0, ItemStatus::Running)], false);
    hub.notify(&note);
    let jobs = hub.take_lists();
    assert_eq!(jobs[0].query, ListQuery::Some(vec![row.id]));
    hub.list_done(&jobs[0], database(1), vec![row.found(Seq(0)).head])
        .expect("the present history");
    let told = frames(&mut hub, id);
    assert!(matches!(&told[..], [Frame::List { full: false, heads }] if heads[0].seq == Seq(2)));

    hub.notify(&row.step(&[(0, ItemStatus::Succeeded)], false));
    assert!(frames(&mut hub, id).is_empty(), "changes gather until the next beat");
    assert!(hub.take_lists().is_empty());
    let told = frames(&mut hub, id);
    assert!(matches!(&told[..], [Frame::List { full: false, heads }]
        if heads[0].progress.counts.succeeded == 1));

    // Read again and found the same: nothing to tell.
    hub.reload_lists();
    let jobs = hub.take_lists();
    hub.list_done(&jobs[0], database(1), vec![row.found(Seq(0)).head])
        .expect("the present history");
    let told = frames(&mut hub, id);
    assert!(told.len() <= 1, "at most the row's own time: {told:?}");
}

#[test]
fn a_list_follows_the_row_where_a_notification_does_not_follow_on_what_is_known() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let id = connect(&mut hub);
    hub.watch_tasks(id);
    let jobs = hub.take_lists();
    hub.notify(&row.step(&[(0, ItemStatus::Running)], false));
    hub.list_done(&jobs[0], database(1), vec![row.found(Seq(0)).head])
        .expect("the present history");
    frames(&mut hub, id);
    let real = row.step(&[(0, ItemStatus::Succeeded)], false);
    let forged = Notification { prev: Seq(1_000), seq: Seq(1_001), ..real.clone() };
    hub.notify(&forged);
    let jobs = hub.take_lists();
    assert!(frames(&mut hub, id).is_empty(), "made up, and told");
    assert_eq!(jobs[0].query, ListQuery::Some(vec![row.id]));
    hub.list_done(&jobs[0], database(1), vec![row.found(Seq(0)).head])
        .expect("the present history");
    let told = frames(&mut hub, id);
    assert!(matches!(&told[..], [Frame::List { full: false, heads }] if heads[0].seq == real.seq));
}

#[test]
fn whoever_comes_later_gets_the_list_whole() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let first = connect(&mut hub);
    hub.watch_tasks(first);
    let jobs = hub.take_lists();
    hub.list_done(
        &jobs[0],
        database(1),
        vec![row.found(Seq(0)).head, Row::new(1).found(Seq(0)).head],
    )
    .expect("the present history");
    assert_eq!(frames(&mut hub, first).len(), 1);
    hub.notify(&row.step(&[(0, ItemStatus::Running)], false));
    let jobs = hub.take_lists();
    hub.list_done(&jobs[0], database(1), vec![row.found(Seq(0)).head])
        .expect("the present history");
    let told = frames(&mut hub, first);
    assert!(matches!(&told[..], [Frame::List { full: false, heads }] if heads.len() == 1));

    let second = connect(&mut hub);
    hub.watch_tasks(second);
    let told = frames(&mut hub, second);
    assert!(matches!(&told[..], [Frame::List { full: true, heads }]
        if heads.len() == 2 && heads[0].seq == Seq(2)));
    assert!(hub.take_lists().is_empty(), "what is known needs no read");
}

#[test]
fn a_step_waits_for_the_last_page_of_a_snapshot() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let id = connect(&mut hub);
    hub.subscribe(id, row.id, None).expect("few");
    let job = hub.take_read().expect("a read");
    hub.read_done(job, database(1), Some(row.found(Seq(0)))).expect("the present history");
    for page in 0..3 {
        hub.notify(&row.step(&[(page, ItemStatus::Running)], false));
        let Next::Frame(Frame::Page { answer, page: told }) = hub.next(id) else {
            panic!("page {page} comes before any step");
        };
        assert_eq!((told, answer.seq(), answer.pages()), (page, Seq(1), 3));
    }
    let steps = frames(&mut hub, id);
    let steps: Vec<_> = steps
        .iter()
        .map(|frame| match frame {
            Frame::Step { step, .. } => (step.prev.0, step.seq.0),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(steps, [(1, 2), (2, 3), (3, 4)]);
    assert_eq!(read_all(&mut hub, &row), 0);
}

#[test]
fn another_version_is_read_not_understood() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    let note: Notification = row.step(&[(2, ItemStatus::Running)], false);
    hub.hint(note.task, None);
    assert_eq!(read_all(&mut hub, &row), 1);
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    view.assert_is(&row);
}

#[test]
fn a_user_has_so_many_connections_and_takes_nobody_elses() {
    use knm_shared::ids::UserId;

    let mut hub = hub();
    let owner = |user: u128| Owner { session: Uuid::nil(), user: UserId(Uuid::from_u128(user)) };
    let come = |hub: &mut Hub, user| {
        hub.connect(owner(user), Access::everywhere(Role::Viewer), Arc::new(Notify::new()))
    };
    let first = come(&mut hub, 1).expect("room").id;
    for _ in 1..MAX_OF_USER {
        come(&mut hub, 1).expect("room");
    }
    assert_eq!(come(&mut hub, 1).expect_err("full"), CloseReason::TooManyOfUser);
    come(&mut hub, 2).expect("another user");
    hub.disconnect(first);
    come(&mut hub, 1).expect("the place of one that has left");
    assert_eq!(come(&mut hub, 1).expect_err("full"), CloseReason::TooManyOfUser);
}

#[test]
fn catching_up_waits_for_what_was_missed_and_for_nothing_else() {
    let mut hub = hub();
    let (mut missed, mut other) = (Row::new(0), Row::new(1));
    let mut view = View::default();
    let id = follow(&mut hub, &missed, &mut view);
    follow(&mut hub, &other, &mut View::default());
    let asked = Seq(missed.seq);
    missed.step(&[(0, ItemStatus::Running)], false);
    // Another task's reads come and go, or fail, the whole time.
    hub.notify(&Notification { items: None, ..other.step(&[], false) });
    let failing = hub.take_read().expect("a read");
    let behind = Behind { task: missed.id, asked, row: Some(Seq(missed.seq)) };
    let awaited = hub.reread_behind(&[behind]);
    let [read] = awaited[..] else { panic!("one: {awaited:?}") };
    assert!(!hub.has_come(read));
    let job = hub.take_read().expect("a read");
    assert!(!hub.has_come(read), "it has begun");
    hub.read_done(job, database(1), Some(missed.found(job.from))).expect("the present history");
    assert!(hub.has_come(read));
    assert!(hub.read_failed(failing).is_some() && !hub.is_settled());
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    view.assert_is(&missed);
    assert!(hub.reread_behind(&[behind]).is_empty(), "it has been read meanwhile");
    hub.hint(missed.id, None);
    let [read] = hub.reread_behind(&[Behind { row: None, ..behind }])[..] else { panic!("one") };
    hub.unsubscribe(id, missed.id);
    assert!(hub.has_come(read), "nobody follows it any more");
}

#[test]
fn what_is_read_for_the_first_time_while_listen_comes_back_is_read_again() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = connect(&mut hub);
    hub.subscribe(id, row.id, None).expect("few");
    let job = hub.take_read().expect("a read");
    let before = row.found(job.from);
    // Nobody listens: this is told to nobody. Then LISTEN is back, and the answer comes late.
    row.step(&[(0, ItemStatus::Running)], false);
    let awaited = hub.reread_unknown();
    assert!(hub.positions().is_empty(), "there is nothing to compare");
    hub.read_done(job, database(1), Some(before)).expect("the present history");
    assert!(awaited.iter().all(|read| !hub.has_come(*read)) && awaited.len() == 1);
    assert_eq!(read_all(&mut hub, &row), 1);
    assert!(hub.has_come(awaited[0]));
    frames(&mut hub, id).iter().for_each(|f| view.apply(f));
    view.assert_is(&row);
}

/// The second half of the list's rules: what is not in it yet.
#[test]
fn a_new_task_comes_into_the_list_however_it_is_told() {
    let mut hub = hub();
    let id = connect(&mut hub);
    hub.watch_tasks(id);
    let jobs = hub.take_lists();
    // Told of while the first read is on its way, which has looked before.
    let (mut early, late) = (Row::new(0), Row::new(1));
    hub.notify(&Notification { items: None, ..early.step(&[], false) });
    hub.list_done(&jobs[0], database(1), Vec::new()).expect("the present history");
    assert_eq!(hub.take_lists()[0].query, ListQuery::Some(vec![early.id]));

    let whole = |hub: &mut Hub| {
        hub.reload_lists();
        let jobs = hub.take_lists();
        for job in &jobs {
            hub.list_done(job, database(1), Vec::new()).expect("the present history");
        }
    };
    hub.unwatch_tasks(id);
    hub.watch_tasks(id);
    whole(&mut hub);
    // Told of by somebody who is not known to be one of us.
    hub.hint(late.id, Some(user()));
    let jobs = hub.take_lists();
    assert_eq!(jobs[0].query, ListQuery::Some(vec![late.id]));
    hub.list_done(&jobs[0], database(1), Vec::new()).expect("the present history");
    // Whoever makes tasks up has them read whole, once.
    whole(&mut hub);
    for n in 0..5_000 {
        hub.hint(Row::new(n).id, Some(user()));
    }
    let jobs = hub.take_lists();
    assert!(matches!(&jobs[..], [job] if job.query == ListQuery::Whole));
}

#[test]
fn whoever_follows_and_leaves_again_and_again_leaves_nothing_behind() {
    let mut hub = hub();
    let (known, id) = (Row::new(0), connect(&mut hub));
    // Somebody else keeps it known, so that each cursor has a frame at once; the client takes none.
    let _other = follow(&mut hub, &known, &mut View::default());
    let cursor = Cursor { epoch: hub.epoch().expect("known").clone(), seq: Seq(1) };
    for n in 1..10_000 {
        hub.subscribe(id, known.id, Some(cursor.clone())).expect("room");
        hub.subscribe(id, Row::new(n).id, None).expect("room");
        hub.unsubscribe(id, known.id);
        hub.unsubscribe(id, Row::new(n).id);
    }
    assert_eq!((hub.sessions[&id].ready.len(), hub.wanted.len(), hub.tasks.len()), (0, 0, 1));
}

/// The pages of a task, as a client that takes its time would get them.
fn page(hub: &mut Hub, id: ConnId) -> Option<(TaskId, usize)> {
    match hub.next(id) {
        Next::Frame(Frame::Page { answer, page }) => Some((answer.found().head.id, page)),
        Next::Idle => None,
        other => panic!("no page: {other:?}"),
    }
}

#[test]
fn a_client_that_takes_nothing_has_one_large_answer_held_for_it() {
    let mut hub = hub();
    let (rows, id): (Vec<Row>, _) = ((0..20).map(Row::new).collect(), connect(&mut hub));
    for row in &rows {
        hub.subscribe(id, row.id, None).expect("room");
    }
    let held = |hub: &Hub| {
        let held = |sub: &&Subscription| matches!(sub.position, Position::Paging { .. });
        hub.sessions[&id].subs.values().filter(held).count()
    };
    let read = |hub: &mut Hub| {
        let mut reads = 0;
        while let Some(job) = hub.take_read() {
            let row = rows.iter().find(|r| r.id == job.task).expect("one of ours");
            hub.read_done(job, database(1), Some(row.found(job.from)))
                .expect("the present history");
            reads += 1;
        }
        reads
    };
    assert_eq!(read(&mut hub), 20);
    assert_eq!(held(&hub), 1);
    assert_eq!(read(&mut hub), 0, "nothing more before it has taken that");
    let mut seen = HashSet::new();
    let mut reads = 0;
    while seen.len() < 20 {
        let (task, first) = page(&mut hub, id).expect("a page");
        assert_eq!(first, 0);
        assert!(seen.insert(task) && held(&hub) == 1);
        while page(&mut hub, id).is_some() {}
        if seen.len() == 3 {
            // The one that is asked for now will not come: that is no matter of the others.
            let job = hub.take_read().expect("a read");
            seen.insert(job.task);
            hub.read_failed(job).expect("under way");
            assert!(page(&mut hub, id).is_none(), "the next is asked for");
        }
        if seen.len() == 10 {
            let job = hub.take_read().expect("a read");
            seen.insert(job.task);
            hub.unsubscribe(id, job.task);
            assert!(page(&mut hub, id).is_none(), "the next is asked for");
        }
        reads += read(&mut hub);
    }
    assert!(reads < 20, "{reads} reads for 20 tasks");
}

#[test]
fn merged_steps_are_kept_for_few() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let mut views: Vec<View> = (0..MAX_STEPS).map(|_| View::default()).collect();
    let mut ids = Vec::new();
    // One client is left behind at each number.
    for view in &mut views {
        ids.push(follow(&mut hub, &row, view));
        hub.notify(&row.step(&[(0, ItemStatus::Running)], false));
    }
    for (id, view) in ids.into_iter().zip(&mut views) {
        frames(&mut hub, id).iter().for_each(|f| view.apply(f));
        view.assert_is(&row);
        let known = hub.tasks[&row.id].known.as_ref().expect("read");
        assert!(known.ring.merged.len() <= MAX_MERGED);
    }
}

#[test]
fn who_lacks_most_of_a_task_gets_it_in_pages_and_by_one_more_read_at_most() {
    let (mut hub, mut row, mut view) = (hub(), Row::new(0), View::default());
    let id = follow(&mut hub, &row, &mut view);
    // Few items are no matter of pages, though they are too many for the ring.
    let many: Vec<_> = (0..MAX_STEP_ITEMS + 1).map(|n| (n, ItemStatus::Running)).collect();
    let step = Notification { items: None, ..row.step(&many, false) };
    let counts = Counts { total: 100, ..row.counts() };
    hub.notify(&step);
    let job = hub.take_read().expect("a read");
    let mut found = row.found(job.from);
    found.head.progress.counts = counts;
    hub.read_done(job, database(1), Some(found)).expect("the present history");
    let told = frames(&mut hub, id);
    let [Frame::Step { step, .. }] = &told[..] else { panic!("one step: {told:?}") };
    assert!(matches!(step.changes, Changes::Rows(_)), "its items are there once");
    view.apply(&told[0]);
    assert_eq!(read_all(&mut hub, &row), 0);

    // Half of a task and more is.
    hub.notify(&Notification { items: None, ..row.step(&many, false) });
    assert_eq!(read_all(&mut hub, &row), 2, "once for the change, once for all of it");
    let told = frames(&mut hub, id);
    assert!(is_snapshot(&told), "{told:?}");
    told.iter().for_each(|f| view.apply(f));
    view.assert_is(&row);
}

#[test]
fn a_list_does_not_wait_until_tasks_have_nothing_to_tell() {
    let (mut hub, mut row) = (hub(), Row::new(0));
    let id = follow(&mut hub, &row, &mut View::default());
    hub.watch_tasks(id);
    let jobs = hub.take_lists();
    hub.list_done(&jobs[0], database(1), vec![row.found(Seq(0)).head])
        .expect("the present history");
    let mut told = Vec::new();
    // A client that is never done with its task.
    for _ in 0..4 {
        hub.notify(&row.step(&[(0, ItemStatus::Running)], false));
        hub.notify(&row.step(&[(1, ItemStatus::Running)], false));
        if let Next::Frame(frame) = hub.next(id) {
            told.push(frame);
        }
    }
    assert!(told.iter().any(|frame| matches!(frame, Frame::List { .. })), "{told:?}");
    assert!(told.iter().filter(|frame| matches!(frame, Frame::Step { .. })).count() >= 2);
}
