//! What a node was like before the task changed it, and whether that is certain.
//!
//! `before` is made durable before the write, together with the resource version that it was read at,
//! which the write insists on. So it is the past of this task's change exactly if that write took
//! effect. Where that is unknown (no answer, or a holder that died), the node's own history tells: if
//! the first change after that version is not ours, our write failed and can never take effect.
//!
//! ```text
//! Unknown ──record──▶ Recorded ──409 and no doubt──▶ Unknown
//!                        │ no answer
//!                        ▼
//! inherited ─────────▶ Doubtful ──still at that version──▶ Doubtful
//!                        ├─ the first change after it is ours ──▶ Bound
//!                        └─ it is another's ──▶ Unknown
//! ```
//!
//! Servers keep their history for minutes only. Without it, what the node shows decides: as long as any
//! of the keys is as the task wants it, the change may be ours (Bound); if none is, whatever was there
//! last is another's, and is the past of what comes next (Unknown).

use serde_json::{Map, Value};

type Values = Map<String, Value>;

/// What was recorded, at which version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    before: Values,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing was written to the node.
    Unknown,
    /// Durable, and every write so far was refused or is still to come.
    Recorded(Record),
    /// A write that insisted on this version may have taken effect.
    Doubtful(Record),
    /// The past of a change that was made, or may have been in ways that nobody can tell any more.
    Bound(Values),
}

/// See the module's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    state: State,
    /// What the row says.
    durable: Option<(Values, Option<String>)>,
}

impl Past {
    /// What a former holder has left; it may have written.
    pub(super) fn inherited(before: Option<&Value>, version: Option<&str>) -> Self {
        let Some(Value::Object(before)) = before else {
            return Self { state: State::Unknown, durable: None };
        };
        let durable = Some((before.clone(), version.map(str::to_owned)));
        let before = before.clone();
        let state = match version {
            Some(version) => State::Doubtful(Record { before, version: version.into() }),
            None => State::Bound(before),
        };
        Self { state, durable }
    }

    /// Whether a change may have been made.
    pub(super) const fn may_be_written(&self) -> bool {
        matches!(self.state, State::Doubtful(_) | State::Bound(_))
    }

    /// The version to ask the node's history about, now that it is seen at another one.
    pub(super) fn in_question(&self, seen: &str) -> Option<&str> {
        match &self.state {
            State::Doubtful(record) if record.version != seen => Some(&record.version),
            _ => None,
        }
    }

    /// The keys whose past is in doubt.
    pub(super) fn keys_in_doubt(&self) -> impl Iterator<Item = &String> {
        let record = match &self.state {
            State::Doubtful(record) => Some(record),
            _ => None,
        };
        record.into_iter().flat_map(|record| record.before.keys())
    }

    /// What the history said: whether the first change after the version in question is ours; `None`
    /// when it could not be told.
    pub(super) fn settle(&mut self, ours: Option<bool>) {
        if let State::Doubtful(record) = &self.state {
            self.state = match ours {
                Some(false) => State::Unknown,
                Some(true) | None => State::Bound(record.before.clone()),
            };
        }
    }

    /// Before a write of a change with this `before`, read at `version`: what has to be made durable
    /// first, with its version (none once it is bound); nothing when it is already.
    pub(super) fn record(
        &mut self,
        change: &Values,
        version: &str,
    ) -> Option<(Values, Option<String>)> {
        let (before, version) = match &self.state {
            // The keys that were bound keep their past; others have one only now.
            State::Bound(bound) => {
                let mut before = change.clone();
                before.extend(bound.clone());
                self.state = State::Bound(before.clone());
                (before, None)
            }
            State::Doubtful(record) if record.version == version => {
                (record.before.clone(), Some(version.to_owned()))
            }
            State::Unknown | State::Recorded(_) | State::Doubtful(_) => {
                let record = Record { before: change.clone(), version: version.to_owned() };
                self.state = State::Recorded(record);
                (change.clone(), Some(version.to_owned()))
            }
        };
        let wanted = Some((before, version));
        if self.durable == wanted {
            return None;
        }
        self.durable.clone_from(&wanted);
        wanted
    }

    /// The write got no answer, or one that leaves it open.
    pub(super) fn doubt(&mut self) {
        if let State::Recorded(record) = &self.state {
            self.state = State::Doubtful(record.clone());
        }
    }

