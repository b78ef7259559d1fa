//! What a client asks before it asks for anything: versions, groups, resources, health.

use serde_json::{Value, json};

use super::resource::Resource;

/// An answer that is not about an object.
#[derive(Debug)]
pub(crate) enum Page {
    /// JSON.
    Json(Value),
    /// JSON that is kept as text.
    Raw(&'static str),
    /// Plain text.
    Text(&'static str),
    /// There is nothing here; unlike inside a group, the server says so in plain text.
    Missing,
}

/// The resources of the core group. It lists what a real server has, not only what is simulated,
/// so that clients decide as they would there.
const CORE_V1: &str = include_str!("discovery/core_v1.json");

/// The page behind a path.
pub(crate) fn page(path: &str) -> Page {
    match path.trim_end_matches('/') {
        "/version" => Page::Json(version()),
        "/healthz" | "/livez" | "/readyz" => Page::Text("ok"),
        "/api" => Page::Json(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        "/api/v1" => Page::Raw(CORE_V1),
        "/apis" => Page::Json(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": GROUPS.iter().map(|group| group_value(group)).collect::<Vec<_>>(),
        })),
        path => match path.strip_prefix("/apis/").map(|rest| rest.split_once('/')) {
            Some(None) => GROUPS.iter().find(|group| path.ends_with(&format!("/{group}"))).map_or(
                Page::Missing,
                |group| {
                    let mut value = group_value(group);
                    value["kind"] = "APIGroup".into();
                    value["apiVersion"] = "v1".into();
                    Page::Json(value)
                },
            ),
            Some(Some((group, "v1"))) => resources(group),
            _ => Page::Missing,
        },
    }
}

/// The groups beside the core, all at version v1.
const GROUPS: [&str; 5] =
    ["apps", "authorization.k8s.io", "batch", "coordination.k8s.io", "policy"];

fn group_value(group: &str) -> Value {
    let version = json!({ "groupVersion": format!("{group}/v1"), "version": "v1" });
    json!({ "name": group, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str) -> Page {
    if !GROUPS.contains(&group) {
        return Page::Missing;
    }
    let mut resources = Vec::new();
    if group == "authorization.k8s.io" {
        resources.push(json!({
            "name": "selfsubjectaccessreviews",
            "singularName": "selfsubjectaccessreview",
            "namespaced": false,
            "kind": "SelfSubjectAccessReview",
            "verbs": ["create"],
        }));
    }
    for info in Resource::ALL.map(Resource::info).into_iter().filter(|info| info.group == group) {
        let mut resource = json!({
            "name": info.plural,
            "singularName": info.kind.to_lowercase(),
            "namespaced": info.namespaced,
            "kind": info.kind,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        });
        if !info.short.is_empty() {
            resource["shortNames"] = info.short.into();
        }
        resources.push(resource);
        if info.status {
            resources.push(json!({
                "name": format!("{}/status", info.plural),
                "singularName": "",
                "namespaced": info.namespaced,
                "kind": info.kind,
                "verbs": ["get", "patch", "update"],
            }));
        }
    }
    Page::Json(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/v1"),
        "resources": resources,
    }))
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2",
        "gitCommit": "$Format:%H$",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.27.3",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}
