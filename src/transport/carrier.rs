//! From an uplink to the connection on which the upgrade is asked for: the way out, then TLS, or none in a laboratory.

use std::{net::SocketAddr, sync::Arc};

use rustls::ClientConfig;

use super::{
    reach::{Destination, Reach, Reached},
    secure::{facts, handshake},
};
use crate::{
    base::io::{Direct, TurnStream},
    model::{
        failure::{Cause, Failure},
        network::{Network, ProxyChoice},
        status::TlsFacts,
        step::Witness,
        uplink::Uplink,
    },
    tls::client::server_name,
};

/// A connection on which nothing has been said yet.
pub(super) struct Standing {
    /// Its bytes.
    pub(super) stream: Box<dyn TurnStream>,
    /// The other end of TCP.
    pub(super) peer: SocketAddr,
    /// Our end of it.
    pub(super) local: SocketAddr,
    /// What TLS came to; empty without TLS.
    pub(super) tls: TlsFacts,
}

/// Connects to the remote of `uplink`. Cancel safe: dropping the future closes the connection.
///
/// # Errors
/// A cause of the phases resolve, dial, proxy and tls.
pub(super) async fn stand(
    reach: &Reach,
    uplink: &Uplink,
    tls: Arc<ClientConfig>,
    witness: &dyn Witness,
) -> Result<Standing, Failure> {
    let remote = &uplink.remote;
    let destination = Destination { host: remote.host(), port: remote.port() };
    if uplink.lab.plain_tcp {
        return plain(reach, uplink, destination, witness).await;
    }
    let name = server_name(remote.host())?;
    let Reached { socket, peer, local } = reach.open(destination, &uplink.network, witness).await?;
    let stream = handshake(socket, &remote.to_string(), peer, tls, name, witness).await?;
    let tls = facts(stream.tls());
    Ok(Standing { stream: Box::new(stream), peer, local, tls })
}

/// Without TLS; only where nobody can listen in. What was really dialed counts, not the name that was configured, and so
/// there is no proxy.
async fn plain(
    reach: &Reach,
    uplink: &Uplink,
    destination: Destination<'_>,
    witness: &dyn Witness,
) -> Result<Standing, Failure> {
    let network = Network { proxy: ProxyChoice::Direct, ..uplink.network.clone() };
    let Reached { socket, peer, local } = reach.open(destination, &network, witness).await?;
    if !peer.ip().to_canonical().is_loopback() {
        return Err(Failure::new(
            Cause::TlsHandshakeFailed,
            format!(
                "{} is {peer}, which is no loopback address; lab.plainTcp is for those only: remove it",
                uplink.remote
            ),
        ));
    }
    Ok(Standing { stream: Box::new(Direct(socket)), peer, local, tls: TlsFacts::default() })
}
