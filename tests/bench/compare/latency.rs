//! From publishing to the client's hands, everything included: the durable commit where one is claimed,
//! the way between two processes, the frame.
//!
//! The stamp is taken before the change is handed to whoever stores it, and travels in the change. Every
//! change must arrive at every socket, or the round says how many did not.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_shared::status::ItemStatus;
use knm_tests::postgres::Database;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Setting;
use super::crowd::{Crowd, now_us};
use super::figures::{Rounds, number};
use super::ours::{Mode, Ours, change, database};
use super::peers::{Peer, Redis};
use super::plot::{Line, Plot};
use super::report::Report;
use super::rivals::{Arrivals, Notify, PubSub};
use crate::relay_latency::DELIVERY;
use crate::rig::Histogram;

const RATES: [u32; 3] = [50, 200, 1_000];
const SOCKETS: [usize; 2] = [1, 100];
/// Items of a task; more than are changed in one round, so that no change replaces another.
const ITEMS: u32 = 5_000;
/// How long changes that were published may still arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way to publish a change and to see it arrive.
#[allow(clippy::large_enum_variant, reason = "there is only a handful of them")]
enum System {
    Ours { ours: Ours, task: TaskId, crowd: Crowd, next: u32 },
    SocketIo { crowd: Crowd, publisher: Peer, _server: Peer, durable: bool, _database: Database },
    Notify { notify: Notify, _database: Database },
    PubSub(PubSub),
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Ours,
    Polling,
    SocketIoPostgres,
    SocketIoRedis,
    SocketIoPostgresEmit,
    SocketIoRedisEmit,
    Notify,
    PubSub,
}

impl Name {
    const ALL: [Self; 8] = [
        Self::Ours,
        Self::Polling,
        Self::SocketIoPostgres,
        Self::SocketIoRedis,
        Self::SocketIoPostgresEmit,
        Self::SocketIoRedisEmit,
        Self::Notify,
        Self::PubSub,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Ours => "kube-node-manager, postgres",
            Self::Polling => "kube-node-manager, polling",
            Self::SocketIoPostgres => "socket.io + PostgreSQL adapter, after a commit",
            Self::SocketIoRedis => "socket.io + Redis adapter, after a commit",
            Self::SocketIoPostgresEmit => "socket.io + PostgreSQL adapter, nothing stored",
            Self::SocketIoRedisEmit => "socket.io + Redis adapter, nothing stored",
            Self::Notify => "floor: bare LISTEN/NOTIFY",
            Self::PubSub => "floor: bare Redis Pub/Sub",
        }
    }

    /// What nobody could run in place of ours is measured at one rate, floors without sockets.
    fn plays(self, sockets: usize, rate: u32) -> bool {
        match self {
            Self::Polling | Self::SocketIoPostgresEmit | Self::SocketIoRedisEmit => rate == 200,
            Self::Notify | Self::PubSub => sockets == 1,
            _ => true,
        }
    }
}

