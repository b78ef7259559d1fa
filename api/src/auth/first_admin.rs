//! The first account of a new installation. There are no default credentials: without a password
//! from the environment nobody can sign in until somebody makes an account.

use super::credentials::{CredentialError, check_password, check_username};
use super::password::{Passwords, PasswordsBusy};
use crate::db::migrate::{MigrateError, Migration};
use crate::db::users::NewAccount;
use knm_shared::config::env;
use knm_shared::session::Role;

/// The first administrator, as the environment describes it.
#[derive(Clone)]
pub struct FirstAdmin {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstAdminOutcome {
    /// There were users already; the password was not looked at.
    NotNeeded,
    /// The account was made.
    Created,
    /// There are no users, and no password was given.
    Missing,
}

/// Why there is no first administrator.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// The name or the password will not do.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Hashing had no room.
    #[error(transparent)]
    Busy(#[from] PasswordsBusy),
    /// The database.
    #[error(transparent)]
    Database(#[from] MigrateError),
}

/// Makes the first account under the migration lock when there is no user at all, so that replicas
/// that start at the same time make one.
///
/// # Errors
/// [`FirstAdminError`]
pub async fn ensure(
    migration: &mut Migration,
    passwords: &Passwords,
    first: Option<FirstAdmin>,
) -> Result<FirstAdminOutcome, FirstAdminError> {
    if !migration.has_no_users().await? {
        return Ok(FirstAdminOutcome::NotNeeded);
    }
    let Some(FirstAdmin { username, password }) = first else {
        return Ok(FirstAdminOutcome::Missing);
    };
    check_username(&username)?;
    check_password(&password)?;
    let password_hash = passwords.hash(password).await?;
    let account =
        NewAccount { username: &username, password_hash: &password_hash, role: Role::Admin };
    migration.create_user(&account, env::ADMIN_PASSWORD).await?;
    Ok(FirstAdminOutcome::Created)
}
