//! One page of an admin port.

use std::net::SocketAddr;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Metrics of a large installation have a tenth of it.
const LONGEST: usize = 16 * 1024 * 1024;

/// Its body, whatever the status: a program that is not ready says why.
pub(super) async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<Vec<u8>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(format!("http://{admin}{path}").parse()?).await?;
    let body = Limited::new(answer.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error)).context("the answer breaks off")?;
    Ok(body.to_bytes().to_vec())
}
