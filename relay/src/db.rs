//! Every question that the relay asks PostgreSQL, and nothing else. It writes no row but those that tell the
//! audit log whom it has turned away.
//!
//! Statements are unnamed and self-contained, so that a transaction pooler may sit in between. Those
//! that read tasks also return the marks of the database's history, because sequence numbers mean
//! nothing without them.

mod health;
mod lists;
mod marks;
mod positions;
mod refusals;
mod rows;
mod sessions;
mod tasks;

use std::time::Duration;

use knm_shared::pg::{Client, Pool, PoolError, describe};
use tokio::time::error::Elapsed;

use crate::hub::Stale;

pub use health::{EPOCH_SQL, epoch_of};
pub use marks::MARKS;
pub use positions::Positions;
pub use tasks::TaskRead;

/// No question of the relay takes a healthy server longer; a connection that does is given up.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer. Nothing is lost by it: the caller keeps what it knows and asks again.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// No connection.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The server refused, or the connection broke.
    #[error("{}", describe(.0))]
    Query(#[from] tokio_postgres::Error),
    /// The server did not answer in time.
    #[error("the database did not answer within {} s", QUERY_TIMEOUT.as_secs())]
    Timeout,
    /// A row holds what no release writes.
    #[error("unreadable row: {0}")]
    Row(String),
    /// The answer is not of the server that it should be of.
    #[error(transparent)]
    Stale(#[from] Stale),
}

impl DbError {
    /// Whether the server itself said that a table is not there (SQLSTATE 42P01).
    #[must_use]
    pub fn is_undefined_table(&self) -> bool {
        let Self::Query(error) = self else {
            return false;
        };
        error.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_TABLE)
    }
}

/// The relay's questions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: Pool,
}

impl Db {
    /// Asks over this pool.
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// The pool itself, for its state.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn client(&self) -> Result<Client, DbError> {
        Ok(self.pool.get().await?)
    }
}

/// Within [`QUERY_TIMEOUT`].
async fn timely<F: Future>(query: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(QUERY_TIMEOUT, query).await
}

/// Gives the connection back, or up when it did not answer: whatever it still does would delay the
/// next question, and keep a process of the server's for as long as it takes.
fn settle<T>(
    client: Client,
    result: Result<Result<T, tokio_postgres::Error>, Elapsed>,
) -> Result<T, DbError> {
    match result {
        Ok(result) => Ok(result?),
        Err(_) => {
            Pool::abandon(client);
            Err(DbError::Timeout)
        }
    }
}