/// Percentiles of one round, in milliseconds.
#[derive(Debug, Clone, Default)]
struct Figures {
    p50: Rounds,
    p99: Rounds,
    worst: Rounds,
    arrived: u64,
    lost: u64,
    rate: Rounds,
}

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let time = setting.time(Duration::from_secs(1));
    report.section("Notification latency");
    report.say(&format!(
        "From publishing a change to the moment that a client holds it, one task, sockets on another \
         process than the publisher. The commit of the change's rows is part of it for everybody but \
         those marked *nothing stored* and the floors. Every client is the same Rust WebSocket \
         client. {} rounds of {:.1} s each, the systems in turns: median (least–most) of the rounds' \
         percentiles, in milliseconds.",
        setting.rounds(),
        time.as_secs_f64()
    ));
    let redis = Redis::start().await?;
    let mut lines: Vec<Line> = Vec::new();
    let mut written = (Rounds::default(), Rounds::default());
    let rates: &[u32] = if setting.quick { &[200] } else { &RATES };
    for sockets in SOCKETS {
        let mut systems = Vec::new();
        for name in Name::ALL {
            if rates.iter().any(|rate| name.plays(sockets, *rate)) {
                let mut system = System::start(name, setting, &redis, sockets)
                    .await
                    .with_context(|| name.title())?;
                // What is done for the first time takes longer for everybody, and longest for a JIT.
                let mut unmeasured = Figures::default();
                system.round(200, time, &mut unmeasured).await.with_context(|| name.title())?;
                systems.push((name, system));
            }
        }
        for rate in rates.iter().copied() {
            let mut figures = vec![Figures::default(); systems.len()];
            for _ in 0..setting.rounds() {
                for ((name, system), figures) in systems.iter_mut().zip(&mut figures) {
                    if !name.plays(sockets, rate) {
                        continue;
                    }
                    let before = system.histogram().await?;
                    system.round(rate, time, figures).await.with_context(|| name.title())?;
                    if let (Name::Ours, 100, 200, Some(before)) = (*name, sockets, rate, before) {
                        let after = system.histogram().await?.context("a histogram")?;
                        let of_relay = after.since(&before);
                        written.0.push(of_relay.quantile(0.5));
                        written.1.push(of_relay.quantile(0.99));
                    }
                }
            }
            let played =
                systems.iter().zip(&figures).filter(|((name, _), _)| name.plays(sockets, rate));
            let rows: Vec<Vec<String>> =
                played.clone().map(|((name, _), f)| row(*name, f)).collect();
            report.say(&format!(
                "**{sockets} socket{}, {rate} changes/s**",
                if sockets == 1 { "" } else { "s" }
            ));
            report.table(
                &["", "p50 ms", "p99 ms", "worst ms", "changes/s", "arrived", "missing"],
                &rows,
            );
            if sockets == 100 {
                for ((name, _), f) in played {
                    let at =
                        lines.iter().position(|l| l.name == name.title()).unwrap_or_else(|| {
                            lines.push(Line { name: name.title().into(), points: Vec::new() });
                            lines.len() - 1
                        });
                    lines[at].points.push((f64::from(rate), f.p99.clone()));
                }
            }
        }
        for (_, system) in systems {
            system.stop().await?;
        }
    }
    report.plot(&Plot {
        name: "latency",
        title: "Publish → client, 100 sockets, p99",
        x: "changes a second",
        y: "milliseconds",
        lines,
    })?;
    let (p50, p99) = written;
    report.target(
        "publish → frame written, 1 task, 200 changes/s, 100 sockets",
        "p50 ≤ 1 ms, p99 ≤ 5 ms",
        format!("p50 {p50} ms, p99 {p99} ms"),
        p50.median() <= 1.0 && p99.median() <= 5.0,
    );
    Ok(())
}

fn row(name: Name, f: &Figures) -> Vec<String> {
    vec![
        name.title().into(),
        f.p50.to_string(),
        f.p99.to_string(),
        number(f.worst.most()),
        number(f.rate.median()),
        number(f.arrived as f64),
        f.lost.to_string(),
    ]
}

impl System {
    async fn start(
        name: Name,
        setting: &Setting,
        redis: &Redis,
        sockets: usize,
    ) -> anyhow::Result<Self> {
        let socket_io = async |redis: Option<&Redis>, durable: bool| {
            let database = database("peer").await?;
            let publisher = setting.peers.socket_io(&database, redis).await?;
            let server = setting.peers.socket_io(&database, redis).await?;
            publisher.ask("prepare", &json!({})).await?;
            let place = super::crowd::Place::SocketIo { address: server.address().into() };
            let crowd = Crowd::gather(&place, sockets).await?;
            anyhow::Ok(Self::SocketIo {
                crowd,
                publisher,
                _server: server,
                durable,
                _database: database,
            })
        };
        Ok(match name {
            Name::Ours | Name::Polling => {
                let mode = if name == Name::Ours { Mode::Postgres } else { Mode::Polling };
                let ours = Ours::start("latency", mode).await?;
                let task = match mode {
                    Mode::Postgres => ours.known_task(ITEMS as usize).await?,
                    Mode::Polling => ours.engine.task(ITEMS as usize).await?,
                };
                let crowd = Crowd::gather(&ours.place(task), sockets).await?;
                Self::Ours { ours, task, crowd, next: 0 }
            }
            Name::SocketIoPostgres => socket_io(None, true).await?,
            Name::SocketIoRedis => socket_io(Some(redis), true).await?,
            Name::SocketIoPostgresEmit => socket_io(None, false).await?,
            Name::SocketIoRedisEmit => socket_io(Some(redis), false).await?,
            Name::Notify => {
                let database = database("bare").await?;
                Self::Notify { notify: Notify::start(&database).await?, _database: database }
            }
            Name::PubSub => Self::PubSub(PubSub::start(redis).await?),
        })
    }

