//! What a file and an environment lead to.

use std::collections::HashMap;
use std::io::Write as _;

use super::*;
use crate::config::SslMode;

/// A file in a folder of its own, and a loader for it.
struct Setup {
    path: PathBuf,
    env: HashMap<&'static str, String>,
}

impl Setup {
    fn new(text: &str) -> Self {
        let name = format!("knm-config-{}", uuid::Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a new folder");
        let path = folder.join("config.yaml");
        let mut file = File::create(&path).expect("a new file");
        file.write_all(text.as_bytes()).expect("written");
        Self { path, env: HashMap::new() }
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.insert(name, value.to_owned());
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load_with(Some(&self.path), &|name| self.env.get(name).cloned())
    }

    fn loaded(&self) -> Loaded {
        self.load().expect("valid")
    }

    /// The faults, a line each, with the folder left out.
    fn faults(&self) -> String {
        let folder = format!("{}/", self.path.parent().expect("a folder").display());
        self.load().expect_err("invalid").to_string().replace(&folder, "")
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.path.parent().expect("a folder"));
    }
}

const MINIMAL: &str = "database:\n  host: db\n";

#[test]
fn the_guides_file_is_read_as_it_stands() {
    let loaded = Setup::new(
        r#"
database:
  type: "postgres"
  # the Service
  host: "postgres-service.default.svc.cluster.local"
  port: 5432
  database: "kube_node_manager"
  username: "postgres"
  password: "${DB_PASSWORD}"
  ssl_mode: "disable"
  max_open_conns: 25
  max_idle_conns: 10
  max_lifetime: 3600

progress:
  enable_database: true
  notify_type: "postgres"
  poll_interval: 10000
"#,
    )
    .env(env::DB_PASSWORD, "${not} $$expanded")
    .loaded();
    let db = &loaded.config.database;
    assert_eq!(db.host, "postgres-service.default.svc.cluster.local");
    assert_eq!(db.password.expose(), "${not} $$expanded");
    assert_eq!((db.api_pool_size(), db.relay_pool_size()), (18, 4));
    assert_eq!(loaded.config.progress.poll_interval.as_secs(), 10);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.sha.len(), 64);
    assert!(!format!("{loaded:?}").contains("expanded"));
}

#[test]
fn what_is_left_out_has_defaults_and_empty_sections_are_left_out() {
    let loaded = Setup::new("database:\n  host: db\n  port:\napi:\nlog:\n").loaded();
    let config = &loaded.config;
    assert_eq!(
        (config.database.port, config.database.database.as_str()),
        (5432, "kube_node_manager")
    );
    assert_eq!(config.api.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.relay.admin_listen.port(), 9091);
}

#[test]
fn the_environment_fills_in_only_what_the_file_leaves_out() {
    let setup = Setup::new("database:\n  host: from-file\n  password: \"\"\n  username:\n")
        .env(env::DB_HOST, "from-env")
        .env(env::DB_PORT, "6432")
        .env(env::DB_USERNAME, "knm")
        .env(env::DB_PASSWORD, "secret")
        .env(env::DB_DATABASE, "")
        .env(env::DB_SSL_MODE, "verify-full");
    let loaded = setup.loaded();
    let db = &loaded.config.database;
    assert_eq!((db.host.as_str(), db.port, db.username.as_str()), ("from-file", 6432, "knm"));
    assert!(db.password.is_empty(), "an empty string in the file counts as set");
    assert_eq!((db.database.as_str(), db.ssl_mode), ("kube_node_manager", SslMode::VerifyFull));
    insta::assert_snapshot!(loaded.warnings.join("\n"), @"DB_HOST is set to something else than database.host in the file; the file wins");
}

#[test]
fn variables_stand_for_numbers_and_booleans_too() {
    let loaded = Setup::new(
        "database:\n  host: ${H}\n  port: \"${P}\"\nprogress:\n  enable_database: ${E}\napi:\n  \
         listen: 127.0.0.1:${P}\nrelay:\n  listen: :8000\n",
    )
    .env("H", "db")
    .env("P", "6432")
    .env("E", "true")
    .loaded();
    assert_eq!(loaded.config.database.port, 6432);
    assert_eq!(loaded.config.api.listen.to_string(), "127.0.0.1:6432");
    assert_eq!(loaded.config.relay.listen.to_string(), "0.0.0.0:8000");
}

