//! `/`, where the web UI is not installed.

use http::StatusCode;

use super::State;
use crate::http::router::Outcome;
use crate::http::{Request, with_content_type};

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>kube-node-manager</title>
<h1>kube-node-manager</h1>
<p>The API is running. The web UI is not installed here (api.web_dir).</p>
<p>The API is described in <a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>.</p>
</html>
";

pub(super) async fn index(_state: State, _request: Request) -> Outcome {
    Ok(with_content_type(StatusCode::OK, "text/html; charset=utf-8", PAGE))
}