    /// The relay's own, of ours.
    async fn histogram(&self) -> anyhow::Result<Option<Histogram>> {
        match self {
            Self::Ours { ours, .. } => {
                Ok(Some(Histogram::of(ours.stage.relay(0), DELIVERY).await?))
            }
            _ => Ok(None),
        }
    }

    async fn round(
        &mut self,
        rate: u32,
        time: Duration,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (published, sockets, mut times, took) = match self {
            Self::Ours { ours, task, crowd, next } => {
                let before = crowd.items();
                let published = paced(rate, time, async || {
                    *next += 1;
                    let lap = (*next / ITEMS).is_multiple_of(2);
                    let status = if lap { ItemStatus::Running } else { ItemStatus::Pending };
                    let _ =
                        ours.engine.progress.record(*task, *next % ITEMS, change(status, now_us()));
                    Ok(())
                })
                .await?;
                let took = begun.elapsed();
                crowd.until(before + published * crowd.sockets() as u64, PATIENCE).await;
                (published, crowd.sockets(), crowd.take_times(), took)
            }
            Self::SocketIo { publisher, crowd, durable, .. } => {
                let before = crowd.items();
                let how = json!({"rate": rate, "ms": time.as_millis() as u64, "durable": durable});
                let answer = publisher.ask("publish", &how).await?;
                let took = begun.elapsed();
                let published = answer["published"].as_u64().context("published")?;
                crowd.until(before + published * crowd.sockets() as u64, PATIENCE).await;
                (published, crowd.sockets(), crowd.take_times(), took)
            }
            Self::Notify { notify, .. } => {
                let published = paced(rate, time, async || notify.publish().await).await?;
                let took = begun.elapsed();
                (published, 1, until(&notify.arrivals, published).await, took)
            }
            Self::PubSub(redis) => {
                let arrivals = redis.arrivals.clone();
                let published = paced(rate, time, async || redis.publish().await).await?;
                let took = begun.elapsed();
                (published, 1, until(&arrivals, published).await, took)
            }
        };
        ensure!(!times.is_empty(), "nothing arrived");
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times[rank - 1] as f64 / 1_000.0
        };
        figures.p50.push(at(50));
        figures.p99.push(at(99));
        figures.worst.push(at(100));
        figures.rate.push(published as f64 / took.as_secs_f64());
        figures.arrived += times.len() as u64;
        figures.lost += (published * sockets as u64).saturating_sub(times.len() as u64);
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Ours { ours, task, crowd, .. } => {
                drop(crowd);
                ours.stop(&[task]).await
            }
            _ => Ok(()),
        }
    }
}

async fn until(arrivals: &Arrivals, published: u64) -> Vec<i64> {
    let begun = Instant::now();
    while (arrivals.len() as u64) < published && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    arrivals.take()
}

/// Publishes at an even rate; each at its own time, however late the one before was.
async fn paced(
    rate: u32,
    time: Duration,
    mut publish: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut tick = interval(Duration::from_secs(1) / rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let total = (f64::from(rate) * time.as_secs_f64()).round() as u64;
    for _ in 0..total {
        tick.tick().await;
        publish().await?;
    }
    Ok(total)
}
