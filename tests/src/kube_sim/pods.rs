//! The part of [`KubeSim`] that is about pods.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Allow, ApiError, Eviction, KubeSim, SimPod, Workload, object::Object, pod, resource::Resource,
    side::pods,
};

impl KubeSim {
    /// Adds a pod; returns it as stored.
    pub fn add_pod(&self, pod: SimPod) -> Result<Value, ApiError> {
        pods::add_pod(&self.shared.store, &pod)
    }

    /// A pod as it is now.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = format!("{namespace}/{name}");
        self.shared.store.get(Resource::Pods, &key).map(|pod| pod.to_value())
    }

    /// All pods, by namespace and name.
    pub fn pods(&self) -> Vec<Value> {
        self.pods_where(|_| true)
    }

    /// The pods on a node, terminating ones included.
    pub fn pods_on(&self, node: &str) -> Vec<Value> {
        self.pods_where(|object| pod::node(object) == Some(node))
    }

    fn pods_where(&self, wanted: impl Fn(&Object) -> bool) -> Vec<Value> {
        let (pods, _) = self.shared.store.list(Resource::Pods);
        pods.iter().filter(|pod| wanted(pod)).map(|pod| pod.to_value()).collect()
    }

    /// Adds a workload and its first pods, running and ready, spread over the nodes that take pods;
    /// returns their names.
    pub fn add_workload(&self, workload: Workload) -> Result<Vec<String>, ApiError> {
        pods::add_workload(&self.shared.store, &workload, None, self.shared.seed)
    }

    /// The same with the first pods on these nodes in turn. What replaces them goes anywhere.
    pub fn place(&self, workload: Workload, nodes: &[&str]) -> Result<Vec<String>, ApiError> {
        let nodes: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        pods::add_workload(&self.shared.store, &workload, Some(&nodes), self.shared.seed)
    }

    /// Adds a disruption budget for the pods with these labels; returns it with its status.
    pub fn add_budget(
        &self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        allow: Allow,
    ) -> Result<Value, ApiError> {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        pods::add_budget(&self.shared.store, namespace, name, &labels, allow)
    }

    /// Removes a disruption budget.
    pub fn remove_budget(&self, namespace: &str, name: &str) -> Result<(), ApiError> {
        pods::remove_budget(&self.shared.store, namespace, name)
    }

    /// A disruption budget as it is now.
    pub fn budget(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = format!("{namespace}/{name}");
        self.shared.store.get(Resource::Budgets, &key).map(|budget| budget.to_value())
    }

    /// Stops the disruption controller, or lets it go on. As long as it is stopped, evictions under a
    /// budget that is new or changed are answered 429 with `Retry-After`.
    pub fn hold_budgets(&self, hold: bool) {
        pods::hold_budgets(&self.shared.store, hold);
    }

    /// How clients have broken budgets, oldest first: fewer pods healthy after an eviction or a
    /// deletion than before it, and than had to be.
    pub fn budget_violations(&self) -> Vec<String> {
        self.shared.store.disruption(|disruption| disruption.violations())
    }

    /// The fewest healthy pods of a budget since it was first met; nothing if it never was.
    pub fn lowest_healthy(&self, namespace: &str, name: &str) -> Option<usize> {
        let key = format!("{namespace}/{name}");
        self.shared.store.disruption(|disruption| disruption.lowest_healthy(&key))
    }

    /// Every request to evict a pod, refused or unanswered ones and dry runs included, in the order of
    /// the answers.
    pub fn evictions(&self) -> Vec<Eviction> {
        self.shared.evictions.entries()
    }

    /// Waits until something has been stored or a request has ended.
    pub async fn changed(&self) {
        let mut revisions = self.shared.store.subscribe();
        let mut answered = self.shared.answered.subscribe();
        // The senders live as long as this does.
        tokio::select! {
            _ = revisions.changed() => {}
            _ = answered.changed() => {}
        }
    }

    /// Waits until a condition holds; it is looked at after every change of the store and every
    /// request. Put a timeout around it.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        let mut revisions = self.shared.store.subscribe();
        let mut answered = self.shared.answered.subscribe();
        while !condition(self) {
            tokio::select! {
                _ = revisions.changed() => {}
                _ = answered.changed() => {}
            }
        }
    }
}
