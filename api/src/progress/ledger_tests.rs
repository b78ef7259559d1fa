use knm_shared::status::ItemStatus::{Failed, Pending, Running, Succeeded};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn ledger(items: usize) -> Ledger {
    Ledger::open(Claim {
        task: TaskId(Uuid::from_u128(1)),
        user: UserId(Uuid::from_u128(2)),
        token: LeaseToken(1),
        seq: Seq(1),
        status: TaskStatus::Queued,
        items: vec![Pending; items],
    })
}

fn update(status: ItemStatus) -> ItemUpdate {
    ItemUpdate { status: Some(status), ..ItemUpdate::default() }
}

fn record(
    l: &mut Ledger,
    ordinal: Ordinal,
    update: ItemUpdate,
) -> oneshot::Receiver<Result<(), NotStored>> {
    let (sender, receiver) = oneshot::channel();
    l.record(ordinal, update, sender);
    receiver
}

fn end(l: &mut Ledger, end: End) -> oneshot::Receiver<Result<(), NotStored>> {
    let (sender, receiver) = oneshot::channel();
    l.end(end, sender);
    receiver
}

fn take(l: &mut Ledger) -> Step {
    l.take(2_000, 1 << 20).expect("a step is due")
}

#[test]
fn the_first_step_says_that_the_task_runs() {
    let mut l = ledger(1);
    let step = take(&mut l);
    assert_eq!((step.prev, step.status, step.items.len()), (Seq(1), TaskStatus::Running, 0));
    assert!(!l.settle(Verdict::Committed));
    assert!(!l.is_due(), "nothing more to say");
}

#[test]
fn running_and_succeeded_of_one_item_fold_into_one_entry_and_keep_before() {
    let mut l = ledger(2);
    let before = Some(Json::from(serde_json::json!({"a": null})));
    let first = record(&mut l, 0, ItemUpdate { before: before.clone(), ..update(Running) });
    let second = record(&mut l, 0, update(Succeeded));
    let step = take(&mut l);
    assert_eq!(step.items.len(), 1);
    assert_eq!(step.items[0].1.status, Some(Succeeded));
    assert_eq!(step.items[0].1.before, before);
    l.settle(Verdict::Committed);
    for mut receipt in [first, second] {
        assert_eq!(receipt.try_recv(), Ok(Ok(())));
    }
}

#[test]
fn the_end_travels_with_the_last_step_and_not_before() {
    let mut l = ledger(3);
    for ordinal in 0..3 {
        drop(record(&mut l, ordinal, update(Succeeded)));
    }
    let mut done = end(&mut l, End::Finished { status: TaskStatus::Completed, error: None });
    let first = l.take(2, 1 << 20).expect("due");
    assert_eq!((first.status, first.releases), (TaskStatus::Running, false));
    assert!(!l.settle(Verdict::Committed));
    let last = l.take(2, 1 << 20).expect("due");
    assert_eq!((last.status, last.releases, last.seq()), (TaskStatus::Completed, true, Seq(3)));
    assert!(l.settle(Verdict::Committed), "the ledger closes");
    assert_eq!(done.try_recv(), Ok(Ok(())));
}

#[test]
fn a_step_has_so_many_bytes_at_most_but_always_one_item() {
    let mut l = ledger(4);
    let large = || ItemUpdate {
        before: Some(serde_json::json!({"k": "v".repeat(900)}).into()),
        ..update(Running)
    };
    for ordinal in 0..4 {
        drop(record(&mut l, ordinal, large()));
    }
    let mut taken = Vec::new();
    for most in [2_500, 1, 2_500] {
        let step = l.take(2_000, most).expect("due");
        taken.push(step.items.len());
        assert!(step.items.len() == 1 || step.weight() <= most);
        l.settle(Verdict::Committed);
    }
    assert_eq!(taken, [2, 1, 1]);
}

#[test]
fn what_comes_while_a_step_is_in_flight_waits_for_the_next() {
    let mut l = ledger(1);
    drop(record(&mut l, 0, update(Running)));
    let first = take(&mut l);
    drop(record(&mut l, 0, update(Failed)));
    assert!(l.take(1, 1).is_none(), "one step at a time");
    l.settle(Verdict::Again);
    l.settle(Verdict::Committed);
    assert_eq!(take(&mut l).prev, first.seq());
}

