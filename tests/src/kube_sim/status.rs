//! Errors as Kubernetes answers them: `Status` objects with a reason, a message and details.
//!
//! The wording is the API server's own (see `tests/recordings`), because clients show it to people
//! and some of them parse it.

use serde_json::{Value, json};

use super::{auth::Attributes, resource::Resource};

/// A failed request: becomes a `Status` object with `status: Failure`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status, repeated in the body.
    pub code: u16,
    /// Machine-readable reason, such as `NotFound`; empty where Kubernetes gives none.
    pub reason: &'static str,
    /// What a person is shown.
    pub message: String,
    /// The `details` member, if the answer has one.
    pub details: Option<Value>,
    /// A continue token that may still be used (expired lists only).
    pub next: Option<String>,
}

impl ApiError {
    /// An error without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, next: None }
    }

    fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// 400 with a message.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: the token is not known.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 for a resource request.
    pub(crate) fn forbidden(
        user: &str,
        wanted: Attributes<'_>,
        resource: Resource,
        name: Option<&str>,
    ) -> Self {
        let info = resource.info();
        let scope = match wanted.namespace {
            Some(ns) => format!("in the namespace \"{ns}\""),
            None => "at the cluster scope".to_owned(),
        };
        let object = name.map(|n| format!(" \"{n}\"")).unwrap_or_default();
        let subresource = wanted.subresource.map(|sub| format!("/{sub}")).unwrap_or_default();
        Self::new(
            403,
            "Forbidden",
            format!(
                "{qualified}{object} is forbidden: User \"{user}\" cannot {verb} resource \
                 \"{plural}{subresource}\" in API group \"{group}\" {scope}",
                qualified = info.qualified_plural(),
                verb = wanted.verb,
                plural = info.plural,
                group = info.group
            ),
        )
        .details(object_details(resource, name))
    }

    /// 403 for a path that is not a resource.
    pub(crate) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        Self::new(
            403,
            "Forbidden",
            format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\""),
        )
        .details(json!({}))
    }

    /// 404 for an object.
    pub(crate) fn not_found(resource: Resource, name: &str) -> Self {
        let plural = resource.info().qualified_plural();
        Self::new(404, "NotFound", format!("{plural} \"{name}\" not found"))
            .details(object_details(resource, Some(name)))
    }

    /// 404 for a path inside a known group.
    pub(crate) fn unknown_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
            .details(json!({}))
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .details(json!({}))
    }

    /// 409: the object exists.
    pub(crate) fn already_exists(resource: Resource, name: &str) -> Self {
        let plural = resource.info().qualified_plural();
        Self::new(409, "AlreadyExists", format!("{plural} \"{name}\" already exists"))
            .details(object_details(resource, Some(name)))
    }

    /// 409: a precondition does not hold.
    pub(crate) fn conflict(resource: Resource, name: &str, why: &str) -> Self {
        let plural = resource.info().qualified_plural();
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {plural} \"{name}\": {why}"),
        )
        .details(object_details(resource, Some(name)))
    }

    /// 409: a precondition of a deletion does not hold; this one calls the object by its kind.
    pub(crate) fn deletion_conflict(resource: Resource, name: &str, why: &str) -> Self {
        let info = resource.info();
        let (kind, group) = (info.kind, info.group);
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut details = json!({ "name": name, "kind": kind });
        if !group.is_empty() {
            details["group"] = group.into();
        }
        let message = format!("Operation cannot be fulfilled on {qualified} \"{name}\": {why}");
        Self::new(409, "Conflict", message).details(details)
    }

    /// 429: a disruption budget is in the way; 0 seconds leave the time of a retry to the client.
    pub(crate) fn budget(cause: &str, retry_after_seconds: u64) -> Self {
        let mut details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": cause }] });
        if retry_after_seconds > 0 {
            details["retryAfterSeconds"] = retry_after_seconds.into();
        }
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        Self::new(429, "TooManyRequests", message).details(details)
    }

    /// 409: the `resourceVersion` in the request is not the object's.
    pub(crate) fn modified(resource: Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        )
    }

    /// 409: server-side apply meets fields that other managers own.
    pub(crate) fn apply_conflict(message: String, causes: Vec<Value>) -> Self {
        Self::new(409, "Conflict", message).details(json!({ "causes": causes }))
    }

    /// 410: a revision that the server no longer has.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415.
    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").details(json!({}))
    }

    /// 422 with one cause per field.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut unique: Vec<String> = Vec::new();
        for error in errors {
            let line = format!("{}: {}", error.field, error.message);
            if !unique.contains(&line) {
                unique.push(line);
            }
        }
        let summary =
            if unique.len() == 1 { unique.concat() } else { format!("[{}]", unique.join(", ")) };
        let mut details = serde_json::Map::new();
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details.insert(key.to_owned(), value.into());
            }
        }
        details.insert("causes".to_owned(), errors.iter().map(FieldError::cause).collect());
        Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {summary}"))
            .details(Value::Object(details))
    }

    /// 422 without a field: a JSON patch that cannot be applied.
    pub(crate) fn unprocessable() -> Self {
        Self::new(422, "Invalid", "the server rejected our request due to an error in our request")
            .details(json!({}))
    }

    /// What Kubernetes says for a bare status code; for faults that a test asks for.
    pub(crate) fn simulated(
        code: u16,
        resource: Option<Resource>,
        name: Option<&str>,
        retry_after_seconds: Option<u64>,
    ) -> Self {
        let named = resource.zip(name);
        let mut error = match (code, named) {
            (404, Some((resource, name))) => Self::not_found(resource, name),
            (409, Some((resource, name))) => Self::modified(resource, name),
            (401, _) => Self::unauthorized(),
            (403, Some((resource, name))) => Self::new(
                403,
                "Forbidden",
                format!(
                    "{} \"{name}\" is forbidden: simulated fault",
                    resource.info().qualified_plural()
                ),
            )
            .details(object_details(resource, Some(name))),
            (403, None) => Self::new(403, "Forbidden", "forbidden: simulated fault"),
            (404, None) => Self::unknown_path(),
            (409, None) => Self::new(409, "Conflict", "simulated fault"),
            (410, _) => Self::expired("simulated fault"),
            (422, _) => Self::unprocessable(),
            (429, _) => {
                Self::new(429, "TooManyRequests", "Too many requests, please try again later.")
                    .details(json!({}))
            }
            (500, _) => Self::new(500, "InternalError", "Internal error occurred: simulated fault")
                .details(json!({ "causes": [{ "message": "simulated fault" }] })),
            (503, _) => Self::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            )
            .details(json!({})),
            (504, _) => Self::new(
                504,
                "Timeout",
                "Timeout: request did not complete within the \
                                                  allotted timeout",
            )
            .details(json!({})),
            _ => Self::new(code, "", "simulated fault"),
        };
        if let Some(seconds) = retry_after_seconds {
            let details = error.details.get_or_insert_with(|| json!({}));
            if let Some(details) = details.as_object_mut() {
                details.insert("retryAfterSeconds".to_owned(), seconds.into());
            }
        }
        error
    }

    /// The `Status` object.
    pub fn body(&self) -> Value {
        let mut metadata = serde_json::Map::new();
        if let Some(next) = &self.next {
            metadata.insert("continue".to_owned(), next.as_str().into());
        }
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if let Some(body) = body.as_object_mut() {
            if !self.reason.is_empty() {
                body.insert("reason".to_owned(), self.reason.into());
            }
            if let Some(details) = &self.details {
                body.insert("details".to_owned(), details.clone());
            }
        }
        body
    }
}

