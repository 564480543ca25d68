//! The one place where the device is dialed: an address of the configuration, never one of a request.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{fault::Fault, limits::Limits};

/// A connection to `address`, which must come from the configuration, without Nagle's algorithm: what is written is a whole.
///
/// Cancel safe: dropping the future closes the socket.
///
/// # Errors
/// [`Fault::Down`], [`Fault::ConnectTimeout`].
pub async fn dial(address: SocketAddr, limits: &Limits) -> Result<TcpStream, Fault> {
    let stream = tokio::time::timeout(limits.connect, TcpStream::connect(address))
        .await
        .map_err(|_| Fault::ConnectTimeout)?
        .map_err(|error| Fault::Down(error.kind()))?;
    stream.set_nodelay(true).map_err(|error| Fault::Down(error.kind()))?;
    Ok(stream)
}
