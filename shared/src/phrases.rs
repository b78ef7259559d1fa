//! The log phrases that the operator's guide tells people to look for. They are an interface: greps,
//! alerts and run books depend on every character.

/// Both: before the first connection.
pub const DATABASE_INITIALIZING: &str = "Initializing postgres database";
/// Both: the database answers and has the schema that this release needs.
pub const DATABASE_INITIALIZED: &str = "Successfully initialized postgres database";
/// Followed by the notify type and ` notification`.
pub const PROGRESS_ENABLED: &str =
    "Progress service enabled database mode for multi-replica support with";
/// Followed by `host=… port=… dbname=…`.
pub const LISTENER_INITIALIZING: &str = "Initializing PostgreSQL listener with";
/// LISTEN has been accepted.
pub const LISTENER_CONNECTED: &str = "PostgreSQL listener connected successfully";
/// The listener's tasks are running.
pub const NOTIFIER_INITIALIZED: &str = "PostgreSQL LISTEN/NOTIFY notifier initialized successfully";
/// A heartbeat sent from another connection has come back.
pub const NOTIFIER_VERIFIED: &str =
    "✅ PostgreSQL notifier verified successfully - multi-replica progress updates ready";
/// Followed by `: ` and the cause.
pub const LISTENER_PROBLEM: &str = "PostgreSQL listener problem";
/// DNS, TCP, TLS and login together took too long.
pub const LISTENER_TIMEOUT: &str = "failed to connect PostgreSQL listener within 10s timeout";
/// The api has committed a flush with its notification.
pub const PUBLISHED: &str = "Published to PostgreSQL";
/// The relay has passed a notification on.
pub const FORWARDED: &str = "Forwarded notification";
