//! The listening socket and what answers on it.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use knm_shared::http::Limits;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::client::Peer;
use super::metrics::Metrics;
use super::port::Port;
use super::router::{Gate, Router};
use super::{boxed, stack};

/// Serves the routes until `stop`, then lets requests in flight end within `limits.drain`.
pub async fn serve<S: Gate>(
    listener: TcpListener,
    port: Port,
    router: Router<S>,
    state: S,
    metrics: Metrics,
    limits: Limits,
    stop: CancellationToken,
) {
    let service = stack::service(Arc::new(router), state, metrics.clone());
    let tls = port.is_tls();
    let connection = move |address| {
        let (service, open) = (service.clone(), metrics.connection());
        service_fn(move |mut request: Request<Incoming>| {
            // Moves the count into the connection's service, to live as long as that.
            let _open = &open;
            request.extensions_mut().insert(Peer { address, tls });
            service.clone().oneshot(request.map(boxed))
        })
    };
    knm_shared::http::serve_over(listener, port, connection, limits, |_, _| {}, stop).await;
}
