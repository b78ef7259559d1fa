//! What the tests, the demo and the benches of kube-node-manager are made of.
//!
//! | module | what it is |
//! |---|---|
//! | [`scratch`] | the temporary folder of this process, and the janitor that removes it |
//! | [`ports`] | free TCP ports |
//! | [`process`] | child processes: logs, signals, death with the parent |
//! | [`postgres`] | throwaway PostgreSQL servers, a database per test |
//! | [`proxy`] | a TCP proxy that injects faults |
//! | [`kube_sim`] | a simulated Kubernetes API |
//! | [`pod`] | a pod: `knm-api` and `knm-relay` as processes, started as the kubelet would |
//! | [`api`] | a REST client |
//! | [`ws`] | a WebSocket client that reconnects and resumes |
//! | [`invariants`] | what must hold on every frame, and at the end |
//! | [`scenario`] | all of it together: the world that an integration test plays in |
//! | [`by_hand`], [`stage`] | tasks whose every commit the test decides on, and relays alone to show them |
//! | [`prometheus`] | a real Prometheus, the rules and panels that are shipped |
//! | [`pooler`] | PgBouncer in transaction mode |
//! | [`chaos`] | random faults against all of it |
//! | [`demo`] | the same, for a person to look at |

pub mod api;
pub mod by_hand;
pub mod chaos;
pub mod demo;
pub mod invariants;
pub mod kube_sim;
pub mod pod;
pub mod pooler;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod scenario;
pub mod scratch;
pub mod stage;
pub mod ws;
