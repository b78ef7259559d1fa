//! Accounts as an administrator sees and changes them. What takes rights away ends the sessions that
//! have them in the same transaction, and tells every relay and replica.

use std::collections::BTreeMap;

use jiff::Timestamp;
use knm_shared::ids::UserId;
use knm_shared::notification::{REVOKED_CHANNEL, Revocation};
use knm_shared::session::Role;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, GenericClient, Row};
use uuid::Uuid;

use super::users::{self, NewAccount};

type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// The clusters that a user is bound to, each with a role; `None`: every one, with the user's own.
pub type Bindings = Option<BTreeMap<String, Role>>;

/// An account, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Whose it is.
    pub id: UserId,
    /// The name.
    pub username: String,
    /// The role in the installation as a whole.
    pub role: Role,
    /// On which clusters.
    pub clusters: Bindings,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was closed, if it is.
    pub disabled_at: Option<Timestamp>,
}

const COLUMNS: &str = "u.id, u.username, u.role, u.every_cluster, u.created_at, u.disabled_at,
    ARRAY(SELECT c.cluster FROM user_clusters c WHERE c.user_id = u.id ORDER BY c.cluster),
    ARRAY(SELECT c.role FROM user_clusters c WHERE c.user_id = u.id ORDER BY c.cluster)";

fn user(row: &Row) -> User {
    let (clusters, roles): (Vec<String>, Vec<&str>) = (row.get(6), row.get(7));
    let bound = || clusters.into_iter().zip(roles.into_iter().map(users::role)).collect();
    User {
        id: UserId(row.get(0)),
        username: row.get(1),
        role: users::role(row.get(2)),
        clusters: if row.get(3) { None } else { Some(bound()) },
        created_at: row.get(4),
        disabled_at: row.get(5),
    }
}

/// Up to `limit` accounts by name, after that of one.
///
/// # Errors
/// When the database does not answer.
pub async fn list(client: &Client, after: &str, limit: u32) -> Result<Vec<User>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users u WHERE lower(u.username) > lower($1)
         ORDER BY lower(u.username) LIMIT $2"
    );
    let params: [Param<'_>; 2] = [(&after, Type::TEXT), (&i64::from(limit), Type::INT8)];
    Ok(client.query_typed(&sql, &params).await?.iter().map(user).collect())
}

/// One account.
///
/// # Errors
/// When the database does not answer.
pub async fn get(client: &impl GenericClient, id: UserId) -> Result<Option<User>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM users u WHERE u.id = $1");
    Ok(client.query_typed_opt(&sql, &[(&id.0, Type::UUID)]).await?.as_ref().map(user))
}

/// Stores an account with its clusters. `None`: the name is taken.
///
/// # Errors
/// When the database does not answer.
pub async fn create(
    client: &mut Client,
    new: &NewAccount<'_>,
    clusters: &Bindings,
) -> Result<Option<User>, Error> {
    let transaction = client.transaction().await?;
    super::bound(&transaction).await?;
    let Some(id) = users::insert(&transaction, new).await? else { return Ok(None) };
    bind(&transaction, id, clusters).await?;
    let created = get(&transaction, id).await?;
    transaction.commit().await?;
    Ok(created)
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The role in the installation as a whole.
    pub role: Option<Role>,
    /// The clusters.
    pub clusters: Option<Bindings>,
    /// Whether it is closed.
    pub disabled: Option<bool>,
}

/// An account before and after.
#[derive(Debug)]
pub struct Difference {
    /// How the account was.
    pub before: User,
    /// How it is.
    pub after: User,
    /// Tasks that were paused.
    pub paused: i64,
}

/// What became of a change.
#[derive(Debug)]
pub enum Changed {
    /// It was made.
    Done(Box<Difference>),
    /// There is no such account.
    Unknown,
    /// Nobody would be left to manage users.
    LastAdmin,
    /// An administrator of the installation cannot be bound to clusters.
    BoundAdmin,
}

