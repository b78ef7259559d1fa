//! Why a request about tasks was not carried out, by what the caller can do about it.

use serde::Serialize;
use utoipa::ToSchema;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field in the request, like `params.set.team`.
    #[schema(example = "params.set.team")]
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl FieldError {
    /// A fault of one field.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// See the module's description.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The request is at fault; nothing was stored.
    #[error("{} field(s) are invalid", .0.len())]
    Invalid(Vec<FieldError>),
    /// No such task.
    #[error("no such task")]
    NotFound,
    /// It exists, and not for the caller, who is told what whoever asks for nothing is told.
    #[error("{why}")]
    Hidden {
        /// What the caller is told.
        told: Box<TaskError>,
        /// What the audit log is told.
        why: String,
    },
    /// The role does not suffice.
    #[error("{0}")]
    Forbidden(String),
    /// The task's state, or an earlier request, stands against it.
    #[error("{0}")]
    Conflict(String),
    /// The database or the cluster does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// Our own fault.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl From<tokio_postgres::Error> for TaskError {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.as_db_error().is_some() {
            Self::Internal(error.into())
        } else {
            Self::Unavailable("the database does not answer".into())
        }
    }
}

impl From<knm_shared::pg::PoolError> for TaskError {
    fn from(error: knm_shared::pg::PoolError) -> Self {
        // Where the database is stays in the log.
        Self::Unavailable(format!("the database is not available ({})", error.as_str()))
    }
}
