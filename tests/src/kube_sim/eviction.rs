//! POST of an eviction: a deletion that asks the pod's disruption budget first.
//!
//! After `k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go`, but for the retries, which one
//! lock makes unnecessary. Faithful also in this: a budget is charged before the preconditions of the
//! deletion are looked at, and a charge for a pod that then stays lasts for two minutes.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    clock,
    deletion::{self, DeleteOptions},
    disruption,
    object::{Draft, Object},
    pod,
    resource::Resource,
    route::ResourcePath,
    selector::LabelSelector,
    status::ApiError,
    store::{self, Cause, Change, Store, Transaction},
    update,
};

/// The field manager of the API server's own writes.
const MANAGER: &str = "kube-apiserver";

/// When to come back while a budget is being worked on.
const RETRY_AFTER_SECONDS: u64 = 10;

/// An eviction as a client asks for it.
#[derive(Debug)]
pub(crate) struct Request {
    namespace: String,
    name: String,
    options: DeleteOptions,
}

impl Request {
    /// Reads the body of a request; `dry_run` is what its parameters say.
    pub(crate) fn parse(
        path: &ResourcePath,
        mut body: Map<String, Value>,
        dry_run: bool,
    ) -> Result<Self, ApiError> {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = text(body.get("kind"));
        let version = text(body.get("apiVersion"));
        if !matches!(kind.as_str(), "" | "Eviction")
            || !matches!(version.as_str(), "" | "policy/v1" | "policy/v1beta1")
        {
            let what = format!("{version}, Kind={kind} cannot be handled as an Eviction");
            return Err(ApiError::bad_request(what));
        }
        let metadata = body.get("metadata");
        let field = |name: &str| text(metadata.and_then(|metadata| metadata.get(name)));
        let (namespace, name) = (path.namespace.clone().unwrap_or_default(), field("name"));
        if !field("namespace").is_empty() && field("namespace") != namespace {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
        if path.name.as_deref() != Some(&name) {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let options = match body.remove("deleteOptions") {
            Some(Value::Object(options)) => options,
            _ => Map::new(),
        };
        let mut options = DeleteOptions::parse(&options)?;
        options.dry_run |= dry_run;
        Ok(Self { namespace, name, options })
    }

    /// The resource version that the pod must have.
    pub(crate) fn precondition(&self) -> Option<&str> {
        self.options.resource_version.as_deref()
    }

    /// Whether nothing is to be changed.
    pub(crate) fn dry_run(&self) -> bool {
        self.options.dry_run
    }
}

/// Carries an eviction out, or refuses it.
pub(crate) fn evict(store: &Store, request: &Request, user: &str) -> Result<Change, ApiError> {
    let key = store::key(Some(&request.namespace), &request.name);
    let what = format!("an eviction of {key} by {user}");
    store.transact(Cause::Disruption(&what), |transaction| {
        let pod = transaction.find(Resource::Pods, &key, &request.name)?;
        // What does not run, or no longer, is not disrupted.
        let exempt =
            pod.is_terminating() || pod::is_finished(&pod) || pod::phase(&pod) == "Pending";
        if !exempt {
            ask_budget(transaction, &pod, request.dry_run())?;
        }
        request.options.check(&pod)?;
        let before = Arc::clone(&pod);
        let mut options = request.options.clone();
        let pod = if options.dry_run { pod } else { mark(transaction, &pod) };
        // That mark was ours.
        options.resource_version = None;
        let mut change = deletion::delete(transaction, &pod, &options)?.change;
        change.effective |= !Arc::ptr_eq(&before, &pod);
        change.before = Some(before);
        Ok(change)
    })
}

fn ask_budget(
    transaction: &mut Transaction<'_>,
    pod: &Object,
    dry_run: bool,
) -> Result<(), ApiError> {
    let selects = |budget: &&Arc<Object>| {
        let selector = budget.spec("selector").and_then(LabelSelector::from_object);
        selector.is_some_and(|selector| selector.matches(pod))
    };
    let budgets: Vec<Arc<Object>> = transaction
        .in_namespace(Resource::Budgets, pod.namespace())
        .filter(selects)
        .cloned()
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [budget] => budget,
        _ => {
            return Err(ApiError::new(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource \
                 does not support.",
            ));
        }
    };
    let count = |field: &str| budget.status(field).and_then(Value::as_i64).unwrap_or_default();
    let (healthy, desired) = (count("currentHealthy"), count("desiredHealthy"));
    if !pod::is_ready(pod) {
        let always = budget.spec("unhealthyPodEvictionPolicy") == Some(&json!("AlwaysAllow"));
        if always || (healthy >= desired && desired > 0) {
            return Ok(());
        }
    }
    charge(transaction, budget, pod.name(), dry_run)
}

/// Takes one from what the budget allows.
fn charge(
    transaction: &mut Transaction<'_>,
    budget: &Arc<Object>,
    pod: &str,
    dry_run: bool,
) -> Result<(), ApiError> {
    let name = budget.name();
    let count = |field: &str| budget.status(field).and_then(Value::as_i64).unwrap_or_default();
    if count("observedGeneration") < budget.generation() {
        let cause = format!("The disruption budget {name} is still being processed by the server.");
        return Err(ApiError::budget(&cause, RETRY_AFTER_SECONDS));
    }
    let allowed = count("disruptionsAllowed");
    if allowed <= 0 {
        let cause = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count("desiredHealthy"),
            count("currentHealthy")
        );
        return Err(ApiError::budget(&cause, 0));
    }
    if dry_run {
        return Ok(());
    }
    let mut status = budget.section("status").cloned().unwrap_or_default();
    status["disruptionsAllowed"] = (allowed - 1).into();
    status["disruptedPods"][pod] = clock::now().into();
    if allowed == 1 {
        disruption::set_allowed(&mut status);
    }
    let draft = Draft::from_iter([("status".to_owned(), status)]);
    if let Some(draft) = update::attribute(budget, draft, MANAGER, Some("status")) {
        transaction.update(budget, draft);
    }
    Ok(())
}

/// Says on the pod why it goes.
fn mark(transaction: &mut Transaction<'_>, pod: &Arc<Object>) -> Arc<Object> {
    const CONDITION: &str = "DisruptionTarget";
    if pod::condition(pod, CONDITION).is_some_and(|condition| condition["status"] == "True") {
        return Arc::clone(pod);
    }
    let mut status = pod.section("status").cloned().unwrap_or_else(|| json!({}));
    let mut conditions = match status["conditions"].take() {
        Value::Array(conditions) => conditions,
        _ => Vec::new(),
    };
    conditions.retain(|condition| condition["type"] != CONDITION);
    conditions.push(json!({
        "type": CONDITION,
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": clock::now(),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }));
    status["conditions"] = conditions.into();
    transaction.update(pod, Draft::from_iter([("status".to_owned(), status)]))
}
