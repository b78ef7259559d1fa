//! Three pods replaced one after the other under load, as a StatefulSet does it: no task is lost, no
//! browser is without progress for more than 3 s, no request fails that a retry does not cure.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_tests::pod::{Pod, PodOptions};
use knm_tests::scenario::World;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::rolling_load::{Endpoint, Seen, Service, browser, long_task, programs, submit};
use crate::support::SOON;

const PODS: usize = 3;
/// Nodes of each long task for each time that all pods are replaced: with two at a time, half a minute.
const PER_ROLL: usize = 600;
const LATENCY: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(3);
/// What the manifests give each program.
const API_GRACE: Duration = Duration::from_secs(25);
const RELAY_GRACE: Duration = Duration::from_secs(10);

/// How the kubelet ends a pod.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The sidecar after the api.
    SidecarLast,
    /// Both are told at the same time: no native sidecars.
    Together,
}

/// Which programs a pod runs; `None`: those of this build.
#[derive(Debug, Clone, Default)]
struct Release {
    api: Option<PathBuf>,
    relay: Option<PathBuf>,
}

impl Release {
    fn of(&self, mut options: PodOptions) -> PodOptions {
        options.api_program.clone_from(&self.api);
        options.relay_program.clone_from(&self.relay);
        options
    }
}

async fn end(pod: &mut Pod, how: End) -> anyhow::Result<()> {
    match how {
        End::SidecarLast => pod.stop().await,
        End::Together => {
            let (api, relay) = (pod.api.process()?, pod.relay.process()?);
            api.signal(Signal::TERM)?;
            relay.signal(Signal::TERM)?;
            let ended = tokio::try_join!(api.wait(API_GRACE), relay.wait(RELAY_GRACE))?;
            ensure!(ended.0.success() && ended.1.success(), "{ended:?}");
            Ok(())
        }
    }
}

struct Stage {
    world: World,
    service: Service,
    token: String,
}

impl Stage {
    async fn start(name: &str, nodes: usize, release: &Release) -> anyhow::Result<Self> {
        let mut world = World::new(name).pods(0).nodes(nodes).latency(LATENCY).start().await?;
        for _ in 0..PODS {
            let options = release.of(world.pod_options().await?);
            let pod = Pod::run(&world.database, &options).await?;
            world.pods.push(pod);
        }
        let token = world.sign_in(0).await?.token()?.to_owned();
        let stage = Self { world, service: Service::default(), token };
        (0..PODS).for_each(|pod| stage.join(pod));
        Ok(stage)
    }

    fn join(&self, pod: usize) {
        let pod = &self.world.pods[pod];
        self.service.add(Endpoint {
            pod: pod.name().to_owned(),
            api: pod.client().with_token(&self.token),
            relay: pod.relay.address(),
        });
    }

    /// How many of the tasks have not ended.
    async fn open(&self, tasks: &[TaskId]) -> anyhow::Result<i64> {
        let ids: Vec<Uuid> = tasks.iter().map(|task| task.0).collect();
        let open = "SELECT count(*) FROM progress_tasks \
                    WHERE id = ANY ($1) AND completed_at IS NULL";
        self.world.database.value(open, &[&ids]).await
    }

    /// From the highest number down, each ready before the next. Endpoints and signals come at the same
    /// time: harder than with the manifests' preStop pause.
    async fn replace_all(
        &mut self,
        how: End,
        release: &Release,
        long: &[TaskId],
    ) -> anyhow::Result<()> {
        for n in (0..PODS).rev() {
            ensure!(self.open(long).await? > 0, "every task has ended: the test tests nothing");
            let name = self.world.pods[n].name().to_owned();
            self.service.remove(&name);
            end(&mut self.world.pods[n], how).await.with_context(|| name.clone())?;
            let mut options = release.of(self.world.pod_options().await?);
            options.name.clone_from(&name);
            self.world.pods[n] = Pod::run(&self.world.database, &options).await?;
            self.join(n);
        }
        Ok(())
    }

