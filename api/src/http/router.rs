//! From a request to its handler. A route says at registration who may call it, and only handlers of
//! signed-in routes are given an identity: nothing is open by omission. Routes that change something
//! have a word besides, under which the audit log tells of them. Whoever sends a body is asked for twice:
//! it arrives when the client likes, and the handler acts on the rights of when it is there.

mod until_sent;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use hyper::body::Bytes;
use knm_shared::access::{Action, Scope};
use knm_shared::session::{Identity, Role};
use knm_shared::telemetry::in_request;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::audit::Trail;
use super::client::{Client, Edge};
use super::cors::Cors;
use super::inflight::{InFlight, Turn, Whose};
use super::metrics::MatchedRoute;
use super::{Body, Problem, RequestId, Response, body, same_origin};
use crate::audit::Record;
use until_sent::until_sent;

/// A browser that has come over TLS once comes over nothing else for a year.
const ONE_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What a handler gets.
pub struct Request {
    /// Everything but the body.
    pub parts: Parts,
    /// The body, if the route takes one.
    pub body: Bytes,
    /// Who asks, on the network's side.
    pub client: Client,
    params: Params,
}

impl Request {
    /// A `{name}` of the route's pattern.
    ///
    /// # Panics
    /// When the pattern has no such part.
    #[must_use]
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).expect("handlers ask for parts of their own pattern")
    }
}

/// What a handler gives.
pub type Outcome = Result<Response, Problem>;

type Future = Pin<Box<dyn std::future::Future<Output = Outcome> + Send>>;
type Public<S> = Arc<dyn Fn(S, Request) -> Future + Send + Sync>;
type SignedIn<S> = Arc<dyn Fn(S, Request, Identity) -> Future + Send + Sync>;

enum Handler<S> {
    Public(Public<S>),
    SignedIn(Action, SignedIn<S>),
}

struct Endpoint<S> {
    method: Method,
    handler: Handler<S>,
    /// Under which word the audit log tells of it; `None`: it only looks.
    word: Option<&'static str>,
    /// The largest body that it takes (octets); `None`: none at all.
    takes: Option<usize>,
}

/// What the router must know of the state that it hands to handlers.
pub trait Gate: Clone + Send + Sync + 'static {
    /// How clients reach us.
    fn edge(&self) -> &Edge;

    /// Which pages of other origins may read answers.
    fn cors(&self) -> &Cors;

    /// Requests under way.
    fn in_flight(&self) -> &InFlight;

    /// Waits for what has to be finished although nobody waits for its answer.
    fn unfinished(&self) -> &TaskTracker;

    /// The identity behind a request's token, if it has a live one.
    fn authenticate(
        &self,
        headers: &HeaderMap,
    ) -> impl std::future::Future<Output = Result<Option<Identity>, Problem>> + Send;

    /// Adds an entry to the audit log.
    fn record(&self, record: Record) -> impl std::future::Future<Output = ()> + Send;
}

/// The parts of a pattern, by name.
struct Params(Vec<(String, String)>);

impl Params {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

struct Path<S> {
    pattern: &'static str,
    endpoints: Vec<Endpoint<S>>,
}

/// One registered route, to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route<'r> {
    /// Its method.
    pub method: &'r Method,
    /// Its path.
    pub pattern: &'static str,
    /// What it takes; `None`: nothing, it is open to all.
    pub action: Option<Action>,
    /// Under which word the audit log tells of it.
    pub word: Option<&'static str>,
}

