//! From a request to its handler. A route says at registration who may call it, and only handlers of
//! signed-in routes are given an identity: nothing is open by omission.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, Method};
use knm_shared::session::{Identity, Role};
use std::panic::AssertUnwindSafe;

use super::client::{Client, Edge};
use super::metrics::MatchedRoute;
use super::{Body, Problem, RequestId, Response, same_origin};

/// What a handler gets.
pub struct Request {
    /// Everything but the body.
    pub parts: Parts,
    /// The body, unread.
    pub body: Body,
    /// Who asks, on the network's side.
    pub client: Client,
    params: Vec<(String, String)>,
}

impl Request {
    /// A `{name}` of the route's pattern.
    ///
    /// # Panics
    /// When the pattern has no such part.
    #[must_use]
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(n, _)| n == name);
        &found.expect("handlers ask for parts of their own pattern").1
    }
}

/// What a handler gives.
pub type Outcome = Result<Response, Problem>;

type Future = Pin<Box<dyn std::future::Future<Output = Outcome> + Send>>;
type Public<S> = Arc<dyn Fn(S, Request) -> Future + Send + Sync>;
type SignedIn<S> = Arc<dyn Fn(S, Request, Identity) -> Future + Send + Sync>;

enum Endpoint<S> {
    Public(Public<S>),
    SignedIn(Role, SignedIn<S>),
}

impl<S> Clone for Endpoint<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Public(handler) => Self::Public(handler.clone()),
            Self::SignedIn(role, handler) => Self::SignedIn(*role, handler.clone()),
        }
    }
}

/// What the router must know of the state that it hands to handlers.
pub trait Gate: Clone + Send + Sync + 'static {
    /// How clients reach us.
    fn edge(&self) -> &Edge;

    /// The identity behind a request's token, if it has a live one.
    fn authenticate(
        &self,
        headers: &HeaderMap,
    ) -> impl std::future::Future<Output = Result<Option<Identity>, Problem>> + Send;
}

struct Path<S> {
    pattern: &'static str,
    endpoints: Vec<(Method, Endpoint<S>)>,
}

/// A path that matches, and what its pattern's parts are.
type Found<'r, S> = (&'r Path<S>, Vec<(String, String)>);

/// The routes. Built once, then shared.
pub struct Router<S> {
    index: matchit::Router<usize>,
    paths: Vec<Path<S>>,
}

