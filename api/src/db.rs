//! SQL: one module per table or question, and none anywhere else.

pub mod accounts;
pub mod audit;
pub mod claim;
pub mod clusters;
pub mod drains;
pub mod flush;
pub mod freezes;
pub mod items;
pub mod migrate;
pub mod retention;
pub mod sessions;
pub mod support;
pub mod tasks;
pub mod users;
pub mod webhooks;

use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

const BOUND: &str = "
SELECT set_config('lock_timeout', '5s', true),
       set_config('idle_in_transaction_session_timeout', '5s', true)";

/// Keeps a transaction of several statements, which has just begun, from holding up others: this process may be
/// stopped or cut off in the middle of it, and its locks go soon all the same. It waits no longer for others'.
///
/// # Errors
/// The statement's.
pub async fn bound(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction.query_typed(BOUND, &[]).await.map(drop)
}

/// Whether a statement was refused because it notifies and the server's queue of notifications is full.
/// That refusal shares its code with other limits; only its text tells it apart.
#[must_use]
pub fn is_queue_full(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|said| {
        *said.code() == SqlState::PROGRAM_LIMIT_EXCEEDED && said.message().contains("NOTIFY")
    })
}
