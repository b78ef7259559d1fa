//! Signing in, staying signed in, signing out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use knm_shared::config;
use knm_shared::ids::UserId;
use knm_shared::pg::{Pool, PoolError};
use knm_shared::session::{self, Identity, Role, Token};
use tokio::time::Instant;
use uuid::Uuid;

use super::credentials::{CredentialError, check_username};
use super::password::{Passwords, PasswordsBusy};
use super::throttle::Throttle;
use crate::db::sessions::{self, NewSession, NewToken};
use crate::db::users;
use crate::origin::Origin;

/// A session's use is noted once in so long.
const TOUCH_EVERY: Duration = Duration::from_secs(60);
/// Sessions whose last note is remembered; beyond, the memory starts anew and each is noted again.
const MAX_REMEMBERED: usize = 10_000;
/// Personal tokens a user may have.
pub const MAX_TOKENS: i64 = 100;

/// Why nobody was signed in or out.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No such user, another password, or a disabled account: which, is nobody's business.
    #[error("the user name or the password is wrong")]
    BadCredentials,
    /// Too many failures.
    #[error("too many failed attempts")]
    Throttled(Duration),
    /// Too many logins at a time.
    #[error(transparent)]
    Busy(#[from] PasswordsBusy),
    /// A personal token asks for what is left to whoever knows the password.
    #[error("this takes a session that began with a password, not a personal token")]
    NotASession,
    /// The name or the password of an account will not do.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The password that was to be changed is another.
    #[error("this is not your password")]
    WrongPassword,
    /// There is no such account.
    #[error("there is no such user")]
    UnknownUser,
    /// There is one of that name.
    #[error("there is a user of that name already")]
    NameTaken,
    /// Nobody would be left to manage users.
    #[error("this is the last administrator: make another one first")]
    LastAdmin,
    /// An administrator of the installation cannot be bound to clusters.
    #[error("an administrator of the installation has every cluster: set clusters to null")]
    BoundAdmin,
    /// The user has [`MAX_TOKENS`].
    #[error("you have {MAX_TOKENS} personal tokens; revoke one first")]
    TooManyTokens,
    /// No connection to the database.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The database did not answer, or not as expected.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
}

/// Who signs in, and from where.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The address, as far as anyone trusted knows.
    pub address: IpAddr,
    /// Who counts as one with them.
    pub origin: Origin,
    /// What the browser or program calls itself.
    pub user_agent: String,
}

/// A new session.
#[derive(Debug)]
pub struct SignedIn {
    /// For the cookie.
    pub token: Token,
    /// Who it is, and what they may do.
    pub identity: Identity,
    /// When the session ends if it is not used.
    pub expires_at: Timestamp,
    /// How long it can last at most.
    pub max_age: Duration,
}

/// A new personal token, shown once.
#[derive(Debug)]
pub struct IssuedToken {
    /// The secret.
    pub token: Token,
    /// What is kept of it.
    pub stored: sessions::Token,
}

/// See the module's description. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) pool: Pool,
    settings: config::Auth,
    pub(super) passwords: Passwords,
    pub(super) throttle: Throttle,
    touched: Mutex<HashMap<Uuid, Instant>>,
}

impl Auth {
    /// Keeps sessions through `pool`.
    #[must_use]
    pub fn new(pool: Pool, settings: config::Auth, passwords: Passwords) -> Self {
        let (throttle, touched) = (Throttle::default(), Mutex::default());
        Self { inner: Arc::new(Inner { pool, settings, passwords, throttle, touched }) }
    }

