//! Faults: what goes wrong, for which requests, how often.
//!
//! A decision depends on the seed, the fault, the object and how many requests for this object have
//! met the fault before, and on nothing else. Requests that run at the same time therefore get the
//! same answers in every run, whatever the order in which they arrive.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::route::Verb;

/// A rule that disturbs requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// Object names that the fault is for: a name, or a glob with `*` and `?`. Without one it is for
    /// every request, those without a name (lists, watches, discovery) included.
    pub name: Option<String>,
    /// Plural of the resource, such as `nodes`; without one, any request.
    pub resource: Option<String>,
    /// The subresource, such as `eviction`; without one, the object itself and all of them.
    pub subresource: Option<String>,
    /// Verbs; none means all.
    pub verbs: Vec<Verb>,
    /// Which of the matching requests are hit.
    pub when: When,
    /// Whether `when` counts each object by itself instead of all together.
    pub per_object: bool,
    /// Waits this long before the request is looked at.
    pub latency_ms: u64,
    /// Waits up to this much longer, evenly distributed.
    pub jitter_ms: u64,
    /// What happens then; without an action the request is only late.
    pub action: Option<FaultAction>,
}

/// Which of the matching requests a fault hits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All of them.
    #[default]
    Always,
    /// The first so many.
    First(u64),
    /// Every so-manieth: `Every(3)` hits the third, the sixth and so on.
    Every(u64),
    /// All but the first so many.
    After(u64),
    /// Each with this probability, 0 to 1.
    Probability(f64),
}

/// What a fault does to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultAction {
    /// Answers with an error and does nothing.
    Status {
        /// HTTP status; reason and message are those that Kubernetes gives for it.
        code: u16,
        /// For the `Retry-After` header and `details.retryAfterSeconds`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_seconds: Option<u64>,
        /// Another message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Cuts the connection and does nothing.
    Close,
    /// Does what was asked, then cuts the connection without an answer.
    LoseAnswer,
    /// Never answers and does nothing; ends when the client gives up or the server stops.
    Hang,
}

/// The name of a fault that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

/// What the faults make of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    pub(crate) delay: Duration,
    pub(crate) action: Option<(FaultId, FaultAction)>,
}

/// What a fault can match a request by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) verb: Verb,
    pub(crate) resource: Option<&'a str>,
    pub(crate) subresource: Option<&'a str>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
}

impl Subject<'_> {
    /// What counts as one object.
    fn object(&self) -> String {
        super::store::key(self.namespace, self.name.unwrap_or_default())
    }
}

#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    /// Matching requests so far, all together.
    met: u64,
    /// The same for each object.
    met_by_name: HashMap<String, u64>,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    active: Vec<Active>,
}

/// The faults in force.
#[derive(Debug)]
pub(crate) struct Faults {
    seed: u64,
    inner: Mutex<Inner>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a fault in force, behind those that are.
    pub(crate) fn add(&self, fault: Fault) -> FaultId {
        let mut inner = self.lock();
        inner.next_id += 1;
        let id = FaultId(inner.next_id);
        inner.active.push(Active { id, fault, met: 0, met_by_name: HashMap::new() });
        id
    }

    /// Lifts one fault; `false` if it was not in force.
    pub(crate) fn remove(&self, id: FaultId) -> bool {
        let mut inner = self.lock();
        let before = inner.active.len();
        inner.active.retain(|active| active.id != id);
        inner.active.len() < before
    }

    /// Lifts all faults.
    pub(crate) fn clear(&self) {
        self.lock().active.clear();
    }

    /// The faults in force.
    pub(crate) fn list(&self) -> Vec<(FaultId, Fault)> {
        self.lock().active.iter().map(|active| (active.id, active.fault.clone())).collect()
    }

    /// What happens to a request. Delays add up; the first action that hits is the one.
    pub(crate) fn decide(&self, subject: Subject<'_>) -> Decision {
        let mut decision = Decision::default();
        let object = subject.object();
        let mut inner = self.lock();
        for active in &mut inner.active {
            if !active.fault.concerns(subject) {
                continue;
            }
            active.met += 1;
            let name = object.as_str();
            let of_object = match active.met_by_name.get_mut(name) {
                Some(count) => count,
                None => active.met_by_name.entry(object.clone()).or_default(),
            };
            *of_object += 1;
            let counted = if active.fault.per_object { *of_object } else { active.met };
            let draw = |salt: u64| unit(self.seed, salt, active.id, name, *of_object);
            if !active.fault.when.hits(counted, || draw(1)) {
                continue;
            }
            let jitter = active.fault.jitter_ms.saturating_mul(1000) as f64 * draw(2);
            decision.delay += Duration::from_millis(active.fault.latency_ms);
            decision.delay += Duration::from_micros(jitter as u64);
            if decision.action.is_none() {
                decision.action = active.fault.action.clone().map(|action| (active.id, action));
            }
        }
        decision
    }
}

impl Fault {
    /// A fault that only delays.
    pub fn latency(latency: Duration) -> Self {
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        Self { latency_ms, ..Self::default() }
    }

