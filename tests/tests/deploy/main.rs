//! What `deploy/` promises, with real processes: the rights that suffice, the image's content, restarts
//! under load, the commands of the guides, the restore drill, the support bundle. What can be seen in the manifests alone is
//! checked by `tests/deploy/run`.

mod bundle;
mod config;
mod guide;
mod image;
mod restore;
mod rights;
mod rolling;
mod rolling_load;
mod support;
