//! The bounds of a reversed connection. Each is a decision of ours with its reason; a library's default is someone else's.

use h2::server::Builder;

use crate::base::http2::share;

/// What the remote may use of us in one session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Streams open at once. A camera serves a few; a busy wall of viewers some dozens. More are refused by the
    /// protocol itself (SETTINGS_MAX_CONCURRENT_STREAMS), which a proper client waits for.
    pub concurrent_streams: u32,
    /// Bytes of one request body that may be under way. 1 MiB carries 18 MB/s of upload over 50 ms.
    pub stream_window: u32,
    /// The same for all streams together: a multiple of the stream's, so that one stalled upload blocks no other.
    pub connection_window: u32,
    /// Decoded header list of one request: room for Digest, cookies and tokens, far below harm.
    pub header_list: u32,
    /// Streams that the remote reset before we looked at them (CVE-2023-44487): more end the session.
    pub pending_reset_streams: usize,
    /// Streams that we reset for violations within the life of a session (CVE-2025-8671). Uplinks live for weeks, and
    /// one bad client behind a remote must not end them: generous, but not endless.
    pub error_reset_streams: usize,
    /// Overhead of small DATA frames not read yet, in bytes: a relay that sends a byte a frame is odd, not an attacker.
    pub data_frame_budget: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_streams: 256,
            stream_window: 1 << 20,
            connection_window: 8 << 20,
            header_list: 64 << 10,
            pending_reset_streams: 64,
            error_reset_streams: 8192,
            data_frame_budget: 4 << 20,
        }
    }
}

impl Limits {
    pub(super) fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder
            // In the first SETTINGS: a remote may open a WebSocket at once (RFC 8441 §3, quirk Q13).
            .enable_connect_protocol()
            .max_concurrent_streams(self.concurrent_streams)
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_header_list_size(self.header_list)
            .max_pending_accept_reset_streams(self.pending_reset_streams)
            .max_local_error_reset_streams(Some(self.error_reset_streams))
            .data_frame_budget(self.data_frame_budget)
            // Only the cap: how much really waits is kept by base::http2::share.
            .max_send_buffer_size(share::STREAM_FRAMES_MAX * share::FRAME_PAYLOAD);
        builder
    }
}
