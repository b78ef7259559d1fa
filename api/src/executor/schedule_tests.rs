use serde_json::{Value, json};

use super::*;
use crate::tasks::SubmittedOptions;

fn node(name: &str, ready: bool, cordoned: bool) -> Node {
    let status = if ready { "True" } else { "False" };
    serde_json::from_value(json!({
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"unschedulable": cordoned},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    }))
    .expect("a node")
}

fn cluster(nodes: &[(&str, bool, bool)]) -> NodeCache {
    NodeCache::fixed(nodes.iter().map(|(name, ready, cordoned)| node(name, *ready, *cordoned)))
}

fn schedule(names: &[&str], options: &Value, own: Option<&str>) -> Schedule {
    let item = |(ordinal, name): (u32, &&str)| Item {
        ordinal,
        node: (*name).to_owned(),
        uid: String::new(),
        status: ItemStatus::Pending,
        attempts: 0,
        before: None,
        before_version: None,
        undo: None,
    };
    let items = (0..).zip(names).map(item).collect();
    let asked: SubmittedOptions = serde_json::from_value(options.clone()).expect("options");
    let limits = knm_shared::config::Executor::default();
    let drain = Action::parse("drain", &Value::Null).expect("valid");
    let wall = Timestamp::UNIX_EPOCH;
    let options = Options::check(&asked, Some(&drain), &limits, wall).expect("valid");
    Schedule::new(items, &drain, &options, own)
}

fn step(schedule: &mut Schedule, nodes: &NodeCache) -> String {
    step_at(schedule, nodes, Instant::now())
}

fn step_at(schedule: &mut Schedule, nodes: &NodeCache, now: Instant) -> String {
    match schedule.next(nodes, Timestamp::UNIX_EPOCH, now) {
        Next::Start(item) => item.node,
        Next::Wait(_, why) => format!("wait: {why}"),
        Next::Stop(why) => format!("stop: {why}"),
        Next::Empty => "empty".into(),
    }
}

const THREE: [&str; 3] = ["a", "b", "c"];

fn healthy() -> NodeCache {
    cluster(&[("a", true, false), ("b", true, false), ("c", true, false)])
}

#[tokio::test]
async fn the_own_node_comes_last_and_alone() {
    let mut schedule = schedule(&THREE, &json!({}), Some("a"));
    let nodes = healthy();
    assert_eq!(step(&mut schedule, &nodes), "b");
    assert_eq!(step(&mut schedule, &nodes), "c");
    assert!(step(&mut schedule, &nodes).starts_with("wait: this pod"));
    schedule.ended(1, ItemStatus::Succeeded);
    assert!(step(&mut schedule, &nodes).starts_with("wait: this pod"));
    schedule.ended(2, ItemStatus::Failed);
    assert_eq!(step(&mut schedule, &nodes), "a");
    assert_eq!(step(&mut schedule, &nodes), "empty");
}

#[tokio::test]
async fn one_failure_more_than_allowed_stops_the_rest() {
    let nodes = healthy();
    let mut none = schedule(&THREE, &json!({"max_failures": 0}), None);
    assert_eq!(step(&mut none, &nodes), "a");
    none.ended(0, ItemStatus::Failed);
    assert_eq!(step(&mut none, &nodes), "stop: 1 nodes have failed, options.max_failures is 0");
    let mut one = schedule(&THREE, &json!({"max_failures": 1}), None);
    assert_eq!(step(&mut one, &nodes), "a");
    one.ended(0, ItemStatus::Failed);
    assert_eq!(step(&mut one, &nodes), "b");
    one.ended(1, ItemStatus::Failed);
    assert!(step(&mut one, &nodes).starts_with("stop"));
    assert_eq!(one.into_rest().len(), 1);
}