#[test]
fn after_the_database_fell_back_everything_since_the_claim_is_written_again() {
    let mut l = ledger(3);
    for (ordinal, status) in [(0, Succeeded), (1, Running)] {
        drop(record(&mut l, ordinal, update(status)));
        take(&mut l);
        l.settle(Verdict::Committed);
    }
    drop(record(&mut l, 2, update(Running)));
    take(&mut l);
    drop(record(&mut l, 1, update(Failed)));
    l.settle(Verdict::FellBack(Seq(1)));
    let step = take(&mut l);
    assert_eq!((step.prev, step.seq()), (Seq(1), Seq(2)));
    let states: Vec<_> = step.items.iter().map(|(o, u)| (*o, u.status)).collect();
    assert_eq!(states, [(0, Some(Succeeded)), (1, Some(Failed)), (2, Some(Running))]);
    assert_eq!((step.counts.succeeded, step.counts.failed, step.counts.running), (1, 1, 1));
}

#[test]
fn one_item_that_the_database_refuses_is_found_and_stops_nobody_else() {
    let mut l = ledger(8);
    let mut receipts: Vec<_> = (0..8).map(|o| record(&mut l, o, update(Running))).collect();
    let mut steps = 0;
    while l.is_due() {
        let step = take(&mut l);
        let bad = step.items.iter().any(|(o, u)| *o == 5 && u.message.is_none());
        l.settle(if bad { Verdict::Refused } else { Verdict::Committed });
        steps += 1;
        assert!(steps < 30, "the search ends");
    }
    for (ordinal, receipt) in receipts.iter_mut().enumerate() {
        let expected = if ordinal == 5 { Err(NotStored::Unstorable) } else { Ok(()) };
        assert_eq!(receipt.try_recv(), Ok(expected), "item {ordinal}");
    }
    let counts = l.outlook();
    assert_eq!((counts.running, counts.failed), (7, 1), "the refused one was not started");
}

#[test]
fn a_lost_task_tells_everyone_who_waits() {
    let mut l = ledger(2);
    let mut in_flight = record(&mut l, 0, update(Running));
    take(&mut l);
    let mut waiting = record(&mut l, 1, update(Running));
    let mut done = end(&mut l, End::Released);
    assert!(l.settle(Verdict::Lost));
    for receipt in [&mut in_flight, &mut waiting, &mut done] {
        assert_eq!(receipt.try_recv(), Ok(Err(NotStored::Lost(Lost))));
    }
}

#[test]
fn messages_fit_their_column_and_hold_no_nul() {
    assert_eq!(clean("a\0b"), "ab");
    let long = clean(&"é".repeat(2_000));
    assert!(long.len() <= MAX_MESSAGE && long.ends_with('…'));
}

proptest! {
    /// Whatever is recorded, taken and settled in whatever order: sequence numbers rise by one, the
    /// counters equal the items, and at the end the rows hold the newest state of every item.
    #[test]
    fn rows_end_as_recorded(script in proptest::collection::vec((0u8..5, 0u32..6, 1usize..6, 1usize..4), 1..200)) {
        let mut l = ledger(6);
        let mut truth = [Pending; 6];
        let mut rows = [Pending; 6];
        let mut row_seq = Seq(1);
        let mut in_flight: Option<Step> = None;
        // Rows as they were after each commit, for falling back.
        let mut history = vec![(row_seq, rows)];
        let apply = |step: &Step, rows: &mut [ItemStatus; 6]| {
            for (o, u) in &step.items {
                rows[*o as usize] = u.status.expect("recorded with one");
            }
            assert_eq!(step.counts, Counts::of(rows.iter()));
        };
        for (op, ordinal, status, most) in script {
            match op {
                0 | 1 => {
                    truth[ordinal as usize] = ItemStatus::ALL[status];
                    drop(record(&mut l, ordinal, update(ItemStatus::ALL[status])));
                }
                2 => if in_flight.is_none() {
                    in_flight = l.take(most, 1 << 20);
                },
                3 => if let Some(step) = in_flight.take() {
                    prop_assert_eq!(step.prev, row_seq);
                    apply(&step, &mut rows);
                    row_seq = step.seq();
                    history.push((row_seq, rows));
                    l.settle(Verdict::Committed);
                },
                _ => if in_flight.take().is_some() {
                    // The database falls back to how it was at the claim.
                    (row_seq, rows) = history[0];
                    history.truncate(1);
                    l.settle(Verdict::FellBack(row_seq));
                },
            }
        }
        if let Some(step) = in_flight.take() {
            apply(&step, &mut rows);
            l.settle(Verdict::Committed);
        }
        while let Some(step) = l.take(2, 1 << 20) {
            apply(&step, &mut rows);
            l.settle(Verdict::Committed);
        }
        prop_assert_eq!(rows, truth);
        prop_assert_eq!(l.outlook(), Counts::of(truth.iter()));
    }
}
