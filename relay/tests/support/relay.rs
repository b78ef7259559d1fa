//! A relay in this process, over a configuration file as an operator would write it.

use std::net::SocketAddr;
use std::time::Duration;

use knm_relay::app::{Addresses, Relay};
use knm_shared::config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub struct Running {
    pub addresses: Addresses,
    shutdown: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Running {
    /// Starts a relay; `progress` is the section's body, one `key: value` a line.
    pub async fn start(database_port: u16, progress: &str) -> Self {
        let indented: String = progress.lines().map(|l| format!("  {}\n", l.trim())).collect();
        let text = format!(
            "database:\n  host: 127.0.0.1\n  port: {database_port}\n  database: postgres\n\
             progress:\n  enable_database: true\n{indented}\
             relay:\n  listen: 127.0.0.1:0\n  admin_listen: 127.0.0.1:0\n"
        );
        let path = std::env::temp_dir().join(format!("knm-relay-{}.yaml", Uuid::new_v4().simple()));
        std::fs::write(&path, text).expect("a temporary file");
        let loaded = config::load_with(Some(&path), &|_| None);
        let _ = std::fs::remove_file(&path);
        let relay = Relay::bind(loaded.expect("valid")).await.expect("free ports");
        let addresses = relay.addresses();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(relay.run(shutdown.clone()));
        Self { addresses, shutdown, task: Some(task) }
    }

    /// Starts one and waits until notifications arrive.
    pub async fn live(database_port: u16) -> Self {
        let relay = Self::start(database_port, "notify_type: postgres\npoll_interval: 1000").await;
        relay.until_state("live", "live").await;
        relay
    }

    pub async fn state(&self) -> serde_json::Value {
        let (_, body) = get(self.addresses.admin, "/state").await;
        serde_json::from_str(&body).expect("JSON")
    }

    /// Waits until the listener and the mode are so.
    pub async fn until_state(&self, listener: &str, mode: &str) {
        let reached = async {
            loop {
                let state = self.state().await;
                if state["listener"] == listener && state["mode"] == mode {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), reached).await;
        assert!(waited.is_ok(), "not {listener}/{mode} but {}", self.state().await);
    }

    pub fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops it and waits for its end.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let task = self.task.take().expect("stopped once");
        tokio::time::timeout(Duration::from_secs(15), task)
            .await
            .expect("within the grace period")
            .expect("no panic")
            .expect("in good order");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Status and body of a plain GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("received");
    let status = response[9..12].parse().expect("a status");
    let (_, body) = response.split_once("\r\n\r\n").expect("a body");
    (status, body.to_owned())
}
