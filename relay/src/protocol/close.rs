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
    /// A frame that breaks RFC 6455.
    BadFrame,
    /// A text frame that is not UTF-8.
    InvalidUtf8,
    /// The relay stops; reconnect.
    Restart,
    /// The session was revoked or has expired, or its user was disabled.
    Revoked,
    /// The client took nothing for too long, or did not answer pings.
    TooSlow,
    /// The relay has no room for another connection.
    TooManyConnections,
    /// The user has as many connections as one may have.
    TooManyOfUser,
}

impl CloseReason {
    /// Every reason, for metrics that must exist before the first event.
    pub const ALL: [Self; 11] = [
        Self::BadMessages,
        Self::Flood,
        Self::Binary,
        Self::TooLarge,
        Self::BadFrame,
        Self::InvalidUtf8,
        Self::Restart,
        Self::Revoked,
        Self::TooSlow,
        Self::TooManyConnections,
        Self::TooManyOfUser,
    ];

    /// The close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::BadFrame => 1002,
            Self::Binary => 1003,
            Self::InvalidUtf8 => 1007,
            Self::BadMessages | Self::Flood => 1008,
            Self::TooLarge => 1009,
            Self::Restart => 1012,
            Self::Revoked => 4401,
            Self::TooSlow => 4408,
            Self::TooManyConnections | Self::TooManyOfUser => 4429,
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
            Self::BadFrame => "not a WebSocket frame",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::Restart => "relay is restarting",
            Self::Revoked => "session ended",
            Self::TooSlow => "client too slow",
            Self::TooManyConnections => "too many connections",
            Self::TooManyOfUser => "too many connections of this user",
        }
    }
}
