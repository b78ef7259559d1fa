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
WITH was AS (
    SELECT reason FROM freezes WHERE cluster = $1
), stored AS (
    INSERT INTO freezes AS f (cluster, reason, user_id) VALUES ($1, $2, $3)
    ON CONFLICT (cluster) DO UPDATE SET reason = excluded.reason, user_id = excluded.user_id
    RETURNING f.*
)
SELECT s.cluster, s.reason, u.username, s.created_at, (SELECT reason FROM was) AS reason_before
FROM stored s JOIN users u ON u.id = s.user_id";

/// Freezes a cluster, or gives its freeze another reason; returns the one before, too.
///
/// # Errors
/// The statement's.
pub async fn set(
    client: &impl GenericClient,
    cluster: &str,
    reason: &str,
    user: UserId,
) -> Result<(Option<String>, Freeze), Error> {
    let params: [(&(dyn ToSql + Sync), Type); 3] =
        [(&cluster, Type::TEXT), (&reason, Type::TEXT), (&user.0, Type::UUID)];
    let row = client.query_typed_one(SET, &params).await?;
    Ok((row.get("reason_before"), freeze(&row)))
}

/// Lifts a freeze; returns its reason. `None`: there was none.
///
/// # Errors
/// The statement's.
pub async fn lift(client: &impl GenericClient, cluster: &str) -> Result<Option<String>, Error> {
    let sql = "DELETE FROM freezes WHERE cluster = $1 RETURNING reason";
    let row = client.query_typed_opt(sql, &[(&cluster, Type::TEXT)]).await?;
    Ok(row.map(|row| row.get(0)))
}

fn freeze(row: &Row) -> Freeze {
    Freeze {
        cluster: row.get("cluster"),
        reason: row.get("reason"),
        username: row.get("username"),
        since: row.get("created_at"),
    }
}