impl<S: Gate> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Gate> Router<S> {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self { index: matchit::Router::new(), paths: Vec::new() }
    }

    /// Adds a route that anyone may call.
    ///
    /// # Panics
    /// When the pattern is malformed or conflicts with another.
    #[must_use]
    pub fn public<F, R>(self, method: Method, pattern: &'static str, handler: F) -> Self
    where
        F: Fn(S, Request) -> R + Send + Sync + 'static,
        R: std::future::Future<Output = Outcome> + Send + 'static,
    {
        let handler: Public<S> = Arc::new(move |s, r| Box::pin(handler(s, r)));
        self.add(method, pattern, Endpoint::Public(handler))
    }

    /// Adds a route for users of at least this role.
    ///
    /// # Panics
    /// When the pattern is malformed or conflicts with another.
    #[must_use]
    pub fn signed_in<F, R>(
        self,
        role: Role,
        method: Method,
        pattern: &'static str,
        handler: F,
    ) -> Self
    where
        F: Fn(S, Request, Identity) -> R + Send + Sync + 'static,
        R: std::future::Future<Output = Outcome> + Send + 'static,
    {
        let handler: SignedIn<S> = Arc::new(move |s, r, i| Box::pin(handler(s, r, i)));
        self.add(method, pattern, Endpoint::SignedIn(role, handler))
    }

    fn add(mut self, method: Method, pattern: &'static str, endpoint: Endpoint<S>) -> Self {
        let at = if let Some(at) = self.paths.iter().position(|p| p.pattern == pattern) {
            at
        } else {
            let at = self.paths.len();
            self.index.insert(pattern, at).expect("patterns are constants that do not conflict");
            self.paths.push(Path { pattern, endpoints: Vec::new() });
            at
        };
        self.paths[at].endpoints.push((method, endpoint));
        self
    }

    /// Every route, and the role that it asks for.
    pub fn routes(&self) -> impl Iterator<Item = (&Method, &'static str, Option<Role>)> {
        self.paths.iter().flat_map(|path| {
            path.endpoints.iter().map(|(method, endpoint)| {
                let role = match endpoint {
                    Endpoint::Public(_) => None,
                    Endpoint::SignedIn(role, _) => Some(*role),
                };
                (method, path.pattern, role)
            })
        })
    }

    /// Answers a request, whatever happens.
    pub async fn dispatch(&self, state: S, request: http::Request<Body>) -> Response {
        let id = RequestId::of(&request);
        let (parts, body) = request.into_parts();
        let found = self.find(parts.uri.path());
        let pattern = found.as_ref().map(|(path, _)| path.pattern);
        let answer = AssertUnwindSafe(self.answer(state, found, parts, body)).catch_unwind().await;
        let outcome = answer.unwrap_or_else(|_| {
            // The panic hook has logged where and why.
            Err(Problem::internal(anyhow::anyhow!("a handler panicked")))
        });
        let mut response = outcome.unwrap_or_else(|problem| {
            problem.log();
            problem.into_response(&id)
        });
        if let Some(pattern) = pattern {
            response.extensions_mut().insert(MatchedRoute(pattern));
        }
        response
    }

    fn find(&self, path: &str) -> Option<Found<'_, S>> {
        let matched = self.index.at(path).ok()?;
        let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        Some((&self.paths[*matched.value], matched.params.iter().map(own).collect()))
    }

    async fn answer(
        &self,
        state: S,
        found: Option<Found<'_, S>>,
        parts: Parts,
        body: Body,
    ) -> Outcome {
        let edge = state.edge();
        let client = edge.client(&parts);
        same_origin::check(&parts, &client, edge)?;
        let Some((path, params)) = found else {
            // Outsiders do not learn which paths exist.
            if parts.uri.path().starts_with("/api/") {
                require(&state, &parts.headers, Role::Viewer).await?;
            }
            return Err(Problem::not_found(format!("there is nothing at {}", parts.uri.path())));
        };
        let Some(endpoint) = path.endpoint(&parts.method).cloned() else {
            if !path.is_public() {
                require(&state, &parts.headers, Role::Viewer).await?;
            }
            return Err(Problem::method_not_allowed(&path.allow()));
        };
        let request = |parts| Request { parts, body, client, params };
        match endpoint {
            Endpoint::Public(handler) => handler(state, request(parts)).await,
            Endpoint::SignedIn(role, handler) => {
                let identity = require(&state, &parts.headers, role).await?;
                handler(state, request(parts), identity).await
            }
        }
    }
}

async fn require<S: Gate>(state: &S, headers: &HeaderMap, role: Role) -> Result<Identity, Problem> {
    let identity = state.authenticate(headers).await?.ok_or_else(Problem::unauthenticated)?;
    tracing::Span::current().record("user", identity.username.as_str());
    if identity.role < role {
        let (needed, has) = (role.as_str(), identity.role.as_str());
        return Err(Problem::forbidden(format!("this needs the role {needed}; yours is {has}")));
    }
    Ok(identity)
}

impl<S> Path<S> {
    fn endpoint(&self, method: &Method) -> Option<&Endpoint<S>> {
        let of = |m: &Method| self.endpoints.iter().find(|(have, _)| have == m).map(|(_, e)| e);
        // The server leaves the body of an answer to HEAD out by itself.
        of(method).or_else(|| (method == Method::HEAD).then(|| of(&Method::GET)).flatten())
    }

