//! Accounts: made, changed and closed by an administrator; a password by its owner.

use knm_shared::ids::UserId;
use knm_shared::session::{Identity, Role};

use super::credentials::{check_password, check_username};
use super::service::{Auth, AuthError, Inner};
use crate::db::accounts::{self, Bindings, Change, Changed, Difference, User};
use crate::db::sessions;
use crate::db::users::NewAccount;
use crate::origin::Origin;

/// An account to be made.
#[derive(Clone)]
pub struct NewUser {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The role in the installation as a whole.
    pub role: Role,
    /// On which clusters.
    pub clusters: Bindings,
}

/// Another password for oneself.
pub struct NewPassword {
    /// The password as it is.
    pub current: String,
    /// As it is to be.
    pub password: String,
    /// Whether the user's tokens end, too.
    pub end_tokens: bool,
}

impl Auth {
    /// Accounts by name, after one of that name.
    ///
    /// # Errors
    /// [`AuthError::Pool`] and [`AuthError::Database`]
    pub async fn users(&self, after: &str, limit: u32) -> Result<Vec<User>, AuthError> {
        Ok(accounts::list(&*self.inner.pool.get().await?, after, limit).await?)
    }

    /// One account.
    ///
    /// # Errors
    /// [`AuthError::UnknownUser`] and the database's.
    pub async fn user(&self, id: UserId) -> Result<User, AuthError> {
        let client = self.inner.pool.get().await?;
        accounts::get(&**client, id).await?.ok_or(AuthError::UnknownUser)
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn create_user(&self, new: NewUser) -> Result<User, AuthError> {
        let NewUser { username, password, role, clusters } = new;
        check_username(&username)?;
        check_password(&password)?;
        if role == Role::Admin && clusters.is_some() {
            return Err(AuthError::BoundAdmin);
        }
        let password_hash = self.inner.passwords.hash(password).await?;
        let account = NewAccount { username: &username, password_hash: &password_hash, role };
        let mut client = self.inner.pool.get().await?;
        accounts::create(&mut client, &account, &clusters).await?.ok_or(AuthError::NameTaken)
    }

    /// Changes an account.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn change_user(&self, id: UserId, change: &Change) -> Result<Difference, AuthError> {
        let mut client = self.inner.pool.get().await?;
        match accounts::change(&mut client, id, change).await? {
            Changed::Done(difference) => Ok(*difference),
            Changed::Unknown => Err(AuthError::UnknownUser),
            Changed::LastAdmin => Err(AuthError::LastAdmin),
            Changed::BoundAdmin => Err(AuthError::BoundAdmin),
        }
    }

    /// Sets another password for somebody else, and ends all of their sessions and tokens.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn reset_password(&self, id: UserId, password: String) -> Result<User, AuthError> {
        check_password(&password)?;
        let hash = self.inner.passwords.hash(password).await?;
        let mut client = self.inner.pool.get().await?;
        let found = accounts::reset_password(&mut client, id, &hash).await?;
        found.ok_or(AuthError::UnknownUser)
    }

    /// Changes one's own password, which has to be known, and ends one's other sessions, and one's tokens
    /// if so wished. Guesses count as those at the door do.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn change_password(
        &self,
        identity: &Identity,
        new: NewPassword,
        origin: Origin,
    ) -> Result<(), AuthError> {
        let Inner { pool, passwords, throttle, .. } = &*self.inner;
        let NewPassword { current: old, password: new, end_tokens } = new;
        check_password(&new)?;
        let attempt = throttle.attempt(&identity.username, origin).map_err(AuthError::Throttled)?;
        let known = async {
            let client = pool.get().await?;
            if !sessions::is_interactive(&client, identity.session).await? {
                return Err(AuthError::NotASession);
            }
            let hash = accounts::password_hash(&client, identity.user).await?;
            drop(client);
            let hash = hash.ok_or(AuthError::UnknownUser)?;
            let right = passwords.verify(old, Some(hash.clone())).await?;
            if right { Ok(hash) } else { Err(AuthError::WrongPassword) }
        };
        let old = match known.await {
            Ok(hash) => {
                attempt.succeeded();
                hash
            }
            // Stays counted.
            Err(AuthError::WrongPassword) => return Err(AuthError::WrongPassword),
            Err(error) => {
                attempt.void();
                return Err(error);
            }
        };
        let hash = passwords.hash(new).await?;
        let mut client = pool.get().await?;
        let change = accounts::PasswordChange {
            user: identity.user,
            session: identity.session,
            old: &old,
            new: &hash,
            end_tokens,
        };
        let changed = accounts::change_password(&mut client, &change).await?;
        // Somebody else has changed it meanwhile.
        if changed { Ok(()) } else { Err(AuthError::WrongPassword) }
    }
}
