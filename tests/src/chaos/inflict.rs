//! Carries faults out, and takes them back.

use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tokio::time::sleep;

use super::fault::{Act, Fault, KubeTrouble, Link, LockedRows, Part, Role, Trouble, Way};
use super::forge;
use super::stage::{Seat, Stage};
use super::tally::Tally;
use crate::kube_sim::{self, FaultAction, When};
use crate::pod::{Container, Pod};
use crate::proxy::{self, Direction, Proxy, Select, Swallow};

/// `terminationGracePeriodSeconds` of the shipped manifests.
const GRACE: Duration = Duration::from_secs(30);
const READY: Duration = Duration::from_secs(60);
/// How long a lost answer is waited for.
const TRAP: Duration = Duration::from_secs(5);

impl Stage {
    /// A fault from its beginning to the end of its effects on what runs: everything is up again.
    pub(super) async fn inflict(&self, fault: &Fault, tally: &Tally) -> anyhow::Result<()> {
        match *fault {
            Fault::Process { pod, part, act } => {
                let seat = &self.seats[pod];
                // Counters die with their process.
                tally.scrape(pod, seat).await;
                let mut pod = seat.pod.lock().await;
                process(&mut pod, part, act).await
            }
            Fault::Network { pod, link, trouble, hold } => {
                network(&self.seats[pod], link, trouble, hold).await;
                Ok(())
            }
            Fault::Postgres { how, down } => {
                self.cluster.stop(how).await?;
                sleep(down).await;
                self.cluster.start_again().await
            }
            Fault::Backends { role, times } => self.terminate(role, times).await,
            Fault::Locks { rows, count, hold } => self.lock(rows, count, hold).await,
            Fault::Forged { what, count } => forge::send(&self.database, what, count).await,
            Fault::Kubernetes { trouble, hold } => {
                self.misbehave(trouble, hold).await;
                Ok(())
            }
        }
    }

    async fn terminate(&self, role: Role, times: u32) -> anyhow::Result<()> {
        for turn in 0..times {
            if turn > 0 {
                sleep(Duration::from_millis(500)).await;
            }
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE datname = current_database() AND application_name ~ $1";
            let _: i64 = self.database.value(sql, &[&pattern(role)]).await?;
        }
        Ok(())
    }

    /// Takes what is free at once, so that the stranger itself never waits for a lock.
    async fn lock(&self, rows: LockedRows, count: i64, hold: Duration) -> anyhow::Result<()> {
        let sql = match rows {
            LockedRows::Tasks => {
                "SELECT id FROM progress_tasks WHERE completed_at IS NULL ORDER BY random() LIMIT $1 \
                 FOR UPDATE SKIP LOCKED"
            }
            LockedRows::Items => {
                "SELECT ordinal FROM progress_items WHERE status IN ('pending', 'running') \
                 AND task_id IN (SELECT id FROM progress_tasks WHERE completed_at IS NULL) \
                 ORDER BY random() LIMIT $1 FOR UPDATE SKIP LOCKED"
            }
        };
        let mut session = self.database.connect().await?;
        let transaction = session.transaction().await?;
        transaction.query(sql, &[&count]).await?;
        sleep(hold).await;
        // With overlapping faults, the server may have ended this session.
        let _ = transaction.rollback().await;
        Ok(())
    }

    async fn misbehave(&self, trouble: KubeTrouble, hold: Duration) {
        let status = |code| FaultAction::Status {
            code,
            retry_after_seconds: (code == 429).then_some(1),
            message: None,
        };
        let (action, percent) = match trouble {
            KubeTrouble::DropWatches => {
                self.sim.drop_watches();
                return;
            }
            KubeTrouble::Compact => {
                self.sim.compact_history();
                self.sim.drop_watches();
                return;
            }
            KubeTrouble::Status { code, percent } => (status(code), percent),
            KubeTrouble::Close { percent } => (FaultAction::Close, percent),
            KubeTrouble::LoseAnswer { percent } => (FaultAction::LoseAnswer, percent),
            KubeTrouble::Hang { percent } => (FaultAction::Hang, percent),
        };
        let id = self.sim.add_fault(kube_sim::Fault {
            resource: Some("nodes".into()),
            when: When::Probability(f64::from(percent) / 100.0),
            action: Some(action),
            ..kube_sim::Fault::default()
        });
        sleep(hold).await;
        self.sim.remove_fault(id);
    }

