//! HTTP/2 as both ends of an uplink use it: the device end as server, the gateway as client, the same pumps between
//! streams and bodies (RFC 9113).
//!
//! - [`heads`]: the frames as they pass: what is left out, what is bounded by rate, what they tell of the peer's windows.
//! - [`turn`]: one turn of a connection: poll the library, refill the share, write out.
//! - [`share`]: how much of each stream may wait unsent, so that many streams stay fair and one alone stays fast.
//! - [`pump`]: a body into a stream, in frames that fill one TLS record each.
//! - [`receive`]: a stream as a body, its window given back as the reader reads.
//! - [`unprocessed`]: requests that may be sent again.

pub mod heads;
pub mod pump;
pub mod receive;
pub mod share;
pub mod turn;
pub mod unprocessed;
