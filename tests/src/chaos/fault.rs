//! The faults that a plan is made of, and how they are called.

use std::fmt;
use std::time::Duration;

use crate::postgres::Shutdown;

/// What can be disturbed at the same time as the others, with `overlap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Processes of the pods.
    Processes,
    /// Connections between any two parts.
    Network,
    /// PostgreSQL, its sessions, its rows, its channel.
    Database,
    /// The Kubernetes API.
    Kubernetes,
}

impl Lane {
    /// Each of them.
    pub const ALL: &[Self] = &[Self::Processes, Self::Network, Self::Database, Self::Kubernetes];
}

/// Which processes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `knm-api`
    Api,
    /// `knm-relay`
    Relay,
    /// The whole pod.
    Both,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL; started again after a while.
    Kill {
        /// How long it is away.
        down: Duration,
    },
    /// SIGSTOP, then SIGCONT.
    Pause {
        /// How long it holds still.
        hold: Duration,
    },
    /// SIGTERM; started again after its end.
    Terminate {
        /// How long it is away after that.
        down: Duration,
    },
}

/// Between which two parts, of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The api and PostgreSQL.
    ApiDatabase,
    /// The relay and PostgreSQL.
    RelayDatabase,
    /// Browsers and the relay.
    Clients,
    /// The api and Kubernetes.
    Kubernetes,
}

impl Link {
    /// Each of them.
    pub const ALL: [Self; 4] =
        [Self::ApiDatabase, Self::RelayDatabase, Self::Clients, Self::Kubernetes];
}

/// In which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From whoever connects.
    ToServer,
    /// To whoever connects.
    ToClient,
    /// Either.
    Both,
}

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// FIN both ways, at once.
    Cut,
    /// RST both ways, at once.
    Reset,
    /// FIN one way, at once.
    HalfClose(Way),
    /// Nothing arrives.
    BlackHole(Way),
    /// Everything arrives late.
    Delay(Duration),
    /// Everything arrives slowly.
    Throttle {
        /// In each direction.
        bytes_per_second: u32,
    },
    /// Everything arrives in pieces.
    Torn {
        /// Size of a piece.
        bytes: usize,
    },
    /// The next bytes this way are lost and their connection is cut.
    Swallow(Way),
    /// New connections are refused, open ones reset.
    Refuse,
}

impl Trouble {
    /// Whether it is a state rather than a moment.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(self, Self::Cut | Self::Reset | Self::HalfClose(_) | Self::Swallow(_))
    }
}

/// Whose sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The relays' LISTEN connections.
    Listener,
    /// The apis' progress writers.
    Writer,
    /// The apis' other connections.
    ApiPool,
    /// The relays' other connections.
    RelayPool,
    /// Everybody's.
    All,
}

impl Role {
    /// Each of them.
    pub const ALL: [Self; 5] =
        [Self::Listener, Self::Writer, Self::ApiPool, Self::RelayPool, Self::All];
}

/// Which rows a stranger's transaction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockedRows {
    /// Of unfinished tasks.
    Tasks,
    /// Of items of unfinished tasks.
    Items,
}

/// Notifications that nobody of ours has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// No JSON, or JSON of somebody else.
    Garbage,
    /// A version that is not known, for a task that exists.
    OtherVersion,
    /// The end of a task that goes on.
    End,
    /// A step that lies ahead of the task.
    Ahead,
    /// A step that lies behind it.
    Behind,
    /// A task that does not exist.
    Stranger,
    /// The end of a session that goes on.
    Revocation,
}

impl Forgery {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Garbage,
        Self::OtherVersion,
        Self::End,
        Self::Ahead,
        Self::Behind,
        Self::Stranger,
        Self::Revocation,
    ];
}

/// What the Kubernetes API does to requests for nodes. Nothing that would make a node fail for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeTrouble {
    /// Answers a share of them with an error.
    Status {
        /// HTTP status.
        code: u16,
        /// Share.
        percent: u32,
    },
    /// Cuts the connection instead.
    Close {
        /// Share.
        percent: u32,
    },
    /// Does what was asked and cuts the connection.
    LoseAnswer {
        /// Share.
        percent: u32,
    },
    /// Does nothing and says nothing.
    Hang {
        /// Share.
        percent: u32,
    },
    /// Cuts every watch, at once.
    DropWatches,
    /// Forgets its history, at once: old watches start over.
    Compact,
}

