//! A server with a database of its own.

use std::sync::Arc;
use std::time::Duration;

use knm_api::auth::{AuditLog, Auth, Passwords};
use knm_api::clusters::{self, ClusterAdmin, Keyring, Registry, Source};
use knm_api::db::migrate::Migration;
use knm_api::db::users::{self, NewAccount};
use knm_api::engine::Engine;
use knm_api::http::client::Edge;
use knm_api::http::cors::Cors;
use knm_api::http::inflight::InFlight;
use knm_api::http::port::Port;
use knm_api::http::tls::Tls;
use knm_api::relay_link::tunnel::Tunnels;
use knm_api::routes::meta::MetaView;
use knm_api::routes::nodes::EventStreams;
use knm_api::routes::ui::Ui;
use knm_api::routes::{self, Services, State};
use knm_api::{http as api_http, openapi, relay_link};
use knm_shared::admin::Readiness;
use knm_shared::config::{Config, Database as Settings};
use knm_shared::http::{Limits, bind};
use knm_shared::pg::{App, Connector, Pool, Target};
use knm_shared::session::Role;
use knm_tests::api::{Answer, Api};
use knm_tests::kube_sim::{KubeSim, SimOptions};
use knm_tests::postgres::{Database, shared_server};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const PASSWORD: &str = "correct horse";

/// What a test wants to be otherwise.
pub(crate) struct Options {
    pub(crate) nodes: usize,
    /// Merged into the configuration (RFC 7396 is not needed: sections are replaced).
    pub(crate) config: Value,
    /// Where the relay is; port 1 has nobody.
    pub(crate) relay: std::net::SocketAddr,
    /// The port of PostgreSQL, when it is not where it is.
    pub(crate) database_port: Option<u16>,
    /// As `KNM_ENCRYPTION_KEY`.
    pub(crate) encryption_key: String,
    /// What the port encrypts with.
    pub(crate) tls: Option<Tls>,
    /// A role of its own that the server connects as, with the password `x`.
    pub(crate) role: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let relay = ([127, 0, 0, 1], 1).into();
        Self {
            nodes: 3,
            config: json!({}),
            relay,
            database_port: None,
            encryption_key: String::new(),
            tls: None,
            role: None,
        }
    }
}

