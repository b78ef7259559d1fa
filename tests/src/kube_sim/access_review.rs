//! `SelfSubjectAccessReview`: may I do this?

use serde_json::{Map, Value, json};

use super::{
    auth::{Attributes, User},
    clock, field_set,
    schema::ACCESS_REVIEW,
    status::ApiError,
};

const API_VERSION: &str = "authorization.k8s.io/v1";

/// Answers a review for the user who asks.
pub(crate) fn answer(user: &User, body: Map<String, Value>) -> Result<Value, ApiError> {
    let spec = json!({ "spec": body.get("spec").cloned().unwrap_or_else(|| json!({})) });
    let spec = ACCESS_REVIEW
        .decode(spec, "", &mut Vec::new())
        .map_err(|error| ApiError::bad_request(error.to_string()))?
        .unwrap_or_else(|| json!({ "spec": {} }));
    let attributes = &spec["spec"]["resourceAttributes"];
    let text = |field: &str| attributes.get(field).and_then(Value::as_str).unwrap_or_default();
    let allowed = match spec["spec"].get("nonResourceAttributes") {
        Some(path) => {
            let path = path.get("path").and_then(Value::as_str).unwrap_or_default();
            user.may_get_path(path)
        }
        None => {
            let given = |field: &str| Some(text(field)).filter(|text| !text.is_empty());
            user.may(Attributes {
                verb: text("verb"),
                group: text("group"),
                resource: text("resource"),
                subresource: given("subresource"),
                namespace: given("namespace"),
            })
        }
    };
    let empty = json!({ "spec": {} });
    let fields = field_set::diff(&ACCESS_REVIEW, Some(&empty), Some(&spec)).changed;
    Ok(json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": API_VERSION,
        "metadata": {
            "managedFields": [{
                "manager": "unknown",
                "operation": "Update",
                "apiVersion": API_VERSION,
                "time": clock::now(),
                "fieldsType": "FieldsV1",
                "fieldsV1": fields.to_json(),
            }],
        },
        "spec": spec["spec"],
        "status": { "allowed": allowed },
    }))
}
