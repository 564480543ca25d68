//! One TCP connection, with what the settings of an uplink ask of the kernel: source, keep-alive, queue, congestion control.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::{
    base::io::keep_kernel_queue_short,
    model::{
        failure::Cause,
        network::{Network, SendQueue, Source},
    },
};

/// Probes of the kernel for a connection that HTTP/2 does not watch yet: after the 101 liveness is faster.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// What is sent and not acknowledged for this long breaks the connection (TCP_USER_TIMEOUT, RFC 5482): the time of the liveness
/// rule, so that a write to a dead link does not wait for the kernel's quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Why one address was not connected.
pub(super) type Problem = (Cause, String);

/// Connects to `address`. The caller sets the deadline. Cancel safe: dropping the future closes the socket.
pub(super) async fn open(address: SocketAddr, network: &Network) -> Result<TcpStream, Problem> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| (Cause::Unreachable, format!("no socket: {error}")))?;
    start_from(&socket, address, network)?;
    prepare(&socket, network).map_err(|error| (Cause::Unreachable, format!("cannot set up the socket: {error}")))?;
    let stream = socket.connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            (Cause::ConnectionRefused, "connection refused, nothing listens there".to_owned())
        }
        io::ErrorKind::TimedOut => (Cause::DialTimeout, "no answer".to_owned()),
        _ => (Cause::Unreachable, error.to_string()),
    })?;
    Ok(stream)
}

/// Binds to the source that the settings name.
fn start_from(socket: &TcpSocket, address: SocketAddr, network: &Network) -> Result<(), Problem> {
    match &network.source {
        None => Ok(()),
        Some(Source::Address(source)) if source.is_ipv4() != address.is_ipv4() => Err((
            Cause::SourceUnavailable,
            format!("it is of another family than the sourceAddress {source}"),
        )),
        Some(Source::Address(source)) => socket.bind(SocketAddr::new(*source, 0)).map_err(|error| {
            (Cause::SourceUnavailable, format!("cannot start from the sourceAddress {source} ({error}); is it on this host?"))
        }),
        Some(Source::Interface(name)) => bind_to_interface(socket, name).map_err(|error| {
            (
                Cause::SourceUnavailable,
                format!("cannot start from the sourceInterface `{name}` ({error}); is it on this host, and is CAP_NET_RAW granted?"),
            )
        }),
    }
}

#[cfg(target_os = "linux")]
fn bind_to_interface(socket: &TcpSocket, name: &str) -> io::Result<()> {
    SockRef::from(socket).bind_device(Some(name.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to_interface(_: &TcpSocket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What must be in place before the first byte.
fn prepare(socket: &TcpSocket, network: &Network) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let reference = SockRef::from(socket);
    reference.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    reference.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    match network.send_queue {
        SendQueue::Short => keep_kernel_queue_short(socket)?,
        SendQueue::Kernel => {}
        SendQueue::Bytes(bytes) => limit_queue(&reference, bytes)?,
    }
    if let Some(name) = &network.congestion_control {
        control_congestion(&reference, name);
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn limit_queue(socket: &SockRef<'_>, bytes: u32) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(bytes)
}

#[cfg(not(target_os = "linux"))]
fn limit_queue(_: &SockRef<'_>, _: u32) -> io::Result<()> {
    Ok(())
}

/// Only speed is lost where the kernel has none of that name: the default is used, and each name is warned of once.
fn control_congestion(socket: &SockRef<'_>, name: &str) {
    static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    #[cfg(target_os = "linux")]
    let set = socket.set_tcp_congestion(name.as_bytes());
    #[cfg(not(target_os = "linux"))]
    let set: io::Result<()> = Err(io::ErrorKind::Unsupported.into());
    if let Err(error) = set
        && WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    {
        tracing::warn!(%error, "the kernel has no congestion control `{name}` for us; its default is used");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
