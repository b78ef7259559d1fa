//! Every environment variable that the project reads, by name.
//!
//! Any other variable is read only where the configuration file asks for it with `${NAME}`.

/// Path of the configuration file, when `--config` is not given.
pub const CONFIG: &str = "KNM_CONFIG";

/// Fills in `database.host`.
pub const DB_HOST: &str = "DB_HOST";
/// Fills in `database.port`.
pub const DB_PORT: &str = "DB_PORT";
/// Fills in `database.username`.
pub const DB_USERNAME: &str = "DB_USERNAME";
/// Fills in `database.password`.
pub const DB_PASSWORD: &str = "DB_PASSWORD";
/// Fills in `database.database`.
pub const DB_DATABASE: &str = "DB_DATABASE";
/// Fills in `database.ssl_mode`.
pub const DB_SSL_MODE: &str = "DB_SSL_MODE";

/// The keys of `database:` that a variable fills in when the file leaves them out.
pub const DATABASE_FALLBACKS: [(&str, &str); 6] = [
    ("host", DB_HOST),
    ("port", DB_PORT),
    ("username", DB_USERNAME),
    ("password", DB_PASSWORD),
    ("database", DB_DATABASE),
    ("ssl_mode", DB_SSL_MODE),
];

/// Password of the first administrator; used once, on an installation without users.
pub const ADMIN_PASSWORD: &str = "KNM_ADMIN_PASSWORD";
/// Name of the first administrator; `admin` without it.
pub const ADMIN_USERNAME: &str = "KNM_ADMIN_USERNAME";

/// Keys that kubeconfigs in the database are encrypted with: base64 of 32 bytes each, separated by
/// commas. The first encrypts, all decrypt. There is no default.
pub const ENCRYPTION_KEY: &str = "KNM_ENCRYPTION_KEY";

/// kubeconfig file, when `kubernetes.kubeconfig` names none.
pub const KUBECONFIG: &str = "KUBECONFIG";
/// Set by the kubelet in every container of a Pod.
pub const KUBERNETES_SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
/// The pod's name, from the downward API.
pub const POD_NAME: &str = "POD_NAME";
/// The name of the node that the pod runs on, from the downward API: drained last.
pub const NODE_NAME: &str = "NODE_NAME";
/// The host's name; in a Pod, the pod's.
pub const HOSTNAME: &str = "HOSTNAME";

/// Looks a variable up. Tests pass their own.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A variable of this process. One that is not UTF-8 counts as not set.
#[must_use]
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The node that this process runs on, if the Pod says so.
#[must_use]
pub fn node_name() -> Option<String> {
    process(NODE_NAME).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The name by which this process is known to others: the pod's, else the host's.
#[must_use]
pub fn pod_name() -> String {
    [POD_NAME, HOSTNAME]
        .into_iter()
        .filter_map(process)
        .chain(std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
