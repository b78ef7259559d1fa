//! The services' errors as problems.

use http::StatusCode;
use tokio_postgres::error::SqlState;

use crate::auth::{AuthError, CredentialError};
use crate::clusters::AdminError;
use crate::http::{FieldError, Problem};
use crate::tasks::TaskError;

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::BadCredentials => {
                Self::new(StatusCode::UNAUTHORIZED, "bad_credentials", error.to_string())
            }
            AuthError::Throttled(after) => {
                Self::throttled("too many failed attempts; wait before the next", after)
            }
            AuthError::Busy(busy) => Self::unavailable(busy.to_string()),
            AuthError::NotASession => Self::forbidden(error.to_string()),
            AuthError::TooManyTokens | AuthError::NameTaken | AuthError::LastAdmin => {
                Self::conflict(error.to_string())
            }
            AuthError::UnknownUser => Self::not_found(error.to_string()),
            AuthError::BoundAdmin => {
                Self::invalid(vec![FieldError::new("clusters", error.to_string())])
            }
            AuthError::WrongPassword => {
                Self::invalid(vec![FieldError::new("current", error.to_string())])
            }
            AuthError::Credentials(fault) => {
                let field = match fault {
                    CredentialError::Username => "username",
                    CredentialError::PasswordTooShort | CredentialError::PasswordTooLong => {
                        "password"
                    }
                };
                Self::invalid(vec![FieldError::new(field, fault.to_string())])
            }
            // The log has the host and what to try; the pool has written it already.
            AuthError::Pool(error) => {
                Self::unavailable(format!("the database is not available ({})", error.as_str()))
            }
            AuthError::Database(error) => database(error),
        }
    }
}

fn database(error: tokio_postgres::Error) -> Problem {
    let away = match error.code() {
        None => true,
        Some(code) => [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::READ_ONLY_SQL_TRANSACTION,
        ]
        .contains(code),
    };
    if away {
        Problem::unavailable("the database did not answer").because(error)
    } else {
        Problem::internal(error)
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Refused(refused) => {
                Self::invalid(vec![FieldError::new(refused.field, refused.message)])
            }
            AdminError::NotFound(detail) => Self::not_found(detail),
            AdminError::Conflict(detail) => Self::conflict(detail),
            AdminError::Pool(error) => {
                Self::unavailable(format!("the database is not available ({})", error.as_str()))
            }
            AdminError::Database(error) => database(error),
        }
    }
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Invalid(faults) => Self::invalid(
                faults.into_iter().map(|f| FieldError::new(f.field, f.message)).collect(),
            ),
            TaskError::NotFound => Self::not_found("there is no such task"),
            TaskError::Hidden { told, why } => Self::from(*told).refusing(why),
            TaskError::Forbidden(detail) => Self::forbidden(detail),
            TaskError::Conflict(detail) => Self::conflict(detail),
            TaskError::Unavailable(detail) => Self::unavailable(detail),
            TaskError::Internal(cause) => Self::internal(cause),
        }
    }
}
