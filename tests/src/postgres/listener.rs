//! A LISTEN connection of the test's own: what is really sent.

use std::collections::VecDeque;
use std::future::poll_fn;

use anyhow::{Context as _, bail};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Socket};

use super::Server;

/// Receives notifications while [`Listener::next`] is awaited.
pub struct Listener {
    _client: Client,
    connection: Connection<Socket, NoTlsStream>,
    received: VecDeque<String>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("received", &self.received.len()).finish_non_exhaustive()
    }
}

impl Listener {
    pub(super) async fn open(
        server: &Server,
        database: &str,
        channel: &str,
    ) -> anyhow::Result<Self> {
        let (client, mut connection) = server.config(database).connect(NoTls).await?;
        let mut received = VecDeque::new();
        {
            let sql = format!("LISTEN {channel}");
            let mut listen = std::pin::pin!(client.batch_execute(&sql));
            loop {
                tokio::select! {
                    listening = &mut listen => break listening?,
                    payload = next(&mut connection) => received.push_back(payload?),
                }
            }
        }
        Ok(Self { _client: client, connection, received })
    }

    /// The payload of the next notification. May be cancelled.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn next(&mut self) -> anyhow::Result<String> {
        match self.received.pop_front() {
            Some(payload) => Ok(payload),
            None => next(&mut self.connection).await,
        }
    }
}

async fn next(connection: &mut Connection<Socket, NoTlsStream>) -> anyhow::Result<String> {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(n))) => return Ok(n.payload().to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error).context("the LISTEN connection broke"),
            None => bail!("the LISTEN connection ended"),
        }
    }
}
