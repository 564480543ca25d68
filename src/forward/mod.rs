//! L2: handlers that reach the device on loopback. Only this room dials loopback, and never an address from a message.
//!
//! [`routes::Routes`] chooses the way of each request: [`loopback::Loopback`] speaks HTTP/1.1, [`websocket`] and [`connect`]
//! make raw connections, which [`tunnel`] joins with the stream, and [`rtsp`] carries video. The rules of the change from HTTP/2 to HTTP/1.1 and back
//! (RFC 9113 §8, RFC 9112, ONVIF Uplink §5.3) are pure functions in [`headers`] and [`target`].

mod answer;
pub mod connect;
mod connection;
mod dial;
mod download;
mod fault;
mod h2c;
mod head;
pub mod headers;
pub mod limits;
pub mod loopback;
mod neighbour;
mod patience;
mod pool;
mod refusal;
pub mod routes;
pub mod rtsp;
pub mod target;
pub mod tunnel;
mod upload;
pub mod websocket;

pub use limits::Limits;
pub use loopback::Loopback;
pub use routes::Routes;