#[test]
fn every_fault_is_reported_with_its_line() {
    let setup = Setup::new(
        r#"database:
  type: mysql
  host: db:5432
  port: "5432"
  database: 7
  passwrod: hunter2
  password: 12345
  ssl_mode: requier
  max_open_conns: 5
  max_lifetime: ${LIFETIME}
progres:
  enable_database: true
progress:
  enable_database: false
  poll_interval: -1
api:
  listen: "8080"
  trusted_proxies: [10.0.0.0/8, proxy, 3]
relay:
  listen: 0.0.0.0:9090
  allowed_origins: ["*"]
  color: blue
executor:
  request_timeout: 15
log:
  level: loud
"#,
    );
    insta::assert_snapshot!(setup.faults(), @r#"
config.yaml:2: database.type: only "postgres" is supported: progress travels between replicas by PostgreSQL's LISTEN/NOTIFY, which no other database has
config.yaml:3: database.host: must not contain a port; put it into database.port
config.yaml:4: database.port: must be a whole number from 0 to 65535, without quotes
config.yaml:5: database.database: must be text, found a number; put it in double quotes
config.yaml:6: database.passwrod: unknown key; did you mean "password"?
config.yaml:7: database.password: must be text, found a number; put it in double quotes
config.yaml:8: database.ssl_mode: must be one of disable, prefer, require, verify-ca, verify-full, found "requier"; did you mean "require"?
config.yaml:9: database.max_open_conns: must be from 10 to 10000: of a pod's connections the relay takes 5, the progress writer and the leases 1 each, and requests need some too
config.yaml:10: database.max_lifetime: environment variable LIFETIME is not set; set it, or write $${LIFETIME} if the value is meant literally
config.yaml:11: progres: unknown key; did you mean "progress"?
config.yaml:14: progress.enable_database: false is not supported: without the database no replica would see another's progress, nor finish its tasks; remove the key or set it to true
config.yaml:15: progress.poll_interval: must be a whole number, 0 or more
config.yaml:17: api.listen: must be IP:PORT, like "0.0.0.0:8080"
config.yaml:18: api.trusted_proxies: must be text, found a number; put it in double quotes
config.yaml:20: relay.listen: is 0.0.0.0:9090, which api.admin_listen (0.0.0.0:9090) already uses
config.yaml:21: relay.allowed_origins: "*" is not an origin like https://nodes.example.com
config.yaml:22: relay.color: unknown key; known keys here: listen, admin_listen, public_url, allowed_origins, max_connections, max_connections_per_user
config.yaml:24: executor.request_timeout: must be from 1 to 13 (seconds): a call must end before the 15-second lease of its task does
config.yaml:26: log.level: must be error, warn, info, debug, trace or off, or a filter like "info,knm_api=debug"
"#);
}

#[test]
fn a_fault_in_a_variable_names_it_and_never_its_value() {
    let setup = Setup::new("database:\n  host: db\n  ssl_mode: ${MODE}\n")
        .env("MODE", "hunter2")
        .env(env::DB_PORT, "hunter2");
    insta::assert_snapshot!(setup.faults(), @r"
config.yaml:3: database.ssl_mode: must be one of disable, prefer, require, verify-ca, verify-full
environment variable DB_PORT: database.port: must be a whole number from 0 to 65535; the variable holds something else
");
}

#[test]
fn there_is_no_default_host() {
    insta::assert_snapshot!(Setup::new("log:\n  level: info\n").faults(), @r"config.yaml: database.host: is missing; set database.host in config.yaml or the environment variable DB_HOST to the address of PostgreSQL (there is no default)");
    insta::assert_snapshot!(Setup::new("").faults(), @r"config.yaml: database.host: is missing; set database.host in config.yaml or the environment variable DB_HOST to the address of PostgreSQL (there is no default)");
    insta::assert_snapshot!(
        Setup::new("database:\n  host: \"\"\n").env(env::DB_HOST, "db").faults(), @r"config.yaml:2: database.host: is empty; set it to the address of PostgreSQL, or remove the key to use DB_HOST");
}

#[test]
fn a_missing_file_is_all_right_only_at_the_default_place() {
    let db_host = |name: &str| (name == env::DB_HOST).then(|| "db".to_owned());
    let loaded = load_with(None, &db_host).expect("the environment is enough");
    assert_eq!((loaded.source, loaded.sha.as_str()), (Source::Environment, "none"));
    let missing = Path::new("/nonexistent/knm.yaml");
    let errors = [
        load_with(None, &|_| None),
        load_with(Some(missing), &db_host),
        load_with(None, &|name| (name == env::CONFIG).then(|| "/nonexistent/knm.yaml".to_owned())),
    ]
    .map(|result| result.expect_err("missing").to_string());
    insta::assert_snapshot!(errors.join("\n"), @r"
/etc/kube-node-manager/config.yaml: no configuration: the file does not exist and DB_HOST is not set; mount the ConfigMap there, name another file with --config or KNM_CONFIG, or set DB_HOST to the database's address
/nonexistent/knm.yaml: cannot be read: No such file or directory (os error 2); --config names this file
/nonexistent/knm.yaml: cannot be read: No such file or directory (os error 2); KNM_CONFIG names this file
");
}

#[test]
fn broken_yaml_is_placed_and_never_quotes_a_secret() {
    for value in
        ["*hunter2", "@hunter2", "hunter2: x", "\"hunter2", "[hunter2", "{hunter2", "%hunter2"]
    {
        let faults = Setup::new(&format!("database:\n  password: {value}\n  host: db\n")).faults();
        assert!(!faults.contains("hunter2"), "{value}: {faults}");
        assert!(faults.starts_with("config.yaml:"), "{value}: {faults}");
    }
    insta::assert_snapshot!(Setup::new("database:\n  host: db\n host: x\n").faults(), @r"config.yaml:3: not valid YAML: while parsing a block mapping, did not find expected key");
    insta::assert_snapshot!(Setup::new("database:\n  host: db\n  host: x\n").faults(), @r#"config.yaml:3: key "host" is given twice"#);
    insta::assert_snapshot!(Setup::new("just text\n").faults(), @r"config.yaml:1: the file must be a group of keys, found text");
    insta::assert_snapshot!(Setup::new("database: db\n").faults(), @r"config.yaml:1: database: must be a group of keys, found text");
}

#[test]
fn loopback_in_a_pod_is_questioned() {
    for (host, questioned) in
        [("127.0.0.1", true), ("localhost", true), ("db,::1", true), ("db", false)]
    {
        let text = format!("database:\n  host: \"{host}\"\n");
        let outside = Setup::new(&text);
        assert!(outside.loaded().warnings.is_empty(), "{host}");
        let pod = outside.env(env::KUBERNETES_SERVICE_HOST, "10.0.0.1").loaded();
        assert_eq!(!pod.warnings.is_empty(), questioned, "{host}");
    }
}

#[test]
fn a_collector_is_a_plain_http_address_and_a_share_is_of_a_hundred() {
    let tracing = |endpoint: &str, percent: u32| {
        let text = format!("otlp_endpoint: \"{endpoint}\"\n  sample_percent: {percent}");
        Setup::new(&format!("{MINIMAL}tracing:\n  {text}\n"))
    };
    assert_eq!(Setup::new(MINIMAL).loaded().config.tracing.otlp_endpoint, "", "off by default");
    for good in ["", "http://127.0.0.1:4318", "http://collector.svc/otlp"] {
        assert!(tracing(good, 100).load().is_ok(), "{good}");
    }
    for bad in ["https://127.0.0.1:4318", "127.0.0.1:4318", "collector", "http://"] {
        let faults = tracing(bad, 0).faults();
        assert!(faults.starts_with("config.yaml:4: tracing.otlp_endpoint: "), "{bad}: {faults}");
    }
    assert!(tracing("", 101).faults().contains("tracing.sample_percent: must be from 0 to 100"));
}

#[test]
fn the_audit_log_is_kept_for_a_month_at_least() {
    let kept = |days: u32| Setup::new(&format!("{MINIMAL}audit:\n  retention_days: {days}\n"));
    assert_eq!(Setup::new(MINIMAL).loaded().config.audit.retention_days, 365);
    for good in [0, 30, 36_500] {
        assert!(kept(good).load().is_ok(), "{good}");
    }
    for bad in [1, 29, 36_501] {
        let faults = kept(bad).faults();
        assert!(faults.starts_with("config.yaml:4: audit.retention_days: must be "), "{faults}");
    }
}

#[test]
fn listeners_must_not_clash() {
    let clash = |api: &str, relay: &str| {
        Setup::new(&format!("{MINIMAL}api:\n  listen: {api}\nrelay:\n  listen: {relay}\n")).load()
    };
    assert!(clash("127.0.0.1:8080", "127.0.0.2:8080").is_ok());
    assert!(clash("127.0.0.1:0", "127.0.0.1:0").is_ok());
    assert!(clash("0.0.0.0:8080", "127.0.0.2:8080").is_err());
    assert!(clash("127.0.0.1:8080", "127.0.0.1:8080").is_err());
}

proptest::proptest! {
    /// Whatever stands in the file, it is understood or its faults are named; a secret of the environment
    /// is in neither.
    #[test]
    fn any_text_is_understood_or_refused(
        lines in proptest::collection::vec(
            "(database|api|relay|auth|log|host|port|password|listen|tls_cert|x): {0,2}[a-z0-9:\\[\\]{}\"'$&*!|>#,-]{0,12}\
             |  (host|port|password|level|listen): (\\$\\{DB_PASSWORD\\}|\\$\\{X\\}|[0-9]{0,6}|.{0,10})|.{0,20}",
            0..8,
        ),
    ) {
        let env = |name: &str| (name == "DB_PASSWORD").then(|| "s3cret-of-the-database".to_owned());
        let text = match load_text(&lines.join("\n"), &env) {
            Ok(loaded) => format!("{:?} {:?}", loaded.config, loaded.warnings),
            Err(errors) => errors.to_string(),
        };
        proptest::prop_assert!(!text.is_empty() && !text.contains("s3cret-of-the-database"), "{}", text);
    }
}
