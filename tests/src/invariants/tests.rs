//! Every rule is shown to fail: a check that cannot is no check.

use knm_shared::status::{Counts, ItemStatus, TaskStatus};
use serde_json::{Value, json};

use super::*;
use crate::ws::frame::ServerFrame;

const TASK: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn task() -> TaskId {
    TASK.parse().expect("a UUID")
}

fn frame(json: Value) -> ServerFrame {
    serde_json::from_value(json).expect("a frame")
}

fn hello(epoch: &str) -> Value {
    json!({"type": "hello", "version": 1, "pod": "a", "release": "0", "epoch": epoch,
           "mode": "live", "ping_interval_ms": 20_000})
}

/// `p`, `r`, `s`, `f` for each item.
fn items(letters: &str) -> Vec<ItemStatus> {
    let status = |c| match c {
        'p' => ItemStatus::Pending,
        'r' => ItemStatus::Running,
        's' => ItemStatus::Succeeded,
        _ => ItemStatus::Failed,
    };
    letters.chars().map(status).collect()
}

fn progress_of(status: &str, letters: &str) -> Value {
    let counts = Counts::of(&items(letters));
    json!({"status": status, "current": counts.done(), "total": counts.total, "counts": counts,
           "percent": f64::from(counts.done() * 1000 / counts.total) / 10.0})
}

fn merge(mut into: Value, from: Value) -> Value {
    let (Value::Object(into_map), Value::Object(from)) = (&mut into, from) else {
        panic!("both are objects");
    };
    into_map.extend(from);
    into
}

fn page(seq: i64, status: &str, letters: &str, range: std::ops::Range<usize>, no: u32) -> Value {
    let all = items(letters);
    let list: Vec<Value> = range
        .clone()
        .map(|i| json!({"ordinal": i, "node": format!("node-{i}"), "status": all[i]}))
        .collect();
    let head = json!({"id": TASK, "user_id": "u", "cluster": "default", "action": "label",
                      "reason": "", "seq": seq, "created_at": "2026-01-01T00:00:00Z",
                      "updated_at": "2026-01-01T00:00:00Z"});
    json!({"type": "snapshot", "task_id": TASK, "epoch": "e1", "seq": seq,
           "cursor": format!("e1:{seq}"), "page": no, "last": range.end == all.len(),
           "task": merge(head, progress_of(status, letters)), "items": list})
}

fn snapshot(seq: i64, status: &str, letters: &str) -> Value {
    page(seq, status, letters, 0..letters.len(), 0)
}

/// A step to `letters`; `changed` are the items in it.
fn step(prev: i64, seq: i64, status: &str, letters: &str, changed: &[usize]) -> Value {
    let all = items(letters);
    let list: Vec<Value> =
        changed.iter().map(|i| json!({"ordinal": i, "status": all[*i]})).collect();
    let kind = if ["completed", "failed", "cancelled"].contains(&status) {
        "complete"
    } else {
        "progress"
    };
    let frame = json!({"type": kind, "task_id": TASK, "epoch": "e1", "prev": prev, "seq": seq,
                       "cursor": format!("e1:{seq}"), "published_us": 1, "items": list});
    merge(frame, progress_of(status, letters))
}

fn with(frame: Value, key: &str, value: Value) -> Value {
    merge(frame, json!({key: value}))
}

/// Applies frames to a client that has subscribed; the first violation, if any.
fn play(frames: &[Value]) -> (Checker, Result<(), Violation>) {
    let mut checker = Checker::default();
    checker.connected();
    assert_eq!(checker.subscribe(task()), None);
    for f in frames {
        if let Err(violation) = checker.apply(&frame(f.clone())) {
            return (checker, Err(violation));
        }
    }
    (checker, Ok(()))
}

/// The violation that the last frame is, after `before` which are fine.
fn caught(before: &[Value], last: Value) -> Violation {
    let (mut checker, fine) = play(before);
    assert_eq!(fine, Ok(()), "what comes before must be fine");
    checker.apply(&frame(last)).expect_err("a violation")
}

