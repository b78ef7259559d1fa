//! An open connection with the task that drives it, and how both end.
//!
//! tokio-postgres ends a connection whose client is gone only when every answer has come. Where an answer
//! does not come, that takes as long as the server takes: the socket and the server's process stay, and
//! the next connection is one more. So whoever stops waiting for an answer says so, and the server is
//! asked to stop as well.

use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::{CancelToken, Client};
use tokio_util::sync::CancellationToken;

use super::tls::Tls;
use super::{Connection, describe};

/// How long the server may take to cancel what it was asked to cancel; then its socket is closed. A
/// healthy one takes milliseconds.
const CANCEL: Duration = Duration::from_secs(1);
/// A request to cancel concerns the statement that runs when it arrives, and others may wait behind that.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a connection that is not needed any more may wait for answers.
const GOODBYE: Duration = Duration::from_millis(300);

/// One open connection. `&*session` is a [`tokio_postgres::Client`]. Dropped, it ends in good order as
/// soon as all answers have come.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// Cancelled when nobody waits for an answer any more.
    unwanted: CancellationToken,
}

impl Session {
    /// The session, and what has to run for it. No answer is waited for once `unwanted` is cancelled.
    pub(super) fn new(
        (client, connection): (Client, Connection),
        tls: Tls,
        unwanted: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let driver = drive(connection, client.cancel_token(), tls, unwanted.clone());
        (Self { client, unwanted }, driver)
    }

    /// Has the server cancel what it is doing for this session. Returns when it has, or when the socket
    /// has been closed because it does not react; the session is of no use afterwards.
    pub(super) async fn cancel(&self) {
        self.unwanted.cancel();
        // Answered after everything that was asked before it.
        let _ = self.client.simple_query("").await;
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// A [`Session`] of its own, outside of any pool.
#[derive(Debug)]
pub struct Single {
    session: Session,
    driver: JoinHandle<()>,
}

impl Single {
    pub(super) fn start(connected: (Client, Connection), tls: Tls) -> Self {
        let (session, driver) = Session::new(connected, tls, CancellationToken::new());
        Self { session, driver: tokio::spawn(driver) }
    }

    /// Says goodbye to the server, and does not insist on its last answers.
    pub async fn close(self) {
        let Self { session, mut driver } = self;
        let unwanted = session.unwanted.clone();
        drop(session);
        if timeout(GOODBYE, &mut driver).await.is_err() {
            unwanted.cancel();
            let _ = driver.await;
        }
    }

    /// Ends it although an answer is due: has the server cancel the statement, and closes the socket.
    pub async fn abandon(self) {
        self.session.unwanted.cancel();
        drop(self.session);
        let _ = self.driver.await;
    }
}

impl Deref for Single {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.session
    }
}

/// Runs a connection to its end.
async fn drive(connection: Connection, cancel: CancelToken, tls: Tls, unwanted: CancellationToken) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = unwanted.cancelled() => {
            let asking = ask_to_cancel(&cancel, &tls);
            let cancelled = async {
                tokio::select! {
                    ended = connection => ended,
                    never = asking => match never {},
                }
            };
            match timeout(CANCEL, cancelled).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("a statement is not cancelled; closing its socket"),
            }
        }
    };
    // Whoever uses the connection gets the error too.
    if let Err(error) = ended {
        tracing::debug!(error = describe(&error), "connection ended");
    }
}

async fn ask_to_cancel(cancel: &CancelToken, tls: &Tls) -> Infallible {
    loop {
        if let Err(error) = cancel.cancel_query(tls.clone()).await {
            tracing::debug!(error = describe(&error), "the server cannot be asked to cancel");
        }
        sleep(ASK_AGAIN).await;
    }
}
