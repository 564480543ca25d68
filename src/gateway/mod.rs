//! L5: the cloud side of an uplink, first form, with a composition root of its own.
//!
//! - [`accept`]: devices come in; [`upgrade`]: the 101; [`token`], [`jwks`]: who they are without a certificate; [`admission`]: how
//!   many at once; [`session`]: HTTP/2 as client on the device's connection.
//! - [`directory`]: which device has which session; [`exchange`]: one request on one session; [`deliver`]: from a name to an answer.
//! - [`expose`]: the front; [`route`], [`fields`], [`auth`], [`page`]: what it decides about a request; [`mod@front`]: what is shared.
//! - [`switch`]: WebSocket and CONNECT; [`first`], [`halves`], [`pairs`]: RTSP over HTTP; [`rtsp`]: players of plain RTSP;
//!   [`tunnel`]: their bytes. [`connect`], [`fetch`]: what an operator runs in a process of its own; [`operator`]: how that reaches the front.
//! - [`metrics`], [`reload`] (files that change).

pub mod accept;
pub mod admission;
pub mod auth;
pub mod connect;
pub mod deliver;
pub mod directory;
pub mod exchange;
pub mod expose;
pub mod fetch;
pub mod fields;
pub mod first;
pub mod front;
pub mod halves;
pub mod jwks;
pub mod metrics;
mod operator;
pub mod page;
pub mod pairs;
pub mod reload;
pub mod route;
pub mod rtsp;
pub mod session;
pub mod switch;
pub mod token;
pub mod tunnel;
pub mod upgrade;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
};

use prometheus_client::registry::Registry;

use self::{
    accept::Acceptor, admission::Admission, auth::FrontAccess, directory::Directory, expose::Listener, front::Front,
    jwks::Keys, metrics::Metrics, pairs::Pairs, reload::Reloading, rtsp::RtspListener, token::TokenRules,
};
use crate::{
    base::{drain::Drain, shard::Shards},
    model::authorization::Trust,
    tls::{
        client::ClientConfigs,
        server::{ClientCertificates, IdentityField, server_config},
        trust::Anchors,
    },
    transport::{fetch::HttpsFetch, proxy::choice::Proxies, reach::Reach},
};

/// Connections that wait to be accepted; a fleet that comes back after an outage comes all at once.
const BACKLOG: i32 = 1024;

/// What a gateway is started with (design.md §6).
#[derive(Clone, Debug)]
pub struct Options {
    /// Where devices connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain of the gateway, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities of the devices' certificates, PEM; may be missing when tokens are taken.
    pub client_ca: Option<PathBuf>,
    /// Which access tokens are taken; `None`: none.
    pub tokens: Option<TokenOptions>,
    /// Most upgrades in a second; `None`: no limit.
    pub max_upgrades: Option<NonZeroU32>,
    /// What of a certificate names the device.
    pub identity: IdentityField,
    /// Where clients connect; port 0 takes a free one.
    pub front: SocketAddr,
    /// `<device>.<suffix>` names a device.
    pub front_domain: Option<String>,
    /// File with the token of the front.
    pub front_token_file: Option<PathBuf>,
    /// Anybody who reaches the front may use it.
    pub front_open: bool,
    /// Where players of plain RTSP connect, by the rules of the front; port 0 takes a free one, `None`: nowhere.
    pub rtsp: Option<SocketAddr>,
    /// Shards; one is enough for some Gbit/s.
    pub threads: NonZeroUsize,
}

/// Which access tokens a gateway takes.
#[derive(Clone, Debug)]
pub struct TokenOptions {
    /// A JWKS file, or an https address of one.
    pub jwks: String,
    /// Authorities that the address is trusted by, PEM; the system's by default.
    pub jwks_ca: Option<PathBuf>,
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// The claim that names the device.
    pub claim: String,
    /// The proxies of the process.
    pub proxies: Proxies,
}