/// Changes an account. Closing it ends its sessions and tokens and pauses its tasks; another role or
/// other clusters end its sessions, so that whoever it is signs in again with what they may do now.
///
/// # Errors
/// When the database does not answer; nothing has changed then.
pub async fn change(client: &mut Client, id: UserId, change: &Change) -> Result<Changed, Error> {
    let transaction = client.transaction().await?;
    super::bound(&transaction).await?;
    // Whoever changes an account has all administrators, in order: two of them cannot remove each other.
    // Not FOR UPDATE, which tasks that are being stored would wait for, and it for them.
    let admins = transaction
        .query_typed(
            "SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL
             ORDER BY id FOR NO KEY UPDATE",
            &[],
        )
        .await?;
    let lock = "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE";
    transaction.query_typed(lock, &[(&id.0, Type::UUID)]).await?;
    let Some(before) = get(&transaction, id).await? else { return Ok(Changed::Unknown) };
    let role = change.role.unwrap_or(before.role);
    let clusters = change.clusters.clone().unwrap_or_else(|| before.clusters.clone());
    let disabled = change.disabled.unwrap_or(before.disabled_at.is_some());
    if role == Role::Admin && clusters.is_some() {
        return Ok(Changed::BoundAdmin);
    }
    let others = admins.iter().any(|row| row.get::<_, Uuid>(0) != id.0);
    let was_admin = before.role == Role::Admin && before.disabled_at.is_none();
    if was_admin && !others && (role != Role::Admin || disabled) {
        return Ok(Changed::LastAdmin);
    }
    let update = "
        UPDATE users SET role = $2, updated_at = now(),
            disabled_at = CASE WHEN $3 THEN coalesce(disabled_at, now()) END
        WHERE id = $1";
    let params: [Param<'_>; 3] =
        [(&id.0, Type::UUID), (&role.as_str(), Type::TEXT), (&disabled, Type::BOOL)];
    transaction.execute_typed(update, &params).await?;
    bind(&transaction, id, &clusters).await?;
    let mut paused = 0;
    if disabled && before.disabled_at.is_none() {
        end_sessions(&transaction, id, Which::All).await?;
        paused = pause_tasks(&transaction, id).await?;
    } else if role != before.role || clusters != before.clusters {
        end_sessions(&transaction, id, Which::Sessions).await?;
    }
    let after = get(&transaction, id).await?;
    transaction.commit().await?;
    let done = |after| Changed::Done(Box::new(Difference { before, after, paused }));
    Ok(after.map_or(Changed::Unknown, done))
}

async fn bind(client: &impl GenericClient, id: UserId, clusters: &Bindings) -> Result<(), Error> {
    let (names, roles): (Vec<&str>, Vec<&str>) =
        clusters.iter().flatten().map(|(name, role)| (name.as_str(), role.as_str())).unzip();
    let params: [Param<'_>; 1] = [(&id.0, Type::UUID)];
    client.execute_typed("DELETE FROM user_clusters WHERE user_id = $1", &params).await?;
    let sql = "
        WITH bound AS (
            INSERT INTO user_clusters (user_id, cluster, role)
            SELECT $1, x.name, x.role FROM unnest($2::text[], $3::text[]) AS x (name, role))
        UPDATE users SET every_cluster = $4 WHERE id = $1";
    let params: [Param<'_>; 4] = [
        (&id.0, Type::UUID),
        (&names, Type::TEXT_ARRAY),
        (&roles, Type::TEXT_ARRAY),
        (&clusters.is_none(), Type::BOOL),
    ];
    client.execute_typed(sql, &params).await.map(drop)
}

/// Which of a user's sessions and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Sessions,
    All,
}

/// Sockets of tokens that go on are closed, too: they come back with what they may do now.
async fn end_sessions(client: &impl GenericClient, id: UserId, which: Which) -> Result<(), Error> {
    let sql = "
        WITH gone AS (DELETE FROM sessions WHERE user_id = $1 AND ($2 OR kind = 'session'))
        SELECT pg_notify($3, $4)";
    let payload = serde_json::to_string(&Revocation::User(id)).expect("an id has a JSON form");
    let params: [Param<'_>; 4] = [
        (&id.0, Type::UUID),
        (&(which == Which::All), Type::BOOL),
        (&REVOKED_CHANNEL, Type::TEXT),
        (&payload, Type::TEXT),
    ];
    client.query_typed(sql, &params).await.map(drop)
}

/// In the order in which everybody locks several tasks.
async fn pause_tasks(client: &impl GenericClient, id: UserId) -> Result<i64, Error> {
    let sql = "
        WITH own AS (
            SELECT id FROM progress_tasks
            WHERE user_id = $1 AND completed_at IS NULL AND desired = 'run'
            ORDER BY id FOR UPDATE),
        paused AS (
            UPDATE progress_tasks t SET desired = 'pause', updated_at = clock_timestamp()
            FROM own WHERE t.id = own.id RETURNING t.id)
        SELECT count(*) FROM paused";
    Ok(client.query_typed_one(sql, &[(&id.0, Type::UUID)]).await?.get(0))
}

/// Sets another password for an account, and ends its sessions and tokens: whoever has the old one is
/// out. Returns the account, if there is one.
///
/// # Errors
/// When the database does not answer.
pub async fn reset_password(
    client: &mut Client,
    id: UserId,
    hash: &str,
) -> Result<Option<User>, Error> {
    let transaction = client.transaction().await?;
    super::bound(&transaction).await?;
    let sql = "UPDATE users SET password_hash = $2, updated_at = now() WHERE id = $1";
    let params: [Param<'_>; 2] = [(&id.0, Type::UUID), (&hash, Type::TEXT)];
    transaction.execute_typed(sql, &params).await?;
    end_sessions(&transaction, id, Which::All).await?;
    let found = get(&transaction, id).await?;
    transaction.commit().await?;
    Ok(found)
}

/// The hash of the user's password.
///
/// # Errors
/// When the database does not answer.
pub async fn password_hash(client: &Client, id: UserId) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT password_hash FROM users WHERE id = $1 AND disabled_at IS NULL";
    Ok(client.query_typed_opt(SQL, &[(&id.0, Type::UUID)]).await?.map(|row| row.get(0)))
}

/// Another password in place of one that was found to be right.
pub struct PasswordChange<'a> {
    /// Whose.
    pub user: UserId,
    /// The session that goes on.
    pub session: Uuid,
    /// The hash as it was.
    pub old: &'a str,
    /// The hash as it is to be.
    pub new: &'a str,
    /// Whether the user's tokens end, too.
    pub end_tokens: bool,
}

