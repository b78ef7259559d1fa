//! Holds the simulated Kubernetes API to recordings of a real one.
//!
//! The recordings are played in their order against one simulator, because each finds the state that
//! the ones before it have left. What the recorder did in between is done in `prepare`.

#[path = "kube_recordings/client.rs"]
mod client;
#[path = "kube_recordings/compare.rs"]
mod compare;

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
};

use anyhow::{Context, ensure};
use client::{Answer, Client, Events, MERGE};
use compare::Correspondence;
use knm_tests::kube_sim::{Authentication, KubeSim, SimOptions, User};
use serde_json::{Value, json};

/// What is played, in this order.
const REPLAYED: &[&str] = &[
    "01-version",
    "02-core-resources",
    "03-node-create",
    "04-node-get",
    "05-node-get-missing",
    "06-node-list-page1",
    "07-node-list-page2",
    "08-node-list-selector-set",
    "09-node-list-selector-bad",
    "10-node-list-field-selector",
    "11-node-list-field-unschedulable",
    "12-label-merge-patch",
    "13-label-merge-patch-noop",
    "14-label-invalid-value",
    "15-label-invalid-key",
    "16-label-patch-missing-node",
    "17-patch-unsupported-media-type",
    "18-label-dry-run",
    "19-label-dry-run-bad",
    "20-label-field-validation-strict",
    "21-taint-set-with-resource-version",
    "22-taint-conflict",
    "23-taint-json-patch-test-fails",
    "24-taint-strategic-merge-replaces",
    "25-taint-duplicate",
    "26-taint-bad-effect",
    "27-cordon",
    "28-uncordon",
    "29-apply-labels",
    "30-apply-conflict",
    "31-unauthenticated",
    "32-anonymous",
    "33-forbidden",
    "34-self-subject-access-review",
    "35-self-subject-access-review-no",
    "36-pods-on-node",
    "37-evict-dry-run",
    "38-evict-ok",
    "39-evict-missing",
    "40-evict-wrong-uid",
    "41-pdb-list",
    "42-evict-blocked-by-pdb",
    "43-evict-two-pdbs",
    "44-pod-delete-grace",
    "45-node-watch",
    "47-node-watch-expired",
    "48-node-list-continue-expired",
    "49-not-found-path",
    "50-metrics-api-missing",
];

const ADMIN: &str = "token-of-the-admin";
const VIEWER: &str = "token-of-the-viewer";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

fn recording(name: &str) -> anyhow::Result<Value> {
    let path = directory().join(format!("{name}.json"));
    let text = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

#[test]
fn every_recording_is_replayed() -> anyhow::Result<()> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(directory())? {
        let name = entry?.file_name().into_string().unwrap();
        files.insert(name.strip_suffix(".json").context(name.clone())?.to_owned());
    }
    let listed: Vec<String> = REPLAYED.iter().map(|name| (*name).to_owned()).collect();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a recording is listed twice");
    assert_eq!(files, unique);
    Ok(())
}

