//! The marks of the database's history at the front of a row.

use tokio_postgres::Row;

use crate::history::History;

/// How many columns [`knm_shared::epoch::EPOCH_COLUMNS`] are.
pub const MARKS: usize = 4;

/// Reads the first [`MARKS`] columns.
pub(super) fn epoch(row: &Row) -> Result<History, tokio_postgres::Error> {
    Ok(History::new(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
}
