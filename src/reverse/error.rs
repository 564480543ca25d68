//! How a session ends other than by our own drain.

use std::io;

use crate::base::{http2::heads::flood_of, io::violation_of};

/// Why the remote's preface never came, or why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum ReverseError {
    /// What came after the 101 is not an HTTP/2 preface (RFC 9113 §3.4), or the connection ended before it.
    #[error("no HTTP/2 preface came after the 101: {0}")]
    PrefaceInvalid(String),
    /// The remote ended the session: GOAWAY, close, or an abrupt end, all of which are normal (quirk Q12).
    #[error("{0}")]
    Closed(String),
    /// The network or the remote's host ended the connection.
    #[error("the connection was reset: {0}")]
    Reset(#[source] io::Error),
    /// What carries HTTP/2 was violated: the WebSocket.
    #[error("{0}")]
    Carrier(String),
    /// HTTP/2 was violated, or a bound of ours exceeded.
    #[error("HTTP/2 was violated: {0}")]
    Protocol(String),
}

impl ReverseError {
    pub(super) fn before_preface(error: h2::Error) -> Self {
        match error.get_io() {
            Some(io) if is_reset(io) || violation_of(io).is_some() || flood_of(io).is_some() => {
                Self::from_io(io::Error::new(io.kind(), io.to_string()))
            }
            _ => Self::PrefaceInvalid(error.to_string()),
        }
    }

    pub(super) fn from_h2(error: &h2::Error) -> Self {
        if let Some(io) = error.get_io() {
            return Self::from_io(io::Error::new(io.kind(), io.to_string()));
        }
        let reason =
            error.reason().map_or_else(|| error.to_string(), |reason| format!("{reason:?}: {}", reason.description()));
        if error.is_remote() {
            Self::Closed(format!("the remote ended the session with GOAWAY ({reason})"))
        } else {
            Self::Protocol(reason)
        }
    }

    pub(super) fn from_io(error: io::Error) -> Self {
        if let Some(sentence) = violation_of(&error) {
            return Self::Carrier(sentence);
        }
        if let Some(sentence) = flood_of(&error) {
            return Self::Protocol(sentence);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero => {
                Self::Closed("the remote closed the connection without saying why".to_owned())
            }
            _ => Self::Reset(error),
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::TimedOut)
}
