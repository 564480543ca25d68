//! Tells when the network of this host changed, and whether a connection is affected (RFC 3549: netlink; Linux).
//!
//! Any message of the kernel about links, addresses or routes means only that something changed. Whether it matters is then
//! asked of the kernel for each connection: is its source address still here, and would a packet to its peer still leave
//! from there? That needs no parsing, no rights, and no dial.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::tasks::Tasks;

/// Messages come in bursts, an address with its routes; one burst is one change.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// A burst that never ends is told all the same.
const BURST_MAX: Duration = Duration::from_secs(2);
/// After an error of the socket it rests, or it would spin.
const PAUSE: Duration = Duration::from_secs(1);
/// One message; what does not fit is cut, and nobody reads it anyway.
const MESSAGE: usize = 4096;

/// What became of the way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As before.
    Same,
    /// A packet to the peer would leave from another address now.
    Other,
    /// The address of the connection is not on this host any more, or there is no way to its peer.
    Gone,
}

/// Looks whether a connection from `local` to `peer` still has its way. Two or three system calls, nothing is sent.
pub fn way(local: IpAddr, peer: SocketAddr) -> Way {
    if let Err(error) = UdpSocket::bind((local, 0))
        && error.kind() == io::ErrorKind::AddrNotAvailable
    {
        return Way::Gone;
    }
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let chosen = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    match chosen {
        Ok(address) if address.ip().to_canonical() == local.to_canonical() => Way::Same,
        Ok(_) => Way::Other,
        Err(_) => Way::Gone,
    }
}

/// Counts the changes of the network as long as it lives.
pub struct NetworkWatch {
    changes: watch::Sender<u64>,
    _tasks: Tasks,
}

impl NetworkWatch {
    /// Watches this host; must be called within a tokio runtime. Where the kernel does not tell, nothing ever changes, and the
    /// log says so once.
    pub fn start() -> Self {
        let changes = watch::Sender::new(0);
        let mut tasks = Tasks::new();
        match listener::open() {
            Ok(socket) => tasks.spawn("network-watch", follow(socket, changes.clone())),
            Err(error) => {
                tracing::info!(%error, "changes of the network are not seen here; dead links are found by silence")
            }
        }
        Self { changes, _tasks: tasks }
    }

    /// Wakes at each change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

async fn follow(mut socket: listener::Listener, changes: watch::Sender<u64>) {
    loop {
        if let Err(error) = listener::message(&mut socket).await {
            // ENOBUFS says that messages were lost: a change all the same.
            tracing::debug!(%error, "netlink");
            sleep(PAUSE).await;
        }
        let burst =
            async { while timeout(DEBOUNCE, listener::message(&mut socket)).await.is_ok_and(|read| read.is_ok()) {} };
        let _ = timeout(BURST_MAX, burst).await;
        changes.send_modify(|count| *count += 1);
    }
}

#[cfg(target_os = "linux")]
mod listener {
    //! The netlink socket of routes.

    use std::io;

    use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

    use super::MESSAGE;

    pub(super) type Listener = TokioSocket;

    /// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE (rtnetlink(7)).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    pub(super) fn open() -> io::Result<Listener> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        Ok(socket)
    }

    pub(super) async fn message(socket: &mut Listener) -> io::Result<()> {
        let mut message = Vec::with_capacity(MESSAGE);
        socket.recv(&mut message).await.map(drop)
    }
}

#[cfg(not(target_os = "linux"))]
mod listener {
    //! Other kernels tell in other ways, which nobody needed yet.

    use std::io;

    pub(super) type Listener = std::convert::Infallible;

    pub(super) fn open() -> io::Result<Listener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) async fn message(socket: &mut Listener) -> io::Result<()> {
        match *socket {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_connection_keeps_its_way() {
        let local = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(way(local, SocketAddr::from(([127, 0, 0, 1], 443))), Way::Same);
    }

    #[test]
    fn an_address_that_is_not_here_is_gone_and_one_that_would_not_be_taken_is_another() {
        // TEST-NET-1 (RFC 5737) is on no host.
        let peer = SocketAddr::from(([127, 0, 0, 1], 443));
        assert_eq!(way([192, 0, 2, 1].into(), peer), Way::Gone);
        assert_eq!(way([127, 0, 0, 2].into(), peer), Way::Other);
    }

    #[tokio::test]
    async fn a_watch_starts_and_is_silent_while_nothing_changes() {
        let watch = NetworkWatch::start();
        let mut changes = watch.subscribe();
        assert!(timeout(Duration::from_millis(300), changes.changed()).await.is_err());
    }
}
