//! Wrong requests about operations: the field is named, nothing is stored, nothing is changed.

use anyhow::Context as _;
use http::Method;
use knm_tests::scenario::World;
use serde_json::{Value, json};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn body(action: &str, params: Value, options: Value) -> Value {
    let nodes = json!({"names": ["node-0001"]});
    json!({"action": action, "nodes": nodes, "params": params, "options": options})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_parameters_and_options_are_refused_by_name() -> anyhow::Result<()> {
    let world = World::new("refused").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let label = || json!({"set": {"example.com/a": "1"}});
    let taint = |key: &str, effect: &str| json!({"set": [{"key": key, "effect": effect}]});
    let none = || json!({});
    let cases = [
        (body("label", json!({"set": {"-a": "1"}}), none()), "params.set.-a"),
        (body("label", json!({"set": {"a": "1"}, "remove": ["a"]}), none()), "params.remove[0]"),
        (body("annotate", json!({"set": {"a b": "1"}}), none()), "params.set.a b"),
        (body("annotate", json!({"set": {"k8s.io/a": "1"}}), none()), "params.set.k8s.io/a"),
        (body("taint", taint("k", "Never"), none()), "params.set[0].effect"),
        (body("taint", taint("node.kubernetes.io/x", "NoSchedule"), none()), "params.set[0].key"),
        (
            body(
                "taint",
                json!({"set": [{"key": "k", "effect": "NoSchedule"}], "remove": [{"key": "k"}]}),
                none(),
            ),
            "params.remove[0]",
        ),
        (body("cordon", json!({"set": {}}), none()), "params.set"),
        (body("uncordon", json!({"force": true}), none()), "params.force"),
        (body("drain", json!({"timeout": 1}), none()), "params.timeout"),
        (body("drain", json!({"pod_selector": "("}), none()), "params.pod_selector"),
        (
            body("drain", json!({"grace_period_seconds": "5"}), none()),
            "params.grace_period_seconds",
        ),
        // Options.
        (body("label", label(), json!({"concurrency": 100_000})), "options.concurrency"),
        (body("label", label(), json!({"max_failures": -1})), "options.max_failures"),
        (body("label", label(), json!({"max_unavailable": 1})), "options.max_unavailable"),
        (body("taint", taint("k", "NoSchedule"), json!({"waves": {"size": 1}})), "options.waves"),
        (
            body("cordon", none(), json!({"uncordon_on_failure": true})),
            "options.uncordon_on_failure",
        ),
        (body("drain", none(), json!({"max_unavailable": "120%"})), "options.max_unavailable"),
        (body("drain", none(), json!({"max_unavailable": "0%"})), "options.max_unavailable"),
        (body("drain", none(), json!({"waves": {"size": 0}})), "options.waves.size"),
        (body("drain", none(), json!({"waves": {"size": 1, "pause": 1}})), "options.waves.pause"),
        (body("drain", none(), json!({"not_after": "soon"})), "options.not_after"),
        (body("drain", none(), json!({"not_after": "2020-01-01T00:00:00Z"})), "options.not_after"),
        (body("drain", none(), json!({"dry_run": true, "waves": {"size": 1}})), "options.waves"),
    ];
    for (body, field) in cases {
        for path in ["/api/v1/tasks", "/api/v1/tasks/preview"] {
            let problem =
                api.post(path, &body).await?.problem().with_context(|| body.to_string())?;
            assert_eq!(problem.status, 422, "{body}: {problem:?}");
            let fields: Vec<_> = problem.errors.iter().map(|e| e.field.as_str()).collect();
            assert!(fields.contains(&field), "{path} {body}: {fields:?} should name {field}");
        }
    }
    assert_eq!(world.stored_tasks().await?, 0);
    assert!(world.sim.request_summary().effective_writes.is_empty());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_drains_is_refused_for_every_other_action() -> anyhow::Result<()> {
    let world = World::new("drain_only").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let keys = || json!({"set": {"example.com/a": "1"}});
    let taint = json!({"set": [{"key": "k", "effect": "NoSchedule"}]});
    for (action, params) in [
        ("label", keys()),
        ("annotate", keys()),
        ("taint", taint),
        ("cordon", json!({})),
        ("uncordon", json!({})),
    ] {
        for (option, value) in [
            ("max_unavailable", json!(1)),
            ("waves", json!({"size": 1})),
            ("uncordon_on_failure", json!(true)),
        ] {
            let body = body(action, params.clone(), json!({option: value}));
            let problem = api.post("/api/v1/tasks", &body).await?.problem()?;
            assert_eq!(problem.status, 422, "{body}: {problem:?}");
            let field = format!("options.{option}");
            assert!(problem.errors.iter().any(|e| e.field == field), "{body}: {problem:?}");
        }
    }
    // Parameters of drains, too.
    for param in ["ignore_daemonsets", "force", "disable_eviction", "timeout_seconds"] {
        let body = body("cordon", json!({param: true}), json!({}));
        let problem = api.post("/api/v1/tasks", &body).await?.problem()?;
        assert_eq!(problem.errors[0].field, format!("params.{param}"), "{problem:?}");
    }
    assert_eq!(world.stored_tasks().await?, 0);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_names_are_too_many() -> anyhow::Result<()> {
    let world = World::new("too_many").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let names: Vec<String> = (0..100_000).map(|i| format!("node-{i:06}")).collect();
    let body = json!({"action": "cordon", "nodes": {"names": names}}).to_string();
    let answer = api.send(Method::POST, "/api/v1/tasks", &JSON, body).await?;
    let problem = answer.problem()?;
    assert_eq!(
        (problem.status, problem.errors[0].field.as_str()),
        (422, "nodes.names"),
        "{problem:?}"
    );
    let huge: Vec<String> = (0..100_000).map(|i| format!("node-{i:0100}")).collect();
    let body = json!({"action": "cordon", "nodes": {"names": huge}}).to_string();
    let answer = api.send(Method::POST, "/api/v1/tasks", &JSON, body).await?;
    assert_eq!(answer.problem()?.status, 413);
    assert_eq!(world.stored_tasks().await?, 0);
    world.stop().await
}
