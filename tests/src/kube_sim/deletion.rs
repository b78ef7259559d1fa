//! DELETE: preconditions, grace periods, and what is left of an object in the meantime.
//!
//! After `k8s.io/apiserver/pkg/registry/rest/delete.go` and the strategy of pods, the only kind that
//! is deleted gracefully.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::{
    clock,
    object::{Draft, Object},
    pod,
    query::Query,
    resource::Resource,
    status::{ApiError, FieldError},
    store::{Change, Transaction},
};

/// `DeleteOptions`, as far as they matter here.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) dry_run: bool,
    /// In seconds; without one the object's own counts.
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// What a deletion has done.
#[derive(Debug)]
pub(crate) struct Deletion {
    pub(crate) change: Change,
    /// The last version that there is or was.
    pub(crate) last: Arc<Object>,
}

impl DeleteOptions {
    /// At once, whatever the object says.
    pub(crate) fn now() -> Self {
        Self { grace: Some(0), ..Self::default() }
    }

    /// Reads the options of a request: from the body if there is one, else from the parameters.
    pub(crate) fn of_request(body: &Map<String, Value>, query: &Query) -> Result<Self, ApiError> {
        if !body.is_empty() {
            return Self::parse(body);
        }
        let grace = query.get("gracePeriodSeconds").map(str::parse::<i64>).transpose();
        let grace = grace.map_err(|error| ApiError::bad_request(error.to_string()))?;
        // The parameters of a write have been checked already.
        let dry_run = query.get("dryRun").is_some();
        Ok(Self { dry_run, grace, ..Self::default() })
    }

    /// Reads a `DeleteOptions` structure.
    pub(crate) fn parse(options: &Map<String, Value>) -> Result<Self, ApiError> {
        let wanted = |field: &str| {
            let text = options.get("preconditions")?.get(field)?.as_str()?;
            Some(text.to_owned())
        };
        let runs = options.get("dryRun").and_then(Value::as_array).cloned().unwrap_or_default();
        if runs.iter().any(|run| run != "All") {
            let printed: Vec<String> = runs.iter().map(Value::to_string).collect();
            let printed = format!("[{}]", printed.join(" "));
            let error = FieldError::unsupported("dryRun", &printed, "\"All\"");
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &[error]));
        }
        Ok(Self {
            dry_run: !runs.is_empty(),
            grace: options.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: wanted("uid"),
            resource_version: wanted("resourceVersion"),
        })
    }

    /// Refuses the deletion of an object that is not the one that is meant.
    pub(crate) fn check(&self, object: &Object) -> Result<(), ApiError> {
        let conflict =
            |why: String| ApiError::deletion_conflict(object.resource(), object.name(), &why);
        if let Some(uid) = &self.uid
            && uid != object.uid()
        {
            return Err(conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The \
                 object might have been deleted and then recreated",
                object.uid()
            )));
        }
        if let Some(revision) = &self.resource_version
            && *revision != object.revision().to_string()
        {
            return Err(conflict(format!(
                "the ResourceVersion in the precondition ({revision}) does not match the \
                 ResourceVersion in record ({}). The object might have been modified",
                object.revision()
            )));
        }
        Ok(())
    }
}

/// Deletes an object, or begins to.
pub(crate) fn delete(
    transaction: &mut Transaction<'_>,
    object: &Arc<Object>,
    options: &DeleteOptions,
) -> Result<Deletion, ApiError> {
    options.check(object)?;
    let before = Some(Arc::clone(object));
    let effective = !options.dry_run;
    let end = |transaction: &mut Transaction<'_>, object: &Arc<Object>| {
        if options.dry_run { Arc::clone(object) } else { transaction.remove(object) }
    };
    if object.resource() != Resource::Pods {
        let last = end(transaction, object);
        return Ok(Deletion { change: Change { before, after: None, effective }, last });
    }
    let present = match grace(object, options) {
        Grace::Pending => {
            let after = Some(Arc::clone(object));
            let change = Change { before, after, effective: false };
            return Ok(Deletion { change, last: Arc::clone(object) });
        }
        Grace::Over => Arc::clone(object),
        Grace::Begins(seconds, until) => {
            let draft = terminating(object, seconds, until);
            if options.dry_run {
                Arc::new(object.with(object.revision(), draft))
            } else {
                transaction.update(object, draft)
            }
        }
    };
    // Even a pod that goes at once is seen terminating first, and one with finalizers waits for them.
    let stays = pod::remaining_grace(&present).is_some_and(|left| left > 0);
    if stays || has_finalizers(&present) {
        let change = Change { before, after: Some(Arc::clone(&present)), effective };
        return Ok(Deletion { change, last: present });
    }
    let last = end(transaction, &present);
    Ok(Deletion { change: Change { before, after: None, effective }, last })
}

/// Removes a pod whose grace period is over and whose last finalizer has just been taken away.
pub(crate) fn finish(transaction: &mut Transaction<'_>, object: &Arc<Object>) {
    let over = pod::remaining_grace(object) == Some(0);
    if object.resource() == Resource::Pods && over && !has_finalizers(object) {
        transaction.remove(object);
    }
}

fn has_finalizers(object: &Object) -> bool {
    let finalizers = object.metadata().get("finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|finalizers| !finalizers.is_empty())
}

/// What a deletion means for a pod.
enum Grace {
    /// It has been deleted before, and this deletion is no shorter.
    Pending,
    /// Its time is up.
    Over,
    /// It has so many seconds, until then.
    Begins(i64, Timestamp),
}

fn grace(object: &Object, options: &DeleteOptions) -> Grace {
    // Negative periods count as a second.
    let positive = |seconds: i64| if seconds < 0 { 1 } else { seconds };
    let wanted = options.grace.map(positive);
    if object.is_terminating() {
        let left = pod::remaining_grace(object).map_or(0, positive);
        return match wanted {
            _ if left == 0 => Grace::Over,
            Some(seconds) if seconds < left => {
                let until = object.metadata().get("deletionTimestamp").and_then(Value::as_str);
                let until = until.and_then(|text| text.parse::<Timestamp>().ok());
                let begun = until.unwrap_or_else(Timestamp::now) - SignedDuration::from_secs(left);
                Grace::Begins(seconds, begun + SignedDuration::from_secs(seconds))
            }
            _ => Grace::Pending,
        };
    }
    let own = object.spec("terminationGracePeriodSeconds").and_then(Value::as_i64);
    let seconds = match wanted.or(own.map(positive)).unwrap_or(0) {
        // Nothing runs that could need the time.
        _ if pod::node(object).is_none() || pod::is_finished(object) => 0,
        seconds => seconds,
    };
    Grace::Begins(seconds, Timestamp::now() + SignedDuration::from_secs(seconds))
}

fn terminating(object: &Object, seconds: i64, until: Timestamp) -> Draft {
    let mut metadata = object.metadata().as_object().cloned().unwrap_or_default();
    // Only the first deletion is a change of the specification.
    if !object.is_terminating() && object.generation() > 0 {
        metadata.insert("generation".to_owned(), (object.generation() + 1).into());
    }
    metadata.insert("deletionTimestamp".to_owned(), clock::format(until).into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), seconds.into());
    Draft::from_iter([("metadata".to_owned(), Value::Object(metadata))])
}
