//! The marks of the database's history at the front of a row.

use knm_shared::epoch::DatabaseEpoch;
use tokio_postgres::Row;

/// How many columns [`knm_shared::epoch::EPOCH_COLUMNS`] are.
pub const MARKS: usize = 4;

/// Reads the first [`MARKS`] columns.
pub(super) fn epoch(row: &Row) -> Result<DatabaseEpoch, tokio_postgres::Error> {
    Ok(DatabaseEpoch::new(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
}
