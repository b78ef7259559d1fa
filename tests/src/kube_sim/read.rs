//! Get and list.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    filter::Filter,
    object::Object,
    query::Query,
    route::ResourcePath,
    status::{ApiError, FieldError, quote},
    store::{self, Expired, Store},
    table::{self, Rendering},
};

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start \
     a new list without the continue parameter, or use the continue token in this response to \
     retrieve the remainder of the results. Continuing with the provided token results in an \
     inconsistent list - objects that were created, modified, or deleted between the time the first \
     chunk was returned and now may show up in the list.";

/// What a continue token says, in the API server's own encoding.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    v: String,
    /// The revision of the first page; -1 goes on with whatever there is now.
    rv: i64,
    /// The first key that may be in the page.
    start: String,
}

impl Continue {
    fn decode(token: &str) -> Result<Self, ApiError> {
        let invalid =
            |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|error| invalid(&error.to_string()))?;
        let token: Self =
            serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(invalid("server does not recognize this encoded version"));
        }
        Ok(token)
    }

    fn encode(revision: i64, start: String) -> String {
        let token = Self { v: "meta.k8s.io/v1".to_owned(), rv: revision, start };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }
}

/// One object, encoded.
pub(crate) fn get(
    store: &Store,
    path: &ResourcePath,
    rendering: Rendering,
) -> Result<Vec<u8>, ApiError> {
    let name = path.name.as_deref().unwrap_or_default();
    let key = store::key(path.namespace.as_deref(), name);
    let object =
        store.get(path.resource, &key).ok_or_else(|| ApiError::not_found(path.resource, name))?;
    Ok(encode(&object, rendering))
}

/// One object in the form that the client asked for.
pub(crate) fn encode(object: &Arc<Object>, rendering: Rendering) -> Vec<u8> {
    if let Rendering::Table(include) = rendering {
        let metadata = json!({ "resourceVersion": object.revision().to_string() });
        let objects = std::slice::from_ref(object);
        return table::render(object.resource(), objects, metadata, include, true)
            .to_string()
            .into();
    }
    let mut out = Vec::with_capacity(object.encoded_len());
    object.write(&mut out);
    out
}

/// A list or one page of it, encoded.
pub(crate) fn list(
    store: &Store,
    path: &ResourcePath,
    query: &Query,
    rendering: Rendering,
) -> Result<Vec<u8>, ApiError> {
    let filter = Filter::parse(path, query)?;
    let resume = query.get("continue").map(Continue::decode).transpose()?;
    let (objects, revision) = contents(store, path, query, resume.as_ref())?;

    let start = resume.as_ref().map_or("", |token| token.start.as_str());
    let key = |object: &Object| store::key(Some(object.namespace()), object.name());
    let mut page: Vec<Arc<Object>> = objects
        .into_iter()
        .filter(|object| {
            (start.is_empty() || key(object).as_str() >= start) && filter.matches(object)
        })
        .collect();

    let limit = query.number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if limit > 0 && page.len() > limit {
        let remaining = page.len() - limit;
        page.truncate(limit);
        // The token starts right behind the last key: the smallest key that is greater.
        let last = page.last().map(|object| key(object)).unwrap_or_default();
        let rv = i64::try_from(revision).unwrap_or(i64::MAX);
        metadata["continue"] = Continue::encode(rv, format!("{last}\0")).into();
        if !filter.selects() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    if let Rendering::Table(include) = rendering {
        return Ok(table::render(path.resource, &page, metadata, include, true).to_string().into());
    }

    let info = path.resource.info();
    let size: usize = page.iter().map(|object| object.encoded_len()).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        info.kind, info.api_version
    );
    out.extend_from_slice(head.as_bytes());
    for (index, object) in page.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        object.write_item(&mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// The objects that a list chooses from, and the revision that it is of.
fn contents(
    store: &Store,
    path: &ResourcePath,
    query: &Query,
    resume: Option<&Continue>,
) -> Result<(Vec<Arc<Object>>, u64), ApiError> {
    let resource = path.resource;
    if let Some(token) = resume {
        return match u64::try_from(token.rv) {
            Ok(revision) => match store.list_at(resource, revision) {
                Ok(objects) => Ok((objects, revision)),
                Err(Expired { .. }) => {
                    let mut error = ApiError::expired(CONTINUE_EXPIRED);
                    error.next = Some(Continue::encode(-1, token.start.clone()));
                    Err(error)
                }
            },
            Err(_) => Ok(store.list(resource)),
        };
    }
    let revision = parse_revision(query)?.unwrap_or(0);
    let current = store.revision();
    if revision > current {
        return Err(too_large(revision, current));
    }
    if query.get("resourceVersionMatch") == Some("Exact") {
        return store
            .list_at(resource, revision)
            .map(|objects| (objects, revision))
            .map_err(|expired| too_old(revision, expired));
    }
    Ok(store.list(resource))
}

/// The `resourceVersion` parameter.
pub(crate) fn parse_revision(query: &Query) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.get("resourceVersion") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let detail = format!("strconv.ParseUint: parsing {}: invalid syntax", quote(text));
        let error = FieldError::invalid("resourceVersion", text, &detail);
        ApiError::invalid("meta.k8s.io", "ListOptions", "", &[error])
    })
}

/// The answer to a revision that is compacted.
pub(crate) fn too_old(revision: u64, expired: Expired) -> ApiError {
    ApiError::expired(format!("too old resource version: {revision} ({})", expired.oldest))
}

fn too_large(revision: u64, current: u64) -> ApiError {
    let mut error = ApiError::simulated(504, None, None, Some(1));
    error.message = format!("Timeout: Too large resource version: {revision}, current: {current}");
    if let Some(Value::Object(details)) = &mut error.details {
        let cause = json!([{
            "reason": "ResourceVersionTooLarge",
            "message": "Too large resource version",
        }]);
        details.insert("causes".to_owned(), cause);
    }
    error
}