/// A running server. Everything ends when it is dropped.
pub(crate) struct TestApp {
    pub(crate) api: Api,
    pub(crate) database: Database,
    pub(crate) sim: KubeSim,
    pub(crate) tunnels: Tunnels,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) registry: prometheus::Registry,
    _engine: Engine,
    _tasks: JoinSet<()>,
    _stop: DropGuard,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let database = database("server").await;
        let mut section = section(&database);
        migrate(&settings(&section)).await;
        if let Some(role) = &options.role {
            let mut owner =
                Migration::begin(&connector(&settings(&section))).await.expect("the lock");
            owner.grant(role).await.expect("grants");
            (section["username"], section["password"]) = (role.as_str().into(), "x".into());
        }
        if let Some(port) = options.database_port {
            section["port"] = port.into();
        }
        let config = config(section, &options.config);
        let sim = SimOptions { nodes: options.nodes, ..SimOptions::default() };
        let sim = KubeSim::start(sim).await.expect("a simulator");

        let registry = prometheus::Registry::new();
        let pool = Pool::new(&config.database, App::Api, 8).expect("no TLS to read");
        let kube = kube::Config::new(sim.url().parse().expect("a URL"));
        let configured = clusters::open("default", Source::Configuration, &kube, &config.executor)
            .expect("a client");
        let keys = Keyring::parse(&options.encryption_key).expect("keys");
        let limits = config.executor.clone();
        let fleet = Registry::new(configured, pool.clone(), keys.clone(), limits);
        let clusters = fleet.clusters();
        let cluster_admin =
            ClusterAdmin::new(pool.clone(), keys, clusters.clone(), fleet.changed());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { match fleet.run().await {} });
        let metrics = knm_api::metrics::Metrics::register(&registry).expect("fresh names");
        let (broken, stop) = (CancellationToken::new(), CancellationToken::new());
        let ready = Readiness::new();
        let engine =
            Engine::start(&config, pool.clone(), clusters.clone(), metrics, &ready, broken);
        let engine = engine.expect("starts");
        let link = relay_link::metrics::Metrics::register(&registry).expect("fresh names");
        let tunnels = Tunnels::new(options.relay, link);
        let cluster = clusters.get("default").expect("it is there");
        let state = State(Arc::new(Services {
            edge: Edge::new(&config.api.trusted_proxies, &config.api.public_url).expect("valid"),
            cors: Cors::new(&config.api.allowed_origins),
            in_flight: InFlight::default(),
            audit: AuditLog::register(pool.clone(), &registry).expect("fresh names"),
            exports: routes::audit::Exports::default(),
            auth: Auth::new(pool, config.auth.clone(), Passwords::new(2)),
            tasks: engine.service(),
            clusters,
            cluster_admin,
            tunnels: tunnels.clone(),
            meta: MetaView {
                name: "kube-node-manager",
                version: Some("0"),
                relay_url: None,
                default_cluster: "default".into(),
            },
            streams: EventStreams::default(),
            ui: Ui::load(&config.api.web_dir, None).expect("a UI, or none"),
            openapi: openapi::document().into(),
        }));
        let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let http = api_http::metrics::Metrics::register(&registry).expect("fresh names");
        let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
        let router = routes::router();
        let edge = Edge::new(&config.api.trusted_proxies, "").expect("networks");
        if let Some(tls) = options.tls.clone() {
            tasks.spawn(async move { match tls.watch().await {} });
        }
        let port = Port::new(options.tls, edge);
        let serve =
            api_http::server::serve(listener, port, router, state, http, limits, stop.clone());
        tasks.spawn(serve);
        until("the nodes are known", async || cluster.nodes.len() == options.nodes).await;
        Self {
            api: Api::new(format!("http://{address}")),
            database,
            sim,
            tunnels,
            address,
            registry,
            _engine: engine,
            _tasks: tasks,
            _stop: stop.drop_guard(),
        }
    }

    /// Makes an account with [`PASSWORD`].
    pub(crate) async fn account(&self, username: &str, role: Role) {
        let hash = Passwords::new(1).hash(PASSWORD.into()).await.expect("room");
        let sql = self.database.connect().await.expect("connects");
        let new = NewAccount { username, password_hash: &hash, role };
        users::insert(&*sql, &new).await.expect("stored").expect("a free name");
    }

    /// Makes an account of that role and signs it in.
    pub(crate) async fn signed_in(&self, role: Role) -> Api {
        let name = role.as_str();
        self.account(name, role).await;
        self.api.login(name, PASSWORD).await.expect("signs in")
    }

    /// How many rows a query counts.
    pub(crate) async fn count(&self, from: &str) -> i64 {
        self.database.value(&format!("SELECT count(*) FROM {from}"), &[]).await.expect("counts")
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let session = self.database.connect().await.expect("connects");
        session.batch_execute(sql).await.expect("executes");
    }
}

pub(crate) async fn database(hint: &str) -> Database {
    let server = shared_server().await.expect("a PostgreSQL server");
    server.database(hint).await.expect("a database")
}

/// The `database:` section for it.
pub(crate) fn section(database: &Database) -> Value {
    let server = database.server();
    json!({
        "host": server.host(),
        "port": server.port(),
        "database": database.name(),
        "username": server.user(),
        "password": server.password(),
    })
}

pub(crate) fn settings(section: &Value) -> Settings {
    serde_json::from_value(section.clone()).expect("a database section")
}

fn config(section: Value, more: &Value) -> Config {
    let mut config = json!({ "database": section });
    for (key, value) in more.as_object().expect("sections") {
        config[key] = value.clone();
    }
    serde_json::from_value(config).expect("a configuration")
}

pub(crate) fn connector(settings: &Settings) -> Connector {
    Connector::new(settings, App::Api, Target::Direct).expect("no TLS to read")
}

pub(crate) async fn migrate(settings: &Settings) {
    let mut migration = Migration::begin(&connector(settings)).await.expect("the lock");
    migration.run(false).await.expect("migrates");
}

/// The status, and the problem's code and fields.
pub(crate) fn refusal(answer: &Answer) -> (u16, String, Vec<String>) {
    let problem = answer.problem().expect("a problem document");
    let document: Value = answer.json().expect("JSON");
    let code = document["code"].as_str().expect("a code").to_owned();
    (problem.status, code, problem.errors.into_iter().map(|e| e.field).collect())
}

/// Waits for something that gives no signal.
pub(crate) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let becomes = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), becomes).await;
    waited.unwrap_or_else(|_| panic!("in vain: {what}"));
}
