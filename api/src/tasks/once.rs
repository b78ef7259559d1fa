//! Requests that may be repeated: an `Idempotency-Key` stands for the task that its first request has
//! led to.

use knm_shared::ids::UserId;
use knm_shared::session::Identity;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::error::{FieldError, TaskError};
use super::service::{Service, readable};
use super::view::TaskView;
use crate::db;

/// Characters of a key.
const MAX_KEY: usize = 255;

/// A client's key, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// As the client gave it.
    pub key: String,
    /// The SHA-256 of the request that it came with.
    pub hash: Vec<u8>,
}

impl Idempotency {
    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// [`TaskError::Invalid`] when it is no key.
    pub(super) fn of(
        request: &impl Serialize,
        key: Option<String>,
    ) -> Result<Option<Self>, TaskError> {
        let Some(key) = key else { return Ok(None) };
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TaskError::Invalid(vec![FieldError::new(
                "Idempotency-Key",
                format!("must be 1 to {MAX_KEY} printable ASCII characters without spaces"),
            )]));
        }
        let request = serde_json::to_vec(request).map_err(anyhow::Error::from)?;
        Ok(Some(Self { key, hash: Sha256::digest(request).to_vec() }))
    }
}

impl Service {
    /// The task that a request with this key has led to before; else what `make` makes of it.
    pub(super) async fn once(
        &self,
        identity: &Identity,
        idempotency: Option<Idempotency>,
        make: impl AsyncFnOnce(Option<Idempotency>) -> Result<TaskView, TaskError>,
    ) -> Result<TaskView, TaskError> {
        match self.first_with(identity, idempotency.as_ref()).await? {
            Some(first) => Ok(first),
            None => Box::pin(make(idempotency)).await,
        }
    }

    /// The task that a request with this key has led to before, if there was one.
    pub(super) async fn first_with(
        &self,
        identity: &Identity,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<TaskView>, TaskError> {
        let Some(idempotency) = idempotency else { return Ok(None) };
        let first = self.repeated(identity.user, idempotency).await?;
        // One's rights may have changed since.
        Ok(first.filter(|task| readable(identity, &task.cluster)))
    }

    async fn repeated(
        &self,
        user: UserId,
        Idempotency { key, hash }: &Idempotency,
    ) -> Result<Option<TaskView>, TaskError> {
        let client = self.pool().get().await?;
        match db::tasks::by_idempotency_key(&**client, user, key).await? {
            Some((_, first)) if first != *hash => Err(TaskError::Conflict(
                "this Idempotency-Key was used before for another request".into(),
            )),
            found => Ok(found.map(|(view, _)| view)),
        }
    }
}