impl KubeTrouble {
    /// Whether it is a state rather than a moment.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(self, Self::DropWatches | Self::Compact)
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// To processes of a pod.
    Process {
        /// Which pod.
        pod: usize,
        /// Which processes.
        part: Part,
        /// What.
        act: Act,
    },
    /// To connections of a pod.
    Network {
        /// Which pod.
        pod: usize,
        /// Which connections.
        link: Link,
        /// What.
        trouble: Trouble,
        /// For how long.
        hold: Duration,
    },
    /// PostgreSQL is restarted.
    Postgres {
        /// How it ends.
        how: Shutdown,
        /// How long it is away.
        down: Duration,
    },
    /// Sessions are terminated.
    Backends {
        /// Whose.
        role: Role,
        /// How often, half a second apart.
        times: u32,
    },
    /// A stranger's transaction holds rows.
    Locks {
        /// Which.
        rows: LockedRows,
        /// How many at most.
        count: i64,
        /// For how long.
        hold: Duration,
    },
    /// A stranger notifies.
    Forged {
        /// What of.
        what: Forgery,
        /// How often.
        count: u32,
    },
    /// The Kubernetes API misbehaves.
    Kubernetes {
        /// How.
        trouble: KubeTrouble,
        /// For how long.
        hold: Duration,
    },
}

impl Fault {
    /// Its lane.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Process { .. } => Lane::Processes,
            Self::Network { .. } => Lane::Network,
            Self::Postgres { .. }
            | Self::Backends { .. }
            | Self::Locks { .. }
            | Self::Forged { .. } => Lane::Database,
            Self::Kubernetes { .. } => Lane::Kubernetes,
        }
    }

    /// Whether calls to the Kubernetes API fail while it lasts.
    #[must_use]
    pub const fn disturbs_kubernetes(&self) -> bool {
        matches!(self, Self::Kubernetes { .. } | Self::Network { link: Link::Kubernetes, .. })
    }

    /// How long it lasts at least.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        match self {
            Self::Process { act, .. } => match act {
                Act::Kill { down } | Act::Terminate { down } => *down,
                Act::Pause { hold } => *hold,
            },
            Self::Postgres { down, .. } => *down,
            Self::Network { hold, .. }
            | Self::Locks { hold, .. }
            | Self::Kubernetes { hold, .. } => *hold,
            Self::Backends { times, .. } => Duration::from_millis(500) * (times - 1),
            Self::Forged { .. } => Duration::ZERO,
        }
    }

    /// A word for the final count.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Process { act, .. } => match act {
                Act::Kill { .. } => "kill",
                Act::Pause { .. } => "pause",
                Act::Terminate { .. } => "terminate",
            },
            Self::Network { trouble, .. } => match trouble {
                Trouble::Cut => "cut",
                Trouble::Reset => "reset",
                Trouble::HalfClose(_) => "half-close",
                Trouble::BlackHole(_) => "black hole",
                Trouble::Delay(_) => "delay",
                Trouble::Throttle { .. } => "throttle",
                Trouble::Torn { .. } => "torn",
                Trouble::Swallow(_) => "swallow",
                Trouble::Refuse => "refuse",
            },
            Self::Postgres { .. } => "postgres",
            Self::Backends { .. } => "backends",
            Self::Locks { .. } => "locks",
            Self::Forged { .. } => "forged",
            Self::Kubernetes { trouble, .. } => match trouble {
                KubeTrouble::Status { .. } => "status",
                KubeTrouble::Close { .. } => "close",
                KubeTrouble::LoseAnswer { .. } => "lose answer",
                KubeTrouble::Hang { .. } => "hang",
                KubeTrouble::DropWatches | KubeTrouble::Compact => "watches",
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pod, part, act } => write!(f, "pod {pod}, {part:?}: {act:?}"),
            Self::Network { pod, link, trouble, hold } => {
                write!(f, "pod {pod}, {link:?}: {trouble:?} for {hold:?}")
            }
            Self::Postgres { how, down } => write!(f, "PostgreSQL restarts, {how:?}, {down:?}"),
            Self::Backends { role, times } => write!(f, "terminate {role:?}, {times} times"),
            Self::Locks { rows, count, hold } => write!(f, "lock {count} {rows:?} for {hold:?}"),
            Self::Forged { what, count } => write!(f, "forge {count} × {what:?}"),
            Self::Kubernetes { trouble, hold } => {
                write!(f, "Kubernetes: {trouble:?} for {hold:?}")
            }
        }
    }
}