    /// Every process that nobody has ended runs.
    pub(super) fn check_alive(&self) -> anyhow::Result<()> {
        for seat in &self.seats {
            // Whoever holds the lock is about to change what runs.
            let Ok(pod) = seat.pod.try_lock() else { continue };
            for container in [&pod.api, &pod.relay] {
                if let Some(status) = container.process()?.status() {
                    bail!("{container:?} ended by itself: {status}\n{}", container.log().tail(30));
                }
            }
        }
        Ok(())
    }
}

/// By PostgreSQL's regular expressions, against `application_name`.
const fn pattern(role: Role) -> &'static str {
    match role {
        Role::Listener => "^knm-relay-listener( |$)",
        Role::Writer => "^knm-api-writer( |$)",
        Role::ApiPool => "^knm-api( |$)",
        Role::RelayPool => "^knm-relay( |$)",
        Role::All => "^knm-(api|relay)",
    }
}

async fn process(pod: &mut Pod, part: Part, act: Act) -> anyhow::Result<()> {
    let Pod { relay, api, .. } = pod;
    // In the order in which the kubelet stops them: the relay outlives the api.
    let mut chosen: Vec<&mut Container> = match part {
        Part::Api => vec![api],
        Part::Relay => vec![relay],
        Part::Both => vec![api, relay],
    };
    match act {
        Act::Pause { hold } => {
            for container in &chosen {
                container.process()?.pause()?;
            }
            sleep(hold).await;
            for container in &chosen {
                container.process()?.resume()?;
            }
            return Ok(());
        }
        Act::Kill { down } => {
            for container in &mut chosen {
                container.kill().await?;
            }
            sleep(down).await;
        }
        Act::Terminate { down } => {
            for container in &mut chosen {
                let ended = container.stop(Signal::TERM, GRACE).await?;
                let ended = ended.with_context(|| format!("{container:?} did not run"))?;
                if !ended.success() {
                    bail!("{container:?} ended with {ended} after SIGTERM");
                }
            }
            sleep(down).await;
        }
    }
    for container in chosen.iter_mut().rev() {
        container.start()?;
        container.probe("/livez", READY).await?;
    }
    for container in chosen {
        container.probe("/readyz", READY).await?;
    }
    Ok(())
}

async fn network(seat: &Seat, link: Link, trouble: Trouble, hold: Duration) {
    let proxy = seat.proxy(link);
    let all = Select::All;
    match trouble {
        Trouble::Cut => {
            proxy.cut(&all);
        }
        Trouble::Reset => {
            proxy.reset(&all);
        }
        Trouble::HalfClose(way) => {
            for direction in directions(way) {
                proxy.half_close(&all, *direction);
            }
        }
        Trouble::Swallow(way) => swallow(proxy, way).await,
        Trouble::Refuse => {
            proxy.refuse_new().await;
            proxy.reset(&all);
        }
        Trouble::BlackHole(way) => rules(proxy, way, proxy::Fault::BlackHole),
        Trouble::Delay(delay) => rules(proxy, Way::Both, proxy::Fault::Delay(delay)),
        Trouble::Throttle { bytes_per_second } => {
            rules(proxy, Way::Both, proxy::Fault::Throttle { bytes_per_second });
        }
        Trouble::Torn { bytes } => rules(proxy, Way::Both, proxy::Fault::Torn { bytes }),
    }
    if trouble.lasts() {
        sleep(hold).await;
        proxy.heal().await;
    }
}

async fn swallow(proxy: &Proxy, way: Way) {
    for direction in directions(way) {
        let select = Select::All;
        let mut sprung =
            proxy.swallow(Swallow { select, direction: *direction, request: Vec::new() });
        // On a link without traffic it springs later; that is a fault too.
        let _ = tokio::time::timeout(TRAP, sprung.wait()).await;
    }
}

fn rules(proxy: &Proxy, way: Way, fault: proxy::Fault) {
    let rule = |d: &Direction| proxy::Rule::new(Select::All, *d, fault);
    proxy.set_rules(directions(way).iter().map(rule));
}

const fn directions(way: Way) -> &'static [Direction] {
    match way {
        Way::ToServer => &[Direction::ToServer],
        Way::ToClient => &[Direction::ToClient],
        Way::Both => &Direction::BOTH,
    }
}