fn started() -> Vec<Value> {
    vec![hello("e1"), snapshot(1, "queued", "ppp"), step(1, 3, "running", "rsp", &[0, 1])]
}

fn ended() -> Vec<Value> {
    let mut frames = started();
    frames.push(step(3, 9, "failed", "ssf", &[0, 2]));
    frames
}

fn rows() -> Rows {
    let item = |(i, status)| ItemView { node: format!("node-{i}"), status, message: None };
    let all = items("ssf");
    Rows {
        seq: 9,
        status: TaskStatus::Failed,
        counts: Counts::of(&all),
        error: None,
        items: all.into_iter().enumerate().map(item).collect(),
    }
}

#[test]
fn a_faultless_stream_ends_equal_to_the_rows() {
    let (checker, outcome) = play(&ended());
    assert_eq!(outcome, Ok(()));
    assert!(checker.completed(task()));
    assert_eq!(checker.check_final(task(), &rows()), Ok(()));
}

#[test]
fn pages_then_steps_and_a_hand_back_are_fine() {
    let (checker, outcome) = play(&[
        hello("e1"),
        page(4, "running", "prs", 0..2, 0),
        page(4, "running", "prs", 2..3, 1),
        step(4, 5, "running", "pps", &[1]),
        step(5, 8, "paused", "pps", &[]),
        step(8, 9, "completed", "sss", &[0, 1]),
    ]);
    assert_eq!(outcome, Ok(()));
    assert!(checker.completed(task()));
}

#[test]
fn resuming_goes_on_from_the_cursor() {
    let (mut checker, _) = play(&started());
    checker.connected();
    assert!(!checker.completed(task()));
    assert_eq!(checker.subscribe(task()).as_deref(), Some("e1:3"));
    let again = [hello("e1"), step(3, 9, "failed", "ssf", &[0, 2])];
    for f in again {
        assert_eq!(checker.apply(&frame(f)), Ok(()));
    }
    assert_eq!(checker.check_final(task(), &rows()), Ok(()));
}

#[test]
fn an_ended_task_is_a_snapshot_and_its_end() {
    let (checker, outcome) =
        play(&[hello("e1"), snapshot(9, "failed", "ssf"), step(9, 9, "failed", "ssf", &[])]);
    assert_eq!(outcome, Ok(()));
    assert_eq!(checker.check_final(task(), &rows()), Ok(()));
}

#[test]
fn a_new_epoch_starts_over() {
    let renewed = |f: Value| with(with(f, "epoch", json!("e2")), "cursor", json!("e2:2"));
    let mut frames = started();
    frames.push(json!({"type": "resync", "epoch": "e2", "reason": "epoch"}));
    frames.push(renewed(snapshot(2, "running", "rpp")));
    let (mut checker, outcome) = play(&frames);
    assert_eq!(outcome, Ok(()), "items may go back over a resync");
    let stale = step(3, 4, "running", "rsp", &[]);
    let violation = checker.apply(&frame(stale)).expect_err("the old epoch");
    assert!(matches!(violation, Violation::WrongEpoch { .. }), "{violation}");
}

#[test]
fn greetings_are_checked() {
    assert_eq!(caught(&[], snapshot(1, "queued", "p")), Violation::NoHello);
    assert_eq!(caught(&[hello("e1")], hello("e1")), Violation::SecondHello);
    let resync = |epoch: &str| json!({"type": "resync", "epoch": epoch, "reason": "epoch"});
    let old = |epoch: &str| Violation::OldEpoch { epoch: epoch.into() };
    assert_eq!(caught(&[hello("e1")], resync("e1")), old("e1"));
    assert_eq!(caught(&[hello("e1"), resync("e2")], resync("e1")), old("e1"));
}

