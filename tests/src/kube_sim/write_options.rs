//! The parameters of writes: `dryRun`, `fieldManager`, `fieldValidation`, `force`.

use super::{
    managed_fields::{Manager, Operation},
    query::Query,
    route::Verb,
    status::{ApiError, FieldError, quote},
};

/// What happens with unknown fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Dropped without a word.
    Ignore,
    /// Dropped with a `Warning` header.
    Warn,
    /// Refused.
    Strict,
}

/// Checked parameters of a write.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    manager: String,
    pub(crate) validation: FieldValidation,
    pub(crate) force: bool,
    /// Whether the creation time in the body counts.
    pub(crate) keep_creation_time: bool,
}

impl WriteOptions {
    /// Plain options for a writer inside the simulator.
    pub(crate) fn by(manager: &str) -> Self {
        Self {
            dry_run: false,
            manager: manager.to_owned(),
            validation: FieldValidation::Ignore,
            force: false,
            keep_creation_time: true,
        }
    }

    /// Reads and checks the parameters of a request.
    pub(crate) fn parse(
        verb: Verb,
        query: &Query,
        user_agent: &str,
        is_apply: bool,
    ) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let dry_run: Vec<&str> = query.all("dryRun").filter(|value| !value.is_empty()).collect();
        if dry_run.iter().any(|value| *value != "All") {
            let values: Vec<String> = dry_run.iter().map(|value| quote(value)).collect();
            let printed = format!("[{}]", values.join(" "));
            errors.push(FieldError::unsupported("dryRun", &printed, "\"All\""));
        }
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                errors.push(FieldError::unsupported(
                    "fieldValidation",
                    &quote(other),
                    "\"Ignore\", \"Strict\", \"Warn\"",
                ));
                FieldValidation::Warn
            }
        };
        let manager = query.get("fieldManager");
        if is_apply && manager.is_none() {
            errors.push(FieldError::required("fieldManager", "is required for apply patch"));
        }
        let force = query.flag("force");
        if force && !is_apply {
            errors.push(FieldError::forbidden("force", "may not be specified for non-apply patch"));
        }
        if !errors.is_empty() {
            let kind = match verb {
                Verb::Patch => "PatchOptions",
                Verb::Create => "CreateOptions",
                Verb::Update => "UpdateOptions",
                _ => "DeleteOptions",
            };
            return Err(ApiError::invalid("meta.k8s.io", kind, "", &errors));
        }
        // Without a name the manager is the program in front of the slash of the user agent.
        let program = user_agent.split('/').next().filter(|program| !program.is_empty());
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            manager: manager.or(program).unwrap_or("unknown").to_owned(),
            validation,
            force,
            keep_creation_time: false,
        })
    }

    /// The manager in the form that field ownership wants.
    pub(crate) fn manager<'a>(
        &'a self,
        operation: Operation,
        subresource: Option<&'a str>,
    ) -> Manager<'a> {
        Manager { name: &self.manager, operation, subresource }
    }
}
