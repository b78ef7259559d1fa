//! Accounts.

use knm_shared::ids::UserId;
use knm_shared::session::Role;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, GenericClient};
use uuid::Uuid;

/// An account, with what only a login needs to know.
#[derive(Clone)]
pub struct Account {
    /// Whose it is.
    pub id: UserId,
    /// The name as its owner writes it; unique whatever the case.
    pub username: String,
    /// What the user may do.
    pub role: Role,
    /// PHC string.
    pub password_hash: String,
    /// Whether an admin has closed it.
    pub disabled: bool,
}

/// An account to be made.
pub struct NewAccount<'a> {
    /// The name.
    pub username: &'a str,
    /// PHC string.
    pub password_hash: &'a str,
    /// What the user may do.
    pub role: Role,
}

/// The account of that name, whatever the case.
///
/// # Errors
/// When the database does not answer.
pub async fn by_name(client: &Client, username: &str) -> Result<Option<Account>, Error> {
    const SQL: &str = "
        SELECT id, username, role, password_hash, disabled_at IS NOT NULL
        FROM users WHERE lower(username) = lower($1)";
    let row = client.query_typed_opt(SQL, &[(&username, Type::TEXT)]).await?;
    Ok(row.map(|row| Account {
        id: UserId(row.get(0)),
        username: row.get(1),
        role: role(row.get(2)),
        password_hash: row.get(3),
        disabled: row.get(4),
    }))
}

/// Whether there is any account.
///
/// # Errors
/// When the database does not answer.
pub async fn any(client: &Client) -> Result<bool, Error> {
    let row = client.query_typed_one("SELECT EXISTS (SELECT FROM users)", &[]).await?;
    Ok(row.get(0))
}

/// Stores an account. `None`: the name is taken.
///
/// # Errors
/// When the database does not answer.
pub async fn insert(
    client: &impl GenericClient,
    new: &NewAccount<'_>,
) -> Result<Option<UserId>, Error> {
    const SQL: &str = "
        INSERT INTO users (id, username, password_hash, role) VALUES ($1, $2, $3, $4)
        ON CONFLICT (lower(username)) DO NOTHING RETURNING id";
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
        (&Uuid::now_v7(), Type::UUID),
        (&new.username, Type::TEXT),
        (&new.password_hash, Type::TEXT),
        (&new.role.as_str(), Type::TEXT),
    ];
    Ok(client.query_typed_opt(SQL, &params).await?.map(|row| UserId(row.get(0))))
}

/// A CHECK constraint admits no other words; a later release's role has no rights in this one.
pub(super) fn role(word: &str) -> Role {
    Role::from_word(word).unwrap_or(Role::Viewer)
}