    /// The write was refused: it has had no effect.
    pub(super) fn refused(&mut self) {
        if matches!(self.state, State::Recorded(_)) {
            self.state = State::Unknown;
        }
    }

    /// The change was made.
    pub(super) fn bind(&mut self) {
        if let State::Recorded(record) | State::Doubtful(record) = &self.state {
            self.state = State::Bound(record.before.clone());
        }
    }

    /// Nothing of the node had to be changed, but what follows has begun. Whether that is news.
    pub(super) fn bind_nothing(&mut self) -> bool {
        let news = !matches!(self.state, State::Bound(_));
        if news {
            self.state = State::Bound(Values::new());
            self.durable = Some((Values::new(), None));
        }
        news
    }

    /// The keys that this task has changed, once a change was made.
    pub(super) fn bound(&self) -> Option<&Values> {
        match &self.state {
            State::Bound(before) => Some(before),
            _ => None,
        }
    }

    /// Whether a row says something about a past that is none.
    pub(super) fn is_stale(&self) -> bool {
        !self.may_be_written() && self.durable.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(value: &str) -> Values {
        Values::from_iter([("k".to_owned(), value.into())])
    }

    fn recorded(value: &str, version: &str) -> Past {
        let mut past = Past::inherited(None, None);
        let durable = past.record(&values(value), version);
        assert_eq!(durable, Some((values(value), Some(version.into()))));
        past
    }

    #[test]
    fn a_refused_write_leaves_no_past() {
        let mut past = recorded("stale", "5");
        past.refused();
        assert!(!past.may_be_written() && past.is_stale());
        let again = past.record(&values("fresh"), "6");
        assert_eq!(again, Some((values("fresh"), Some("6".into()))));
        past.bind();
        assert_eq!(past.bound(), Some(&values("fresh")));
    }

    #[test]
    fn what_is_durable_already_is_not_made_so_again() {
        let mut past = recorded("a", "5");
        assert_eq!(past.record(&values("a"), "5"), None);
        assert!(past.record(&values("a"), "6").is_some(), "the version counts");
    }

    #[test]
    fn a_write_without_answer_is_judged_by_what_came_first_after_its_version() {
        for (ours, bound) in [(Some(true), true), (Some(false), false), (None, true)] {
            let mut past = recorded("a", "5");
            past.doubt();
            assert!(past.may_be_written());
            assert_eq!(past.in_question("5"), None, "nothing has happened yet");
            assert_eq!(past.in_question("7"), Some("5"));
            past.settle(ours);
            assert_eq!(past.bound().is_some(), bound, "{ours:?}");
            let next = past.record(&values("b"), "7").map(|(before, _)| before);
            let expected = if bound { "a" } else { "b" };
            assert_eq!(next.unwrap_or_else(|| values("a")), values(expected));
        }
    }

    #[test]
    fn a_doubt_survives_a_conflict_of_the_next_write_at_the_same_version() {
        let mut past = recorded("a", "5");
        past.doubt();
        assert_eq!(past.record(&values("a"), "5"), None);
        // The first write has landed late, so the second was refused.
        past.refused();
        assert_eq!(past.in_question("6"), Some("5"));
    }

    #[test]
    fn what_a_former_holder_left_is_in_doubt_and_without_a_version_it_stands() {
        let before = json!({"k": "a"});
        let with = Past::inherited(Some(&before), Some("5"));
        assert!(with.may_be_written());
        assert_eq!(with.in_question("9"), Some("5"));
        let mut without = Past::inherited(Some(&before), None);
        assert_eq!(without.in_question("9"), None);
        assert_eq!(without.record(&values("b"), "9"), None, "the inherited value stays");
        assert_eq!(without.bound(), Some(&values("a")));
        assert!(!Past::inherited(Some(&Value::Null), Some("5")).may_be_written());
    }

    #[test]
    fn keys_that_are_changed_later_join_those_that_are_bound() {
        let mut past = Past::inherited(Some(&json!({"k": "a"})), None);
        let other = Values::from_iter([("k".to_owned(), "x".into()), ("l".to_owned(), "y".into())]);
        let (before, version) = past.record(&other, "9").expect("news");
        assert_eq!((Value::from(before), version), (json!({"k": "a", "l": "y"}), None));
    }
}
