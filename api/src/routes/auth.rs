//! `/api/v1/auth`: sign in and out, who am I, one's own sessions, personal tokens and password.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{SET_COOKIE, USER_AGENT};
use jiff::Timestamp;
use knm_shared::access::Reach;
use knm_shared::session::{Identity, Role};
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use crate::auth::{NewPassword, Visitor};
use crate::db::sessions::{Session, Token};
use crate::http::audit::Note;
use crate::http::router::Outcome;
use crate::http::{FieldError, Problem, Request, body, cookie, json, no_content, problem};

/// How long a personal token lives when its owner does not say, in days.
const DEFAULT_TOKEN_DAYS: u32 = 90;
/// And at most.
const MAX_TOKEN_DAYS: u32 = 366;
/// What is kept of what a browser calls itself, in characters.
const MAX_USER_AGENT: usize = 200;
/// Longest name of a token, in characters.
const MAX_TOKEN_NAME: usize = 100;

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Case does not matter.
    username: String,
    /// As it was set.
    #[schema(format = Password)]
    password: String,
}

/// What a user may do: a viewer reads, an operator changes nodes, an admin does the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Reads.
    Viewer,
    /// Labels, annotates, taints, cordons, uncordons.
    Operator,
    /// Everything.
    Admin,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Viewer => Self::Viewer,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// A signed-in user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    /// Identifier.
    id: Uuid,
    /// The name.
    #[schema(example = "admin")]
    username: String,
    /// What this session or token may do in the installation as a whole.
    role: RoleName,
    /// The clusters that exist for it, each with what it may do there; null: every one, with `role`.
    clusters: Option<BTreeMap<String, RoleName>>,
}

impl From<&Identity> for UserView {
    fn from(identity: &Identity) -> Self {
        let username = identity.username.clone();
        let named = |clusters: &Arc<BTreeMap<String, Role>>| {
            clusters.iter().map(|(name, role)| (name.clone(), (*role).into())).collect()
        };
        let clusters = match &identity.access.reach {
            Reach::Everywhere => None,
            Reach::Only(clusters) => Some(named(clusters)),
        };
        Self { id: identity.user.0, username, role: identity.role().into(), clusters }
    }
}

/// A new session; its secret is in the cookie.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoginResponse {
    /// Who it is.
    user: UserView,
    /// When the session ends if it is not used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A personal token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it is for, to 100 characters.
    #[schema(example = "nightly labels", min_length = 1, max_length = 100)]
    name: String,
    /// What it may do at most; the greatest role that the caller has now, there or on a cluster, when left
    /// out. It never may more than its owner.
    #[serde(default)]
    role: Option<RoleName>,
    /// How long it lives, in days; 90 when left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 366)]
    expires_in_days: Option<u32>,
}

/// A new personal token. Its secret is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenCreated {
    /// Identifier.
    id: Uuid,
    /// What it is for.
    name: String,
    /// The secret, for `Authorization: Bearer`.
    #[schema(example = "knm_…")]
    token: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A personal token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Identifier.
    id: Uuid,
    /// What it is for.
    name: String,
    /// What it may do at most; null, of an older release: what its owner may.
    role: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> Self {
        let Token { id, name, role, created_at, last_used_at, expires_at } = token;
        Self { id, name, role, created_at, last_used_at, expires_at }
    }
}

/// The caller's personal tokens, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// The tokens.
    tokens: Vec<TokenView>,
}

