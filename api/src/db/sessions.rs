//! Sessions and personal tokens. Who a token belongs to is [`knm_shared::session::lookup`]; what ends
//! one also tells every relay, in the same statement.

use std::time::Duration;

use jiff::Timestamp;
use knm_shared::ids::UserId;
use knm_shared::notification::{REVOKED_CHANNEL, Revocation};
use knm_shared::session::Role;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A session to be stored.
pub struct NewSession<'a> {
    /// Whose.
    pub user: UserId,
    /// The hash that the password was found to fit.
    pub password_hash: &'a str,
    /// SHA-256 of the secret.
    pub token_hash: &'a [u8],
    /// How long it lives without use.
    pub ttl: Duration,
    /// How long it lives at most.
    pub max_age: Duration,
    /// From where it began.
    pub address: String,
    /// What the browser or program calls itself.
    pub user_agent: String,
}

/// Stores a session, forgets the user's ended ones, and says when it ends if nobody uses it. `None`:
/// the user has been deleted or disabled meanwhile, or has another password.
///
/// Whatever ends a user's sessions changes the user first: it waits for this one and ends it, too, or this
/// one waits and finds that it comes too late.
///
/// # Errors
/// When the database does not answer.
pub async fn insert(client: &Client, new: &NewSession<'_>) -> Result<Option<Timestamp>, Error> {
    const SQL: &str = "
        WITH account AS MATERIALIZED (
            SELECT id FROM users
            WHERE id = $2 AND disabled_at IS NULL AND password_hash = $8 FOR SHARE),
        ended AS (
            DELETE FROM sessions s USING account a
            WHERE s.user_id = a.id AND (s.expires_at <= now() OR s.ends_at <= now()))
        INSERT INTO sessions (id, user_id, kind, token_hash, expires_at, ends_at, address, user_agent)
        SELECT $1, id, 'session', $3, now() + least($4, $5) * interval '1 second',
               now() + $5 * interval '1 second', $6, $7
        FROM account
        RETURNING expires_at";
    let params: [Param<'_>; 8] = [
        (&Uuid::new_v4(), Type::UUID),
        (&new.user.0, Type::UUID),
        (&new.token_hash, Type::BYTEA),
        (&new.ttl.as_secs_f64(), Type::FLOAT8),
        (&new.max_age.as_secs_f64(), Type::FLOAT8),
        (&new.address, Type::TEXT),
        (&new.user_agent, Type::TEXT),
        (&new.password_hash, Type::TEXT),
    ];
    Ok(client.query_typed_opt(SQL, &params).await?.map(|row| row.get(0)))
}

/// A session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
    /// When it ends if it is not used.
    pub expires_at: Timestamp,
    /// When it ends in any case.
    pub ends_at: Timestamp,
    /// From where it began.
    pub address: Option<String>,
    /// What the browser or program called itself.
    pub user_agent: Option<String>,
}

/// The user's live sessions, the last used first.
///
/// # Errors
/// When the database does not answer.
pub async fn list(client: &Client, user: UserId) -> Result<Vec<Session>, Error> {
    const SQL: &str = "
        SELECT id, created_at, last_used_at, expires_at, ends_at, address, user_agent
        FROM sessions WHERE user_id = $1 AND kind = 'session' AND expires_at > now()
        ORDER BY last_used_at DESC, id";
    let rows = client.query_typed(SQL, &[(&user.0, Type::UUID)]).await?;
    let session = |row: &tokio_postgres::Row| Session {
        id: row.get(0),
        created_at: row.get(1),
        last_used_at: row.get(2),
        expires_at: row.get(3),
        ends_at: row.get(4),
        address: row.get(5),
        user_agent: row.get(6),
    };
    Ok(rows.iter().map(session).collect())
}

