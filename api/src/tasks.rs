//! Tasks as users see them: what may be asked for, how it is stored, how it is shown.

mod action;
mod error;
pub mod label;
mod protected;
mod service;
mod submit;
pub mod view;

pub use action::{Action, Options};
pub use error::{FieldError, TaskError};
pub use service::Service;
pub use submit::{LabelParams, NodeSelection, Submission, SubmittedOptions};
