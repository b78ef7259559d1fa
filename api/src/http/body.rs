//! JSON request bodies: bounded, typed, and refused with the place of the fault.

use std::pin::Pin;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use super::router::Request;
use super::{Body, FieldError, Problem};

/// Most bodies.
pub const MAX_BODY: usize = 1024 * 1024;

/// Bodies of a name and a password or two: whoever sends them may be anybody.
pub const MAX_SMALL_BODY: usize = 16 * 1024;

/// Bodies that list nodes: ten thousand names of the greatest length fit, and many more short ones
/// get as far as being told that they are too many.
pub const MAX_LARGE_BODY: usize = 4 * 1024 * 1024;

/// For the whole body; a client that needs longer for 1 MiB holds a connection for nothing.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the body of a request.
///
/// # Errors
/// 415 when it is not JSON, 413 when it is too large, 408 when it does not arrive.
pub(super) async fn receive(
    most: usize,
    headers: &HeaderMap,
    body: Body,
) -> Result<Bytes, Problem> {
    require_json(headers)?;
    read(most, headers, body).await
}

/// The request's body as a `T`.
///
/// # Errors
/// 400 when it is not well-formed, 422 when it is not a `T`, naming the field.
pub fn json<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    parse(&request.body)
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail| {
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
    };
    let text = |name| headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap_or("?"));
    let media_type =
        text(CONTENT_TYPE).and_then(|v| v.split(';').next()).unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return unsupported("the body must be JSON, with Content-Type: application/json");
    }
    if text(CONTENT_ENCODING).is_some_and(|v| !v.eq_ignore_ascii_case("identity")) {
        return unsupported("the body must not be compressed");
    }
    Ok(())
}

async fn read(most: usize, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body must not be larger than {most} bytes");
        // The rest of the body is not read: the connection cannot be used again.
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
            .with_header(http::header::CONNECTION, http::HeaderValue::from_static("close"))
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|len| len > most as u64) {
        return Err(too_large());
    }
    // Boxed, because the compiler cannot see through the error's lifetime that it may change threads.
    let collect: Pin<Box<dyn Future<Output = Result<Collected<Bytes>, tower::BoxError>> + Send>> =
        Box::pin(Limited::new(body, most).collect());
    match tokio::time::timeout(READ_TIMEOUT, collect).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(e)) => Err(Problem::bad_request(format!("the body could not be read: {e}"))),
        Err(_elapsed) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the body did not arrive in time",
        )),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::bad_request("the body is empty; a JSON object is expected"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        refuse(&path, e.inner())
    })?;
    json.end().map_err(|e| refuse("", &e))?;
    Ok(value)
}

fn refuse(path: &str, error: &serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    let place = format!(" at line {line} column {column}");
    let message = error.to_string().replace(&place, "");
    match error.classify() {
        serde_json::error::Category::Data => {
            let name = field(path, &message);
            Problem::invalid(vec![FieldError::new(name, crate::field::fault(&message))])
        }
        _ => Problem::bad_request(format!("the body is not well-formed JSON: {message}{place}")),
    }
}

/// What cannot be put to any field is put to the body.
fn field(path: &str, message: &str) -> String {
    let name = crate::field::name(path, message);
    if name.is_empty() { "body".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::full;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its type matters")]
        name: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only its type matters")]
        params: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its type matters")]
        set: BTreeMap<String, String>,
    }

    fn fault(body: &str) -> Problem {
        parse::<Outer>(body.as_bytes()).expect_err("must be refused")
    }

    #[test]
    fn faults_name_their_field() {
        for (body, field, part) in [
            (r#"{"name":"x","nmae":1}"#, "nmae", "unknown field"),
            (r#"{"name":"x","params":{"set":{},"sett":1}}"#, "params.sett", "unknown field"),
            (r#"{"name":"x","params":{"set":{"a":1}}}"#, "params.set.a", "expected a string"),
            (r#"{"name":"x","params":{"set":[]}}"#, "params.set", "expected a map"),
            (r#"{"name":"x","params":{}}"#, "params.set", "missing field"),
            (r#"{"params":null}"#, "name", "missing field"),
            ("[]", "body", "invalid length"),
            ("3", "body", "invalid type"),
        ] {
            let problem = fault(body);
            assert_eq!(problem.status(), 422, "{body}");
            let [error] = problem.errors() else { panic!("{body}: one fault") };
            assert_eq!(error.field, field, "{body}");
            assert!(error.message.contains(part), "{body}: {}", error.message);
            assert!(!error.message.contains("line"), "{body}: {}", error.message);
        }
    }

    /// Answers are logged and audited.
    #[test]
    fn faults_do_not_quote_what_was_sent() {
        for body in [
            "12345678",
            "\"12345678\"",
            r#"{"name":12345678}"#,
            r#"{"name":"x","params":"12345678"}"#,
        ] {
            let problem = fault(body);
            let [error] = problem.errors() else { panic!("{body}: one fault") };
            assert!(!error.message.contains("1234"), "{body}: {}", error.message);
            assert!(!problem.detail().contains("1234"), "{body}: {}", problem.detail());
        }
    }

    #[tokio::test]
    async fn broken_json_is_refused_with_its_place() {
        for body in ["{\n\"name\": ", "{\"name\":\"x\"} x", "{name:1}", "", " "] {
            let problem = fault(body);
            assert_eq!(problem.status(), 400, "{body:?}");
        }
        let response = fault("{\n\"name\":x}").into_response(&super::super::RequestId::generate());
        let bytes = response.into_body().collect().await.expect("in memory").to_bytes();
        assert!(String::from_utf8_lossy(&bytes).contains("at line 2 column"), "{bytes:?}");
    }

    #[tokio::test]
    async fn a_body_is_limited_whether_it_says_so_or_not() {
        let mut headers = HeaderMap::new();
        let large = vec![b' '; MAX_BODY + 1];
        assert_eq!(
            read(MAX_BODY, &headers, full(large)).await.expect_err("too large").status(),
            413
        );
        headers.insert(CONTENT_LENGTH, (MAX_BODY + 1).into());
        assert_eq!(read(MAX_BODY, &headers, full("")).await.expect_err("announced").status(), 413);
        headers.insert(CONTENT_LENGTH, MAX_BODY.into());
        assert_eq!(
            read(MAX_BODY, &headers, full(vec![b' '; MAX_BODY])).await.expect("fits").len(),
            MAX_BODY
        );
    }

    #[test]
    fn only_json_is_json() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(value))])
        };
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(require_json(&with(good)).is_ok(), "{good}");
        }
        for bad in ["text/plain", "application/x-www-form-urlencoded", ""] {
            assert_eq!(require_json(&with(bad)).expect_err(bad).status(), 415);
        }
        assert!(require_json(&HeaderMap::new()).is_err());
        let mut zipped = with("application/json");
        zipped.insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
        assert!(require_json(&zipped).is_err());
    }
}
