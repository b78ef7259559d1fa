//! `/api/v1/users`: accounts, for administrators of the installation.

use std::collections::BTreeMap;

use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use jiff::Timestamp;
use knm_shared::ids::UserId;
use knm_shared::session::{Identity, Role};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json as value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::auth::RoleName;
use crate::auth::NewUser;
use crate::db::accounts::{Bindings, Change, Difference, User};
use crate::http::audit::Note;
use crate::http::query::Query;
use crate::http::router::Outcome;
use crate::http::{FieldError, Problem, Request, body, json, no_content, problem};

/// Accounts a page when the caller does not say, and at most.
const PAGE: (u32, u32) = (200, 1000);
/// Clusters that an account can be bound to.
const MAX_CLUSTERS: usize = 1000;
/// Longest name of a cluster, in bytes.
const MAX_CLUSTER: usize = 63;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountView {
    /// Identifier.
    id: Uuid,
    /// The name to sign in with.
    #[schema(example = "jane")]
    username: String,
    /// What the user may do in the installation as a whole.
    role: RoleName,
    /// The clusters that exist for the user, each with what they may do there; null: every one, with
    /// `role`.
    clusters: Option<BTreeMap<String, RoleName>>,
    /// Whether it is closed.
    disabled: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
}

impl From<User> for AccountView {
    fn from(user: User) -> Self {
        let named = |clusters: BTreeMap<String, Role>| {
            clusters.into_iter().map(|(name, role)| (name, role.into())).collect()
        };
        Self {
            id: user.id.0,
            username: user.username,
            role: user.role.into(),
            clusters: user.clusters.map(named),
            disabled: user.disabled_at.is_some(),
            created_at: user.created_at,
            disabled_at: user.disabled_at,
        }
    }
}

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountList {
    /// By name.
    users: Vec<AccountView>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// An account to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountRequest {
    /// 1 to 64 characters without spaces; case does not matter.
    #[schema(example = "jane")]
    username: String,
    /// At least 8 characters.
    #[schema(format = Password)]
    password: String,
    /// What the user may do.
    role: RoleName,
    /// Binds the user to clusters, each with a role; others do not exist for the user. Null or left
    /// out: every cluster, with `role`.
    #[serde(default)]
    clusters: Option<BTreeMap<String, RoleName>>,
}

/// What is to be changed; what is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountChange {
    /// What the user may do.
    #[serde(default)]
    role: Option<RoleName>,
    /// The clusters; null: every one.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BTreeMap<String, RoleName>>)]
    clusters: Option<Option<BTreeMap<String, RoleName>>>,
    /// Whether the account is closed. Closing it ends the user's sessions and tokens at once,
    /// everywhere, and pauses their tasks.
    #[serde(default)]
    disabled: Option<bool>,
}

/// Null is a value; only what is left out is none.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordReset {
    /// At least 8 characters.
    #[schema(format = Password)]
    password: String,
}

