//! Spans to an OpenTelemetry collector: OTLP in protobuf over plain HTTP, only where one is configured.
//!
//! The collector is expected beside the pod or on its node; TLS is its business.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing_subscriber::Layer as _;

use super::{Boxed, TelemetryError};
use crate::config::{Tracing, env};

/// For one request to the collector, and for the last of them at the end of the process.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An answer of the collector says next to nothing.
const MAX_ANSWER: usize = 64 * 1024;

/// The export of spans, on or off.
#[derive(Debug)]
#[must_use = "what has not been sent is lost without `stop`"]
pub struct Export {
    provider: Option<SdkTracerProvider>,
}

impl Export {
    pub(super) fn new(
        tracing: &Tracing,
        service: &'static str,
        version: &'static str,
    ) -> Result<Self, TelemetryError> {
        if tracing.otlp_endpoint.is_empty() {
            return Ok(Self { provider: None });
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender::new())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", tracing.otlp_endpoint.trim_end_matches('/')))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| TelemetryError::Export(error.to_string()))?;
        let share = f64::from(tracing.sample_percent) / 100.0;
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attributes([
                KeyValue::new("service.version", version),
                KeyValue::new("k8s.pod.name", env::pod_name()),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
            .with_resource(resource)
            .build();
        Ok(Self { provider: Some(provider) })
    }

    pub(super) fn layer(&self) -> Option<Boxed> {
        let tracer = self.provider.as_ref()?.tracer("kube-node-manager");
        Some(tracing_opentelemetry::layer().with_tracer(tracer).boxed())
    }

    /// Sends what is left, for five seconds at most.
    pub async fn stop(self) {
        let Some(provider) = self.provider else { return };
        let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(TIMEOUT));
        if let Ok(Err(error)) = stopped.await {
            tracing::debug!(%error, "the last spans have not been sent");
        }
    }
}

/// Sends from the exporter's own thread over this runtime.
#[derive(Debug)]
struct Sender {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

impl Sender {
    fn new() -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, runtime: Handle::current() }
    }
}

async fn exchange(
    client: Client<HttpConnector, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = exchange(self.client.clone(), request);
        // Timers, too, belong to the runtime, and this thread does not.
        let timely = async { tokio::time::timeout(TIMEOUT, exchange).await };
        let sent = self.runtime.spawn(timely).await?;
        let answer = sent.map_err(HttpError::from).flatten();
        if let Err(error) = &answer {
            tracing::debug!(%error, "spans could not be sent");
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_exported_unless_somebody_says_where() {
        let export = Export::new(&Tracing::default(), "knm-test", "0").expect("nothing to build");
        assert!(export.provider.is_none() && export.layer().is_none());
    }

    #[tokio::test]
    async fn with_a_collector_spans_are_exported() {
        let tracing = Tracing { otlp_endpoint: "http://127.0.0.1:9".into(), ..Tracing::default() };
        let export = Export::new(&tracing, "knm-test", "0").expect("an exporter");
        assert!(export.provider.is_some() && export.layer().is_some());
    }
}
