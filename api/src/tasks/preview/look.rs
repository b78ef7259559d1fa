//! How pods are looked at for whoever asks: a little at a time, and few at the same time. Of whole clusters one
//! looks after the other, page by page; of single nodes a handful look, each at a few lists.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::Preview;
use crate::k8s::{CallError, Pages, Pods, Terms};

/// Up to so many nodes their pods are asked for one by one, beyond it all pods of the cluster.
const ASKED_ONE_BY_ONE: usize = 20;

/// Lists of single nodes that one look has in memory, or on their way. A kubelet takes 110 pods when nothing
/// else is configured: a list is a megabyte or so.
const NODES_AT_A_TIME: usize = 4;

/// One at a time in this process looks at all pods of a cluster: anybody who may read may ask, and the
/// pages, of some megabytes each, must not add up.
static TURNS: Semaphore = Semaphore::const_new(1);
/// So many at a time in this process look at the pods of single nodes, for the same reason: with
/// [`NODES_AT_A_TIME`], 16 lists for everybody together.
static TURNS_AT_NODES: Semaphore = Semaphore::const_new(4);
/// Who has not got a turn by now is told to come back; proxies give up an answer after 60 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// A turn ends by then: a slow cluster does not keep the others waiting for ever. 150,000 pods, the most that
/// a cluster is made for (<https://kubernetes.io/docs/setup/best-practices/cluster-large/>), are 300 pages.
const LONGEST_TURN: Duration = Duration::from_secs(120);
/// A turn at single nodes ends by then: together with the wait for it, before a proxy gives up the answer.
const LONGEST_TURN_AT_NODES: Duration = Duration::from_secs(30);

/// Where a node stands in a preview, by name.
pub(super) type Places = HashMap<String, usize>;

/// Why pods could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Unseen {
    /// Others are looking.
    #[error("too many ask about pods at the same time")]
    Busy,
    /// The cluster does not show them.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The pods of these nodes, each with its node's place.
pub(super) fn placed<'a>(
    places: &'a Places,
    page: &'a [Pod],
) -> impl Iterator<Item = (usize, &'a Pod)> {
    page.iter().filter_map(|pod| Some((*places.get(node(pod)?)?, pod)))
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// A look at the pods of some nodes.
pub(super) enum Look<'a> {
    /// Of a few, node by node.
    Nodes {
        lists: BoxStream<'a, Result<Vec<Pod>, CallError>>,
        until: Instant,
        _turn: SemaphorePermit<'static>,
    },
    /// Of many, out of all that the cluster has.
    Cluster {
        pages: Pages<'a, Pod>,
        places: &'a Places,
        until: Instant,
        _turn: SemaphorePermit<'static>,
    },
}

impl Look<'_> {
    /// Some more pods; `None` when that was all.
    ///
    /// # Errors
    /// [`CallError`]; nothing follows then.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Pod>>, CallError> {
        let late =
            |turn| move |_elapsed| CallError::NoAnswer(format!("not all of them in {turn:?}"));
        match self {
            Self::Nodes { lists, until, .. } => {
                let list = timeout_at(*until, lists.try_next()).await;
                list.map_err(late(LONGEST_TURN_AT_NODES))?
            }
            Self::Cluster { pages, places, until, .. } => {
                let page = timeout_at(*until, pages.next()).await.map_err(late(LONGEST_TURN))??;
                Ok(page.map(|mut pods| {
                    pods.retain(|pod| node(pod).is_some_and(|node| places.contains_key(node)));
                    pods
                }))
            }
        }
    }
}

impl Preview<'_> {
    /// Begins to look at the pods of these nodes.
    ///
    /// # Errors
    /// [`Unseen`]
    pub(super) async fn look<'a>(
        &'a self,
        selector: &'a str,
        places: &'a Places,
    ) -> Result<Look<'a>, Unseen> {
        if places.len() <= ASKED_ONE_BY_ONE {
            let turn = turn_at_nodes().await?;
            let lists = one_by_one(&self.pods, &self.terms, selector, places);
            let until = Instant::now() + LONGEST_TURN_AT_NODES;
            return Ok(Look::Nodes { lists, until, _turn: turn });
        }
        let turn = turn(&TURNS).await?;
        let pages = self.pods.everywhere(selector, &self.terms);
        Ok(Look::Cluster { pages, places, until: Instant::now() + LONGEST_TURN, _turn: turn })
    }
}