/// List accounts
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users",
    params(
        ("limit" = Option<u32>, Query, description = "Accounts a page, 1 to 1000; 200 when left out"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, body = AccountList),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn list(state: State, request: Request, _identity: Identity) -> Outcome {
    let mut query = Query::new(&request.parts.uri);
    let limit = query.number("limit", 1, PAGE.1).unwrap_or(PAGE.0);
    let after = query.text("cursor").unwrap_or_default();
    query.finish()?;
    let mut users = state.auth.users(&after, limit + 1).await?;
    let more = users.len() > limit as usize;
    users.truncate(limit as usize);
    let next_cursor = users.last().filter(|_| more).map(|last| last.username.clone());
    let users = users.into_iter().map(Into::into).collect();
    json(StatusCode::OK, &AccountList { users, next_cursor })
}

/// Look at an account
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    responses(
        (status = 200, body = AccountView),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn get(state: State, request: Request, _identity: Identity) -> Outcome {
    json(StatusCode::OK, &AccountView::from(state.auth.user(id(&request)?).await?))
}

/// Make an account
///
/// Only in a session that began with a password: a token does not make itself a user that outlives it.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users",
    request_body = AccountRequest,
    responses(
        (status = 201, body = AccountView, headers(("Location" = String))),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn create(state: State, request: Request, identity: Identity) -> Outcome {
    state.auth.require_session(&identity).await?;
    let AccountRequest { username, password, role, clusters } = body::json(&request)?;
    let clusters = bindings(clusters)?;
    let new = NewUser { username: username.clone(), password, role: role.into(), clusters };
    let made = state.auth.create_user(new).await;
    let user = made.map_err(|e| Problem::from(e).noting(Note::about(&username)))?;
    let note = Note::about(&user.username).after(told(&user));
    let mut response = json(StatusCode::CREATED, &AccountView::from(user.clone()))?;
    let location = HeaderValue::from_str(&format!("/api/v1/users/{}", user.id));
    response.headers_mut().insert(LOCATION, location.expect("an id is a header value"));
    Ok(note.on_response(response))
}

/// Change an account
///
/// Only in a session that began with a password. Another role or other clusters end the user's sessions, not their tokens, which never may more than
/// their owner. The last administrator cannot be demoted or closed.
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    request_body = AccountChange,
    responses(
        (status = 200, body = AccountView),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 409, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn change(state: State, request: Request, identity: Identity) -> Outcome {
    let id = id(&request)?;
    state.auth.require_session(&identity).await?;
    let AccountChange { role, clusters, disabled } = body::json(&request)?;
    let change = Change {
        role: role.map(Into::into),
        clusters: clusters.map(bindings).transpose()?,
        disabled,
    };
    let changed = state.auth.change_user(id, &change).await;
    let Difference { before, after, paused } =
        changed.map_err(|e| Problem::from(e).noting(Note::about(id)))?;
    let mut now = told(&after);
    if paused > 0 {
        now["paused_tasks"] = paused.into();
    }
    let note = Note::about(&after.username).before(told(&before)).after(now);
    Ok(note.on_response(json(StatusCode::OK, &AccountView::from(after))?))
}

/// Reset a password
///
/// Only in a session that began with a password. Ends all sessions and tokens of the user. Somebody else's: one's own takes the password that one has
/// (`/api/v1/auth/password`).
#[utoipa::path(
    post, path = "/api/v1/users/{id}/password", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    request_body = PasswordReset,
    responses(
        (status = 204),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn reset_password(state: State, request: Request, identity: Identity) -> Outcome {
    let id = id(&request)?;
    // Whoever has got hold of a session does not get the account with it.
    if id == identity.user {
        let detail =
            "change your own password with the one that you have, at /api/v1/auth/password";
        return Err(Problem::forbidden(detail).noting(Note::about(id)));
    }
    state.auth.require_session(&identity).await?;
    let PasswordReset { password } = body::json(&request)?;
    let reset = state.auth.reset_password(id, password).await;
    let user = reset.map_err(|e| Problem::from(e).noting(Note::about(id)))?;
    Ok(Note::about(user.username).on_response(no_content()))
}

fn id(request: &Request) -> Result<UserId, Problem> {
    let id = Uuid::parse_str(request.param("id"));
    id.map(UserId).map_err(|_| Problem::not_found("there is no such user"))
}

/// What the audit log keeps of an account.
fn told(user: &User) -> serde_json::Value {
    value!({
        "role": user.role,
        "clusters": user.clusters,
        "disabled": user.disabled_at.is_some(),
    })
}

fn bindings(clusters: Option<BTreeMap<String, RoleName>>) -> Result<Bindings, Problem> {
    let Some(clusters) = clusters else { return Ok(None) };
    let mut errors = Vec::new();
    if clusters.len() > MAX_CLUSTERS {
        let message = format!("must name at most {MAX_CLUSTERS} clusters");
        errors.push(FieldError::new("clusters", message));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for name in clusters.keys() {
        if !(1..=MAX_CLUSTER).contains(&name.len()) || !name.chars().all(plain) {
            let message = "is not the name of a cluster: lower-case letters, digits and dashes";
            errors.push(FieldError::new(format!("clusters.{}", name.escape_debug()), message));
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    Ok(Some(clusters.into_iter().map(|(name, role)| (name, role.into())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_clusters_are_every_cluster_and_left_out_ones_stay() {
        let read = |text| serde_json::from_str::<AccountChange>(text).expect(text).clusters;
        assert!(read("{}").is_none());
        assert!(read(r#"{"clusters":null}"#).expect("given").is_none());
        assert_eq!(read(r#"{"clusters":{"a":"viewer"}}"#).flatten().expect("some").len(), 1);
    }

    #[test]
    fn what_is_no_cluster_is_named() {
        let one =
            |name: &str| bindings(Some(BTreeMap::from([(name.to_owned(), RoleName::Viewer)])));
        assert!(one("prod-1").is_ok());
        for bad in ["", "a b", "Prod", "a\n", &"x".repeat(64)] {
            assert_eq!(one(bad).expect_err(bad).errors().len(), 1, "{bad:?}");
        }
    }
}