    /// A fault that answers writes to nodes with a status code.
    pub fn patch_status(name: impl Into<String>, code: u16) -> Self {
        Self::patch(name, FaultAction::Status { code, retry_after_seconds: None, message: None })
    }

    /// A fault that does something to patches of nodes.
    pub fn patch(name: impl Into<String>, action: FaultAction) -> Self {
        Self {
            name: Some(name.into()),
            resource: Some("nodes".to_owned()),
            verbs: vec![Verb::Patch],
            action: Some(action),
            ..Self::default()
        }
    }

    /// A fault that does something to evictions of pods with a name.
    pub fn eviction(name: impl Into<String>, action: FaultAction) -> Self {
        Self {
            name: Some(name.into()),
            resource: Some("pods".to_owned()),
            subresource: Some("eviction".to_owned()),
            verbs: vec![Verb::Create],
            action: Some(action),
            ..Self::default()
        }
    }

    /// The same fault at other times.
    pub fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }

    /// The same fault, counting each object by itself.
    pub fn per_object(mut self) -> Self {
        self.per_object = true;
        self
    }

    fn concerns(&self, subject: Subject<'_>) -> bool {
        let name = self.name.as_deref().is_none_or(|glob| {
            subject.name.is_some_and(|name| matches_glob(glob.as_bytes(), name.as_bytes()))
        });
        let resource =
            self.resource.as_deref().is_none_or(|wanted| subject.resource == Some(wanted));
        let subresource =
            self.subresource.as_deref().is_none_or(|wanted| subject.subresource == Some(wanted));
        name && resource
            && subresource
            && (self.verbs.is_empty() || self.verbs.contains(&subject.verb))
    }
}

impl When {
    fn hits(self, count: u64, draw: impl FnOnce() -> f64) -> bool {
        match self {
            Self::Always => true,
            Self::First(n) => count <= n,
            Self::Every(n) => n > 0 && count.is_multiple_of(n),
            Self::After(n) => count > n,
            Self::Probability(p) => draw() < p,
        }
    }
}

fn matches_glob(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            matches_glob(rest, text) || (!text.is_empty() && matches_glob(glob, &text[1..]))
        }
        ([b'?', glob @ ..], [_, text @ ..]) => matches_glob(glob, text),
        ([a, glob @ ..], [b, text @ ..]) if a == b => matches_glob(glob, text),
        _ => false,
    }
}

/// A number in [0, 1) that these arguments determine.
fn unit(seed: u64, salt: u64, id: FaultId, name: &str, count: u64) -> f64 {
    let mut state = mix(seed ^ mix(salt));
    for part in [id.0, count].into_iter().chain(name.bytes().map(u64::from)) {
        state = mix(state ^ part);
    }
    // The upper 53 bits are what a double can hold.
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(name: &str) -> Subject<'_> {
        Subject {
            verb: Verb::Patch,
            resource: Some("nodes"),
            subresource: None,
            namespace: None,
            name: Some(name),
        }
    }

    #[test]
    fn the_same_seed_hits_the_same_requests_in_any_order() {
        let run = |seed, names: &[&str]| {
            let faults = Faults::new(seed);
            let fault = Fault::patch_status("*", 503).when(When::Probability(0.5));
            faults.add(fault);
            let mut hits: Vec<(String, u64)> = Vec::new();
            for round in 0..32 {
                for name in names {
                    if faults.decide(patch(name)).action.is_some() {
                        hits.push(((*name).to_owned(), round));
                    }
                }
            }
            hits.sort();
            hits
        };
        let hits = run(7, &["a", "b"]);
        assert_eq!(hits, run(7, &["b", "a"]));
        assert_ne!(hits, run(8, &["a", "b"]));
        assert!((16..48).contains(&hits.len()), "{} of 64", hits.len());
    }

    #[test]
    fn faults_match_by_glob_verb_and_count() {
        let faults = Faults::new(0);
        faults.add(Fault::patch_status("node-?1*", 409).when(When::First(1)).per_object());
        assert!(faults.decide(patch("node-01")).action.is_some());
        assert!(faults.decide(patch("node-01")).action.is_none());
        assert!(faults.decide(patch("node-11x")).action.is_some());
        assert!(faults.decide(patch("node-02")).action.is_none());
        let get = Subject { verb: Verb::Get, ..patch("node-21") };
        assert!(faults.decide(get).action.is_none());
    }

    #[test]
    fn faults_read_as_documented() {
        let json = r#"{"name": "node-1", "verbs": ["patch"], "when": {"every": 3}, "action":
            {"status": {"code": 429, "retry_after_seconds": 2}}}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(fault.when, When::Every(3));
        let fault: Fault = serde_json::from_str(r#"{"action": "lose_answer"}"#).unwrap();
        assert_eq!(fault.action, Some(FaultAction::LoseAnswer));
        assert!(serde_json::from_str::<Fault>(r#"{"verb": "patch"}"#).is_err());
    }
}