#[test]
fn a_frame_that_nobody_asked_for_is_caught() {
    let other = "01890a5d-ac96-774b-bcce-b302099a8058";
    let stray = with(snapshot(1, "queued", "p"), "task_id", json!(other));
    let violation = caught(&[hello("e1")], stray);
    assert_eq!(violation, Violation::NotSubscribed { task: other.parse().expect("a UUID") });
    let (mut checker, _) = play(&started());
    checker.connected();
    assert_eq!(checker.apply(&frame(hello("e1"))), Ok(()));
    let violation = checker.apply(&frame(step(3, 4, "running", "rsp", &[])));
    assert_eq!(violation, Err(Violation::NotSubscribed { task: task() }));
}

#[test]
fn a_wrong_cursor_is_caught() {
    for f in [step(3, 4, "running", "rsp", &[]), snapshot(4, "running", "rsp")] {
        let violation = caught(&started(), with(f, "cursor", json!("e1:5")));
        assert!(matches!(violation, Violation::Cursor { .. }), "{violation}");
    }
}

#[test]
fn pages_out_of_order_are_caught() {
    let first = [hello("e1"), page(4, "running", "prs", 0..2, 0)];
    let page_error = |expected, found| Violation::Page { expected, found };
    assert_eq!(caught(&first[..1], page(4, "running", "prs", 2..3, 1)), page_error(0, 1));
    assert_eq!(caught(&first, page(4, "running", "prs", 2..3, 2)), page_error(1, 2));
    let other_moment = caught(&first, page(5, "running", "prs", 2..3, 1));
    assert!(matches!(other_moment, Violation::MixedPages { .. }), "{other_moment}");
    let between = caught(&first, step(4, 5, "running", "pss", &[1]));
    assert_eq!(between, Violation::StepBetweenPages);
    let doubled = caught(&first, page(4, "running", "prs", 1..3, 1));
    assert_eq!(doubled, Violation::Ordinal { place: 2, found: 1 });
}

#[test]
fn gaps_and_repetitions_are_caught() {
    let gap = |prev| Violation::Gap { prev, position: 3 };
    assert_eq!(caught(&started(), step(4, 5, "running", "ssp", &[0])), gap(4));
    assert_eq!(caught(&started(), step(1, 3, "running", "rsp", &[0, 1])), gap(1));
    assert_eq!(caught(&started(), step(4, 4, "failed", "ssf", &[])), gap(4));
    let standing = caught(&started(), step(3, 3, "running", "rsp", &[]));
    assert_eq!(standing, Violation::NotRising { prev: 3, seq: 3 });
    let behind = caught(&started(), snapshot(2, "running", "rsp"));
    assert_eq!(behind, Violation::SnapshotBehind { seq: 2, position: 3 });
    let nothing_known = caught(&[hello("e1")], step(1, 2, "running", "r", &[0]));
    assert_eq!(nothing_known, Violation::StepWithoutPicture { seq: 2 });
}

#[test]
fn wrong_items_are_caught() {
    let reopened = caught(&started(), step(3, 4, "running", "rrp", &[1]));
    let expected = Violation::ItemReopened {
        ordinal: 1,
        from: ItemStatus::Succeeded,
        to: ItemStatus::Running,
    };
    assert_eq!(reopened, expected);
    assert_eq!(caught(&started(), snapshot(4, "running", "rrp")), expected);
    let stray = |ordinal| Violation::StrayItem { ordinal };
    assert_eq!(caught(&started(), step(3, 4, "running", "ssp", &[0, 0])), stray(0));
    let beyond = with(
        step(3, 4, "running", "rsp", &[]),
        "items",
        json!([{"ordinal": 3, "status": "running"}]),
    );
    assert_eq!(caught(&started(), beyond), stray(3));
    let rewritten = with(
        step(3, 4, "running", "rsp", &[]),
        "items",
        json!([{"ordinal": 1, "status": "succeeded", "message": "another"}]),
    );
    assert_eq!(caught(&started(), rewritten), Violation::ItemRewritten { ordinal: 1 });
    let mut renamed = snapshot(4, "running", "rsp");
    renamed["items"][2]["node"] = json!("other");
    let violation = caught(&started(), renamed);
    assert!(matches!(violation, Violation::Renamed { ordinal: 2, .. }), "{violation}");
}

