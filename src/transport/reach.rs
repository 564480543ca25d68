//! The way out: from a host and port to a socket, by the network settings of an uplink. All outward connections of the
//! program begin here: those to remotes, and those to authorization servers.

use std::net::SocketAddr;

use url::Host;

use super::{dial::dial, socket::Socket};
use crate::model::{
    failure::{Cause, Failure},
    network::Network,
    step::{Step, Witness},
};

/// Where to.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// DNS name or IP address.
    pub host: &'a Host<String>,
    /// TCP port.
    pub port: u16,
}

/// A socket that stands, and its ends.
pub struct Reached {
    /// The socket; TLS may begin on it.
    pub socket: Socket,
    /// To whom it leads: the destination itself, or a proxy.
    pub peer: SocketAddr,
    /// From where.
    pub local: SocketAddr,
}

/// Opens the ways out of this process.
#[derive(Clone, Debug, Default)]
pub struct Reach {}

impl Reach {
    /// A way out.
    pub fn new() -> Self {
        Self {}
    }

    /// Opens a socket to `destination`. Cancel safe: dropping the future closes what was opened.
    ///
    /// # Errors
    /// A cause of the phases resolve, dial and proxy.
    pub async fn open(
        &self,
        destination: Destination<'_>,
        network: &Network,
        witness: &dyn Witness,
    ) -> Result<Reached, Failure> {
        let Destination { host, port } = destination;
        let tcp = dial(host, port, network, witness).await?;
        let ends = tcp.peer_addr().and_then(|peer| Ok((peer, tcp.local_addr()?)));
        let (peer, local) = ends.map_err(|error| {
            Failure::new(Cause::Unreachable, format!("{host}:{port} closed the connection at once: {error}"))
        })?;
        witness.saw(Step::Dialed { peer, local });
        Ok(Reached { socket: Socket::Tcp(tcp), peer, local })
    }
}
