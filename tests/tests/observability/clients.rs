//! Browsers that take nothing.

use std::time::Instant;

use anyhow::ensure;
use knm_tests::proxy::{Direction, Fault, Proxy, Rule, Select};
use knm_tests::scenario::World;
use knm_tests::ws::Connection;

use crate::support::{fires, is_firing, rules, skipped, watch};

/// Their answers to pings get lost for a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_closed_for_taking_nothing_are_told() -> anyhow::Result<()> {
    if skipped() {
        return Ok(());
    }
    let world = World::new("slow_clients").start().await?;
    let prometheus = watch(&world, &rules()?.without_waiting()).await?;
    let road = Proxy::start(world.pods[0].relay.address()).await?;
    let api = world.sign_in(0).await?;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Connection::open(&road.address().to_string(), Some(api.token()?)).await?);
    }
    ensure!(!is_firing(&prometheus, "KnmSlowClients", &[]).await?, "nothing is wrong yet");
    let fault = Instant::now();
    road.set_rules([Rule::new(Select::All, Direction::ToServer, Fault::BlackHole)]);
    fires(&prometheus, "KnmSlowClients", &[("container", "relay")], fault).await?;
    drop(clients);
    prometheus.stop().await?;
    world.stop().await
}
