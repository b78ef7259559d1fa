//! Whose turn it is to drain a node: one at a time, across tasks and replicas.

use knm_shared::ids::{LeaseToken, Ordinal, OwnerId, TaskId};
use knm_shared::pg::{Pool, PoolError};
use tracing::debug;

use crate::db::drains::{self, Asking, Limit, Turn};

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

impl Turns {
    /// Asks for a node whose item is running.
    ///
    /// # Errors
    /// [`TurnError`]: nobody knows; ask again.
    pub(super) async fn take(
        &self,
        node: &str,
        ordinal: Ordinal,
        limit: Option<Limit<'_>>,
    ) -> Result<Turn, TurnError> {
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        let item = (self.task, ordinal);
        let asking = Asking { cluster: &self.cluster, node, item, claim: self.claim, limit };
        let turn = drains::take(&transaction, asking).await?;
        transaction.commit().await?;
        Ok(turn)
    }

    /// Gives it up. If that fails, the item's final state tells the same.
    pub(super) async fn release(&self, ordinal: Ordinal) {
        let released = async {
            let client = self.pool.get().await?;
            drains::release(&**client, (self.task, ordinal), self.claim).await?;
            Ok::<_, TurnError>(())
        };
        if let Err(error) = released.await {
            debug!(%error, "a node's turn was not given up");
        }
    }
}