    fn is_public(&self) -> bool {
        self.endpoints.iter().any(|(_, e)| matches!(e, Endpoint::Public(_)))
    }

    fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.endpoints.iter().map(|(m, _)| m.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::AUTHORIZATION;
    use http_body_util::BodyExt;
    use knm_shared::ids::UserId;
    use uuid::Uuid;

    use super::super::problem::Document;
    use super::super::{full, json, no_content};
    use super::*;

    #[derive(Clone, Default)]
    struct State(Edge);

    impl Gate for State {
        fn edge(&self) -> &Edge {
            &self.0
        }

        async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Identity>, Problem> {
            let role = match headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes) {
                Some(b"viewer") => Role::Viewer,
                Some(b"admin") => Role::Admin,
                Some(b"away") => return Err(Problem::unavailable("away")),
                _ => return Ok(None),
            };
            let (session, user) = (Uuid::nil(), UserId(Uuid::nil()));
            Ok(Some(Identity { session, user, username: "u".into(), role }))
        }
    }

    fn router() -> Router<State> {
        Router::new()
            .public(Method::GET, "/api/open", |_, _| async { Ok(no_content()) })
            .signed_in(
                Role::Viewer,
                Method::GET,
                "/api/things/{id}",
                |_, request: Request, _| async move { json(StatusCode::OK, &request.param("id")) },
            )
            .signed_in(Role::Admin, Method::DELETE, "/api/things/{id}", |_, _, _| async {
                Ok(no_content())
            })
            .signed_in(Role::Viewer, Method::POST, "/api/panic", |_, _, _| async { panic!("oh") })
    }

    async fn call(
        method: Method,
        path: &str,
        who: Option<&str>,
    ) -> (http::response::Parts, String) {
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some(who) = who {
            request = request.header(AUTHORIZATION, who);
        }
        let request = request.body(full("")).expect("a request");
        let (parts, body) = router().dispatch(State::default(), request).await.into_parts();
        let bytes = body.collect().await.expect("in memory").to_bytes();
        (parts, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn access_comes_before_everything_else() {
        for (method, path, who, status) in [
            (Method::GET, "/api/open", None, 204),
            (Method::POST, "/api/open", None, 405),
            (Method::GET, "/api/things/1", None, 401),
            (Method::GET, "/api/things/1", Some("nobody"), 401),
            (Method::GET, "/api/things/1", Some("viewer"), 200),
            (Method::HEAD, "/api/things/1", Some("viewer"), 200),
            (Method::GET, "/api/things/1", Some("away"), 503),
            (Method::DELETE, "/api/things/1", Some("viewer"), 403),
            (Method::DELETE, "/api/things/1", Some("admin"), 204),
            (Method::PUT, "/api/things/1", None, 401),
            (Method::PUT, "/api/things/1", Some("viewer"), 405),
            (Method::GET, "/api/nothing", None, 401),
            (Method::GET, "/api/nothing", Some("viewer"), 404),
            (Method::GET, "/nothing", None, 404),
            (Method::POST, "/api/panic", Some("viewer"), 500),
        ] {
            let (parts, _) = call(method.clone(), path, who).await;
            assert_eq!(parts.status, status, "{method} {path} {who:?}");
        }
    }

    #[tokio::test]
    async fn answers_carry_what_was_asked_for() {
        let (_, body) = call(Method::GET, "/api/things/a-b", Some("viewer")).await;
        assert_eq!(body, "\"a-b\"");
        let (parts, _) = call(Method::PUT, "/api/things/1", Some("viewer")).await;
        assert_eq!(parts.headers[http::header::ALLOW], "DELETE, GET, HEAD");
        let (parts, body) = call(Method::POST, "/api/panic", Some("viewer")).await;
        let document: Document = serde_json::from_str(&body).expect("a problem");
        assert!(!document.detail.contains("oh"), "{}", document.detail);
        assert!(parts.extensions.get::<MatchedRoute>().is_some_and(|r| r.0 == "/api/panic"));
    }
}
