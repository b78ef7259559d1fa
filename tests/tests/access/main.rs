//! Nobody gets in where they don't belong: the running programs, as an outsider sees them. One module for
//! each class of the OWASP API Security Top 10 (2023) that applies:
//!
//! | class | module |
//! |---|---|
//! | API1 broken object level authorization | `objects` |
//! | API2 broken authentication | `authentication`, `sessions`, `flood` |
//! | API3 broken object property level authorization | `properties` |
//! | API4 unrestricted resource consumption | `resources` |
//! | API5 broken function level authorization | `functions` |
//! | API6 sensitive business flows | `flood`: a login flood locks nobody out |
//! | API7 server side request forgery | `clusters`, unit tests of `api/src/webhook`: whom the programs ask |
//! | API8 security misconfiguration | `configuration`, `leaks` |
//! | API9 improper inventory management | `functions`: what is served is what is described |
//! | API10 unsafe consumption of APIs | `node_retries`, `operations`: what a cluster answers |

mod authentication;
mod configuration;
mod flood;
mod functions;
mod leaks;
mod objects;
mod properties;
mod resources;
mod sessions;
mod support;
