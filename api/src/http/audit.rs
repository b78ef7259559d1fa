//! What the audit log is told of a request: who, from where, what, and what became of it. Written by the
//! router for every route that is registered with a word, and for every refusal; handlers add what only
//! they know as a [`Note`].

use std::net::IpAddr;

use http::request::Parts;
use http::{Method, StatusCode};
use knm_shared::ids::UserId;
use knm_shared::session::{Identity, Token};
use serde_json::Value;

use super::client::Client;
use super::router::Outcome;
use super::{Problem, RequestId, Response};
use crate::audit::{Record, Verdict};

/// What a handler knows of what it did, or was asked to do. Never a secret.
#[derive(Debug, Clone, Default)]
pub struct Note {
    /// What it was done to: a task, a user, a token.
    pub target: String,
    /// On which cluster.
    pub cluster: String,
    /// Who, where nobody was signed in.
    pub username: Option<String>,
    /// Whose it is now, where that is only known afterwards.
    pub user: Option<UserId>,
    /// How it was.
    pub before: Option<Value>,
    /// How it is, or what was asked for.
    pub after: Option<Value>,
}

impl Note {
    /// About something.
    pub fn about(target: impl ToString) -> Self {
        Self { target: target.to_string(), ..Self::default() }
    }

    /// Adds how it is now.
    #[must_use]
    pub fn after(mut self, after: Value) -> Self {
        self.after = Some(after);
        self
    }

    /// Adds how it was.
    #[must_use]
    pub fn before(mut self, before: Value) -> Self {
        self.before = Some(before);
        self
    }

    /// Adds where.
    #[must_use]
    pub fn on(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// Puts it on a response.
    #[must_use]
    pub fn on_response(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

fn verdict(status: StatusCode) -> Verdict {
    if status.is_client_error() {
        Verdict::Refused
    } else if status.is_server_error() {
        Verdict::Failed
    } else {
        Verdict::Done
    }
}

/// What is known of a request while it is on its way.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    /// The word of the route, if what it does is recorded.
    pub(super) word: Option<&'static str>,
    pub(super) identity: Option<Identity>,
    method: Method,
    path: String,
    address: IpAddr,
    /// Whether it came with a token, good or not.
    has_token: bool,
    request_id: RequestId,
}

impl Trail {
    pub(super) fn new(parts: &Parts, client: &Client, id: &RequestId) -> Self {
        Self {
            word: None,
            identity: None,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            address: client.address,
            has_token: Token::from_headers(&parts.headers).is_some(),
            request_id: id.clone(),
        }
    }

    /// The entry, if there is to be one. A browser that asks who it is before it signs in is no event.
    pub(super) fn record(&self, outcome: &Outcome) -> Option<Record> {
        let (status, detail, note) = match outcome {
            Ok(response) => (response.status(), "", response.extensions().get::<Note>()),
            Err(problem) => {
                let detail = problem.refusal().unwrap_or_else(|| problem.detail());
                (problem.status(), detail, problem.note())
            }
        };
        let verdict = verdict(status);
        let refusal = match status {
            StatusCode::UNAUTHORIZED => self.has_token,
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => true,
            _ => outcome.as_ref().is_err_and(|problem| problem.refusal().is_some()),
        };
        let wanted = match self.word {
            Some(_) => status != StatusCode::UNAUTHORIZED || refusal || note.is_some(),
            None => refusal,
        };
        if !wanted {
            return None;
        }
        let note = note.cloned().unwrap_or_default();
        let who = self.identity.as_ref();
        let path = || format!("{} {}", self.method, cut(&self.path));
        Some(Record {
            user: who.map(|i| i.user).or(note.user),
            username: who.map(|i| i.username.clone()).or(note.username).unwrap_or_default(),
            session: who.map(|i| i.session),
            address: Some(self.address),
            action: self.word.unwrap_or("request").to_owned(),
            target: if note.target.is_empty() && verdict != Verdict::Done {
                path()
            } else {
                note.target
            },
            cluster: note.cluster,
            verdict,
            status: status.as_u16(),
            detail: detail.to_owned(),
            before: note.before,
            after: note.after,
            request_id: self.request_id.to_string(),
        })
    }
}

/// A path is the client's to choose.
fn cut(path: &str) -> String {
    path.chars().take(200).collect()
}

impl Problem {
    /// Adds what the audit log is to know.
    #[must_use]
    pub fn noting(mut self, note: Note) -> Self {
        self.set_note(note);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::no_content;
    use super::*;

    fn trail(word: Option<&'static str>, token: bool) -> Trail {
        let mut request = http::Request::builder().method(Method::POST).uri("/api/x");
        if token {
            request = request.header("authorization", "Bearer x");
        }
        let parts = request.body(()).expect("a request").into_parts().0;
        let client =
            Client { address: [192, 0, 2, 1].into(), https: false, host: None, behind: None };
        Trail { word, ..Trail::new(&parts, &client, &RequestId::generate()) }
    }

    #[test]
    fn changes_and_refusals_are_recorded_and_nothing_else() {
        let refused = || Err(Problem::forbidden("no"));
        let unknown = || Err(Problem::unauthenticated());
        for (word, token, outcome, verdict) in [
            (Some("x"), true, Ok(no_content()), Some(Verdict::Done)),
            (Some("x"), true, refused(), Some(Verdict::Refused)),
            (Some("x"), true, Err(Problem::unavailable("away")), Some(Verdict::Failed)),
            (Some("x"), false, unknown(), None),
            (Some("x"), true, unknown(), Some(Verdict::Refused)),
            (None, true, Ok(no_content()), None),
            (None, true, refused(), Some(Verdict::Refused)),
            (None, true, unknown(), Some(Verdict::Refused)),
            (None, false, unknown(), None),
            (None, true, Err(Problem::not_found("gone")), None),
            (None, true, Err(Problem::not_found("gone").refusing("no")), Some(Verdict::Refused)),
        ] {
            let found = trail(word, token).record(&outcome).map(|r| r.verdict);
            assert_eq!(found, verdict, "{word:?} {token} {outcome:?}");
        }
        let note = Note { username: Some("jane".into()), ..Note::default() };
        let sign_in = trail(Some("session.create"), false);
        let entry = sign_in.record(&Err(Problem::unauthenticated().noting(note)));
        assert_eq!(entry.expect("a sign-in that failed").username, "jane");
    }
}