/// Sign in
///
/// Starts a session. The answer sets the cookie `knm_session`. Failed attempts make the next one
/// wait, by account and address.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "auth", security(()),
    request_body = LoginRequest,
    responses(
        (status = 200, body = LoginResponse, headers(("Set-Cookie" = String))),
        (status = 401, body = problem::Document, content_type = "application/problem+json"),
        (status = 429, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn login(state: State, request: Request) -> Outcome {
    let LoginRequest { username, password } = body::json(&request)?;
    let (address, origin) = (request.client.address, request.client.origin());
    let visitor = Visitor { address, origin, user_agent: user_agent(&request) };
    let signed_in = state.auth.login(&username, password, visitor).await.map_err(|error| {
        let note = Note { username: Some(username.clone()), ..Note::default() };
        Problem::from(error).noting(note)
    })?;
    let note = Note {
        username: Some(signed_in.identity.username.clone()),
        user: Some(signed_in.identity.user),
        ..Note::default()
    };
    let user = UserView::from(&signed_in.identity);
    let view = LoginResponse { user, expires_at: signed_in.expires_at };
    let mut response = json(StatusCode::OK, &view)?;
    let cookie = cookie::set(&signed_in.token, signed_in.max_age, request.client.https);
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(note.on_response(response))
}

fn user_agent(request: &Request) -> String {
    let text = request.parts.headers.get(USER_AGENT).and_then(|v| v.to_str().ok());
    text.unwrap_or_default().chars().take(MAX_USER_AGENT).collect()
}

/// Sign out
///
/// Ends the session, or the personal token, that the request was made with: everywhere and at once.
#[utoipa::path(
    post, path = "/api/v1/auth/logout", tag = "auth",
    responses((status = 204, headers(("Set-Cookie" = String))))
)]
pub async fn logout(state: State, request: Request, identity: Identity) -> Outcome {
    state.auth.revoke(identity.user, identity.session).await?;
    let mut response = no_content();
    response.headers_mut().insert(SET_COOKIE, cookie::clear(request.client.https));
    Ok(response)
}

/// Who am I
#[utoipa::path(
    get, path = "/api/v1/auth/me", tag = "auth",
    responses((status = 200, body = UserView))
)]
pub async fn me(_state: State, _request: Request, identity: Identity) -> Outcome {
    json(StatusCode::OK, &UserView::from(&identity))
}

/// List personal tokens
///
/// Only in a session that began with a password.
#[utoipa::path(
    get, path = "/api/v1/auth/tokens", tag = "auth",
    responses(
        (status = 200, body = TokenList),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn list_tokens(state: State, _request: Request, identity: Identity) -> Outcome {
    state.auth.require_session(&identity).await?;
    let tokens = state.auth.tokens(identity.user).await?;
    json(StatusCode::OK, &TokenList { tokens: tokens.into_iter().map(Into::into).collect() })
}

/// Make a personal token
///
/// For programs. Only a session that began with a password can make one.
#[utoipa::path(
    post, path = "/api/v1/auth/tokens", tag = "auth",
    request_body = TokenRequest,
    responses((status = 201, body = TokenCreated))
)]
pub async fn create_token(state: State, request: Request, identity: Identity) -> Outcome {
    let TokenRequest { name, role, expires_in_days } = body::json(&request)?;
    let own = identity.access.greatest();
    let role = role.map_or(own, Role::from);
    let days = expires_in_days.unwrap_or(DEFAULT_TOKEN_DAYS);
    let mut errors = Vec::new();
    let length = name.chars().count();
    if !(1..=MAX_TOKEN_NAME).contains(&length) || name.chars().any(char::is_control) {
        let message = format!("must have 1 to {MAX_TOKEN_NAME} characters, none of them control");
        errors.push(FieldError::new("name", message));
    }
    if role > own {
        let message = format!("must not be above your own, {}", own.as_str());
        errors.push(FieldError::new("role", message));
    }
    if !(1..=MAX_TOKEN_DAYS).contains(&days) {
        let message = format!("must be from 1 to {MAX_TOKEN_DAYS}");
        errors.push(FieldError::new("expires_in_days", message));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let lifetime = Duration::from_secs(u64::from(days) * 24 * 3600);
    let issued = state.auth.issue_token(&identity, &name, role, lifetime).await?;
    let note = Note::about(issued.stored.id).after(value!({
        "name": issued.stored.name,
        "role": issued.stored.role,
        "expires_at": issued.stored.expires_at.to_string(),
    }));
    let view = TokenCreated {
        id: issued.stored.id,
        name: issued.stored.name,
        token: issued.token.expose().to_owned(),
        expires_at: issued.stored.expires_at,
    };
    Ok(note.on_response(json(StatusCode::CREATED, &view)?))
}

/// Revoke a personal token
///
/// At once, everywhere: open WebSockets that use it are closed. A token can revoke itself, but no other.
#[utoipa::path(
    delete, path = "/api/v1/auth/tokens/{id}", tag = "auth",
    params(("id" = Uuid, Path, description = "The token's id")),
    responses(
        (status = 204),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn delete_token(state: State, request: Request, identity: Identity) -> Outcome {
    let none = || Problem::not_found("you have no such token");
    let id = Uuid::parse_str(request.param("id")).map_err(|_| none())?;
    revoke(&state, &identity, id, none).await
}

async fn revoke(
    state: &State,
    identity: &Identity,
    id: Uuid,
    none: impl Fn() -> Problem,
) -> Outcome {
    if id != identity.session {
        state.auth.require_session(identity).await?;
    }
    if !state.auth.revoke(identity.user, id).await? {
        return Err(none());
    }
    Ok(Note::about(id).on_response(no_content()))
}

/// A session of one's own.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionView {
    /// Identifier.
    id: Uuid,
    /// Whether it is the one that this request was made with.
    current: bool,
    /// From where it began.
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
    /// What the browser or program called itself.
    user_agent: Option<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    /// When it ends if it is not used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it ends in any case.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
}

impl SessionView {
    fn of(session: Session, current: Uuid) -> Self {
        Self {
            id: session.id,
            current: session.id == current,
            address: session.address,
            user_agent: session.user_agent,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            ends_at: session.ends_at,
        }
    }
}

/// One's own sessions.
#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    /// The last used first.
    sessions: Vec<SessionView>,
}

