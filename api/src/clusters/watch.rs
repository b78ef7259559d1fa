//! The watch behind a [`NodeCache`].

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use tracing::{info, warn};

use super::nodes::{Change, NodeCache, Sync};
use crate::causes;

/// After a failure the watch counts as running again when nothing has failed for so long: it tells
/// of its start only by the next change. Above the longest backoff (30 s) and connect timeout (30 s).
const SETTLED: Duration = Duration::from_secs(65);

/// Objects a page of the list; the cluster's own tools use the same.
const PAGE: u32 = 500;

/// A cache of the cluster's nodes and the task that keeps it current, which never ends by itself.
pub fn watch(
    cluster: &str,
    client: kube::Client,
) -> (NodeCache, impl Future<Output = Infallible> + Send + use<>) {
    let (store, writer) = reflector::store();
    let cache = NodeCache::new(store);
    let api = kube::Api::<Node>::all(client);
    let events = watcher::watcher(api, watcher::Config::default().page_size(PAGE));
    let task =
        run(cluster.to_owned(), events.modify(strip).default_backoff(), cache.clone(), writer);
    (cache, task)
}

/// What nobody here reads and what makes up most of a node's bytes.
fn strip(node: &mut Node) {
    node.metadata.managed_fields = None;
    if let Some(status) = &mut node.status {
        status.images = None;
    }
}

async fn run(
    cluster: String,
    events: impl Stream<Item = Result<Event<Node>, watcher::Error>>,
    cache: NodeCache,
    mut writer: Writer<Node>,
) -> Infallible {
    let mut events = pin!(events);
    loop {
        let next = match cache.state() {
            Sync::Stale { .. } => tokio::time::timeout(SETTLED, events.next()).await,
            Sync::Never { .. } | Sync::Live => Ok(events.next().await),
        };
        match next {
            Ok(Some(Ok(event))) => apply(&cluster, &cache, &mut writer, &event),
            Ok(Some(Err(error))) => failed(&cluster, &cache, &error),
            // The watcher restarts itself for ever; if it did not, waiting is all that is left.
            Ok(None) => std::future::pending().await,
            Err(_settled) => live(&cluster, &cache),
        }
    }
}

fn apply(cluster: &str, cache: &NodeCache, writer: &mut Writer<Node>, event: &Event<Node>) {
    if let Event::Apply(node) | Event::InitApply(node) | Event::Delete(node) = event {
        cache.saw(node);
    }
    writer.apply_watcher_event(event);
    match event {
        Event::Apply(node) => cache.tell(|| Change::Upsert(Arc::new(node.clone()))),
        Event::Delete(node) => cache.tell(|| Change::Delete(Arc::new(node.clone()))),
        Event::InitDone => cache.tell(|| Change::Reset),
        Event::Init | Event::InitApply(_) => {}
    }
    if matches!(event, Event::InitDone | Event::Apply(_) | Event::Delete(_)) {
        live(cluster, cache);
    }
}

fn live(cluster: &str, cache: &NodeCache) {
    if cache.replace_sync(Sync::Live) != Sync::Live {
        info!(cluster, nodes = cache.len(), "watching the cluster's nodes");
    }
}

fn failed(cluster: &str, cache: &NodeCache, error: &watcher::Error) {
    let text: Arc<str> = causes::text(error).into();
    let (next, news) = match cache.state() {
        Sync::Never { error: last } => {
            let news = last.as_ref() != Some(&text);
            (Sync::Never { error: Some(text.clone()) }, news)
        }
        Sync::Live => (Sync::Stale { since: Timestamp::now(), error: text.clone() }, true),
        Sync::Stale { since, error } => {
            let news = error != text;
            (Sync::Stale { since, error: text.clone() }, news)
        }
    };
    cache.replace_sync(next);
    if news {
        warn!(cluster, error = %text, "cannot watch the cluster's nodes");
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use k8s_openapi::api::core::v1::{ContainerImage, NodeStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn node(name: &str, version: &str) -> Node {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            resource_version: Some(version.into()),
            managed_fields: Some(Vec::new()),
            ..ObjectMeta::default()
        };
        let status =
            NodeStatus { images: Some(vec![ContainerImage::default()]), ..NodeStatus::default() };
        Node { metadata, spec: None, status: Some(status) }
    }

    fn follow(
        events: Vec<Result<Event<Node>, watcher::Error>>,
    ) -> (NodeCache, impl Future<Output = Infallible>) {
        let (store, writer) = reflector::store();
        let cache = NodeCache::new(store);
        let events = stream::iter(events).chain(stream::pending());
        (cache.clone(), run("test".into(), events.modify(strip), cache, writer))
    }

    async fn drive(task: impl Future<Output = Infallible>) {
        // Everything queued is taken in one poll.
        assert!(futures_util::poll!(pin!(task)).is_pending());
    }

    #[tokio::test]
    async fn nodes_arrive_stripped_and_sorted_and_the_version_only_rises() {
        let (cache, task) = follow(vec![
            Ok(Event::Init),
            Ok(Event::InitApply(node("b", "12"))),
            Ok(Event::InitApply(node("a", "7"))),
            Ok(Event::InitDone),
        ]);
        drive(task).await;
        let names: Vec<_> = cache.list().iter().map(|n| n.metadata.name.clone()).collect();
        assert_eq!(names, [Some("a".into()), Some("b".into())]);
        let a = cache.get("a").expect("known");
        assert_eq!(a.metadata.managed_fields, None);
        assert_eq!(a.status.as_ref().and_then(|s| s.images.as_ref()), None);
        assert_eq!((cache.state(), cache.resource_version()), (Sync::Live, Some(12)));
    }

    #[tokio::test]
    async fn a_failure_before_the_first_list_is_not_staleness() {
        let (cache, task) = follow(vec![Err(watcher::Error::NoResourceVersion)]);
        drive(task).await;
        assert!(matches!(cache.state(), Sync::Never { error: Some(_) }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_makes_it_stale_until_it_has_settled() {
        let (cache, task) = follow(vec![
            Ok(Event::Init),
            Ok(Event::InitApply(node("a", "1"))),
            Ok(Event::InitDone),
            Err(watcher::Error::NoResourceVersion),
        ]);
        let mut task = pin!(task);
        assert!(futures_util::poll!(task.as_mut()).is_pending());
        assert!(matches!(cache.state(), Sync::Stale { .. }));
        assert_eq!(cache.len(), 1, "the last known nodes stay");
        assert!(tokio::time::timeout(SETTLED * 2, task).await.is_err());
        assert_eq!(cache.state(), Sync::Live);
    }
}
