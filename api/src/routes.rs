//! What is served: every route with the role that it asks for. Handlers translate between HTTP and
//! the services, and decide nothing themselves.

pub mod auth;
pub mod clusters;
mod error;
pub mod freezes;
pub mod meta;
pub mod nodes;
pub mod progress;
pub mod tasks;
pub mod ui;

use std::sync::Arc;

use http::{HeaderMap, Method};
use hyper::body::Bytes;
use knm_shared::session::{Identity, Role, Token};

use crate::auth::Auth;
use crate::clusters::{ClusterAdmin, Clusters};
use crate::http::client::Edge;
use crate::http::router::Gate;
use crate::http::{Problem, Router};
use crate::relay_link::tunnel::Tunnels;
use crate::tasks::Service;

/// Everything that handlers use.
pub struct Services {
    /// How clients reach us.
    pub edge: Edge,
    /// Users and sessions.
    pub auth: Auth,
    /// Tasks.
    pub tasks: Service,
    /// Clusters and their nodes.
    pub clusters: Clusters,
    /// Changes to them, and their freezes.
    pub cluster_admin: ClusterAdmin,
    /// Event streams that are open.
    pub streams: nodes::EventStreams,
    /// The way to the relay.
    pub tunnels: Tunnels,
    /// What anyone may know.
    pub meta: meta::MetaView,
    /// The web UI.
    pub ui: ui::Ui,
    /// The API's description.
    pub openapi: Bytes,
}

/// [`Services`], shared.
#[derive(Clone)]
pub struct State(pub Arc<Services>);

impl std::ops::Deref for State {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

impl Gate for State {
    fn edge(&self) -> &Edge {
        &self.edge
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Identity>, Problem> {
        match Token::from_headers(headers) {
            None => Ok(None),
            Some(token) => Ok(self.auth.identify(&token).await?),
        }
    }
}

/// Every route.
#[must_use]
pub fn router() -> Router<State> {
    use Role::{Admin, Operator, Viewer};
    let (get, post, put, delete) =
        (|| Method::GET, || Method::POST, || Method::PUT, || Method::DELETE);
    let ui = Router::new().public(get(), "/", ui::index);
    let ui = ui::PAGES.into_iter().fold(ui, |router, path| router.public(get(), path, ui::page));
    ui.public(get(), "/assets/{*file}", ui::file)
        .public(get(), "/favicon.svg", ui::file)
        .public(get(), "/api/v1/meta", meta::meta)
        .public(get(), "/api/v1/openapi.json", meta::openapi)
        .public(post(), "/api/v1/auth/login", auth::login)
        .signed_in(Viewer, post(), "/api/v1/auth/logout", auth::logout)
        .signed_in(Viewer, get(), "/api/v1/auth/me", auth::me)
        .signed_in(Viewer, get(), "/api/v1/auth/tokens", auth::list_tokens)
        .signed_in(Viewer, post(), "/api/v1/auth/tokens", auth::create_token)
        .signed_in(Viewer, delete(), "/api/v1/auth/tokens/{id}", auth::delete_token)
        .signed_in(Viewer, get(), "/api/v1/clusters", clusters::list)
        .signed_in(Admin, post(), "/api/v1/clusters", clusters::add)
        .signed_in(Viewer, get(), "/api/v1/clusters/{cluster}", clusters::get)
        .signed_in(Admin, put(), "/api/v1/clusters/{cluster}", clusters::replace)
        .signed_in(Admin, delete(), "/api/v1/clusters/{cluster}", clusters::remove)
        .signed_in(Viewer, get(), "/api/v1/freezes", freezes::list)
        .signed_in(Admin, put(), "/api/v1/freezes/{cluster}", freezes::freeze)
        .signed_in(Admin, delete(), "/api/v1/freezes/{cluster}", freezes::thaw)
        .signed_in(Viewer, get(), "/api/v1/clusters/{cluster}/nodes", nodes::list)
        .signed_in(Viewer, get(), "/api/v1/clusters/{cluster}/nodes/events", nodes::events::events)
        .signed_in(Viewer, get(), "/api/v1/clusters/{cluster}/nodes/{node}", nodes::detail::detail)
        .signed_in(Viewer, get(), "/api/v1/tasks", tasks::list)
        .signed_in(Operator, post(), "/api/v1/tasks", tasks::submit)
        .signed_in(Viewer, post(), "/api/v1/tasks/preview", tasks::preview)
        .signed_in(Viewer, get(), "/api/v1/tasks/{id}", tasks::get)
        .signed_in(Viewer, get(), "/api/v1/tasks/{id}/items", tasks::items)
        .signed_in(Operator, post(), "/api/v1/tasks/{id}/cancel", tasks::cancel)
        .signed_in(Operator, post(), "/api/v1/tasks/{id}/pause", tasks::pause)
        .signed_in(Operator, post(), "/api/v1/tasks/{id}/resume", tasks::resume)
        .signed_in(Operator, post(), "/api/v1/tasks/{id}/retry", tasks::retry)
        .signed_in(Operator, post(), "/api/v1/tasks/{id}/revert", tasks::revert)
        .signed_in(Viewer, get(), "/api/v1/progress/ws", progress::websocket)
}
