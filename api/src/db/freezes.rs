//! Freezes in SQL. What they do to tasks is part of the questions in `claim` and `tasks`.

use jiff::Timestamp;
use knm_shared::ids::UserId;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, GenericClient, Row};

/// The name that stands for every cluster.
pub const EVERYWHERE: &str = "*";

/// Why nothing is done on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// On which cluster; [`EVERYWHERE`] for all.
    pub cluster: String,
    /// In the words of whoever asked for it.
    pub reason: String,
    /// Their name.
    pub username: String,
    /// Since when.
    pub since: Timestamp,
}

impl Freeze {
    /// Whether it is about that cluster.
    #[must_use]
    pub fn covers(&self, cluster: &str) -> bool {
        self.cluster == EVERYWHERE || self.cluster == cluster
    }
}

const ALL: &str = "
SELECT f.cluster, f.reason, u.username, f.created_at
FROM freezes f JOIN users u ON u.id = f.user_id ORDER BY f.cluster";

/// Every freeze, the one of all clusters first.
///
/// # Errors
/// The statement's.
pub async fn all(client: &impl GenericClient) -> Result<Vec<Freeze>, Error> {
    Ok(client.query_typed(ALL, &[]).await?.iter().map(freeze).collect())
}

const SET: &str = "
WITH stored AS (
    INSERT INTO freezes AS f (cluster, reason, user_id) VALUES ($1, $2, $3)
    ON CONFLICT (cluster) DO UPDATE SET reason = excluded.reason, user_id = excluded.user_id
    RETURNING f.*
)
SELECT s.cluster, s.reason, u.username, s.created_at FROM stored s JOIN users u ON u.id = s.user_id";

/// Freezes a cluster, or gives its freeze another reason.
///
/// # Errors
/// The statement's.
pub async fn set(
    client: &impl GenericClient,
    cluster: &str,
    reason: &str,
    user: UserId,
) -> Result<Freeze, Error> {
    let params: [(&(dyn ToSql + Sync), Type); 3] =
        [(&cluster, Type::TEXT), (&reason, Type::TEXT), (&user.0, Type::UUID)];
    Ok(freeze(&client.query_typed_one(SET, &params).await?))
}

/// Lifts a freeze. False: there was none.
///
/// # Errors
/// The statement's.
pub async fn lift(client: &impl GenericClient, cluster: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM freezes WHERE cluster = $1";
    Ok(client.execute_typed(sql, &[(&cluster, Type::TEXT)]).await? > 0)
}

fn freeze(row: &Row) -> Freeze {
    Freeze {
        cluster: row.get("cluster"),
        reason: row.get("reason"),
        username: row.get("username"),
        since: row.get("created_at"),
    }
}