#[test]
fn wrong_numbers_are_caught() {
    // An item that changed is not in the step: the counters betray it.
    let left_out = caught(&started(), step(3, 4, "running", "ssp", &[]));
    assert!(matches!(left_out, Violation::Counts { .. }), "{left_out}");
    let good = || step(3, 4, "running", "rsp", &[]);
    for (key, value) in [("current", json!(2)), ("percent", json!(34.0))] {
        let violation = caught(&started(), with(good(), key, value));
        assert!(matches!(violation, Violation::Arithmetic { .. }), "{key}: {violation}");
    }
    let grown = caught(&started(), step(3, 4, "running", "rspp", &[]));
    assert_eq!(grown, Violation::TotalChanged { was: 3, is: 4 });
}

#[test]
fn wrong_task_states_are_caught() {
    let back = caught(&started(), step(3, 4, "queued", "rsp", &[]));
    let expected = Violation::TaskTransition { from: TaskStatus::Running, to: TaskStatus::Queued };
    assert_eq!(back, expected);
    let early = caught(&started(), step(3, 4, "completed", "rsp", &[]));
    assert!(matches!(early, Violation::NotAnEnd { .. }), "{early}");
    let as_progress = with(step(3, 9, "failed", "ssf", &[0, 2]), "type", json!("progress"));
    let violation = caught(&started(), as_progress);
    assert_eq!(violation, Violation::EndInProgress { status: TaskStatus::Failed });
}

#[test]
fn the_end_comes_once() {
    let after = |seq| Violation::AfterTheEnd { seq };
    assert_eq!(caught(&ended(), step(9, 9, "failed", "ssf", &[])), after(9));
    assert_eq!(caught(&ended(), step(9, 10, "failed", "ssf", &[])), after(10));
    assert_eq!(caught(&ended(), snapshot(9, "failed", "ssf")), after(9));
    let shown = [hello("e1"), snapshot(9, "failed", "ssf")];
    let other = caught(&shown, step(9, 9, "failed", "sff", &[]));
    assert_eq!(other, Violation::EndDiffers);
}

#[test]
fn the_list_is_checked() {
    let head = |seq| snapshot(seq, "running", "rsp")["task"].clone();
    let list = |full, head: Value| json!({"type": "tasks", "full": full, "tasks": [head]});
    let before = [hello("e1"), list(true, head(4))];
    assert_eq!(caught(&before[..1], list(false, head(4))), Violation::ListMissing);
    let back = caught(&before, list(false, head(3)));
    assert_eq!(back, Violation::ListWentBack { task: task(), from: 4, to: 3 });
    let wrong = caught(&before, list(false, with(head(5), "current", json!(3))));
    assert!(matches!(wrong, Violation::Arithmetic { .. }), "{wrong}");
}

#[test]
fn a_final_picture_that_differs_from_the_rows_is_caught() {
    let (unfinished, _) = play(&started());
    let never = Err(Violation::NeverComplete { task: task() });
    assert_eq!(unfinished.check_final(task(), &rows()), never);
    let (checker, _) = play(&ended());
    let mut wrong = vec![Rows { seq: 10, ..rows() }];
    wrong.push(Rows { status: TaskStatus::Completed, ..rows() });
    wrong.push(Rows { error: Some("x".into()), ..rows() });
    wrong.push(Rows { counts: Counts::of(&items("sss")), ..rows() });
    let mut other = rows();
    other.items[2].message = Some("why".into());
    wrong.push(other);
    let mut other = rows();
    other.items[0].node = "stranger".into();
    wrong.push(other);
    for rows in wrong {
        let outcome = checker.check_final(task(), &rows);
        assert!(matches!(outcome, Err(Violation::Rows { .. })), "{rows:?}");
    }
}
