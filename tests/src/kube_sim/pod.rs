//! What there is to know of a pod.

use std::time::Duration;

use serde_json::Value;

use super::object::Object;

/// How long the kubelet takes to start the pod: milliseconds, or [`NEVER`].
pub(crate) const STARTS_IN: &str = "kube-sim/starts-in-ms";
/// How long the pod takes to stop once it is told to; the same.
pub(crate) const STOPS_IN: &str = "kube-sim/stops-in-ms";
/// Stands for a time that does not come.
pub(crate) const NEVER: &str = "never";
/// The annotation of a pod that its kubelet has read from a file.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// How long pods take to start and to stop that say nothing of it.
pub(crate) const DEFAULT_DELAY: Duration = Duration::from_millis(20);

/// `Pending`, `Running`, `Succeeded`, `Failed`.
pub(crate) fn phase(pod: &Object) -> &str {
    pod.status("phase").and_then(Value::as_str).unwrap_or_default()
}

/// Whether its containers have ended for good.
pub(crate) fn is_finished(pod: &Object) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the condition `Ready` holds.
pub(crate) fn is_ready(pod: &Object) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

/// A condition by its type.
pub(crate) fn condition<'a>(pod: &'a Object, kind: &str) -> Option<&'a Value> {
    let conditions = pod.status("conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// The node that it is bound to.
pub(crate) fn node(pod: &Object) -> Option<&str> {
    pod.spec("nodeName")?.as_str()
}

/// Whether it exists only to show what a kubelet runs.
pub(crate) fn is_mirror(pod: &Object) -> bool {
    pod.annotation(MIRROR).is_some()
}

/// The grace period of a pod that is being deleted.
pub(crate) fn remaining_grace(pod: &Object) -> Option<i64> {
    pod.metadata().get("deletionGracePeriodSeconds")?.as_i64()
}

/// The delay that an annotation states; `None` for never.
pub(crate) fn delay(pod: &Object, annotation: &str) -> Option<Duration> {
    match pod.annotation(annotation) {
        None => Some(DEFAULT_DELAY),
        Some(text) => text.parse().ok().map(Duration::from_millis),
    }
}

/// A delay as the annotations have it.
pub(crate) fn written_delay(delay: Duration) -> String {
    // Beyond any test's patience.
    if delay > Duration::from_secs(1_000_000) {
        NEVER.to_owned()
    } else {
        delay.as_millis().to_string()
    }
}