/// The routes. Built once, then shared.
pub struct Router<S> {
    index: matchit::Router<usize>,
    paths: Vec<Path<S>>,
    /// Where the last route is: path and endpoint.
    last: Option<(usize, usize)>,
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
        Self { index: matchit::Router::new(), paths: Vec::new(), last: None }
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
        self.add(method, pattern, Handler::Public(handler))
    }

    /// Adds a route for users who may do this: on the `{cluster}` of the pattern, if it has one; else
    /// somewhere, and the handler asks again once it knows where.
    ///
    /// # Panics
    /// When the pattern is malformed or conflicts with another.
    #[must_use]
    pub fn signed_in<F, R>(
        self,
        action: Action,
        method: Method,
        pattern: &'static str,
        handler: F,
    ) -> Self
    where
        F: Fn(S, Request, Identity) -> R + Send + Sync + 'static,
        R: std::future::Future<Output = Outcome> + Send + 'static,
    {
        let handler: SignedIn<S> = Arc::new(move |s, r, i| Box::pin(handler(s, r, i)));
        self.add(method, pattern, Handler::SignedIn(action, handler))
    }

    /// Has the audit log tell of the route that was added last. Once it has begun it is finished, also
    /// when whoever asked hangs up.
    ///
    /// # Panics
    /// Before the first route.
    #[must_use]
    pub fn audited(mut self, word: &'static str) -> Self {
        let (path, endpoint) = self.last.expect("a route comes first");
        self.paths[path].endpoints[endpoint].word = Some(word);
        self
    }

    /// Has the route that was added last take a JSON body of up to so many octets. No other handler gets
    /// to see one.
    ///
    /// # Panics
    /// Before the first route.
    #[must_use]
    pub fn takes(mut self, most: usize) -> Self {
        let (path, endpoint) = self.last.expect("a route comes first");
        self.paths[path].endpoints[endpoint].takes = Some(most);
        self
    }

    fn add(mut self, method: Method, pattern: &'static str, handler: Handler<S>) -> Self {
        let at = if let Some(at) = self.paths.iter().position(|p| p.pattern == pattern) {
            at
        } else {
            let at = self.paths.len();
            self.index.insert(pattern, at).expect("patterns are constants that do not conflict");
            self.paths.push(Path { pattern, endpoints: Vec::new() });
            at
        };
        self.last = Some((at, self.paths[at].endpoints.len()));
        self.paths[at].endpoints.push(Endpoint { method, handler, word: None, takes: None });
        self
    }

    /// Every route.
    pub fn routes(&self) -> impl Iterator<Item = Route<'_>> {
        self.paths.iter().flat_map(|path| {
            path.endpoints.iter().map(|endpoint| Route {
                method: &endpoint.method,
                pattern: path.pattern,
                action: match endpoint.handler {
                    Handler::Public(_) => None,
                    Handler::SignedIn(action, _) => Some(action),
                },
                word: endpoint.word,
            })
        })
    }

    /// Answers a request, whatever happens.
    pub async fn dispatch(&self, state: S, request: http::Request<Body>) -> Response {
        let id = RequestId::of(&request);
        let (parts, body) = request.into_parts();
        let found = self.find(parts.uri.path());
        let pattern = found.as_ref().map(|(path, _)| path.pattern);
        let origin = state.cors().origin(&parts.headers);
        let client = state.edge().client(&parts);
        let https = client.https;
        let outcome = match state.cors().preflight(&parts) {
            Some(answer) => Ok(answer),
            None => answer(&state, found, parts, body, client, &id).await,
        };
        let mut response = outcome.unwrap_or_else(|problem| {
            problem.log();
            problem.into_response(&id)
        });
        state.cors().allow(origin, &mut response);
        if https {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, ONE_YEAR);
        }
        if let Some(pattern) = pattern {
            response.extensions_mut().insert(MatchedRoute(pattern));
        }
        response
    }

    fn find(&self, path: &str) -> Option<(&Path<S>, Params)> {
        let matched = self.index.at(path).ok()?;
        let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        Some((&self.paths[*matched.value], Params(matched.params.iter().map(own).collect())))
    }
}

async fn answer<S: Gate>(
    state: &S,
    found: Option<(&Path<S>, Params)>,
    parts: Parts,
    body: Body,
    client: Client,
    id: &RequestId,
) -> Outcome {
    let mut trail = Trail::new(&parts, &client, id);
    let admitted = AssertUnwindSafe(admit(state, found, parts, body, client, &mut trail));
    match admitted.catch_unwind().await.unwrap_or_else(|_| Err(panicked())) {
        Ok((call, turn)) if trail.word.is_some() => {
            // On its own: what has begun is finished and told, whether or not anyone waits for it.
            let finished = finish(state.clone(), call, turn, trail).in_current_span();
            let finished = in_request(id.to_string(), finished);
            state.unfinished().spawn(finished).await.unwrap_or_else(|_| Err(panicked()))
        }
        Ok((call, turn)) => finish(state.clone(), call, turn, trail).await,
        Err(problem) => tell(state, &trail, Err(problem)).await,
    }
}

