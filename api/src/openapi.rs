//! The API's description, made from the types and handlers that implement it.

use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};

use crate::routes::{audit, auth, clusters, freezes, meta, nodes, progress, tasks, users};
use crate::tasks::{DrainParams, KeyParams, NoParams, RevertParams, TaintParams};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "kube-node-manager",
        // Of the API, not of the program: outsiders are not told which release this is.
        version = "1",
        description = "Batch operations on Kubernetes nodes, with live progress.\n\nErrors are problem \
                       documents (RFC 9457) of the schema `Problem`. Every response carries \
                       `X-Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact(),
    ),
    paths(
        auth::login, auth::logout, auth::me,
        auth::list_tokens, auth::create_token, auth::delete_token,
        auth::list_sessions, auth::delete_session, auth::change_password,
        users::list, users::get, users::create, users::change, users::reset_password,
        audit::list, audit::export,
        meta::meta, meta::openapi,
        clusters::list, clusters::get, clusters::add, clusters::replace, clusters::remove,
        freezes::list, freezes::freeze, freezes::thaw,
        nodes::list, nodes::events::events, nodes::detail::detail,
        tasks::submit, tasks::preview, tasks::list, tasks::get, tasks::items,
        tasks::cancel, tasks::pause, tasks::resume, tasks::retry, tasks::revert,
        progress::websocket,
    ),
    components(schemas(KeyParams, TaintParams, NoParams, DrainParams, RevertParams)),
    tags(
        (name = "auth", description = "Sessions and personal tokens"),
        (name = "users", description = "Accounts"),
        (name = "audit", description = "What everybody has done"),
        (name = "meta", description = "This installation and its API"),
        (name = "clusters", description = "Clusters and their nodes"),
        (name = "tasks", description = "Batch operations"),
        (name = "progress", description = "Live progress"),
    ),
    security(("session" = []), ("token" = [])),
    modifiers(&Schemes),
)]
struct Api;

struct Schemes;

impl utoipa::Modify for Schemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let cookie = ApiKey::Cookie(ApiKeyValue::new(knm_shared::session::COOKIE));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", bearer);
    }
}

/// The OpenAPI 3.1 document, as pretty JSON.
///
/// # Panics
/// Never: the document consists of strings and numbers.
#[must_use]
pub fn document() -> String {
    let mut json = Api::openapi().to_pretty_json().expect("strings and numbers have a JSON form");
    json.push('\n');
    json
}