impl TokenOptions {
    /// Reads what the options name. Blocks.
    fn rules(self) -> Result<TokenRules, String> {
        let keys = if self.jwks.contains("://") {
            let url: http::Uri = self.jwks.parse().map_err(|error| format!("--token-jwks is no address: {error}"))?;
            if url.scheme_str() != Some("https") {
                return Err(
                    "--token-jwks must be a file or an https:// address: who can change the keys can be any device"
                        .to_owned(),
                );
            }
            let anchors = match self.jwks_ca {
                Some(file) => Anchors::from_files(&[file]),
                None => Anchors::load(&Trust::SystemRoots),
            };
            let tls = ClientConfigs::new().get(None, &anchors.map_err(|failure| failure.message)?);
            Keys::url(url, HttpsFetch::new(Reach::new(self.proxies)), tls)
        } else {
            Keys::file(self.jwks.into())?
        };
        Ok(TokenRules::new(keys, self.issuer, self.audience, self.claim))
    }
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The options or the files that they name are unusable.
    #[error("{0}")]
    Invalid(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (--{option}): {error}")]
    Listen {
        /// The flag.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
}

/// A gateway that listens; [`Gateway::run`] makes it work.
pub struct Gateway {
    acceptor: Arc<Acceptor>,
    front: Arc<Front>,
    uplinks: TcpListener,
    clients: TcpListener,
    players: Option<(TcpListener, SocketAddr)>,
    listen: SocketAddr,
    front_address: SocketAddr,
    threads: NonZeroUsize,
}

impl Gateway {
    /// Checks the options, reads the files and binds both addresses. Blocks while it reads.
    ///
    /// # Errors
    /// [`BuildError`], with a sentence that says what to change.
    pub fn build(options: Options) -> Result<Self, BuildError> {
        let access = FrontAccess::new(options.front, options.front_token_file, options.front_open)
            .map_err(BuildError::Invalid)?;
        if let Some(rtsp) = options.rtsp {
            access.check_listener("rtsp", rtsp).map_err(BuildError::Invalid)?;
        }
        let (cert, key, client_ca) = (options.cert.clone(), options.key.clone(), options.client_ca.clone());
        let with_tokens = options.tokens.is_some();
        if client_ca.is_none() && !with_tokens {
            return Err(BuildError::Invalid(
                "no device could come in: give --client-ca FILE, or --token-jwks".to_owned(),
            ));
        }
        let mut files = vec![cert.as_path(), key.as_path()];
        files.extend(client_ca.as_deref());
        let (own_cert, own_key, authorities) = (cert.clone(), key.clone(), client_ca.clone());
        let tls = Reloading::new(&files, move || {
            let clients = match &authorities {
                Some(file) if with_tokens => ClientCertificates::Optional(file),
                Some(file) => ClientCertificates::Required(file),
                None => ClientCertificates::Never,
            };
            server_config(&own_cert, &own_key, clients).map_err(|failure| failure.message)
        })
        .map_err(BuildError::Invalid)?;
        let tokens = options.tokens.map(TokenOptions::rules).transpose().map_err(BuildError::Invalid)?;
        let admission = options.max_upgrades.map(Admission::new);
        let (uplinks, listen) = bind("listen", options.listen)?;
        let (clients, front_address) = bind("front", options.front)?;
        let players = options.rtsp.map(|address| bind("rtsp", address)).transpose()?;
        let mut suffixes: Vec<String> =
            options.front_domain.iter().map(|domain| domain.trim_matches('.').to_ascii_lowercase()).collect();
        if suffixes.iter().any(String::is_empty) {
            return Err(BuildError::Invalid(
                "--front-domain must name a domain, for example cameras.example.com".to_owned(),
            ));
        }
        let domain = suffixes.first().cloned();
        // Browsers resolve every name below localhost to this machine: device names work there without any set-up.
        if front_address.ip().is_loopback() && !suffixes.iter().any(|suffix| suffix == "localhost") {
            suffixes.push("localhost".to_owned());
        }
        let (directory, metrics) = (Arc::new(Directory::default()), Metrics::default());
        Ok(Self {
            acceptor: Acceptor::new(tls, options.identity, tokens, admission, Arc::clone(&directory), metrics.clone()),
            front: Arc::new(Front {
                access,
                suffixes,
                domain,
                rtsp: players.as_ref().map(|(_, address)| address.port()),
                directory,
                metrics,
                pairs: Arc::new(Pairs::default()),
            }),
            uplinks,
            clients,
            players,
            listen,
            front_address,
            threads: options.threads,
        })
    }

    /// Where devices connect.
    pub fn listen_address(&self) -> SocketAddr {
        self.listen
    }

    /// Where clients connect.
    pub fn front_address(&self) -> SocketAddr {
        self.front_address
    }

    /// Where players of plain RTSP connect.
    pub fn rtsp_address(&self) -> Option<SocketAddr> {
        self.players.as_ref().map(|(_, address)| *address)
    }

    /// Puts the gateway's metrics on a registry.
    pub fn register(&self, registry: &mut Registry) {
        self.front.metrics.register(registry, &self.front.directory);
    }

    /// What `/status` of the admin listener shows; may be called as long as the process lives.
    pub fn status(&self) -> Arc<dyn Fn() -> serde_json::Value + Send + Sync> {
        let directory = Arc::clone(&self.front.directory);
        Arc::new(move || {
            let online = directory.online();
            serde_json::json!({ "devices": page::devices_json(online.iter().map(AsRef::as_ref)) })
        })
    }

    /// Serves until the drain starts, lets clients finish, then ends the sessions; at the drain's deadline everything ends.
    /// Cancel safe: dropping the future ends the gateway.
    ///
    /// # Errors
    /// When the operating system refuses a thread or a listener.
    pub async fn run(self, drain: Drain) -> io::Result<()> {
        let shards = Shards::start("gateway", self.threads)?;
        let (mut uplinks, mut clients) = (Vec::new(), Vec::new());
        let (front, rtsp) = (Listener::new(Arc::clone(&self.front)), RtspListener::new(Arc::clone(&self.front)));
        for index in 0..self.threads.get() {
            let (shard, listener) = (shards.nth(index), self.uplinks.try_clone()?);
            let (acceptor, until) = (Arc::clone(&self.acceptor), drain.clone());
            uplinks.push(shard.spawn(async move {
                acceptor.serve(tokio::net::TcpListener::from_std(listener)?, until).await;
                Ok::<_, io::Error>(())
            }));
            let (front, until, listener) = (Arc::clone(&front), drain.clone(), self.clients.try_clone()?);
            clients.push(shard.spawn(async move {
                front.serve(tokio::net::TcpListener::from_std(listener)?, until).await;
                Ok::<_, io::Error>(())
            }));
            if let Some((players, _)) = &self.players {
                let (rtsp, until, listener) = (Arc::clone(&rtsp), drain.clone(), players.try_clone()?);
                clients.push(shard.spawn(async move {
                    rtsp.serve(tokio::net::TcpListener::from_std(listener)?, until).await;
                    Ok::<_, io::Error>(())
                }));
            }
        }
        drop((self.uplinks, self.clients, self.players));
        for part in clients {
            part.await.map_err(io::Error::other)??;
        }
        self.front.directory.close();
        for part in uplinks {
            part.await.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

fn bind(option: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BuildError> {
    let listen = || -> io::Result<(TcpListener, SocketAddr)> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|error| BuildError::Listen { option, address, error })
}