async fn finish<S: Gate>(state: S, call: Future, turn: Turn, trail: Trail) -> Outcome {
    let outcome = AssertUnwindSafe(call).catch_unwind().await;
    let outcome = tell(&state, &trail, outcome.unwrap_or_else(|_| Err(panicked()))).await;
    // What anybody may ask for is small, or the same bytes for everybody.
    if trail.identity.is_none() {
        return outcome;
    }
    outcome.map(|response| until_sent(response, turn))
}

async fn tell<S: Gate>(state: &S, trail: &Trail, outcome: Outcome) -> Outcome {
    if let Some(record) = trail.record(&outcome) {
        state.record(record).await;
    }
    outcome
}

/// The panic hook has logged where and why.
fn panicked() -> Problem {
    Problem::internal(anyhow::anyhow!("a handler panicked"))
}

/// From the request to a handler that has not begun yet, if it is to be let in.
async fn admit<S: Gate>(
    state: &S,
    found: Option<(&Path<S>, Params)>,
    parts: Parts,
    body: Body,
    client: Client,
    trail: &mut Trail,
) -> Result<(Future, Turn), Problem> {
    same_origin::check(&parts, &client, state.edge())?;
    let Some((path, params)) = found else {
        // Outsiders do not learn which paths exist.
        if parts.uri.path().starts_with("/api/") {
            identify(state, &parts.headers, &client, trail).await?;
        }
        return Err(Problem::not_found(format!("there is nothing at {}", parts.uri.path())));
    };
    let Some(endpoint) = path.endpoint(&parts.method) else {
        if !path.is_public() {
            identify(state, &parts.headers, &client, trail).await?;
        }
        return Err(Problem::method_not_allowed(&path.allow()));
    };
    trail.word = endpoint.word;
    let takes = endpoint.takes;
    match &endpoint.handler {
        Handler::Public(handler) => {
            // Before its turn: whoever sends it slowly keeps nobody else at the same address out. It is small,
            // and a network has only so many connections.
            let body = receive(takes, &parts.headers, body).await?;
            let turn = state.in_flight().enter(Whose::Address(client.origin()))?;
            let (state, handler) = (state.clone(), Arc::clone(handler));
            let call: Future =
                Box::pin(
                    async move { handler(state, Request { parts, body, client, params }).await },
                );
            Ok((call, turn))
        }
        Handler::SignedIn(action, handler) => {
            let identity = identify(state, &parts.headers, &client, trail).await?;
            permit(&identity, *action, params.get("cluster"))?;
            let turn = state.in_flight().enter(Whose::User(identity.user))?;
            let (state, handler, action) = (state.clone(), Arc::clone(handler), *action);
            let call: Future = Box::pin(async move {
                let body = receive(takes, &parts.headers, body).await?;
                let identity = match takes {
                    None => identity,
                    // Meanwhile the session may have ended, the account been closed, a right been lost.
                    Some(_) => {
                        let now = state.authenticate(&parts.headers).await?;
                        let now = now.ok_or_else(Problem::unauthenticated)?;
                        permit(&now, action, params.get("cluster"))?;
                        now
                    }
                };
                handler(state, Request { parts, body, client, params }, identity).await
            });
            Ok((call, turn))
        }
    }
}

async fn receive(takes: Option<usize>, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    match takes {
        None => Ok(Bytes::new()),
        Some(most) => body::receive(most, headers, body).await,
    }
}

async fn identify<S: Gate>(
    state: &S,
    headers: &HeaderMap,
    client: &Client,
    trail: &mut Trail,
) -> Result<Identity, Problem> {
    // Nobody keeps the database busy with tokens that are none.
    let _turn = state.in_flight().enter(Whose::Newcomer(client.origin()))?;
    let identity = state.authenticate(headers).await?.ok_or_else(Problem::unauthenticated)?;
    tracing::Span::current().record("user", identity.username.as_str());
    trail.identity = Some(identity.clone());
    Ok(identity)
}

/// Asks the table.
fn permit(identity: &Identity, action: Action, cluster: Option<&str>) -> Result<(), Problem> {
    let access = &identity.access;
    let rule = action.rule();
    let (allowed, has) = match (rule.scope, cluster) {
        (Scope::Cluster, Some(cluster)) => {
            if !access.may_on(cluster, Action::ReadCluster) {
                let why = format!("{} may not read cluster {cluster}", identity.username);
                return Err(
                    Problem::not_found(format!("there is no cluster {cluster}")).refusing(why)
                );
            }
            (access.may_on(cluster, action), access.role_on(cluster))
        }
        (Scope::Cluster, None) => (access.may_somewhere(action), Some(access.role)),
        (Scope::Installation, _) => (access.may(action), Some(access.role)),
    };
    if allowed {
        return Ok(());
    }
    let (what, needed) = (action.words(), rule.role.as_str());
    let has = has.map_or("none", Role::as_str);
    Err(Problem::forbidden(format!("{what} needs the role {needed}; yours is {has}")))
}

