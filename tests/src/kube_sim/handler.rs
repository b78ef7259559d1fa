//! One request from its head to its answer: route, faults, rights, work, log.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{
    access_review,
    auth::{self, Authentication, User},
    body::{Dropped, SimBody},
    clock, control,
    deletion::{DeleteOptions, Deletion},
    discovery::{self, Page},
    eviction,
    eviction_log::{EvictionLog, Seen},
    faults::{FaultAction, Faults, Subject},
    patch::Patch,
    query::Query,
    read,
    request_log::{Finished, RequestLog, Started},
    resource::Resource,
    response::{failure, json, plain, respond},
    route::{self, ResourcePath, Target, Verb},
    status::ApiError,
    store::{Change, Store},
    table::Rendering,
    watch::{self, WatchControl},
    write,
    write_options::WriteOptions,
};

/// The API server's own limit for request bodies.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// Everything that requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) faults: Faults,
    pub(crate) log: RequestLog,
    pub(crate) evictions: EvictionLog,
    /// Changes when a request has been answered.
    pub(crate) answered: tokio::sync::watch::Sender<u64>,
    pub(crate) authentication: Authentication,
    /// Raised to break off every open watch.
    pub(crate) drops: tokio::sync::watch::Sender<u64>,
    pub(crate) bookmark_interval: Duration,
    /// Decides what is left to chance.
    pub(crate) seed: u64,
    pub(crate) stop: CancellationToken,
}

/// A request that has been read.
struct Call {
    method: Method,
    path: String,
    query: Query,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What the work on a request has given.
#[derive(Default)]
struct Outcome {
    precondition: Option<String>,
    change: Option<Change>,
}

impl Shared {
    /// Puts the end of a request on record.
    fn record(&self, started: Started, finished: Finished, eviction: Option<Seen>) {
        if let Some(seen) = eviction {
            self.evictions.record(seen, &started, &finished);
        }
        self.log.record(started, finished);
        self.answered.send_modify(|answered| *answered += 1);
    }
}

impl Call {
    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn authorization(&self) -> Option<&str> {
        self.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
    }

    fn object(&self) -> Result<Map<String, Value>, ApiError> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            ApiError::bad_request(format!("the object provided is unrecognized: {error}"))
        })
    }
}

/// Answers one request. An error cuts the connection.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<SimBody>, Dropped> {
    let at_micros = clock::unix_micros();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes().to_vec(),
        Err(_) => {
            let error = ApiError::new(413, "RequestEntityTooLarge", "limit is 3145728");
            return Ok(failure(&error));
        }
    };
    let call = Call { method: parts.method, path, query, headers: parts.headers, body };
    if let Some(rest) = call.path.strip_prefix("/sim/") {
        return Ok(control::handle(&shared, &call.method, rest, &call.query, &call.body));
    }

    let target = route::parse(&call.path);
    let resource_path = match &target {
        Target::Resource(path) => Some(path),
        _ => None,
    };
    let named = resource_path.is_none_or(|path| path.name.is_some());
    let Some(verb) = Verb::of(&call.method, named, call.query.flag("watch")) else {
        return Ok(failure(&ApiError::method_not_allowed()));
    };
    let name = match resource_path {
        Some(path) if verb == Verb::Create && path.name.is_none() => created_name(&call),
        Some(path) => path.name.clone(),
        None => None,
    };
    let user = shared.authentication.user(call.authorization());
    let started = Started {
        at_micros,
        method: call.method.to_string(),
        path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        user_agent: call.header(header::USER_AGENT).to_owned(),
        user: user.map(|user| user.name).unwrap_or_default(),
        verb,
        resource: resource_path.map(|path| path.resource.info().plural),
        subresource: resource_path.and_then(|path| path.subresource.clone()),
        namespace: resource_path.and_then(|path| path.namespace.clone()),
        name,
    };

    let subject = Subject {
        verb,
        resource: started.resource,
        subresource: started.subresource.as_deref(),
        namespace: started.namespace.as_deref(),
        name: started.name.as_deref(),
    };
    let decision = shared.faults.decide(subject);
    if !decision.delay.is_zero() {
        tokio::time::sleep(decision.delay).await;
    }
    let eviction = resource_path
        .filter(|path| verb == Verb::Create && path.is_eviction())
        .map(|path| Seen::now(&shared.store, path, &call.body, call.query.get("dryRun").is_some()));
    let mut lose_answer = false;
    if let Some((_, action)) = decision.action {
        let unanswered = |fault| Finished { fault: Some(fault), ..Finished::default() };
        match action {
            FaultAction::Status { code, retry_after_seconds, message } => {
                let resource = resource_path.map(|path| path.resource);
                let name = started.name.as_deref();
                let mut error = ApiError::simulated(code, resource, name, retry_after_seconds);
                if let Some(message) = message {
                    error.message = message;
                }
                let finished = Finished { status: error.code, ..unanswered("status") };
                shared.record(started, finished, eviction);
                return Ok(failure(&error));
            }
            FaultAction::Close => {
                shared.record(started, unanswered("close"), eviction);
                return Err(Dropped);
            }
            FaultAction::Hang => {
                shared.record(started, unanswered("hang"), eviction);
                // The client's going away drops this future.
                shared.stop.cancelled().await;
                return Err(Dropped);
            }
            FaultAction::LoseAnswer => lose_answer = true,
        }
    }

    let mut outcome = Outcome::default();
    let response =
        answer(&shared, &call, &target, verb, &mut outcome).unwrap_or_else(|error| failure(&error));
    let finished = Finished {
        status: response.status().as_u16(),
        precondition: outcome.precondition,
        fault: lose_answer.then_some("lose_answer"),
        change: outcome.change,
    };
    shared.record(started, finished, eviction);
    if lose_answer { Err(Dropped) } else { Ok(response) }
}

