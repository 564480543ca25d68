//! The way out: from a host and port to a socket, by the network settings of an uplink. All outward connections of the
//! program begin here: those to remotes, and those to authorization servers.

use std::{net::SocketAddr, num::NonZeroU64, sync::Arc};

use rustls::ClientConfig;
use url::Host;

use super::{
    dial::dial,
    proxy::{Proxy, choice::Proxies, socks, tunnel},
    queue::Queued,
    secure::handshake,
    socket::Socket,
};
use crate::{
    base::rate::Capped,
    model::{
        authorization::Trust,
        failure::{Cause, Failure, Phase},
        network::{Network, ProxyScheme, SendQueue},
        step::{Step, Witness},
    },
    tls::{
        client::{ClientConfigs, server_name},
        stream::TlsStream,
        trust::Anchors,
    },
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
#[derive(Clone, Default)]
pub struct Reach {
    proxies: Proxies,
    /// TLS to https proxies.
    configs: Arc<ClientConfigs>,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").field("proxies", &self.proxies).finish_non_exhaustive()
    }
}

impl Reach {
    /// A way out with the proxies of the process; `Proxies::default()` for none but those that uplinks name.
    pub fn new(proxies: Proxies) -> Self {
        Self { proxies, configs: Arc::default() }
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
        let Some(proxy) = self.proxies.choose(network, &host.to_string(), port).await? else {
            return plain(host, port, network, witness).await;
        };
        let reached = plain(&proxy.address.host, proxy.address.port, network, witness).await;
        let Reached { socket, peer, local } = reached.map_err(|failure| not_reached(&proxy, &failure))?;
        let socket = match proxy.address.scheme {
            ProxyScheme::Http => tunnel::open(&proxy, socket, host, port).await?,
            ProxyScheme::Https => tunnel::open(&proxy, self.secured(&proxy, socket, peer).await?, host, port).await?,
            ProxyScheme::Socks5 => socks::open(&proxy, socket, host, port).await?,
        };
        witness.saw(Step::Proxied { proxy: proxy.address.to_string() });
        Ok(Reached { socket, peer, local })
    }

    /// Opens a socket to `destination`, which sentences call `who`, and TLS on it. Cancel safe.
    ///
    /// # Errors
    /// A cause of the phases resolve, dial, proxy and tls.
    pub async fn open_secured(
        &self,
        destination: Destination<'_>,
        who: &str,
        network: &Network,
        tls: Arc<ClientConfig>,
    ) -> Result<TlsStream<Socket>, Failure> {
        let name = server_name(destination.host)?;
        let Reached { socket, peer, .. } = self.open(destination, network, &()).await?;
        handshake(socket, who, peer, tls, name, &()).await
    }

    /// TLS to an https proxy. The system's roots say whom to trust: the policies of uplinks are for remotes.
    async fn secured(&self, proxy: &Proxy, socket: Socket, peer: SocketAddr) -> Result<Socket, Failure> {
        let loaded = tokio::task::spawn_blocking(|| Anchors::load(&Trust::SystemRoots)).await;
        let anchors = loaded.map_err(|_| {
            proxy.failure(Cause::ProxyInvalid, "was not reached: reading the system's roots was interrupted")
        })??;
        let name = server_name(&proxy.address.host)?;
        let tls = self.configs.get(None, &anchors);
        let secured = handshake(socket, &proxy.address.to_string(), peer, tls, name, &()).await;
        let stream = secured.map_err(|failure| match failure.cause {
            Cause::TlsTimeout => {
                proxy.failure(Cause::ProxyTimeout, format_args!("was not reached securely: {failure}"))
            }
            _ => proxy.failure(Cause::ProxyInvalid, format_args!("was not reached securely: {failure}")),
        })?;
        Ok(Socket::Carried(Box::new(stream)))
    }
}

async fn plain(host: &Host<String>, port: u16, network: &Network, witness: &dyn Witness) -> Result<Reached, Failure> {
    let tcp = dial(host, port, network, witness).await?;
    let ends = tcp.peer_addr().and_then(|peer| Ok((peer, tcp.local_addr()?)));
    let (peer, local) = ends.map_err(|error| {
        Failure::new(Cause::Unreachable, format!("{host}:{port} closed the connection at once: {error}"))
    })?;
    witness.saw(Step::Dialed { peer, local });
    let socket = match network.rate_limit {
        None => Socket::Tcp(Queued::new(tcp, network.send_queue == SendQueue::Short)),
        Some(rate) => capped(tcp, rate),
    };
    Ok(Reached { socket, peer, local })
}

fn capped(tcp: tokio::net::TcpStream, rate: NonZeroU64) -> Socket {
    Socket::Carried(Box::new(Capped::new(tcp, rate)))
}

/// The proxy is at fault, not the remote. A source that is not on this host is the fault of neither.
fn not_reached(proxy: &Proxy, failure: &Failure) -> Failure {
    match failure.cause {
        Cause::SourceUnavailable => failure.clone(),
        cause if matches!(cause.phase(), Phase::Resolve | Phase::Dial) => {
            proxy.failure(Cause::ProxyUnreachable, format_args!("was not reached: {failure}"))
        }
        _ => failure.clone(),
    }
}
