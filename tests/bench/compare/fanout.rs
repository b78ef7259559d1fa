//! One task, many sockets: how many item changes a second reach all of them together.
//!
//! The publisher keeps a fixed number of changes under way that not every socket has yet, so that nobody
//! is flooded and nothing is skipped: each change is counted at each socket.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use knm_shared::ids::TaskId;
use knm_shared::status::ItemStatus;
use knm_tests::postgres::Database;
use serde_json::json;

use super::Setting;
use super::crowd::{Crowd, Place};
use super::figures::{Rounds, number};
use super::machine::{cpu, resident};
use super::ours::{Mode, Ours, change, database};
use super::peers::Peer;
use super::plot::{Line, Plot};
use super::report::Report;

const SOCKETS: [usize; 4] = [1, 100, 1_000, 5_000];
/// Changes under way.
const WINDOW: u64 = 100;
/// More than are ever under way, so that no change replaces another.
const ITEMS: u64 = 4_000;
const TIMES: f64 = 3.0;
const WARM_UP: Duration = Duration::from_millis(500);

#[allow(clippy::large_enum_variant, reason = "there is only a handful of them")]
enum System {
    Ours { crowd: Crowd, ours: Ours, task: TaskId, next: u64 },
    SocketIo { crowd: Crowd, publisher: Peer, server: Peer, _database: Database },
}

#[derive(Debug, Clone, Default)]
struct Figures {
    /// Item changes delivered, a second.
    items: Rounds,
    frames: Rounds,
    /// Of the process that has the sockets, in microseconds an item change delivered.
    cpu: Rounds,
    megabytes: Rounds,
    /// KiB a socket.
    memory: f64,
}

const NAMES: [&str; 2] = ["kube-node-manager", "socket.io + PostgreSQL adapter"];

pub(crate) async fn run(setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
    let time = setting.time(Duration::from_millis(2_500));
    report.section("Fan-out");
    report.say(&format!(
        "Item changes delivered a second, all sockets together, {WINDOW} changes under way at most. Ours \
         stores each change durably before it is told (through the api's writer); socket.io stores \
         nothing here. Each change must reach every socket. Memory is what the process with the sockets \
         has grown by, for each. {} rounds of {:.1} s.",
        setting.rounds(),
        time.as_secs_f64()
    ));
    let mut lines: Vec<Line> =
        NAMES.iter().map(|name| Line { name: (*name).into(), points: Vec::new() }).collect();
    let mut ratios = Vec::new();
    let sizes: &[usize] = if setting.quick { &[1, 200] } else { &SOCKETS };
    for sockets in sizes.iter().copied() {
        let mut all = [Figures::default(), Figures::default()];
        let mut systems = [
            System::ours(sockets, &mut all[0]).await?,
            System::socket_io(setting, sockets, &mut all[1]).await?,
        ];
        for _ in 0..setting.rounds() {
            for ((system, figures), name) in systems.iter_mut().zip(&mut all).zip(NAMES) {
                system.round(time, figures).await.context(name)?;
            }
        }
        let rows: Vec<Vec<String>> = NAMES
            .iter()
            .zip(&all)
            .map(|(name, f)| {
                vec![
                    (*name).into(),
                    f.items.to_string(),
                    number(f.items.median() / f.frames.median()),
                    f.cpu.to_string(),
                    number(f.megabytes.median()),
                    // Of a single one, everything else weighs more.
                    if sockets < 100 { "–".into() } else { number(f.memory) },
                ]
            })
            .collect();
        report.say(&format!("**{sockets} socket{}**", if sockets == 1 { "" } else { "s" }));
        let head =
            ["", "delivered/s", "changes a frame", "CPU µs a delivery", "MB/s", "KiB a socket"];
        report.table(&head, &rows);
        ratios.push((sockets, all[0].items.median() / all[1].items.median()));
        for (line, f) in lines.iter_mut().zip(&all) {
            line.points.push((sockets as f64, f.items.clone()));
        }
        for system in systems {
            system.stop().await?;
        }
    }
    report.plot(&Plot {
        name: "fanout",
        title: "Item changes delivered a second, all sockets together",
        x: "sockets",
        y: "delivered a second",
        lines,
    })?;
    let least = ratios.iter().map(|(_, r)| *r).fold(f64::INFINITY, f64::min);
    let each: Vec<String> = ratios
        .iter()
        .map(|(sockets, r)| format!("{r:.1} × at {}", number(*sockets as f64)))
        .collect();
    report.target(
        "fan-out of one relay (item changes delivered, all sockets; batching allowed)",
        "≥ 3 × socket.io with its PostgreSQL adapter",
        each.join(", "),
        least >= TIMES,
    );
    Ok(())
}