/// Notes that a session or token is in use; a session then lives on for `ttl`, up to its end.
///
/// # Errors
/// When the database does not answer.
pub async fn touch(client: &Client, id: Uuid, ttl: Duration) -> Result<(), Error> {
    const SQL: &str = "
        UPDATE sessions SET last_used_at = now(), expires_at = CASE kind
            WHEN 'session' THEN least(ends_at, now() + $2 * interval '1 second')
            ELSE expires_at END
        WHERE id = $1 AND expires_at > now()";
    let params: [Param<'_>; 2] = [(&id, Type::UUID), (&ttl.as_secs_f64(), Type::FLOAT8)];
    client.execute_typed(SQL, &params).await?;
    Ok(())
}

/// Ends a session or token of this user. Returns whether there was one.
///
/// # Errors
/// When the database does not answer.
pub async fn revoke(client: &Client, user: UserId, id: Uuid) -> Result<bool, Error> {
    const SQL: &str = "
        WITH gone AS (DELETE FROM sessions WHERE id = $1 AND user_id = $2 RETURNING id)
        SELECT pg_notify($3, $4) FROM gone";
    let payload = serde_json::to_string(&Revocation::Session(id)).expect("an id has a JSON form");
    let params: [Param<'_>; 4] = [
        (&id, Type::UUID),
        (&user.0, Type::UUID),
        (&REVOKED_CHANNEL, Type::TEXT),
        (&payload, Type::TEXT),
    ];
    Ok(client.query_typed_opt(SQL, &params).await?.is_some())
}

/// A personal token as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// What it may do at most, when that is less than its owner.
    pub role: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Token {
    const COLUMNS: &str = "id, coalesce(name, ''), role, created_at, last_used_at, expires_at";

    fn from_row(row: &tokio_postgres::Row) -> Self {
        Self {
            id: row.get(0),
            name: row.get(1),
            role: row.get(2),
            created_at: row.get(3),
            last_used_at: row.get(4),
            expires_at: row.get(5),
        }
    }
}

/// A personal token to be stored.
pub struct NewToken<'a> {
    /// The session that asks for it.
    pub session: Uuid,
    /// Whose.
    pub user: UserId,
    /// SHA-256 of the secret.
    pub token_hash: &'a [u8],
    /// What its owner calls it.
    pub name: &'a str,
    /// What it may do at most.
    pub role: Role,
    /// How long it lives.
    pub lifetime: Duration,
}

/// Stores a personal token. `None`: what asks for it is not a session that began with a password (a
/// token must not outlive itself by making others), or the user has `max` of them. As with [`insert`],
/// whoever ends the user's sessions at the same time ends this one, too.
///
/// # Errors
/// When the database does not answer.
pub async fn insert_token(
    client: &Client,
    new: &NewToken<'_>,
    max: i64,
) -> Result<Option<Token>, Error> {
    let sql = format!(
        "WITH account AS MATERIALIZED (
             SELECT id FROM users WHERE id = $2 AND disabled_at IS NULL FOR SHARE),
         asks AS MATERIALIZED (
             SELECT s.user_id FROM account a JOIN sessions s ON s.user_id = a.id
             WHERE s.id = $7 AND s.kind = 'session' FOR SHARE OF s)
         INSERT INTO sessions (id, user_id, kind, token_hash, name, role, expires_at, ends_at)
         SELECT $1, user_id, 'token', $3, $4, $5, at, at
         FROM asks, (SELECT now() + $6 * interval '1 second' AS at) t
         WHERE (SELECT count(*) FROM sessions WHERE user_id = $2 AND kind = 'token') < $8
         RETURNING {}",
        Token::COLUMNS
    );
    let role = new.role.as_str();
    let params: [Param<'_>; 8] = [
        (&Uuid::new_v4(), Type::UUID),
        (&new.user.0, Type::UUID),
        (&new.token_hash, Type::BYTEA),
        (&new.name, Type::TEXT),
        (&role, Type::TEXT),
        (&new.lifetime.as_secs_f64(), Type::FLOAT8),
        (&new.session, Type::UUID),
        (&max, Type::INT8),
    ];
    Ok(client.query_typed_opt(&sql, &params).await?.as_ref().map(Token::from_row))
}

/// The user's personal tokens, newest first.
///
/// # Errors
/// When the database does not answer.
pub async fn tokens(client: &Client, user: UserId) -> Result<Vec<Token>, Error> {
    let sql = format!(
        "SELECT {} FROM sessions WHERE user_id = $1 AND kind = 'token'
         ORDER BY created_at DESC, id",
        Token::COLUMNS
    );
    let rows = client.query_typed(&sql, &[(&user.0, Type::UUID)]).await?;
    Ok(rows.iter().map(Token::from_row).collect())
}

/// Whether this is a session that began with a password, not a personal token.
///
/// # Errors
/// When the database does not answer.
pub async fn is_interactive(client: &Client, id: Uuid) -> Result<bool, Error> {
    const SQL: &str = "SELECT EXISTS (SELECT FROM sessions WHERE id = $1 AND kind = 'session')";
    Ok(client.query_typed_one(SQL, &[(&id, Type::UUID)]).await?.get(0))
}