#[tokio::test]
async fn nothing_starts_after_the_deadline() {
    let mut schedule = schedule(&THREE, &json!({"not_after": "2026-01-01T00:00:00Z"}), None);
    let nodes = healthy();
    let at = |s: &str| s.parse::<Timestamp>().expect("a time");
    let before = at("2025-12-31T23:59:59Z");
    assert!(matches!(schedule.next(&nodes, before, Instant::now()), Next::Start(_)));
    let after = at("2026-01-01T00:00:00Z");
    assert!(matches!(schedule.next(&nodes, after, Instant::now()), Next::Stop(_)));
}

#[tokio::test]
async fn unavailable_nodes_count_whoever_made_them_so() {
    let nodes = cluster(&[("a", true, false), ("b", true, true), ("c", false, false)]);
    let mut two = schedule(&["a"], &json!({"max_unavailable": 1}), None);
    assert_eq!(step(&mut two, &nodes), "a", "only the task's own nodes count");

    let mut full = schedule(&THREE, &json!({"max_unavailable": 2}), None);
    // Those that are away already may be drained: that makes it no worse.
    assert_eq!(step(&mut full, &nodes), "b");
    assert_eq!(step(&mut full, &nodes), "c");
    let waits = step(&mut full, &nodes);
    assert!(waits.starts_with("wait: 2 of") && waits.contains("(b, c)"), "{waits}");
    full.ended(1, ItemStatus::Succeeded);
    assert!(step(&mut full, &nodes).starts_with("wait"), "it is still cordoned");
    let better = cluster(&[("a", true, false), ("b", true, false), ("c", false, false)]);
    assert_eq!(step(&mut full, &better), "a");
}

#[tokio::test]
async fn the_own_node_does_not_hold_up_the_others_by_being_away() {
    let own_is_away = cluster(&[("a", true, true), ("b", true, false), ("c", true, false)]);
    let mut one = schedule(&THREE, &json!({"max_unavailable": 1}), Some("a"));
    assert_eq!(step(&mut one, &own_is_away), "a");
    let waits = step(&mut one, &own_is_away);
    assert!(waits.contains("(a), options.max_unavailable allows 1"), "{waits}");
    one.ended(0, ItemStatus::Succeeded);
    assert!(step(&mut one, &own_is_away).starts_with("wait"), "it is still cordoned");
    assert_eq!(step(&mut one, &healthy()), "b");

    // As long as others can go, or are under way, they come first.
    let mut two = schedule(&THREE, &json!({"max_unavailable": 2}), Some("a"));
    assert_eq!(step(&mut two, &own_is_away), "b");
    assert!(step(&mut two, &own_is_away).contains("(a, b)"));
    let b_too = cluster(&[("a", true, true), ("b", true, true), ("c", true, false)]);
    assert!(step(&mut two, &b_too).starts_with("wait"));
    two.ended(1, ItemStatus::Succeeded);
    assert_eq!(step(&mut two, &own_is_away), "c");
    two.ended(2, ItemStatus::Succeeded);
    assert_eq!(step(&mut two, &own_is_away), "a");
    assert_eq!(step(&mut two, &own_is_away), "empty");

    let mut others = schedule(&THREE, &json!({"max_unavailable": 1}), Some("a"));
    let all_away = cluster(&[("a", true, true), ("b", false, false), ("c", true, true)]);
    for expected in ["b", "c"] {
        assert_eq!(step(&mut others, &all_away), expected);
    }
    assert!(step(&mut others, &all_away).starts_with("wait: this pod"));
    others.ended(1, ItemStatus::Succeeded);
    others.ended(2, ItemStatus::Succeeded);
    assert_eq!(step(&mut others, &all_away), "a");
}