impl<S> Path<S> {
    fn endpoint(&self, method: &Method) -> Option<&Endpoint<S>> {
        let of = |m: &Method| self.endpoints.iter().find(|endpoint| endpoint.method == *m);
        // The server leaves the body of an answer to HEAD out by itself.
        of(method).or_else(|| (method == Method::HEAD).then(|| of(&Method::GET)).flatten())
    }

    fn is_public(&self) -> bool {
        self.endpoints.iter().any(|endpoint| matches!(endpoint.handler, Handler::Public(_)))
    }

    fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.endpoints.iter().map(|e| e.method.as_str()).collect();
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
    use knm_shared::access::{Access, Reach};
    use knm_shared::ids::UserId;
    use std::sync::Mutex;
    use uuid::Uuid;

    use super::super::problem::Document;
    use super::super::{full, json, no_content};
    use super::*;
    use crate::audit::Verdict;

    #[derive(Clone, Default)]
    struct State {
        edge: Edge,
        cors: Cors,
        in_flight: InFlight,
        unfinished: TaskTracker,
        told: Arc<Mutex<Vec<Record>>>,
    }

    impl Gate for State {
        fn edge(&self) -> &Edge {
            &self.edge
        }

        fn cors(&self) -> &Cors {
            &self.cors
        }

        fn in_flight(&self) -> &InFlight {
            &self.in_flight
        }

        fn unfinished(&self) -> &TaskTracker {
            &self.unfinished
        }

        async fn record(&self, record: Record) {
            self.told.lock().expect("no panic").push(record);
        }

