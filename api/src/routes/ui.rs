//! The web UI, or what stands in its place where none is installed.

use std::path::Path;

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY};
use http::{HeaderValue, StatusCode};

use super::State;
use crate::http::assets::{Assets, AssetsError};
use crate::http::router::Outcome;
use crate::http::{Problem, Request, with_content_type};

/// Paths of the UI's own, beside `/`: a navigation to one gets the page, which knows what to show.
pub(super) const PAGES: [&str; 7] =
    ["/nodes", "/tasks", "/tasks/{id}", "/account", "/clusters", "/users", "/audit"];

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>kube-node-manager</title>
<h1>kube-node-manager</h1>
<p>The API is running. The web UI is not installed here (api.web_dir).</p>
<p>The API is described in <a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>.</p>
</html>
";

/// The files of the UI and what its page may do.
pub struct Ui {
    assets: Option<Assets>,
    policy: HeaderValue,
}

impl Ui {
    /// Reads the UI, if one is configured.
    ///
    /// # Errors
    /// When the folder is not one of a built UI, or the relay's URL is not one.
    pub fn load(web_dir: &Path, relay_url: Option<&str>) -> Result<Self, AssetsError> {
        let configured = !web_dir.as_os_str().is_empty();
        let assets = configured.then(|| Assets::load(web_dir)).transpose()?;
        Ok(Self { assets, policy: policy(relay_url) })
    }
}

/// Scripts, styles and images of this origin, and nothing inline. The relay may be elsewhere.
fn policy(relay_url: Option<&str>) -> HeaderValue {
    let relay = relay_url
        .and_then(|url| url.parse::<http::Uri>().ok())
        .and_then(|uri| {
            let scheme = match uri.scheme_str()? {
                "https" | "wss" => "wss",
                _ => "ws",
            };
            Some(format!(" {scheme}://{}", uri.authority()?))
        })
        .unwrap_or_default();
    let text = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'{relay}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&text).expect("an authority is a header value")
}

/// `/`
pub(super) async fn index(state: State, request: Request) -> Outcome {
    match &state.ui.assets {
        Some(_) => page(state, request).await,
        None => Ok(with_content_type(StatusCode::OK, "text/html; charset=utf-8", PAGE)),
    }
}

/// A path of the UI. Only browsers that go to it get the page; programs are told that nothing is here.
pub(super) async fn page(state: State, request: Request) -> Outcome {
    let headers = &request.parts.headers;
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let navigates = request.parts.uri.path() == "/" || accept.contains("text/html");
    match &state.ui.assets {
        Some(assets) if navigates => {
            let mut response = assets.index(headers);
            response.headers_mut().insert(CONTENT_SECURITY_POLICY, state.ui.policy.clone());
            Ok(response)
        }
        _ => Err(missing(&request)),
    }
}

/// A file of the UI. One that is not there is not the page: scripts that an upgrade has replaced must
/// fail to load, so that the page in the browser notices.
pub(super) async fn file(state: State, request: Request) -> Outcome {
    let path = request.parts.uri.path().trim_start_matches('/');
    let found = state.ui.assets.as_ref().and_then(|a| a.get(path, &request.parts.headers));
    found.ok_or_else(|| missing(&request))
}

fn missing(request: &Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.parts.uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_may_speak_to_the_relay_wherever_it_is() {
        for (url, connect) in [
            (None, "connect-src 'self';"),
            (Some("https://relay.example.com"), "connect-src 'self' wss://relay.example.com;"),
            (Some("http://h:8081/x"), "connect-src 'self' ws://h:8081;"),
            (Some("no url"), "connect-src 'self';"),
        ] {
            let policy = policy(url);
            let text = policy.to_str().expect("text");
            assert!(text.contains(connect), "{text}");
            assert!(!text.contains("unsafe"), "{text}");
        }
    }
}