#[tokio::test]
async fn an_own_node_that_is_away_goes_in_its_own_wave_and_in_none_before() {
    let options = json!({"max_unavailable": 1, "waves": {"size": 1, "ready_timeout_seconds": 60}});
    let own_is_away = cluster(&[("a", true, true), ("b", true, false), ("c", true, false)]);
    let mut first = schedule(&THREE, &options, Some("a"));
    assert_eq!(step(&mut first, &own_is_away), "a");
    first.ended(0, ItemStatus::Succeeded);
    for (ordinal, expected) in [(1, "b"), (2, "c")] {
        assert_eq!(step(&mut first, &healthy()), expected);
        first.ended(ordinal, ItemStatus::Succeeded);
    }
    assert_eq!(step(&mut first, &healthy()), "empty");

    // As any other node that is cordoned before its wave begins, it waits with those of earlier ones.
    let c_is_away = cluster(&[("a", true, false), ("b", true, false), ("c", true, true)]);
    for own in [None, Some("c")] {
        let mut last = schedule(&THREE, &options, own);
        let waits = step(&mut last, &c_is_away);
        assert!(waits.contains("(c), options.max_unavailable allows 1"), "{waits}");
    }
}

#[tokio::test]
async fn the_time_that_is_left_ends_with_the_deadline() {
    let at = |s: &str| s.parse::<Timestamp>().expect("a time");
    let deadline = json!({"not_after": "2026-01-01T00:00:00Z"});
    let schedule_with = schedule(&THREE, &deadline, None);
    let left = |s: &str| schedule_with.time_left(at(s));
    assert_eq!(left("2025-12-31T23:59:59Z"), Some(Duration::from_secs(1)));
    assert_eq!(left("2026-01-01T00:00:00Z"), Some(Duration::ZERO));
    assert_eq!(left("2026-01-01T00:00:01Z"), Some(Duration::ZERO));
    assert!(schedule_with.is_over(at("2026-01-01T00:00:00Z")).is_some());
    assert_eq!(schedule(&THREE, &json!({}), None).time_left(at("2026-01-01T00:00:00Z")), None);
}

#[tokio::test]
async fn nodes_under_way_count_before_memory_shows_them() {
    let mut schedule = schedule(&THREE, &json!({"max_unavailable": "34%"}), None);
    let nodes = healthy();
    assert_eq!(step(&mut schedule, &nodes), "a");
    assert!(step(&mut schedule, &nodes).starts_with("wait"));
    schedule.ended(0, ItemStatus::Failed);
    assert_eq!(step(&mut schedule, &nodes), "b");
}

#[tokio::test]
async fn a_wave_begins_when_the_one_before_is_done_and_ready() {
    let mut schedule =
        schedule(&THREE, &json!({"waves": {"size": 2, "ready_timeout_seconds": 60}}), None);
    let nodes = healthy();
    assert_eq!(step(&mut schedule, &nodes), "a");
    assert_eq!(step(&mut schedule, &nodes), "b");
    assert_eq!(step(&mut schedule, &nodes), "wait: wave 2 begins when 2 more nodes are done");
    schedule.ended(0, ItemStatus::Succeeded);
    schedule.ended(1, ItemStatus::Failed);
    let down = cluster(&[("a", false, true), ("b", false, false), ("c", true, false)]);
    let now = Instant::now();
    let waits = step_at(&mut schedule, &down, now);
    assert_eq!(waits, "wait: wave 2 begins when these are Ready again: a", "b has failed anyway");
    let late = step_at(&mut schedule, &down, now + Duration::from_secs(60));
    assert_eq!(late, "stop: wave 1 was not Ready again within 60 s: a");
    assert_eq!(step_at(&mut schedule, &nodes, now + Duration::from_secs(59)), "c");
}

#[tokio::test]
async fn what_happened_under_a_former_holder_counts() {
    let mut items = schedule(&THREE, &json!({}), None);
    let item = |name: &str, ordinal, status| Item {
        ordinal,
        node: name.into(),
        uid: String::new(),
        status,
        attempts: 1,
        before: None,
        before_version: None,
        undo: None,
    };
    let left = vec![
        item("a", 0, ItemStatus::Failed),
        item("b", 1, ItemStatus::Succeeded),
        item("c", 2, ItemStatus::Running),
    ];
    items.options.max_failures = Some(0);
    let drain = Action::parse("drain", &Value::Null).expect("valid");
    let mut again = Schedule::new(left, &drain, &items.options, None);
    assert!(step(&mut again, &healthy()).starts_with("stop: 1 nodes"));
}