fn object_details(resource: Resource, name: Option<&str>) -> Value {
    let info = resource.info();
    let mut details = serde_json::Map::new();
    if let Some(name) = name {
        details.insert("name".to_owned(), name.into());
    }
    if !info.group.is_empty() {
        details.insert("group".to_owned(), info.group.into());
    }
    details.insert("kind".to_owned(), info.plural.into());
    Value::Object(details)
}

/// One field that does not pass validation.
#[derive(Debug, Clone)]
pub(crate) struct FieldError {
    field: String,
    reason: &'static str,
    message: String,
}

impl FieldError {
    pub(crate) fn invalid(field: impl Into<String>, value: &str, detail: &str) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}: {detail}", quote(value)),
        }
    }

    /// `supported` is already quoted and joined.
    pub(crate) fn unsupported(field: impl Into<String>, value: &str, supported: &str) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {value}: supported values: {supported}"),
        }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &str, detail: &str) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueDuplicate",
            message: format!("Duplicate value: {value}: {detail}"),
        }
    }

    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self { field: field.into(), reason: "FieldValueRequired", message }
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {detail}"),
        }
    }

    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {limit} bytes"),
        }
    }

    fn cause(&self) -> Value {
        json!({ "reason": self.reason, "message": self.message, "field": self.field })
    }
}

/// A string in double quotes, escaped as JSON does, which is what `%q` gives for all but exotic text.
pub(crate) fn quote(value: &str) -> String {
    Value::from(value).to_string()
}
