//! Who somebody is: accounts, signing in and out, sessions, personal tokens, the audit log. What they may
//! do is [`knm_shared::access`].
//!
//! Knows neither HTTP nor SQL: routes bring the names and secrets, `db` stores their hashes.

mod accounts;
mod audit;
mod credentials;
mod first_admin;
mod password;
mod service;
mod throttle;

pub use accounts::{NewPassword, NewUser};
pub use audit::AuditLog;
pub use credentials::{CredentialError, check_password, check_username};
pub use first_admin::{FirstAdmin, FirstAdminError, FirstAdminOutcome, ensure};
pub use password::{Passwords, PasswordsBusy};
pub use service::{Auth, AuthError, IssuedToken, MAX_TOKENS, SignedIn, Visitor};
pub use throttle::Throttle;
