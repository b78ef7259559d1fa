//! Whose turn it is to drain a node: one at a time, across tasks and replicas.

use std::time::Duration;

use knm_shared::ids::{LeaseToken, Ordinal, OwnerId, TaskId};
use knm_shared::pg::{Client, Pool, PoolError};
use tokio::time::timeout;
use tracing::debug;

use crate::db::drains::{self, Asking, Limit, Turn};

/// How long a turn's release is waited for. The node's end, which is stored only then, tells the same.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks for nodes on behalf of one claimed task.
pub(super) struct Turns {
    pub(super) pool: Pool,
    pub(super) cluster: String,
    pub(super) task: TaskId,
    pub(super) claim: (OwnerId, LeaseToken),
}

/// The database does not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Statement(#[from] tokio_postgres::Error),
}

/// A borrowed connection. Dropped before its answer has come, it is given up rather than back: the server
/// stops what it was asked, and nobody else gets to wait behind that.
struct Loan(Option<Client>);

impl Loan {
    async fn of(pool: &Pool) -> Result<Self, PoolError> {
        pool.get().await.map(|client| Self(Some(client)))
    }

    fn client(&mut self) -> &mut Client {
        self.0.as_mut().expect("taken out only when it ends")
    }

    /// It has answered.
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            Pool::abandon(client);
        }
    }
}

impl Turns {
    /// Asks for a node whose item is running. Whoever stops waiting for the answer may have got the turn: it
    /// is void as soon as the item is not running any more.
    ///
    /// # Errors
    /// [`TurnError`]: nobody knows; ask again.
    pub(super) async fn take(
        &self,
        node: &str,
        ordinal: Ordinal,
        limit: Option<Limit<'_>>,
    ) -> Result<Turn, TurnError> {
        let mut loan = Loan::of(&self.pool).await?;
        let item = (self.task, ordinal);
        let asking = Asking { cluster: &self.cluster, node, item, claim: self.claim, limit };
        let turn = ask(loan.client(), asking).await;
        loan.give_back();
        Ok(turn?)
    }

    /// Gives it up. If that fails, the item's final state tells the same.
    pub(super) async fn release(&self, ordinal: Ordinal) {
        let released = async {
            let mut loan = Loan::of(&self.pool).await?;
            let released =
                drains::release(&***loan.client(), (self.task, ordinal), self.claim).await;
            loan.give_back();
            Ok::<_, TurnError>(released?)
        };
        match timeout(RELEASE_TIMEOUT, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "a node's turn was not given up"),
            Err(_) => debug!("a node's turn was not given up: no answer"),
        }
    }
}

async fn ask(client: &mut Client, asking: Asking<'_>) -> Result<Turn, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    let turn = drains::take(&transaction, asking).await?;
    transaction.commit().await?;
    Ok(turn)
}
