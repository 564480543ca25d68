//! The bounds of forwarding, each with its reason. One value per device, so that tests and later settings can choose.

use std::time::Duration;

/// Read and write buffer of one connection, bytes: eight full HTTP/2 frames, the most that one stream may have unsent.
pub const BUFFER: usize = 8 * 16_375;
/// Largest response head of a device, bytes. Cameras send under 1 KiB; large cookies fit.
pub const HEAD_MAX: usize = 64 * 1024;
/// Most header fields in a response head: hyper's own default, kept without a heap allocation per answer.
pub const HEADERS_MAX: usize = 100;
/// Most 1xx answers to one request. One 100 and a few 103 are normal; more is a flood.
pub const INFORMATIONAL_MAX: u32 = 16;
/// Seconds that `Retry-After` asks for when the device is down: about what a camera's web server needs to restart.
pub const RETRY_AFTER_DOWN: u32 = 2;
/// Seconds that `Retry-After` asks for when all connections are in use.
pub const RETRY_AFTER_BUSY: u32 = 1;

/// Bounds of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in use at once. As many as a session has streams by default: more would wait at the session.
    pub connections: usize,
    /// Of these, answers without an end in sight (MJPEG viewers); the difference is always left for control requests.
    pub endless: usize,
    /// Kept-alive connections without a request. A camera has few sockets; a burst is over in a second.
    pub idle: usize,
    /// How long a connection stays without a request: below the 5 s that small web servers wait before they close.
    pub idle_for: Duration,
    /// How long a request waits for a connection when all are in use.
    pub wait: Duration,
    /// TCP handshake. It takes microseconds on loopback; longer means a full backlog.
    pub connect: Duration,
    /// Between the last byte sent of the request and the response head: firmware writes take minutes, PullMessages one.
    pub head: Duration,
    /// How long the remote may pause within its upload. The device owes nothing meanwhile, so [`Self::head`] does not run;
    /// this one gives the connection back. Longer than any keep-alive of RTSP over HTTP, whose POST is never answered.
    pub upload: Duration,
    /// How long an answer of unknown length may be held for its `content-length` (quirk Q11); no eye sees that delay.
    pub hold: Duration,
    /// How much of an answer of unknown length may be held, bytes: a SOAP answer fits, a recording does not.
    pub hold_bytes: usize,
    /// How long a body waits for the device's 100. Many cameras ignore `Expect` (RFC 9110 §10.1.1 allows a client to go on).
    pub expect: Duration,
    /// How long the body of a refused upgrade may take. It is a page of some hundred bytes.
    pub refusal: Duration,
    /// After the start a neighbour that refuses is still starting (503), later it is down (502).
    pub starting: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            endless: 96,
            idle: 32,
            idle_for: Duration::from_secs(4),
            wait: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            head: Duration::from_secs(120),
            upload: Duration::from_secs(600),
            hold: Duration::from_millis(50),
            hold_bytes: 64 * 1024,
            expect: Duration::from_secs(1),
            refusal: Duration::from_secs(2),
            starting: Duration::from_secs(30),
        }
    }
}