#[tokio::test]
async fn the_simulator_answers_as_the_real_server_did() -> anyhow::Result<()> {
    let tokens = HashMap::from([
        (ADMIN.to_owned(), User::cluster_admin("admin")),
        (VIEWER.to_owned(), User::with_rules("viewer", Vec::new())),
    ]);
    let authentication = Authentication::Tokens(tokens);
    // The recorder ran an API server and the disruption controller, but no kubelets.
    let options = SimOptions { authentication, cluster: false, ..SimOptions::default() };
    let sim = KubeSim::start(options).await?;
    let mut replay = Replay {
        client: Client::new(sim.url()).with_token(Some(ADMIN)),
        same: Correspondence::default(),
    };
    let mut failures = Vec::new();
    for name in REPLAYED {
        if let Err(error) = replay.play(name).await {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    // Every recording is one request, whatever was prepared around it.
    assert!(sim.request_summary().requests >= REPLAYED.len() as u64);
    sim.shutdown().await;
    Ok(())
}

struct Replay {
    client: Client,
    same: Correspondence,
}

impl Replay {
    async fn play(&mut self, name: &str) -> anyhow::Result<()> {
        let recording = recording(name)?;
        self.prepare(name).await?;
        let request = &recording["request"];
        let expected = &recording["response"];
        let method = request["method"].as_str().context("method")?;
        let path = self.simulated_path(request["path"].as_str().context("path")?);
        let content_type = request["content_type"].as_str();
        let body = self.simulated_body(&request["body"]);
        let body = Some(&body).filter(|body| !body.is_null());
        let token = match request["credentials"].as_str() {
            Some("cluster-admin") => Some(ADMIN),
            Some("read-nothing") => Some(VIEWER),
            Some("invalid") => Some("no-such-token"),
            Some("none") => None,
            other => anyhow::bail!("unknown credentials {other:?}"),
        };
        let client = self.client.with_token(token);
        if let Some(events) = expected["events"].as_array() {
            let response = client.open(method, &path, content_type, body).await?;
            ensure!(json!(response.status().as_u16()) == expected["status"], "{response:?}");
            let mut stream = Events::new(response);
            self.disturb(name).await?;
            let seen = stream.rest().await?;
            return self.check(&json!(events), &json!(seen));
        }
        let answer = client.send(method, &path, content_type, body).await?;
        ensure!(
            json!(answer.status) == expected["status"],
            "status is {}, recorded is {}: {}",
            answer.status,
            expected["status"],
            answer.body
        );
        for (header, value) in expected["headers"].as_object().context("headers")? {
            ensure!(
                json!(answer.header(header)) == *value,
                "{header}: {:?}",
                answer.header(header)
            );
        }
        self.check(&expected["body"], &answer.body)
    }

    fn check(&mut self, recorded: &Value, simulated: &Value) -> anyhow::Result<()> {
        self.same.compare(recorded, simulated).map_err(anyhow::Error::msg)
    }

    /// Resource versions and continue tokens in a path are the recorder's; these are ours.
    fn simulated_path(&self, path: &str) -> String {
        let Some((path, query)) = path.split_once('?') else {
            return path.to_owned();
        };
        let query: Vec<String> = query
            .split('&')
            .map(|part| match part.split_once('=') {
                Some(("continue", token)) => {
                    format!("continue={}", self.same.simulated_token(token))
                }
                Some(("resourceVersion", version)) => {
                    format!("resourceVersion={}", self.same.simulated(version))
                }
                _ => part.to_owned(),
            })
            .collect();
        format!("{path}?{}", query.join("&"))
    }

    fn simulated_body(&self, body: &Value) -> Value {
        let mut body = body.clone();
        if let Some(version) = body.pointer_mut("/metadata/resourceVersion")
            && let Some(text) = version.as_str()
        {
            *version = self.same.simulated(text).into();
        }
        body
    }

    /// What the recorder did before a recording.
    async fn prepare(&mut self, name: &str) -> anyhow::Result<()> {
        match name {
            // Two more nodes like rec-a, one of them in another zone.
            "06-node-list-page1" => {
                for (node, zone) in [("rec-b", "z1"), ("rec-c", "z2")] {
                    let mut body = recording("03-node-create")?["request"]["body"].clone();
                    body["metadata"]["name"] = node.into();
                    body["metadata"]["labels"]["kubernetes.io/hostname"] = node.into();
                    body["metadata"]["labels"]["zone"] = zone.into();
                    self.create("/api/v1/nodes", &body).await?;
                }
            }
            "36-pods-on-node" => self.make_pods().await?,
            "41-pdb-list" => self.make_budget("web", 3).await?,
            "43-evict-two-pdbs" => self.make_budget("web-too", 1).await?,
            // The pods that came and went in between have raised the version there.
            "45-node-watch" => {
                let list = self.client.get("/api/v1/nodes").await?;
                let version = list.body["metadata"]["resourceVersion"].as_str();
                self.same.declare("8371", version.context("list without a version")?);
            }
            _ => {}
        }
        Ok(())
    }

    async fn create(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let created = self.client.send("POST", path, Some("application/json"), Some(body)).await?;
        ensure!(created.status == 201, "{created:?}");
        Ok(())
    }

    /// Makes the recorded pods in the order of their versions, and plays their kubelet.
    async fn make_pods(&self) -> anyhow::Result<()> {
        self.create("/api/v1/namespaces", &json!({ "metadata": { "name": "rec" } })).await?;
        let recorded = recording("36-pods-on-node")?["response"]["body"]["items"].clone();
        let mut pods = recorded.as_array().context("no pods")?.clone();
        pods.sort_by_key(|pod| pod["metadata"]["resourceVersion"].to_string());
        for pod in &pods {
            let mut metadata = json!({ "labels": pod["metadata"]["labels"] });
            metadata["name"] = pod["metadata"]["name"].clone();
            if let Some(owners) = pod["metadata"].get("ownerReferences") {
                metadata["ownerReferences"] = owners.clone();
            }
            // What is left out here is what the server fills in.
            let mut spec = json!({ "containers": [{ "name": "c", "image": "img" }] });
            spec["nodeName"] = pod["spec"]["nodeName"].clone();
            spec["terminationGracePeriodSeconds"] = 0.into();
            if let Some(volumes) = pod["spec"].get("volumes") {
                spec["volumes"] = volumes.clone();
            }
            let path = "/api/v1/namespaces/rec/pods";
            self.create(path, &json!({ "metadata": metadata, "spec": spec })).await?;
            let ready = json!({ "type": "Ready", "status": "True" });
            let status = json!({ "status": { "phase": "Running", "conditions": [ready] } });
            let path =
                format!("{path}/{}/status", pod["metadata"]["name"].as_str().context("name")?);
            let answer = self.client.send("PATCH", &path, Some(MERGE), Some(&status)).await?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        Ok(())
    }

    async fn make_budget(&self, name: &str, min_available: u32) -> anyhow::Result<()> {
        let selector = json!({ "matchLabels": { "app": "web" } });
        let spec = json!({ "minAvailable": min_available, "selector": selector });
        let path = "/apis/policy/v1/namespaces/rec/poddisruptionbudgets";
        self.create(path, &json!({ "metadata": { "name": name }, "spec": spec })).await?;
        // The list's version is not the budget's: something else has happened since.
        let namespace = json!({ "metadata": { "name": format!("after-{name}") } });
        self.create("/api/v1/namespaces", &namespace).await
    }

    /// What the recorder did while a watch was open.
    async fn disturb(&self, name: &str) -> anyhow::Result<()> {
        if name != "45-node-watch" {
            return Ok(());
        }
        let ok = |answer: Answer| {
            ensure!(answer.status == 200, "{answer:?}");
            Ok(())
        };
        let labels = |labels: Value| json!({ "metadata": { "labels": labels } });
        ok(self.client.patch("rec-b", labels(json!({ "team": "x" }))).await?)?;
        ok(self.client.patch("rec-b", labels(json!({ "zone": null }))).await?)?;
        ok(self.client.send("DELETE", "/api/v1/nodes/rec-c", None, None).await?)
    }
}

/// The comparison itself has to fail when it should.
#[test]
fn a_wrong_answer_is_noticed() -> anyhow::Result<()> {
    let changes: &[(&str, &str, Value)] = &[
        ("04-node-get", "/metadata/labels/zone", json!("z2")),
        ("04-node-get", "/spec/taints", json!([])),
        ("04-node-get", "/metadata/managedFields/0/manager", json!("kubectl")),
        ("04-node-get", "/metadata/creationTimestamp", json!("yesterday")),
        ("05-node-get-missing", "/reason", json!("Gone")),
        ("05-node-get-missing", "/message", json!("nodes \"nope\" is not found")),
        ("05-node-get-missing", "/details/kind", json!("Node")),
        ("14-label-invalid-value", "/details/causes", json!([])),
        ("20-label-field-validation-strict", "/message", json!("\"{}\"")),
        ("06-node-list-page1", "/metadata/continue", json!("e30")),
        ("48-node-list-continue-expired", "/metadata", json!({})),
        ("36-pods-on-node", "/items/0/spec/restartPolicy", json!("Never")),
        ("41-pdb-list", "/items/0/status/currentHealthy", json!(2)),
        ("44-pod-delete-grace", "/metadata/deletionTimestamp", json!("soon")),
    ];
    for (name, pointer, value) in changes {
        let recorded = recording(name)?["response"]["body"].clone();
        Correspondence::default().compare(&recorded, &recorded).map_err(anyhow::Error::msg)?;
        let mut wrong = recorded.clone();
        *wrong.pointer_mut(pointer).context(*pointer)? = value.clone();
        let verdict = Correspondence::default().compare(&recorded, &wrong);
        assert!(verdict.is_err(), "{name} {pointer}");
    }
    // Versions are free, but one cannot stand for two.
    let mut same = Correspondence::default();
    let version = |text: &str| json!({ "metadata": { "resourceVersion": text } });
    same.compare(&version("8"), &version("1001")).map_err(anyhow::Error::msg)?;
    assert!(same.compare(&version("9"), &version("1001")).is_err());
    assert!(same.compare(&version("8"), &version("1002")).is_err());
    Ok(())
}
