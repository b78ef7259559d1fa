//! What the relay says about itself on its admin port (`GET /state`), and what is news in it.

use serde::Deserialize;

/// The relay's own words. Fields that this release does not know are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RelayState {
    /// State of its listener: `live` when notifications arrive.
    pub listener: String,
    /// How its clients learn of changes: `live`, `catching_up` or `polling`.
    #[serde(default)]
    pub mode: String,
    /// Since when.
    #[serde(default)]
    pub since: Option<String>,
    /// Failures to connect since the last success.
    #[serde(default)]
    pub connect_failures: u64,
    /// The last of them.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The latest entries of its log that operators look for, oldest first.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// An entry of the relay's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// Rises by one with each entry of one relay process.
    pub id: u64,
    /// When it was written.
    #[serde(default)]
    pub at: String,
    /// `error`, `warn`, `info` …, in any case.
    pub level: String,
    /// Word for word.
    pub message: String,
}

/// The relay, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relay {
    /// Not asked yet.
    Unknown,
    /// It does not answer.
    Away {
        /// How the last question failed.
        error: String,
    },
    /// Its last answer.
    There(RelayState),
}

impl Relay {
    /// One line for `/readyz?verbose`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Unknown => "not asked yet".into(),
            Self::Away { error } => format!("does not answer: {error}"),
            Self::There(state) => {
                let RelayState { listener, mode, connect_failures, last_error, .. } = state;
                let mut text = format!("listener {listener}");
                if !mode.is_empty() {
                    text.push_str(&format!(", mode {mode}"));
                }
                if *connect_failures > 0 {
                    text.push_str(&format!(", {connect_failures} failed connections"));
                }
                if let Some(error) = last_error.as_ref().filter(|_| listener != "live") {
                    text.push_str(&format!(", last error: {error}"));
                }
                text
            }
        }
    }
}

/// Finds the entries that have not been repeated yet.
#[derive(Debug, Default)]
pub struct News {
    last: Option<(u64, String)>,
}

impl News {
    /// The entries of an answer that are new. A relay that has been restarted counts from the start
    /// again: then all of them are.
    pub fn of<'a>(&mut self, events: &'a [Event]) -> &'a [Event] {
        let known = match &self.last {
            None => 0,
            Some((last, at)) => {
                // Its log still has the entry last seen, or has moved on past it.
                let same = events.iter().find(|e| e.id == *last).map_or_else(
                    || events.first().is_some_and(|first| first.id > *last),
                    |seen| seen.at == *at,
                );
                if same { events.partition_point(|e| e.id <= *last) } else { 0 }
            }
        };
        if let Some(newest) = events.last() {
            self.last = Some((newest.id, newest.at.clone()));
        }
        &events[known..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(range: std::ops::RangeInclusive<u64>, at: &str) -> Vec<Event> {
        let event = |id| Event { id, at: at.into(), level: "info".into(), message: String::new() };
        range.map(event).collect()
    }

    fn ids(events: &[Event]) -> Vec<u64> {
        events.iter().map(|e| e.id).collect()
    }

    #[test]
    fn every_entry_is_news_once() {
        let mut news = News::default();
        assert_eq!(ids(news.of(&events(1..=3, "a"))), [1, 2, 3]);
        assert!(news.of(&events(1..=3, "a")).is_empty());
        assert_eq!(ids(news.of(&events(2..=5, "a"))), [4, 5]);
        assert_eq!(ids(news.of(&events(9..=10, "a"))), [9, 10], "some were missed");
    }

    #[test]
    fn a_restarted_relay_is_heard_from_its_start() {
        let mut news = News::default();
        news.of(&events(1..=5, "a"));
        assert_eq!(ids(news.of(&events(1..=2, "b"))), [1, 2], "fewer than before");
        assert_eq!(ids(news.of(&events(1..=7, "c"))), [1, 2, 3, 4, 5, 6, 7], "more than before");
        assert!(news.of(&[]).is_empty());
    }

    #[test]
    fn unknown_fields_are_ignored_and_optional_ones_optional() {
        let state: RelayState =
            serde_json::from_str(r#"{"listener":"live","mode":"live","new":{}}"#).expect("parses");
        assert_eq!(Relay::There(state).describe(), "listener live, mode live");
    }
}