    /// Every task has completed, every node was written to once a task, every browser has seen the rows,
    /// and no lease had to run out for it.
    async fn check(&self, long: &[TaskId], small: &[TaskId], seen: &[Seen]) -> anyhow::Result<()> {
        let tasks: Vec<TaskId> = small.iter().chain(long).copied().collect();
        let ended = async {
            while self.open(&tasks).await? > 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, ended).await.context("a task is lost")??;
        let ids: Vec<Uuid> = tasks.iter().map(|task| task.0).collect();
        let sql = self.world.database.connect().await?;
        let rows =
            "SELECT id, status, total, succeeded, error FROM progress_tasks WHERE id = ANY ($1)";
        let rows = sql.query(rows, &[&ids]).await?;
        let mut items = 0;
        for row in &rows {
            let (total, succeeded): (i32, i32) = (row.get(2), row.get(3));
            ensure!(row.get::<_, &str>(1) == "completed" && succeeded == total, "{row:?}");
            items += u64::try_from(total)?;
        }
        ensure!(rows.len() == ids.len(), "{} of {} are there", rows.len(), ids.len());
        let stored = self.world.stored_tasks().await?;
        ensure!(stored == i64::try_from(ids.len())?, "one is there twice");
        let writes: u64 = self.world.sim.request_summary().effective_writes.values().sum();
        ensure!(writes == items, "{writes} writes for {items} nodes");
        for browser in seen {
            self.world.check_final(&browser.watcher, browser.task).await?;
        }
        let changes = self.world.journal().await?;
        let waited: Vec<_> = changes.iter().filter(|change| change.is_takeover()).collect();
        ensure!(waited.is_empty(), "a lease was waited for: {waited:#?}");
        Ok(())
    }
}

/// Replaces all pods once for each of `releases`.
async fn roll(name: &str, how: End, first: Release, releases: &[Release]) -> anyhow::Result<()> {
    let per_task = PER_ROLL * releases.len();
    let mut stage = Stage::start(name, per_task * PODS, &first).await?;
    let nodes = stage.world.nodes(0..per_task * PODS);
    let stop = CancellationToken::new();
    let load = tokio::spawn(programs(stage.service.clone(), nodes[..5].to_vec(), stop.clone()));

    // One at each pod, on nodes of its own, and two browsers for each.
    let mut long = Vec::new();
    let mut browsers = JoinSet::new();
    for (n, nodes) in nodes.chunks(per_task).enumerate() {
        let api = stage.world.pods[n].client().with_token(&stage.token);
        let task = submit(&api, &long_task(nodes, n)).await?;
        long.push(task);
        for _ in 0..2 {
            browsers.spawn(browser(stage.service.clone(), stage.token.clone(), task));
        }
    }
    stage.world.keep_journal().await?;
    let begun = std::time::Instant::now();
    for release in releases {
        stage.replace_all(how, release, &long).await?;
    }
    let rolled = begun.elapsed();
    stop.cancel();
    let done = load.await??;
    let mut seen: Vec<Seen> = Vec::new();
    while let Some(browser) = browsers.join_next().await {
        seen.push(browser??);
    }
    let longest = seen.iter().map(|s| s.longest).max().unwrap_or_default();
    let goodbyes: u32 = seen.iter().map(|s| s.goodbyes).sum();
    let (requests, tasks) = (done.requests, done.tasks.len() + long.len());
    println!(
        "{requests} requests, {tasks} tasks, {goodbyes} goodbyes, {longest:?} without progress at most; \
         replaced within {rolled:?}"
    );
    stage.check(&long, &done.tasks, &seen).await?;
    ensure!(goodbyes >= 3, "{goodbyes} browsers had to move: the test tests nothing");
    ensure!(longest <= LIMIT, "a browser was without progress for {longest:?}");
    stage.world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_a_rolling_restart_of_three_pods_is_not_noticed() -> anyhow::Result<()> {
    roll("rolling3", End::SidecarLast, Release::default(), &[Release::default()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alone_nor_is_one_where_both_containers_are_told_at_once() -> anyhow::Result<()> {
    roll("rolling3_at_once", End::Together, Release::default(), &[Release::default()]).await
}

/// By hand: `tests/deploy/skew [REVISION]` builds the other release and runs this. From it to this one
/// with one container at a time, and back the other way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the programs of another release"]
async fn alone_nor_are_containers_one_release_apart() -> anyhow::Result<()> {
    let folder = std::env::var_os("KNM_TEST_OTHER_RELEASE").context("KNM_TEST_OTHER_RELEASE")?;
    let other = |program: &str| Some(PathBuf::from(&folder).join(program));
    let before = Release { api: other("knm-api"), relay: other("knm-relay") };
    let api_ahead = Release { api: None, ..before.clone() };
    let relay_ahead = Release { relay: None, ..before.clone() };
    let releases = [api_ahead, Release::default(), relay_ahead, before.clone()];
    roll("skew", End::SidecarLast, before, &releases).await
}
