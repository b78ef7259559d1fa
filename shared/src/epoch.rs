//! Epochs and cursors: when sequence numbers may be compared, and where a client stands.
//!
//! Sequence numbers mean something only within one history of the database. A promoted standby that
//! lacks the last commits, or a restored backup, continues a different history under the same
//! numbers. PostgreSQL marks the first by a new timeline and the second by a new timeline, system
//! identifier or database; a row whose number went back shows what no marker shows.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::Seq;

/// Select list of the four parts of a [`DatabaseEpoch`], in the order of [`DatabaseEpoch::new`].
/// Fails on a standby ("recovery is in progress"), which is never the right server to ask.
///
/// The timeline comes from the WAL file name: `pg_control_checkpoint()` still tells the old one
/// between a promotion and its first checkpoint.
pub const EPOCH_COLUMNS: &str = "\
    (SELECT system_identifier FROM pg_control_system()), \
    ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int, \
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()), \
    'progress_tasks'::regclass::oid::bigint";

/// One history of the database, as PostgreSQL itself tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DatabaseEpoch {
    system: i64,
    timeline: i32,
    database: i64,
    table: i64,
}

impl DatabaseEpoch {
    /// From the columns of [`EPOCH_COLUMNS`].
    #[must_use]
    pub const fn new(system: i64, timeline: i32, database: i64, table: i64) -> Self {
        Self { system, timeline, database, table }
    }

    /// Whether a promotion has led from this to `other`. Whoever is still in this one then is a server
    /// that has been succeeded, or else it was reset to what it was before.
    #[must_use]
    pub const fn precedes(self, other: Self) -> bool {
        self.system == other.system && self.timeline < other.timeline
    }
}

/// The name of one history, as cursors carry it. Opaque: only equality means anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// The same for every process that talks to the same history.
    #[must_use]
    pub fn of(db: DatabaseEpoch) -> Self {
        let DatabaseEpoch { system, timeline, database, table } = db;
        Self(format!("{system:x}-{timeline:x}-{database:x}-{table:x}").into())
    }

    /// For a history that only a sequence number gone backwards has revealed: unique, so that no
    /// cursor of the old history, and none of another relay, is taken for one of this.
    #[must_use]
    pub fn diverged(db: DatabaseEpoch) -> Self {
        Self(format!("{}-{}", Self::of(db).0, uuid::Uuid::new_v4().simple()).into())
    }

    /// As it travels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a client stands in a task: everything up to `seq` of `epoch` is known. Written `epoch:seq`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The history that `seq` belongs to.
    pub epoch: Epoch,
    /// The last sequence number that the client has applied.
    pub seq: Seq,
}

/// A cursor that is not `epoch:seq`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cursor must be the value of a frame's `cursor` field, like \"6f1c-1-4005-4012:17\"")]
pub struct BadCursor;

/// No epoch is longer; what is, did not come from us.
const MAX_EPOCH_LEN: usize = 128;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(s: &str) -> Result<Self, BadCursor> {
        let (epoch, seq) = s.rsplit_once(':').ok_or(BadCursor)?;
        let seq: i64 = seq.parse().map_err(|_| BadCursor)?;
        let ok = |c: char| c.is_ascii_hexdigit() || c == '-';
        if epoch.is_empty() || epoch.len() > MAX_EPOCH_LEN || !epoch.chars().all(ok) || seq < 0 {
            return Err(BadCursor);
        }
        Ok(Self { epoch: Epoch(epoch.into()), seq: Seq(seq) })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DatabaseEpoch = DatabaseEpoch::new(7_571_234_567_890_123_456, 1, 16_389, 16_402);

    #[test]
    fn cursors_round_trip() {
        for epoch in [Epoch::of(DB), Epoch::diverged(DB)] {
            let cursor = Cursor { epoch, seq: Seq(17) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn every_part_makes_another_epoch() {
        let others = [
            DatabaseEpoch { system: 1, ..DB },
            DatabaseEpoch { timeline: 2, ..DB },
            DatabaseEpoch { database: 1, ..DB },
            DatabaseEpoch { table: 1, ..DB },
        ];
        for other in others {
            assert_ne!(Epoch::of(DB), Epoch::of(other));
        }
        assert_ne!(Epoch::diverged(DB), Epoch::diverged(DB));
    }

    #[test]
    fn a_promotion_leads_on_and_another_server_does_neither() {
        let (first, second) = (DB, DatabaseEpoch { timeline: 2, ..DB });
        assert!(first.precedes(second) && !second.precedes(first) && !first.precedes(first));
        let other = DatabaseEpoch { system: 9, ..DB };
        assert!(!other.precedes(second) && !second.precedes(other));
        assert_ne!(Epoch::diverged(first), Epoch::of(first));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let long = format!("{}:1", "a".repeat(1000));
        for bad in ["", "17", ":17", "abc:", "abc:-1", "abc:x", "a b:1", "é:1", long.as_str()] {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad:?}");
        }
    }
}