/// List sessions
///
/// One's own; tokens are not among them, and cannot list them.
#[utoipa::path(
    get, path = "/api/v1/auth/sessions", tag = "auth",
    responses(
        (status = 200, body = SessionList),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn list_sessions(state: State, _request: Request, identity: Identity) -> Outcome {
    state.auth.require_session(&identity).await?;
    let sessions = state.auth.sessions(identity.user).await?.into_iter();
    let sessions = sessions.map(|session| SessionView::of(session, identity.session)).collect();
    json(StatusCode::OK, &SessionList { sessions })
}

/// End a session
///
/// One of one's own, at once and everywhere: open WebSockets that use it are closed. A personal token
/// cannot.
#[utoipa::path(
    delete, path = "/api/v1/auth/sessions/{id}", tag = "auth",
    params(("id" = Uuid, Path, description = "The session's id")),
    responses(
        (status = 204),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 404, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn delete_session(state: State, request: Request, identity: Identity) -> Outcome {
    let none = || Problem::not_found("you have no such session");
    let id = Uuid::parse_str(request.param("id")).map_err(|_| none())?;
    revoke(&state, &identity, id, none).await
}

/// A new password for oneself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordChange {
    /// The password as it is.
    #[schema(format = Password)]
    current: String,
    /// The password as it is to be, at least 8 characters.
    #[schema(format = Password)]
    password: String,
    /// Whether one's personal tokens end, too.
    #[serde(default)]
    end_tokens: bool,
}

/// Change one's own password
///
/// Ends one's other sessions, and if that is asked for one's tokens. Only a session that began with a password can do it. Wrong guesses make
/// the next one wait, as when signing in.
#[utoipa::path(
    post, path = "/api/v1/auth/password", tag = "auth",
    request_body = PasswordChange,
    responses(
        (status = 204),
        (status = 403, body = problem::Document, content_type = "application/problem+json"),
        (status = 422, body = problem::Document, content_type = "application/problem+json"),
        (status = 429, body = problem::Document, content_type = "application/problem+json"),
    )
)]
pub async fn change_password(state: State, request: Request, identity: Identity) -> Outcome {
    let PasswordChange { current, password, end_tokens } = body::json(&request)?;
    let origin = request.client.origin();
    let new = NewPassword { current, password, end_tokens };
    state.auth.change_password(&identity, new, origin).await?;
    let note = Note::about(&identity.username).after(value!({"end_tokens": end_tokens}));
    Ok(note.on_response(no_content()))
}