/// The pods of each node. What is not taken keeps the next lists from being asked for.
fn one_by_one<'a>(
    pods: &'a Pods,
    terms: &'a Terms,
    selector: &'a str,
    places: &'a Places,
) -> BoxStream<'a, Result<Vec<Pod>, CallError>> {
    let lists = places.keys().map(|node| pods.on_node(node, selector, terms).boxed());
    stream::iter(lists).buffer_unordered(NODES_AT_A_TIME).boxed()
}

/// Leave to look at the pods of single nodes; whoever has it keeps it until the lists are dealt with.
///
/// # Errors
/// [`Unseen::Busy`] when too many look already.
pub async fn turn_at_nodes() -> Result<SemaphorePermit<'static>, Unseen> {
    turn(&TURNS_AT_NODES).await
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, Unseen> {
    let turn = timeout(PATIENCE, turns.acquire()).await.map_err(|_elapsed| Unseen::Busy)?;
    Ok(turn.expect("the semaphore is never closed"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use prometheus::Registry;
    use serde_json::{Value, json};
    use tokio::time::sleep;

    use super::*;
    use crate::k8s::{Gate, Pods, Terms};
    use crate::metrics::Metrics;

    const EACH_PAGE: Duration = Duration::from_secs(7);

    /// A cluster whose pages take their time.
    fn cluster(page: impl Fn(&str) -> Value + Send + Sync + Clone + 'static) -> Pods {
        let answer = tower::service_fn(move |request: Request<Body>| {
            let page = page(request.uri().query().unwrap_or_default());
            async move {
                sleep(EACH_PAGE).await;
                let body = serde_json::to_vec(&page).expect("JSON");
                Ok::<_, Infallible>(Response::new(Body::from(body)))
            }
        });
        let metrics = Metrics::register(&Registry::new()).expect("no name is taken");
        Pods::new(Client::new(answer, "default"), Gate::new(1, 0), metrics)
    }

    fn page(pods: &[(&str, Option<&str>)], next: &str) -> Value {
        let pod = |(name, node): &(&str, Option<&str>)| {
            let spec = json!({"containers": [], "nodeName": node});
            json!({"metadata": {"name": name}, "spec": spec})
        };
        let items: Vec<_> = pods.iter().map(pod).collect();
        let metadata = json!({"continue": next});
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": items})
    }

    /// The turn is not what most of these tests are about.
    fn free_turn() -> SemaphorePermit<'static> {
        static FREE: Semaphore = Semaphore::const_new(Semaphore::MAX_PERMITS);
        FREE.try_acquire().expect("there are enough")
    }

    fn whole<'a>(pods: &'a Pods, terms: &'a Terms, places: &'a Places) -> Look<'a> {
        let pages = pods.everywhere("app=web", terms);
        let until = Instant::now() + LONGEST_TURN;
        Look::Cluster { pages, places, until, _turn: free_turn() }
    }

    fn few<'a>(pods: &'a Pods, terms: &'a Terms, places: &'a Places) -> Look<'a> {
        let lists = one_by_one(pods, terms, "app=web", places);
        let until = Instant::now() + LONGEST_TURN_AT_NODES;
        Look::Nodes { lists, until, _turn: free_turn() }
    }

    fn places(nodes: usize) -> Places {
        (0..nodes).map(|n| (format!("node-{n}"), n)).collect()
    }

    const TERMS: Terms = Terms::Look { timeout: Duration::from_secs(8) };

    fn names(page: &[Pod]) -> Vec<&str> {
        page.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pages_come_one_by_one_without_the_pods_of_other_nodes() {
        let pods = cluster(|query| {
            assert!(query.contains("labelSelector=app%3Dweb"), "{query}");
            assert!(query.contains("limit="), "{query}");
            if query.contains("continue=second") {
                page(&[("d", Some("node-1"))], "")
            } else if query.contains("continue=first") {
                page(&[("c", Some("node-9"))], "second")
            } else {
                page(&[("a", Some("node-1")), ("b", None)], "first")
            }
        });
        let places = Places::from([("node-1".to_owned(), 0)]);
        let mut look = whole(&pods, &TERMS, &places);
        for (nth, wanted) in (1..).zip([vec!["a"], vec![], vec!["d"]]) {
            let asked = Instant::now();
            let page = look.next().await.expect("it answers").expect("another page");
            assert_eq!(names(&page), wanted, "page {nth}");
            assert_eq!(asked.elapsed(), EACH_PAGE, "no page is asked for before its turn");
        }
        assert_eq!(look.next().await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_does_not_come_to_an_end_is_given_up() {
        let pods = cluster(|_| page(&[], "another"));
        let places = Places::new();
        let mut look = whole(&pods, &TERMS, &places);
        let (begun, mut pages) = (Instant::now(), 0);
        let error = loop {
            match look.next().await {
                Ok(page) => pages += i32::from(page.is_some()),
                Err(error) => break error,
            }
        };
        assert_eq!(begun.elapsed(), LONGEST_TURN);
        assert_eq!(pages, 17);
        assert!(error.to_string().contains("120s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_few_nodes_only_some_are_asked_for_before_the_first_is_dealt_with() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let pods = cluster(move |query| {
            assert!(query.contains("labelSelector=app%3Dweb"), "{query}");
            count.fetch_add(1, Ordering::Relaxed);
            page(&[("a", Some("node-1"))], "")
        });
        let (places, begun) = (places(10), Instant::now());
        let mut look = few(&pods, &TERMS, &places);
        let mut lists = 0;
        while let Some(list) = look.next().await.expect("it answers") {
            assert_eq!(names(&list), ["a"]);
            let ahead = asked.load(Ordering::Relaxed) - lists;
            assert!(ahead <= NODES_AT_A_TIME, "{ahead} at a time");
            lists += 1;
        }
        assert_eq!((lists, asked.load(Ordering::Relaxed)), (10, 10));
        assert_eq!(begun.elapsed(), 3 * EACH_PAGE, "some at a time, not one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_nodes_that_do_not_come_to_an_end_are_given_up() {
        let pods = cluster(|_| page(&[], ""));
        let (places, begun) = (places(ASKED_ONE_BY_ONE), Instant::now());
        let mut look = few(&pods, &TERMS, &places);
        let error = loop {
            match look.next().await {
                Ok(list) => assert!(list.is_some(), "it is too slow for all of them"),
                Err(error) => break error,
            }
        };
        assert_eq!(begun.elapsed(), LONGEST_TURN_AT_NODES);
        assert!(error.to_string().contains("30s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handful_look_at_single_nodes_at_a_time() {
        let mut turns = Vec::new();
        let asked = Instant::now();
        let busy = loop {
            match turn_at_nodes().await {
                Ok(turn) => turns.push(turn),
                Err(busy) => break busy,
            }
        };
        assert!(matches!(busy, Unseen::Busy), "{busy}");
        assert_eq!((turns.len(), asked.elapsed()), (4, PATIENCE));
        turns.pop();
        drop(turn_at_nodes().await.expect("one has gone"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_looks_at_a_time_and_the_others_wait_for_a_while() {
        let turns = Semaphore::new(1);
        let first = turn(&turns).await.expect("nobody is there");
        let asked = Instant::now();
        let (second, ()) = tokio::join!(turn(&turns), async {
            sleep(PATIENCE / 2).await;
            drop(first);
        });
        let second = second.expect("the first has gone");
        assert_eq!(asked.elapsed(), PATIENCE / 2);

        let third = turn(&turns).await.expect_err("the second stays");
        assert!(matches!(third, Unseen::Busy), "{third}");
        assert_eq!(asked.elapsed(), PATIENCE / 2 + PATIENCE);
        drop(second);
        drop(turn(&turns).await.expect("the second has gone"));
    }

    #[test]
    fn only_pods_of_nodes_that_were_asked_about_have_a_place() {
        let pod = |name: &str, node: Option<&str>| -> Pod {
            let spec = json!({"containers": [], "nodeName": node});
            let pod = json!({"metadata": {"name": name}, "spec": spec});
            serde_json::from_value(pod).expect("a pod")
        };
        let page = [
            pod("a", Some("node-2")),
            pod("b", Some("node-9")),
            pod("c", None),
            pod("d", Some("node-1")),
        ];
        let places = Places::from([("node-1".to_owned(), 0), ("node-2".to_owned(), 1)]);
        let found: Vec<_> =
            placed(&places, &page).map(|(i, pod)| (i, pod.metadata.name.as_deref())).collect();
        assert_eq!(found, [(1, Some("a")), (0, Some("d"))]);
    }
}