/// Sets another password, and ends the user's other sessions. False: it is not the old one any more.
///
/// # Errors
/// When the database does not answer; nothing has changed then.
pub async fn change_password(
    client: &mut Client,
    change: &PasswordChange<'_>,
) -> Result<bool, Error> {
    let PasswordChange { user, session, old, new, end_tokens } = change;
    let transaction = client.transaction().await?;
    super::bound(&transaction).await?;
    let sql = "
        UPDATE users SET password_hash = $3, updated_at = now()
        WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL";
    let params: [Param<'_>; 3] = [(&user.0, Type::UUID), (old, Type::TEXT), (new, Type::TEXT)];
    if transaction.execute_typed(sql, &params).await? == 0 {
        return Ok(false);
    }
    // A statement of its own: it sees the sessions that the one above has waited for.
    let sql = r#"
        WITH gone AS (
            DELETE FROM sessions
            WHERE user_id = $1 AND (kind = 'session' OR $4) AND id <> $2 RETURNING id)
        SELECT pg_notify($3, '{"session":"' || id || '"}') FROM gone"#;
    let params: [Param<'_>; 4] = [
        (&user.0, Type::UUID),
        (session, Type::UUID),
        (&REVOKED_CHANNEL, Type::TEXT),
        (end_tokens, Type::BOOL),
    ];
    transaction.query_typed(sql, &params).await?;
    transaction.commit().await?;
    Ok(true)
}
