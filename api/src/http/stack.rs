//! The layers around the router: request id, span, security headers, metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, Request};
use knm_shared::telemetry::in_request;
use tower::{Service, ServiceBuilder};
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use super::metrics::Metrics;
use super::router::{Gate, Router};
use super::{Body, RequestId, Response, boxed, request_id};

/// The whole server as one service. Cheap to clone.
pub fn service<S: Gate>(
    router: Arc<Router<S>>,
    state: S,
    metrics: Metrics,
) -> impl Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let trace = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_request(())
        .on_response(|response: &Response, took: std::time::Duration, _: &tracing::Span| {
            let (status, ms) = (response.status().as_u16(), took.as_millis() as u64);
            tracing::debug!(status, ms, "answered");
        })
        .on_body_chunk(())
        .on_eos(())
        // Problems have been logged with their cause.
        .on_failure(());
    ServiceBuilder::new()
        .map_request(request_id::sanitize)
        .layer(SetRequestIdLayer::new(request_id::HEADER, request_id::Maker))
        .map_response(|response: http::Response<_>| secured(response.map(boxed)))
        .layer(PropagateRequestIdLayer::new(request_id::HEADER))
        .layer(trace)
        .service_fn(move |request| {
            let (router, state, metrics) = (router.clone(), state.clone(), metrics.clone());
            let started = Instant::now();
            let id = RequestId::of(&request).to_string();
            in_request(id, async move {
                let response = router.dispatch(state, request).await;
                metrics.observe(&response, started.elapsed());
                Ok::<_, Infallible>(response)
            })
        })
}

fn span(request: &Request<Body>) -> tracing::Span {
    tracing::info_span!(
        "http",
        method = %request.method(),
        path = request.uri().path(),
        request_id = %RequestId::of(request),
        user = tracing::field::Empty,
    )
}

/// For an API that nobody embeds, caches or runs scripts from. A handler's own value wins.
const SECURITY: [(HeaderName, HeaderValue); 8] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=()"),
    ),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ),
];

fn secured(mut response: Response) -> Response {
    for (name, value) in SECURITY {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}