fn answer(
    shared: &Shared,
    call: &Call,
    target: &Target,
    verb: Verb,
    outcome: &mut Outcome,
) -> Result<Response<SimBody>, ApiError> {
    let user = shared.authentication.user(call.authorization())?;
    match target {
        Target::Resource(path) => {
            auth::authorize(&user, verb, path)?;
            resource(shared, call, path, verb, &user.name, outcome)
        }
        Target::AccessReview if verb == Verb::Create => {
            access_review::answer(&user, call.object()?).map(|review| json(201, review.to_string()))
        }
        Target::AccessReview => Err(ApiError::method_not_allowed()),
        Target::UnknownResource => Err(ApiError::unknown_path()),
        Target::Other => page(&user, &call.path, verb),
    }
}

fn page(user: &User, path: &str, verb: Verb) -> Result<Response<SimBody>, ApiError> {
    if !user.may_get_path(path) {
        return Err(ApiError::forbidden_path(&user.name, verb.as_str(), path));
    }
    Ok(match discovery::page(path) {
        Page::Json(value) => json(200, value.to_string()),
        Page::Raw(text) => json(200, text),
        Page::Text(text) => plain(200, text),
        Page::Missing => plain(404, "404 page not found\n"),
    })
}

fn resource(
    shared: &Shared,
    call: &Call,
    path: &ResourcePath,
    verb: Verb,
    user: &str,
    outcome: &mut Outcome,
) -> Result<Response<SimBody>, ApiError> {
    match path.subresource.as_deref() {
        None => {}
        Some("status") if path.resource.info().status => {}
        Some(_) if path.is_eviction() => return evict(shared, call, path, verb, user, outcome),
        Some(_) => return Err(ApiError::unknown_path()),
    }
    let store = &shared.store;
    let accept = call.header(header::ACCEPT);
    let rendering = Rendering::of(accept, call.query.get("includeObject"));
    let user_agent = call.header(header::USER_AGENT);
    let options = |is_apply| WriteOptions::parse(verb, &call.query, user_agent, is_apply);
    let written = match verb {
        Verb::Get => return read::get(store, path, rendering).map(|body| json(200, body)),
        Verb::List => {
            return read::list(store, path, &call.query, rendering).map(|body| json(200, body));
        }
        Verb::Watch => {
            let control = WatchControl {
                drops: shared.drops.subscribe(),
                stop: shared.stop.clone(),
                bookmark_interval: shared.bookmark_interval,
            };
            let body = watch::open(store, path, &call.query, rendering, control)?;
            return Ok(respond(200, "application/json", body));
        }
        Verb::Create => {
            if path.name.is_some() {
                return Err(ApiError::method_not_allowed());
            }
            write::create(store, path, call.object()?, &options(false)?)?
        }
        Verb::Update => {
            let body = call.object()?;
            let revision =
                body.get("metadata").and_then(|metadata| metadata.get("resourceVersion"));
            outcome.precondition = revision.and_then(Value::as_str).map(str::to_owned);
            write::replace(store, path, body, &options(false)?)?
        }
        Verb::Patch => {
            let patch = Patch::decode(call.header(header::CONTENT_TYPE), &call.body)?;
            outcome.precondition = patch.precondition();
            let options = options(matches!(patch, Patch::Apply(_)))?;
            write::patch(store, path, &patch, &options)?
        }
        Verb::Delete => {
            // The parameters are checked whether they count or not.
            options(false)?;
            let options = DeleteOptions::of_request(&call.object()?, &call.query)?;
            let Deletion { change, last } = write::delete(store, path, &options, user)?;
            // A pod is shown as it was left, anything else is only said to be gone.
            let body = match path.resource {
                Resource::Pods => read::encode(&last, rendering),
                _ => deleted(path, &change).to_string().into(),
            };
            outcome.change = Some(change);
            return Ok(json(200, body));
        }
        Verb::DeleteCollection => return Err(ApiError::method_not_allowed()),
    };
    let status = if written.created { 201 } else { 200 };
    let body = written.change.after.as_ref().map(|object| read::encode(object, rendering));
    let mut response = json(status, body.unwrap_or_default());
    for warning in &written.warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    outcome.change = Some(written.change);
    Ok(response)
}

fn evict(
    shared: &Shared,
    call: &Call,
    path: &ResourcePath,
    verb: Verb,
    user: &str,
    outcome: &mut Outcome,
) -> Result<Response<SimBody>, ApiError> {
    if verb != Verb::Create {
        return Err(ApiError::method_not_allowed());
    }
    let user_agent = call.header(header::USER_AGENT);
    let options = WriteOptions::parse(verb, &call.query, user_agent, false)?;
    let request = eviction::Request::parse(path, call.object()?, options.dry_run)?;
    outcome.precondition = request.precondition().map(str::to_owned);
    outcome.change = Some(eviction::evict(&shared.store, &request, user)?);
    let body = serde_json::json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "code": 201,
    });
    Ok(json(201, body.to_string()))
}

fn created_name(call: &Call) -> Option<String> {
    let body: Value = serde_json::from_slice(&call.body).ok()?;
    Some(body.get("metadata")?.get("name")?.as_str()?.to_owned())
}

fn deleted(path: &ResourcePath, change: &Change) -> Value {
    let info = path.resource.info();
    let mut details = serde_json::json!({
        "name": path.name,
        "kind": info.plural,
        "uid": change.before.as_ref().map(|object| object.uid()),
    });
    if !info.group.is_empty() {
        details["group"] = info.group.into();
    }
    serde_json::json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}
