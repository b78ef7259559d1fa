//! From the writing statement to the frame in the socket, by the relay's histogram, and to the frame in
//! the client's hands, by the clients' clocks.

use std::time::Duration;

use knm_shared::notification::{CHANNEL, Notification};
use knm_tests::postgres::Listener;
use knm_tests::ws::Latencies;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Verdict;
use crate::rig::{Histogram, Writer, follow, measure, ms, stage};

pub(crate) const DELIVERY: &str = "knm_relay_delivery_latency_seconds";
/// Figures to reach, in milliseconds.
const P50: f64 = 1.0;
const P99: f64 = 5.0;

pub(crate) async fn run(sockets: usize, rate: u32, time: Duration) -> anyhow::Result<Verdict> {
    println!("relay-latency: {sockets} sockets on one task, {rate} changes/s for {time:?}");
    let stage = stage("latency").await?;
    let mut writer = Writer::known(&stage).await?;
    // Browsers have processors of their own. Here they take what the relay and PostgreSQL leave them.
    let aside = Aside::new()?;
    let mut clients = JoinSet::new();
    for _ in 0..sockets {
        let address = (stage.relay(0).address(), stage.token().to_owned(), writer.task.id());
        let connected = aside.spawn(async move {
            let (relay, token, task) = address;
            let connection = follow(&relay, &token, task).await?;
            anyhow::Ok(tokio::spawn(measure(connection, CancellationToken::new())))
        });
        clients.spawn(connected.await??);
    }
    writer.steps(rate, Duration::from_secs(1)).await?;
    let done = CancellationToken::new();
    let bare = tokio::spawn(listen(stage.database.listen(CHANNEL).await?, done.clone()));
    let before = Histogram::of(stage.relay(0), DELIVERY).await?;
    let steps = writer.steps(rate, time).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = Histogram::of(stage.relay(0), DELIVERY).await?;
    let written = after.since(&before);
    done.cancel();
    let bare = bare.await??;
    stage.stop().await?;
    let mut received = Latencies::default();
    while let Some(measured) = clients.join_next().await {
        received.extend(&measured???);
    }
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| written.quantile(q));
    println!(
        "  {:.0} changes/s, {} frames written",
        f64::from(steps) / time.as_secs_f64(),
        written.count()
    );
    let [b50, b95, b99] = [50, 95, 99].map(|p| ms(&bare, p));
    println!("  publish → a bare LISTEN         p50 {b50:.2} ms, p95 {b95:.2} ms, p99 {b99:.2} ms");
    println!("  publish → written (relay)       p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms");
    println!("                                  to reach: p50 {P50} ms, p99 {P99} ms");
    let [c50, c95, c99] = [50, 95, 99].map(|p| ms(&received, p));
    println!("  publish → received (clients)    p50 {c50:.2} ms, p95 {c95:.2} ms, p99 {c99:.2} ms");
    Ok(Verdict::of(p50 <= P50 && p99 <= P99))
}

/// Threads that give way to all others.
struct Aside(Option<Runtime>);

impl Aside {
    fn new() -> anyhow::Result<Self> {
        let lowest = || {
            // On Linux it is the thread's own.
            if let Err(error) = rustix::process::nice(19) {
                eprintln!("the clients do not give way: {error}");
            }
        };
        let runtime = Builder::new_multi_thread().on_thread_start(lowest).enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.as_ref().expect("until it is dropped").spawn(work)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Not in a future's thread, where waiting for them is forbidden.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// When a session that does nothing but LISTEN has them, which is the soonest that anybody can: the server
/// tells after the commit is durable, and the time in a notification is from before.
async fn listen(mut session: Listener, done: CancellationToken) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    loop {
        let payload = tokio::select! {
            () = done.cancelled() => return Ok(latencies),
            payload = session.next() => payload?,
        };
        latencies.record(Notification::decode(&payload)?.published_us);
    }
}
