//! Clusters in SQL.

use jiff::Timestamp;
use knm_shared::ids::UserId;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, GenericClient, Row};

/// A stored cluster, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// The API server.
    pub server: String,
    /// Raised with every change.
    pub version: i64,
    /// Since when it is there.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

const COLUMNS: &str = "name, server, version, created_at, updated_at";

/// Every cluster, by name.
///
/// # Errors
/// The statement's.
pub async fn all(client: &impl GenericClient) -> Result<Vec<Stored>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM clusters ORDER BY name");
    Ok(client.query_typed(&sql, &[]).await?.iter().map(stored).collect())
}

/// A cluster's version and encrypted kubeconfig.
///
/// # Errors
/// The statement's.
pub async fn kubeconfig(
    client: &impl GenericClient,
    name: &str,
) -> Result<Option<(i64, Vec<u8>)>, Error> {
    let sql = "SELECT version, kubeconfig FROM clusters WHERE name = $1";
    let row = client.query_typed_opt(sql, &[(&name, Type::TEXT)]).await?;
    Ok(row.map(|row| (row.get("version"), row.get("kubeconfig"))))
}

/// Stores a new cluster. `None` when there is one of that name.
///
/// # Errors
/// The statement's.
pub async fn insert(
    client: &impl GenericClient,
    name: &str,
    server: &str,
    kubeconfig: &[u8],
    user: UserId,
) -> Result<Option<Stored>, Error> {
    let sql = format!(
        "INSERT INTO clusters (name, server, kubeconfig, user_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO NOTHING RETURNING {COLUMNS}"
    );
    let params: [(&(dyn ToSql + Sync), Type); 4] = [
        (&name, Type::TEXT),
        (&server, Type::TEXT),
        (&kubeconfig, Type::BYTEA),
        (&user.0, Type::UUID),
    ];
    Ok(client.query_typed_opt(&sql, &params).await?.as_ref().map(stored))
}

/// Gives a cluster another kubeconfig; returns the server before as well. `None` when there is no such
/// cluster.
///
/// # Errors
/// The statement's.
pub async fn replace(
    client: &impl GenericClient,
    name: &str,
    server: &str,
    kubeconfig: &[u8],
) -> Result<Option<(String, Stored)>, Error> {
    let sql = format!(
        "WITH was AS (
             SELECT name AS was_name, server AS server_before FROM clusters
             WHERE name = $1 FOR NO KEY UPDATE)
         UPDATE clusters SET server = $2, kubeconfig = $3, version = version + 1, updated_at = now()
         FROM was WHERE name = was_name RETURNING {COLUMNS}, server_before"
    );
    let params: [(&(dyn ToSql + Sync), Type); 3] =
        [(&name, Type::TEXT), (&server, Type::TEXT), (&kubeconfig, Type::BYTEA)];
    let row = client.query_typed_opt(&sql, &params).await?;
    Ok(row.map(|row| (row.get("server_before"), stored(&row))))
}

/// What became of a cluster that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, and its freeze with it; its server was this.
    Removed(String),
    /// There was none.
    Unknown,
    /// So many of its tasks have not ended.
    InUse(i64),
}

const REMOVE: &str = "
WITH open AS (
    SELECT count(*) AS n FROM progress_tasks WHERE cluster = $1 AND completed_at IS NULL
), removed AS (
    DELETE FROM clusters WHERE name = $1 AND (SELECT n FROM open) = 0 RETURNING name, server
), thawed AS (
    DELETE FROM freezes WHERE cluster IN (SELECT name FROM removed)
)
SELECT (SELECT server FROM removed) AS removed,
       EXISTS (SELECT FROM clusters WHERE name = $1) AS known, (SELECT n FROM open) AS n";

/// Removes a cluster that no unfinished task is about. Its finished tasks stay.
///
/// The lock comes first, for whoever stores a task holds one as well: the statement after it sees
/// every task that was stored before, and none can be stored from there on.
///
/// # Errors
/// A statement's.
pub async fn remove(client: &mut Client, name: &str) -> Result<Removal, Error> {
    let transaction = client.transaction().await?;
    super::bound(&transaction).await?;
    let lock = "SELECT FROM clusters WHERE name = $1 FOR UPDATE";
    transaction.query_typed(lock, &[(&name, Type::TEXT)]).await?;
    let row = transaction.query_typed_one(REMOVE, &[(&name, Type::TEXT)]).await?;
    transaction.commit().await?;
    Ok(match (row.get("removed"), row.get("known")) {
        (Some(server), _) => Removal::Removed(server),
        (None, true) => Removal::InUse(row.get("n")),
        (None, false) => Removal::Unknown,
    })
}

fn stored(row: &Row) -> Stored {
    Stored {
        name: row.get("name"),
        server: row.get("server"),
        version: row.get("version"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    }
}