    /// Signs a user in.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn login(
        &self,
        username: &str,
        password: String,
        visitor: Visitor,
    ) -> Result<SignedIn, AuthError> {
        let Inner { throttle, .. } = &*self.inner;
        let address = visitor.address;
        // What is no name is nobody's; it is neither looked up nor kept.
        let username = check_username(username).map_or("", |()| username);
        let attempt = throttle.attempt(username, visitor.origin).map_err(AuthError::Throttled)?;
        let result = self.try_login(username, password, visitor).await;
        match &result {
            Ok(_) => attempt.succeeded(),
            // Stays counted.
            Err(AuthError::BadCredentials) => {
                tracing::warn!(username, %address, "a login failed");
            }
            Err(_) => attempt.void(),
        }
        result
    }

    async fn try_login(
        &self,
        username: &str,
        password: String,
        visitor: Visitor,
    ) -> Result<SignedIn, AuthError> {
        let Inner { pool, passwords, settings, .. } = &*self.inner;
        let account = users::by_name(&*pool.get().await?, username).await?;
        let account = account.filter(|account| !account.disabled);
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        // The connection is back in the pool while the password is checked.
        let right = passwords.verify(password, hash).await?;
        let Some(account) = account.filter(|_| right) else {
            return Err(AuthError::BadCredentials);
        };
        let token = secret("");
        let new = NewSession {
            user: account.id,
            password_hash: &account.password_hash,
            token_hash: &token.hash(),
            ttl: settings.session_ttl,
            max_age: settings.session_max_age,
            address: visitor.address.to_string(),
            user_agent: visitor.user_agent,
        };
        let client = pool.get().await?;
        let expires_at = sessions::insert(&client, &new).await?;
        let expires_at = expires_at.ok_or(AuthError::BadCredentials)?;
        let identity = session::lookup(&**client, &token).await?;
        let identity = identity.ok_or(AuthError::BadCredentials)?;
        tracing::info!(username = account.username, "signed in");
        Ok(SignedIn { token, identity, expires_at, max_age: settings.session_max_age })
    }

    /// The identity behind a token, which then lives on.
    ///
    /// # Errors
    /// [`AuthError::Pool`] and [`AuthError::Database`]: whoever asks must refuse then.
    pub async fn identify(&self, token: &Token) -> Result<Option<Identity>, AuthError> {
        let client = self.inner.pool.get().await?;
        let found = session::lookup(&**client, token).await?;
        if let Some(identity) = &found
            && self.should_touch(identity.session)
        {
            let ttl = self.inner.settings.session_ttl;
            if let Err(error) = sessions::touch(&client, identity.session, ttl).await {
                // The session is good all the same.
                tracing::debug!(%error, "could not note a session's use");
            }
        }
        Ok(found)
    }

    fn should_touch(&self, session: Uuid) -> bool {
        let now = Instant::now();
        let mut touched = self.inner.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: &Instant| now.duration_since(*at) < TOUCH_EVERY;
        if touched.get(&session).is_some_and(fresh) {
            return false;
        }
        if touched.len() >= MAX_REMEMBERED {
            touched.retain(|_, at| fresh(at));
        }
        if touched.len() >= MAX_REMEMBERED {
            touched.clear();
        }
        touched.insert(session, now);
        true
    }

    /// Ends a session or personal token of this user, everywhere and at once. Returns whether there
    /// was one.
    ///
    /// # Errors
    /// [`AuthError::Pool`] and [`AuthError::Database`]
    pub async fn revoke(&self, user: UserId, id: Uuid) -> Result<bool, AuthError> {
        let gone = sessions::revoke(&*self.inner.pool.get().await?, user, id).await?;
        self.inner.touched.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Ok(gone)
    }

    /// Makes a personal token. `role` must not be above the caller's.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn issue_token(
        &self,
        identity: &Identity,
        name: &str,
        role: Role,
        lifetime: Duration,
    ) -> Result<IssuedToken, AuthError> {
        let token = secret("knm_");
        let new = NewToken {
            session: identity.session,
            user: identity.user,
            token_hash: &token.hash(),
            name,
            role,
            lifetime,
        };
        let client = self.inner.pool.get().await?;
        if let Some(stored) = sessions::insert_token(&client, &new, MAX_TOKENS).await? {
            tracing::info!(username = identity.username, token = %stored.id, "made a personal token");
            return Ok(IssuedToken { token, stored });
        }
        let interactive = sessions::is_interactive(&client, identity.session).await?;
        Err(if interactive { AuthError::TooManyTokens } else { AuthError::NotASession })
    }

    /// What one's other sessions and tokens are shown and ended by: a token in wrong hands must not shut
    /// its owner out.
    ///
    /// # Errors
    /// [`AuthError::NotASession`] for a personal token, and the database's.
    pub async fn require_session(&self, identity: &Identity) -> Result<(), AuthError> {
        let client = self.inner.pool.get().await?;
        let interactive = sessions::is_interactive(&client, identity.session).await?;
        if interactive { Ok(()) } else { Err(AuthError::NotASession) }
    }

    /// The user's live sessions, the last used first.
    ///
    /// # Errors
    /// [`AuthError::Pool`] and [`AuthError::Database`]
    pub async fn sessions(&self, user: UserId) -> Result<Vec<sessions::Session>, AuthError> {
        Ok(sessions::list(&*self.inner.pool.get().await?, user).await?)
    }

    /// The user's personal tokens, newest first.
    ///
    /// # Errors
    /// [`AuthError::Pool`] and [`AuthError::Database`]
    pub async fn tokens(&self, user: UserId) -> Result<Vec<sessions::Token>, AuthError> {
        Ok(sessions::tokens(&*self.inner.pool.get().await?, user).await?)
    }
}

/// 256 bits nobody can guess. The prefix lets secret scanners find tokens where they do not belong.
fn secret(prefix: &str) -> Token {
    let random: [u8; 32] = rand::random();
    Token::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random)))
}