impl System {
    async fn ours(sockets: usize, figures: &mut Figures) -> anyhow::Result<Self> {
        let ours = Ours::start("fanout", Mode::Postgres).await?;
        let task = ours.known_task(usize::try_from(ITEMS)?).await?;
        let before = resident(ours.relay_pid()?)?;
        let crowd = Crowd::gather(&ours.place(task), sockets).await?;
        figures.memory = (resident(ours.relay_pid()?)? - before) / sockets as f64;
        Ok(Self::Ours { crowd, ours, task, next: 0 })
    }

    async fn socket_io(
        setting: &Setting,
        sockets: usize,
        figures: &mut Figures,
    ) -> anyhow::Result<Self> {
        let database = database("fanout_peer").await?;
        let publisher = setting.peers.socket_io(&database, None).await?;
        let server = setting.peers.socket_io(&database, None).await?;
        let before = resident(server.pid())?;
        let place = Place::SocketIo { address: server.address().into() };
        let crowd = Crowd::gather(&place, sockets).await?;
        figures.memory = (resident(server.pid())? - before) / sockets as f64;
        Ok(Self::SocketIo { crowd, publisher, server, _database: database })
    }

    fn crowd(&self) -> &Crowd {
        match self {
            Self::Ours { crowd, .. } | Self::SocketIo { crowd, .. } => crowd,
        }
    }

    fn pid(&self) -> anyhow::Result<i32> {
        match self {
            Self::Ours { ours, .. } => ours.relay_pid(),
            Self::SocketIo { server, .. } => Ok(server.pid()),
        }
    }

    async fn round(&mut self, time: Duration, figures: &mut Figures) -> anyhow::Result<()> {
        let sockets = self.crowd().sockets() as u64;
        let (start, mut published) = (self.crowd().items(), 0_u64);
        let begun = Instant::now();
        let mut from = None;
        while begun.elapsed() < WARM_UP + time {
            if from.is_none() && begun.elapsed() >= WARM_UP {
                from = Some((Instant::now(), self.crowd().counts(), cpu(self.pid()?)?));
            }
            let arrived = (self.crowd().items() - start) / sockets;
            let room = WINDOW.saturating_sub(published - arrived);
            if room >= WINDOW / 4 {
                self.publish(room).await?;
                published += room;
            } else {
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        }
        let (at, before, used) = from.context("too short a round")?;
        let (now, took) = (self.crowd().counts(), at.elapsed().as_secs_f64());
        let used = cpu(self.pid()?)?.saturating_sub(used).as_secs_f64();
        let wanted = start + published * sockets;
        let arrived = self.crowd().until(wanted, Duration::from_secs(20)).await;
        ensure!(arrived == wanted, "{arrived} of {wanted} deliveries came");
        let items = (now.items - before.items) as f64;
        figures.items.push(items / took);
        figures.frames.push((now.frames - before.frames) as f64 / took);
        figures.megabytes.push((now.bytes - before.bytes) as f64 / took / 1e6);
        figures.cpu.push(used * 1e6 / items);
        Ok(())
    }

    async fn publish(&mut self, n: u64) -> anyhow::Result<()> {
        match self {
            Self::Ours { ours, task, next, .. } => {
                for _ in 0..n {
                    *next += 1;
                    let even = (*next / ITEMS).is_multiple_of(2);
                    let status = if even { ItemStatus::Running } else { ItemStatus::Pending };
                    let ordinal = u32::try_from(*next % ITEMS)?;
                    let _ = ours.engine.progress.record(*task, ordinal, change(status, 0));
                }
                Ok(())
            }
            Self::SocketIo { publisher, .. } => {
                publisher.ask("burst", &json!({"n": n})).await.map(drop)
            }
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Ours { crowd, ours, task, .. } => {
                drop(crowd);
                ours.stop(&[task]).await
            }
            Self::SocketIo { .. } => Ok(()),
        }
    }
}
