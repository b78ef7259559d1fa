//! Who may do what: signing in and out, sessions, personal tokens, the first administrator.
//!
//! Knows neither HTTP nor SQL: routes bring the names and secrets, `db` stores their hashes.

mod credentials;
mod first_admin;
mod password;
mod service;
mod throttle;

pub use credentials::{CredentialError, check_password, check_username};
pub use first_admin::{FirstAdmin, FirstAdminError, FirstAdminOutcome, ensure};
pub use password::{Passwords, PasswordsBusy};
pub use service::{Auth, AuthError, IssuedToken, MAX_TOKENS, SignedIn};
pub use throttle::Throttle;