        async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Identity>, Problem> {
            let role = match headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes) {
                Some(b"viewer") => Role::Viewer,
                Some(b"admin") => Role::Admin,
                Some(b"away") => return Err(Problem::unavailable("away")),
                Some(b"slow") => std::future::pending().await,
                _ => return Ok(None),
            };
            let (session, user) = (Uuid::nil(), UserId(Uuid::nil()));
            // An admin of the installation as a whole, but only of one cluster.
            let only = [("here".to_owned(), role), ("there".to_owned(), Role::Viewer)];
            let access = Access { role, reach: Reach::Only(Arc::new(only.into())) };
            Ok(Some(Identity { session, user, username: "u".into(), access }))
        }
    }

    fn router() -> Router<State> {
        Router::new()
            .public(Method::GET, "/api/open", |_, _| async { Ok(no_content()) })
            .signed_in(
                Action::OwnAccount,
                Method::GET,
                "/api/things/{id}",
                |_, request: Request, _| async move { json(StatusCode::OK, &request.param("id")) },
            )
            .signed_in(Action::ManageUsers, Method::DELETE, "/api/things/{id}", |_, _, _| async {
                Ok(no_content())
            })
            .audited("thing.delete")
            .signed_in(Action::OwnAccount, Method::POST, "/api/panic", |_, _, _| async {
                panic!("oh")
            })
            .audited("panic")
            .signed_in(Action::Drain, Method::POST, "/api/drain/{cluster}", |_, _, _| async {
                Ok(no_content())
            })
            .signed_in(Action::Drain, Method::POST, "/api/drain", |_, _, _| async {
                Ok(no_content())
            })
    }

    async fn call(
        method: Method,
        path: &str,
        who: Option<&str>,
    ) -> (http::response::Parts, String) {
        call_on(&State::default(), method, path, who).await
    }

    async fn call_on(
        state: &State,
        method: Method,
        path: &str,
        who: Option<&str>,
    ) -> (http::response::Parts, String) {
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some(who) = who {
            request = request.header(AUTHORIZATION, who);
        }
        let request = request.body(full("")).expect("a request");
        let (parts, body) = router().dispatch(state.clone(), request).await.into_parts();
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
            (Method::POST, "/api/drain/here", Some("admin"), 204),
            (Method::POST, "/api/drain/there", Some("admin"), 403),
            (Method::POST, "/api/drain/nowhere", Some("admin"), 404),
            (Method::POST, "/api/drain/here", Some("viewer"), 403),
            (Method::POST, "/api/drain", Some("admin"), 204),
            (Method::POST, "/api/drain", Some("viewer"), 403),
        ] {
            let (parts, _) = call(method.clone(), path, who).await;
            assert_eq!(parts.status, status, "{method} {path} {who:?}");
        }
    }

    #[tokio::test]
    async fn who_is_not_known_yet_takes_no_more_than_a_share() {
        let state = State::default();
        let ask = |who| Box::pin(call_on(&state, Method::GET, "/api/things/1", Some(who)));
        let mut held = Vec::new();
        let refused = loop {
            let mut asked = ask("slow");
            match (&mut asked).now_or_never() {
                None => held.push(asked),
                Some((parts, _)) => break parts.status,
            }
        };
        assert_eq!((refused.as_u16(), held.len()), (429, 128));
        assert_eq!(ask("viewer").await.0.status, 429, "of the same address");
        held.clear();
        assert_eq!(ask("viewer").await.0.status, 200);
    }

    #[tokio::test]
    async fn an_answer_counts_until_it_is_read_or_dropped() {
        let (state, router) = (State::default(), router());
        let ask = || {
            let request = http::Request::builder().uri("/api/things/1");
            let request = request.header(AUTHORIZATION, "viewer").body(full(""));
            router.dispatch(state.clone(), request.expect("a request"))
        };
        let mut unread = Vec::new();
        let refused = loop {
            let response = ask().await;
            match response.status() {
                StatusCode::OK => unread.push(response),
                refused => break refused,
            }
        };
        assert_eq!((refused.as_u16(), unread.len()), (429, 64));
        let read = unread.pop().expect("one of them").into_body().collect().await;
        assert_eq!(read.expect("in memory").to_bytes(), "\"1\"");
        unread.push(ask().await);
        assert_eq!(unread.last().map(Response::status), Some(StatusCode::OK));
        unread.clear();
        assert_eq!(ask().await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn what_is_done_or_refused_is_told_once() {
        let state = State::default();
        for (method, path, who) in [
            (Method::DELETE, "/api/things/1", Some("admin")),
            (Method::DELETE, "/api/things/1", Some("viewer")),
            (Method::GET, "/api/things/1", Some("viewer")),
            (Method::GET, "/api/things/1", None),
            (Method::POST, "/api/panic", Some("viewer")),
            (Method::POST, "/api/drain", Some("viewer")),
            (Method::POST, "/api/drain/nowhere", Some("viewer")),
            (Method::GET, "/api/nothing", Some("viewer")),
        ] {
            call_on(&state, method, path, who).await;
        }
        let told = state.told.lock().expect("no panic");
        let told: Vec<_> =
            told.iter().map(|r| (r.action.as_str(), r.verdict, r.username.as_str())).collect();
        let expected = [
            ("thing.delete", Verdict::Done, "u"),
            ("thing.delete", Verdict::Refused, "u"),
            ("panic", Verdict::Failed, "u"),
            ("request", Verdict::Refused, "u"),
            // Whoever asks is told that there is none; whoever reads the log, why.
            ("request", Verdict::Refused, "u"),
        ];
        assert_eq!(told, expected);
    }

    /// Whoever hangs up cannot keep what they did from being told.
    #[tokio::test]
    async fn what_has_begun_is_finished_and_told() {
        let (state, gate) = (State::default(), Arc::new(tokio::sync::Notify::new()));
        let (begun, go) = (Arc::clone(&gate), Arc::new(tokio::sync::Notify::new()));
        let wait = Arc::clone(&go);
        let router = Router::new()
            .signed_in(Action::OwnAccount, Method::POST, "/api/slow", move |_: State, _, _| {
                let (begun, wait) = (Arc::clone(&begun), Arc::clone(&wait));
                async move {
                    begun.notify_one();
                    wait.notified().await;
                    Ok(no_content())
                }
            })
            .audited("slow");
        let request = http::Request::builder().method(Method::POST).uri("/api/slow");
        let request = request.header(AUTHORIZATION, "viewer").body(full("")).expect("a request");
        {
            let dispatched = router.dispatch(state.clone(), request);
            tokio::select! {
                _ = dispatched => panic!("it waits"),
                () = gate.notified() => {}
            }
        }
        go.notify_one();
        state.unfinished.close();
        state.unfinished.wait().await;
        assert_eq!(state.told.lock().expect("no panic").len(), 1);
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
