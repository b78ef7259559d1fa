//! Tasks as users see them: what may be asked for, how it is stored, how it is shown.
//!
//! `submit` is a request's shape; `action` and `options` are what is left of it once checked. What an
//! action comes to on one node is a pure [`Plan`]: `keys` (label, annotate), `taint`, `cordon`, and
//! `revert`, for drains `pods` and what guards them, `budgets`. `preview` shows both before anything is stored.

mod action;
mod again;
mod budgets;
mod check;
pub mod cordon;
mod error;
mod keys;
mod once;
mod options;
pub mod plan;
pub mod pods;
pub mod preview;
mod protected;
pub mod revert;
mod service;
mod submit;
mod taint;
mod targets;
pub mod view;

pub use action::Action;
pub use error::{FieldError, TaskError};
pub use once::Idempotency;
pub use options::{Options, Share, Waves};
pub use plan::{Author, Change, Plan};
pub use revert::{Keys, RevertParams, Undo};
pub use service::Service;
pub use submit::{
    Amount, DrainParams, KeyParams, NewTaint, NoParams, NodeSelection, Submission,
    SubmittedOptions, SubmittedWaves, TaintName, TaintParams,
};
