//! The bounds of a reversed connection. Each is a decision of ours with its reason; a library's default is someone else's.

use std::time::Duration;

use h2::server::Builder;

use crate::base::http2::share;

/// How long frames of a stream that we reset may still be under way: a far remote that fills its window over a slow link takes
/// that long to hear of it. What comes later counts as an error of the remote.
const RESET_REMEMBERED: Duration = Duration::from_secs(30);
/// Streams that are remembered so. Each takes some hundred bytes.
const RESETS_REMEMBERED: usize = 1024;

/// What the remote may use of us in one session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams open at once. A camera serves a few; a busy wall of viewers some dozens. More are refused by the
    /// protocol itself (SETTINGS_MAX_CONCURRENT_STREAMS), which a proper client waits for.
    pub concurrent_streams: u32,
    /// Bytes of one request body that may be under way. 512 KiB carry 84 Mbit/s of upload over 50 ms.
    pub stream_window: u32,
    /// Decoded header list of one request: room for Digest, cookies and tokens, far below harm.
    pub header_list: u32,
    /// Streams that the remote reset before we looked at them (CVE-2023-44487): more end the session.
    pub pending_reset_streams: usize,
    /// Overhead of small DATA frames not read yet, in bytes; a frame of less than 256 costs what it lacks. A relay that sends a
    /// byte a frame is odd, not an attacker. It is also a bound for memory: the library needs about as much for them.
    pub data_frame_budget: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_streams: 256,
            stream_window: 512 << 10,
            header_list: 64 << 10,
            pending_reset_streams: 64,
            data_frame_budget: 32 << 20,
        }
    }
}

impl Limits {
    /// The window of all streams together: that of each stream times their number, so that however many uploads the device
    /// leaves unread, they never stop another one. It is the bound of what they all may hold.
    pub fn connection_window(&self) -> u32 {
        self.stream_window.saturating_mul(self.concurrent_streams).min((1 << 31) - 1)
    }

    pub(super) fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            // In the first SETTINGS: a remote may open a WebSocket at once (RFC 8441 §3, quirk Q13).
            .enable_connect_protocol()
            .max_concurrent_streams(self.concurrent_streams)
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window())
            .max_header_list_size(self.header_list)
            .max_pending_accept_reset_streams(self.pending_reset_streams)
            // Counted over the life of a session by the library, and an uplink lives for weeks: the bound is the rate of
            // base::http2::heads.
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(RESETS_REMEMBERED)
            .reset_stream_duration(RESET_REMEMBERED)
            .data_frame_budget(self.data_frame_budget)
            // Only the cap: how much really waits is kept by base::http2::share.
            .max_send_buffer_size(share::STREAM_FRAMES_MAX * share::FRAME_PAYLOAD);
        builder
    }
}
