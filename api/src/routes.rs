//! What is served: every route with what it takes by the one table ([`knm_shared::access`]), and the word
//! under which the audit log tells of it if it changes something. Handlers translate between HTTP and
//! the services, and decide nothing themselves.

pub mod audit;
pub mod auth;
pub mod clusters;
mod error;
pub mod freezes;
pub mod meta;
pub mod nodes;
pub mod progress;
pub mod tasks;
pub mod ui;
pub mod users;

use std::sync::Arc;

use http::{HeaderMap, Method};
use hyper::body::Bytes;
use knm_shared::access::Action;
use knm_shared::session::{Identity, Token};
use tokio_util::task::TaskTracker;

use crate::audit::Record;
use crate::auth::{AuditLog, Auth};
use crate::clusters::{ClusterAdmin, Clusters};
use crate::http::body::{MAX_BODY, MAX_LARGE_BODY, MAX_SMALL_BODY};
use crate::http::client::Edge;
use crate::http::cors::Cors;
use crate::http::inflight::InFlight;
use crate::http::router::Gate;
use crate::http::{Problem, Router};
use crate::relay_link::tunnel::Tunnels;
use crate::tasks::Service;

/// Everything that handlers use.
pub struct Services {
    /// How clients reach us.
    pub edge: Edge,
    /// Which pages of other origins may read answers.
    pub cors: Cors,
    /// Requests under way.
    pub in_flight: InFlight,
    /// Users and sessions.
    pub auth: Auth,
    /// What they did.
    pub audit: AuditLog,
    /// Exports of the audit log that are under way.
    pub exports: audit::Exports,
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

    fn cors(&self) -> &Cors {
        &self.cors
    }

    fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    fn unfinished(&self) -> &TaskTracker {
        self.audit.unfinished()
    }

    async fn record(&self, record: Record) {
        self.audit.add(record).await;
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
    use Action::{ChangeNodes, FreezeCluster, ManageClusters, ManageUsers, OwnAccount, ReadAudit};
    use Action::{ReadCluster, SteerOwnTask};
    let (get, post, put) = (|| Method::GET, || Method::POST, || Method::PUT);
    let (patch, delete) = (|| Method::PATCH, || Method::DELETE);
    let ui = Router::new().public(get(), "/", ui::index);
    let ui = ui::PAGES.into_iter().fold(ui, |router, path| router.public(get(), path, ui::page));
    ui.public(get(), "/assets/{*file}", ui::file)
        .public(get(), "/favicon.svg", ui::file)
        .public(get(), "/api/v1/meta", meta::meta)
        .public(get(), "/api/v1/openapi.json", meta::openapi)
        .public(post(), "/api/v1/auth/login", auth::login)
        .takes(MAX_SMALL_BODY)
        .audited("session.create")
        .signed_in(OwnAccount, post(), "/api/v1/auth/logout", auth::logout)
        .audited("session.end")
        .signed_in(OwnAccount, get(), "/api/v1/auth/me", auth::me)
        .signed_in(OwnAccount, post(), "/api/v1/auth/password", auth::change_password)
        .takes(MAX_SMALL_BODY)
        .audited("password.change")
        .signed_in(OwnAccount, get(), "/api/v1/auth/sessions", auth::list_sessions)
        .signed_in(OwnAccount, delete(), "/api/v1/auth/sessions/{id}", auth::delete_session)
        .audited("session.revoke")
        .signed_in(OwnAccount, get(), "/api/v1/auth/tokens", auth::list_tokens)
        .signed_in(OwnAccount, post(), "/api/v1/auth/tokens", auth::create_token)
        .takes(MAX_BODY)
        .audited("token.create")
        .signed_in(OwnAccount, delete(), "/api/v1/auth/tokens/{id}", auth::delete_token)
        .audited("token.revoke")
        .signed_in(ManageUsers, get(), "/api/v1/users", users::list)
        .signed_in(ManageUsers, post(), "/api/v1/users", users::create)
        .takes(MAX_BODY)
        .audited("user.create")
        .signed_in(ManageUsers, get(), "/api/v1/users/{id}", users::get)
        .signed_in(ManageUsers, patch(), "/api/v1/users/{id}", users::change)
        .takes(MAX_BODY)
        .audited("user.change")
        .signed_in(ManageUsers, post(), "/api/v1/users/{id}/password", users::reset_password)
        .takes(MAX_BODY)
        .audited("password.reset")
        .signed_in(ReadAudit, get(), "/api/v1/audit", audit::list)
        .signed_in(ReadAudit, get(), "/api/v1/audit/export", audit::export)
        .audited("audit.export")
        .signed_in(ReadCluster, get(), "/api/v1/clusters", clusters::list)
        .signed_in(ManageClusters, post(), "/api/v1/clusters", clusters::add)
        .takes(MAX_BODY)
        .audited("cluster.add")
        .signed_in(ReadCluster, get(), "/api/v1/clusters/{cluster}", clusters::get)
        .signed_in(ManageClusters, put(), "/api/v1/clusters/{cluster}", clusters::replace)
        .takes(MAX_BODY)
        .audited("cluster.replace")
        .signed_in(ManageClusters, delete(), "/api/v1/clusters/{cluster}", clusters::remove)
        .audited("cluster.remove")
        .signed_in(ReadCluster, get(), "/api/v1/freezes", freezes::list)
        .signed_in(FreezeCluster, put(), "/api/v1/freezes/{cluster}", freezes::freeze)
        .takes(MAX_BODY)
        .audited("cluster.freeze")
        .signed_in(FreezeCluster, delete(), "/api/v1/freezes/{cluster}", freezes::thaw)
        .audited("cluster.thaw")
        .signed_in(ReadCluster, get(), "/api/v1/clusters/{cluster}/nodes", nodes::list)
        .signed_in(
            ReadCluster,
            get(),
            "/api/v1/clusters/{cluster}/nodes/events",
            nodes::events::events,
        )
        .signed_in(
            ReadCluster,
            get(),
            "/api/v1/clusters/{cluster}/nodes/{node}",
            nodes::detail::detail,
        )
        .signed_in(ReadCluster, get(), "/api/v1/tasks", tasks::list)
        .signed_in(ChangeNodes, post(), "/api/v1/tasks", tasks::submit)
        .takes(MAX_LARGE_BODY)
        .audited("task.submit")
        .signed_in(ReadCluster, post(), "/api/v1/tasks/preview", tasks::preview)
        .takes(MAX_LARGE_BODY)
        .signed_in(ReadCluster, get(), "/api/v1/tasks/{id}", tasks::get)
        .signed_in(ReadCluster, get(), "/api/v1/tasks/{id}/items", tasks::items)
        .signed_in(SteerOwnTask, post(), "/api/v1/tasks/{id}/cancel", tasks::cancel)
        .audited("task.cancel")
        .signed_in(SteerOwnTask, post(), "/api/v1/tasks/{id}/pause", tasks::pause)
        .audited("task.pause")
        .signed_in(SteerOwnTask, post(), "/api/v1/tasks/{id}/resume", tasks::resume)
        .audited("task.resume")
        .signed_in(ChangeNodes, post(), "/api/v1/tasks/{id}/retry", tasks::retry)
        .audited("task.retry")
        .signed_in(ChangeNodes, post(), "/api/v1/tasks/{id}/revert", tasks::revert)
        .audited("task.revert")
        .signed_in(ReadCluster, get(), "/api/v1/progress/ws", progress::websocket)
}
