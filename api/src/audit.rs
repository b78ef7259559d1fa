//! What the audit log consists of. Knows neither HTTP nor SQL: `http` makes the entries of requests, `db`
//! stores them.

use std::net::IpAddr;

use knm_shared::ids::UserId;
use serde_json::Value;
use uuid::Uuid;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was done.
    Done,
    /// It was not let in, or not as it should be.
    Refused,
    /// It could not be done, or not be known to have been.
    Failed,
}

impl Verdict {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// An entry to be.
#[derive(Debug, Clone)]
pub struct Record {
    /// Who.
    pub user: Option<UserId>,
    /// Their name; of a sign-in that failed, as it was given.
    pub username: String,
    /// With which session or token.
    pub session: Option<Uuid>,
    /// From where; `None`: from the command line or the environment of the process.
    pub address: Option<IpAddr>,
    /// What, in a word.
    pub action: String,
    /// To what.
    pub target: String,
    /// On which cluster.
    pub cluster: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The HTTP status of the answer; 0 for what did not come by HTTP.
    pub status: u16,
    /// Why not.
    pub detail: String,
    /// How it was.
    pub before: Option<Value>,
    /// How it is.
    pub after: Option<Value>,
    /// Where the log has more.
    pub request_id: String,
}

impl Record {
    /// From where, as rows and the log have it.
    #[must_use]
    pub fn address_text(&self) -> String {
        self.address.map_or_else(|| "local".to_owned(), |address| address.to_string())
    }
}
