//! The admin port of a process: `/livez`, `/readyz`, `/metrics`, and `/state` where there is one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use prometheus::{Encoder, IntGauge, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Loaded;
use crate::http::{BindError, Limits, bind, serve};

mod readiness;

pub use readiness::{Latch, Note, Readiness};

/// Probes, scrapes and the neighbour container; nobody else has business here.
const LIMITS: Limits = Limits {
    connections: 64,
    header_timeout: Duration::from_secs(10),
    header_bytes: 16 * 1024,
    drain: Duration::from_secs(2),
};

type State = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;
type Hook = Arc<dyn Fn() + Send + Sync>;

/// What the admin port serves.
#[derive(Clone)]
pub struct Admin {
    registry: Registry,
    readiness: Readiness,
    state: Option<State>,
    before_scrape: Vec<Hook>,
}

impl Admin {
    /// Serves these metrics and this readiness.
    #[must_use]
    pub const fn new(registry: Registry, readiness: Readiness) -> Self {
        Self { registry, readiness, state: None, before_scrape: Vec::new() }
    }

    /// Serves a JSON document at `/state`. The closure must not block.
    #[must_use]
    pub fn with_state(
        mut self,
        state: impl Fn() -> serde_json::Value + Send + Sync + 'static,
    ) -> Self {
        self.state = Some(Arc::new(state));
        self
    }

    /// Runs before each scrape, for gauges that are read rather than kept. Must not block.
    #[must_use]
    pub fn before_scrape(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.before_scrape.push(Arc::new(hook));
        self
    }

    /// Listens. Port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken or not this host's.
    pub async fn bind(self, address: SocketAddr) -> Result<Bound, BindError> {
        let listener = bind(address).await?;
        let address = listener.local_addr().map_err(|source| BindError { address, source })?;
        Ok(Bound { admin: self, listener, address })
    }

    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let verbose = query.is_some_and(|q| q.split('&').any(|p| p.starts_with("verbose")));
        match path {
            "/livez" => text(StatusCode::OK, "ok\n".into()),
            "/readyz" => self.readyz(verbose),
            "/metrics" => self.metrics(),
            "/state" => match &self.state {
                Some(state) => with_type("application/json", state().to_string()),
                None => text(StatusCode::NOT_FOUND, "not here\n".into()),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "this port serves /livez, /readyz?verbose and /metrics\n".into(),
            ),
        }
    }

    fn readyz(&self, verbose: bool) -> Response<Full<Bytes>> {
        let ready = self.readiness.is_ready();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        // Whoever looks at a pod that is not ready wants to know why.
        let body = if verbose || !ready { self.readiness.report() } else { "ok\n".to_owned() };
        text(status, body)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        for hook in &self.before_scrape {
            hook();
        }
        let encoder = TextEncoder::new();
        let mut body = Vec::new();
        match encoder.encode(&self.registry.gather(), &mut body) {
            Ok(()) => with_type(encoder.format_type(), body),
            Err(error) => {
                tracing::error!(%error, "metrics cannot be encoded");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n".into())
            }
        }
    }
}

fn with_type(kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let kind = HeaderValue::from_str(kind).expect("media types are plain ASCII");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = with_type("text/plain; charset=utf-8", body);
    *response.status_mut() = status;
    response
}

/// An admin port that is open and not served yet.
pub struct Bound {
    admin: Admin,
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, shutdown: CancellationToken) {
        let admin = Arc::new(self.admin);
        let service = move |_peer| {
            let admin = admin.clone();
            service_fn(move |request: Request<Incoming>| {
                let (method, uri) = (request.method(), request.uri());
                let response = admin.answer(method, uri.path(), uri.query());
                async move { Ok::<_, Infallible>(response) }
            })
        };
        serve(self.listener, service, LIMITS, shutdown).await;
    }
}

/// Registers `knm_build_info` and `knm_config_info{sha}`.
///
/// # Errors
/// When the registry has them already.
pub fn register_info(
    registry: &Registry,
    component: &str,
    version: &str,
    loaded: &Loaded,
) -> Result<(), prometheus::Error> {
    let build = Opts::new("knm_build_info", "Which build this is; always 1.")
        .const_label("component", component)
        .const_label("version", version);
    let config = Opts::new(
        "knm_config_info",
        "SHA-256 of the configuration file; the same in every container of an installation.",
    )
    .const_label("sha", &loaded.sha);
    for opts in [build, config] {
        let gauge = IntGauge::with_opts(opts)?;
        gauge.set(1);
        registry.register(Box::new(gauge))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
