//! L2: handlers that reach the device on loopback. Only this room dials loopback, and never an address from a message.
//!
//! [`loopback::Loopback`] speaks HTTP/1.1 to one neighbour. The rules of the change from HTTP/2 to HTTP/1.1 and back
//! (RFC 9113 §8, RFC 9112, ONVIF Uplink §5.3) are pure functions in [`headers`] and [`target`].

mod answer;
mod connection;
mod download;
mod fault;
pub mod headers;
pub mod limits;
pub mod loopback;
mod pool;
pub mod target;
pub mod tunnel;
mod upload;

pub use limits::Limits;
pub use loopback::Loopback;
