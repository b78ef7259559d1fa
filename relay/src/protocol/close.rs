//! Why the relay ends a connection, and the code that tells the client.

/// Why the relay closes a socket. The codes below 4000 are those of RFC 6455 and its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// A second malformed message.
    BadMessages,
    /// More messages than any honest client sends.
    Flood,
    /// A binary frame.
    Binary,
    /// A message over the limit.
    TooLarge,
    /// The relay stops; reconnect.
    Restart,
    /// The session was revoked or has expired, or its user was disabled.
    Revoked,
    /// The client took nothing for too long, or did not answer pings.
    TooSlow,
    /// The relay has no room for another connection.
    TooManyConnections,
}

impl CloseReason {
    /// Every reason, for metrics that must exist before the first event.
    pub const ALL: [Self; 8] = [
        Self::BadMessages,
        Self::Flood,
        Self::Binary,
        Self::TooLarge,
        Self::Restart,
        Self::Revoked,
        Self::TooSlow,
        Self::TooManyConnections,
    ];

    /// The close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Binary => 1003,
            Self::BadMessages | Self::Flood => 1008,
            Self::TooLarge => 1009,
            Self::Restart => 1012,
            Self::Revoked => 4401,
            Self::TooSlow => 4408,
            Self::TooManyConnections => 4429,
        }
    }

    /// The reason in the close frame (at most 123 bytes, RFC 6455 section 5.5).
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadMessages => "malformed messages",
            Self::Flood => "too many messages",
            Self::Binary => "text frames only",
            Self::TooLarge => "message too large",
            Self::Restart => "relay is restarting",
            Self::Revoked => "session ended",
            Self::TooSlow => "client too slow",
            Self::TooManyConnections => "too many connections",
        }
    }
}
