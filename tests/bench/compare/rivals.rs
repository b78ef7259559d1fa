//! The bare floors of notification: LISTEN/NOTIFY and Redis Pub/Sub with nothing around them.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::ensure;
use knm_tests::postgres::{Database, Sql};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_postgres::{AsyncMessage, NoTls, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::crowd::now_us;
use super::peers::Redis;

/// Times of what has arrived, in microseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<i64>>>);

impl Arrivals {
    fn arrived(&self, stamp: &str) {
        if let Ok(stamp) = stamp.parse::<i64>() {
            let time = now_us() - stamp;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(time);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Sorted.
    pub(crate) fn take(&self) -> Vec<i64> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.sort_unstable();
        all
    }
}

/// One session that notifies and one that listens.
pub(crate) struct Notify {
    sql: Sql,
    statement: Statement,
    pub(crate) arrivals: Arrivals,
    _listener: tokio_postgres::Client,
    _driver: AbortOnDropHandle<()>,
}

impl Notify {
    pub(crate) async fn start(database: &Database) -> anyhow::Result<Self> {
        let (arrivals, channel) = (Arrivals::default(), "bare");
        let (listener, driver) = listen(database, channel, arrivals.clone()).await?;
        let sql = database.connect().await?;
        let statement = sql.prepare("SELECT pg_notify('bare', $1)").await?;
        Ok(Self { sql, statement, arrivals, _listener: listener, _driver: driver })
    }

    pub(crate) async fn publish(&self) -> anyhow::Result<()> {
        self.sql.execute(&self.statement, &[&now_us().to_string()]).await?;
        Ok(())
    }
}

/// A session that listens, and hands over what it hears.
pub(crate) async fn listen(
    database: &Database,
    channel: &str,
    arrivals: Arrivals,
) -> anyhow::Result<(tokio_postgres::Client, AbortOnDropHandle<()>)> {
    let config: tokio_postgres::Config = database.url().parse()?;
    let (listener, mut connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(n) = message {
                arrivals.arrived(n.payload());
            }
        }
    });
    listener.batch_execute(&format!("LISTEN {channel}")).await?;
    Ok((listener, AbortOnDropHandle::new(driver)))
}

/// One connection that publishes and one that is subscribed.
pub(crate) struct PubSub {
    connection: TcpStream,
    pub(crate) arrivals: Arrivals,
    _reader: AbortOnDropHandle<()>,
}

impl PubSub {
    pub(crate) async fn start(redis: &Redis) -> anyhow::Result<Self> {
        let connect = async || {
            let socket = TcpStream::connect(("127.0.0.1", redis.port())).await?;
            socket.set_nodelay(true)?;
            anyhow::Ok(socket)
        };
        let (arrivals, mut subscribed) = (Arrivals::default(), BufReader::new(connect().await?));
        subscribed.get_mut().write_all(b"SUBSCRIBE bare\r\n").await?;
        let mut line = String::new();
        // `*3 $9 subscribe $4 bare :1`
        for _ in 0..6 {
            subscribed.read_line(&mut line).await?;
        }
        ensure!(line.contains("subscribe"), "not subscribed: {line}");
        let heard = arrivals.clone();
        let reader = tokio::spawn(async move {
            let mut line = String::new();
            // `*3 $7 message $4 bare $16 STAMP`: only the stamp is a number of that length.
            while subscribed.read_line(&mut line).await.is_ok_and(|n| n > 0) {
                let word = line.trim_end();
                if word.len() == 16 {
                    heard.arrived(word);
                }
                line.clear();
            }
        });
        let reader = AbortOnDropHandle::new(reader);
        Ok(Self { connection: connect().await?, arrivals, _reader: reader })
    }

    pub(crate) async fn publish(&mut self) -> anyhow::Result<()> {
        self.connection.write_all(format!("PUBLISH bare {}\r\n", now_us()).as_bytes()).await?;
        let mut answer = [0; 64];
        let n = self.connection.read(&mut answer).await?;
        ensure!(answer[..n].starts_with(b":"), "not published");
        Ok(())
    }
}
