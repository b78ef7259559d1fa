//! What can go wrong on a connection for a while, and on which connections.

use std::time::Duration;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// Which connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Select {
    /// Every one.
    #[default]
    All,
    /// PostgreSQL connections whose `application_name` is this word, or starts with it followed by
    /// something that is no part of a name (programs add their pod's name).
    Application(String),
    /// The connection with this number, counted from 0 in the order of their beginnings.
    Connection(u64),
}

impl Select {
    /// [`Select::Application`].
    #[must_use]
    pub fn application(name: &str) -> Self {
        Self::Application(name.into())
    }

    pub(super) fn fits(&self, id: u64, application: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Connection(wanted) => *wanted == id,
            Self::Application(wanted) => application
                .and_then(|name| name.strip_prefix(wanted.as_str()))
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-')),
        }
    }
}

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// They arrive this much later.
    Delay(Duration),
    /// No more than this many a second arrive.
    Throttle {
        /// At least 1.
        bytes_per_second: u32,
    },
    /// They do not arrive while this lasts. TCP acknowledges them, so the sender sees nothing.
    BlackHole,
    /// They arrive in pieces, each a segment of its own.
    Torn {
        /// Size of a piece, at least 1.
        bytes: usize,
    },
}

/// A lasting fault of some connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which.
    pub select: Select,
    /// Which way.
    pub direction: Direction,
    /// What.
    pub fault: Fault,
}

impl Rule {
    /// From its parts.
    #[must_use]
    pub fn new(select: Select, direction: Direction, fault: Fault) -> Self {
        Self { select, direction, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_told_from_one_with_a_longer_name() {
        let relay = Select::application("knm-relay");
        for (name, fits) in [
            (Some("knm-relay"), true),
            (Some("knm-relay pod-a"), true),
            (Some("knm-relay@pod-a"), true),
            (Some("knm-relay-listener"), false),
            (Some("knm-relay-listener pod-a"), false),
            (Some("knm-api"), false),
            (None, false),
        ] {
            assert_eq!(relay.fits(0, name), fits, "{name:?}");
        }
    }

    #[test]
    fn a_number_chooses_one_connection() {
        assert!(Select::Connection(3).fits(3, None) && !Select::Connection(3).fits(4, None));
    }
}
