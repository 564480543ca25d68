//! The bounds of tunnelled RTSP, each with its reason.

use std::time::Duration;

/// Longest `x-sessioncookie`, characters. Players send 16 to 32.
pub const COOKIE_MAX: usize = 128;
/// POSTs of one uplink that wait for their GET at once. Each holds what its window lets in, and players send the GET first.
pub const WAITING_MAX: usize = 16;
/// Largest POST chunk that is decoded at once, bytes: one DATA frame is never larger by our settings.
pub const WEBSOCKET_MESSAGE_MAX: usize = 128 * 1024;
/// Largest `Content-Length` answer body of a refusal that is passed on, bytes: a page that says why.
pub const REFUSAL_MAX: usize = 64 * 1024;

/// Times of one conversation; a value, so that tests can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a POST waits for its GET, and a further POST for the end of the one before.
    pub post: Duration,
    /// How long a conversation may have neither an open POST nor a byte of the device. The timeout of an RTSP session is
    /// 60 s by default (RFC 2326 §12.37): who says nothing that long has gone.
    pub silence: Duration,
    /// Until the device's answer to the GET, or its RTSP port's to a probe. Nothing is to be computed for it.
    pub answer: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { post: Duration::from_secs(10), silence: Duration::from_secs(60), answer: Duration::from_secs(10) }
    }
}
