//! Devices come in: TCP, TLS, the upgrade by a certificate or an access token, then a session (ONVIF Uplink §5.1, §5.3).
//!
//! Each connection is a task of its own with a deadline for each phase; a hostile one costs a bounded buffer and a place
//! among a bounded number of handshakes, and harms no other.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    admission::{Admission, retry_after},
    directory::Directory,
    metrics::Metrics,
    reload::Reloading,
    session,
    token::TokenRules,
    upgrade::{self, Carrier},
};
use crate::{
    base::{drain::Drain, io::keep_kernel_queue_short, secret::Secret, tasks::Tasks},
    tls::{
        server::{IdentityField, identity_of},
        stream::TlsStream,
    },
    transport::websocket::{End, WebSocketIo},
};

/// TLS: two round trips and some computing; more is a device behind a broken link, which tries again.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// From the end of the handshake to the end of the request head.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the look at a token; keys may have to be fetched.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// From our 101 to the device's SETTINGS.
pub const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections before their session stands; each may hold 16 KiB of head and a TLS state.
const HANDSHAKES_MAX: usize = 256;
/// Sessions of one gateway process.
const SESSIONS_MAX: usize = 10_000;
/// After a failure of accept (out of descriptors) the listener rests, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Refusals that are logged in one period; the rest is counted.
const LOGGED_MAX: u32 = 20;
const LOGGED_PERIOD: Duration = Duration::from_secs(10);

/// What every device connection needs.
pub struct Acceptor {
    /// TLS as server, from files that may change.
    pub tls: Reloading<Arc<ServerConfig>>,
    /// What of the certificate names the device.
    pub identity: IdentityField,
    /// What access tokens must be; `None`: they are not taken, and the certificate is required.
    pub tokens: Option<TokenRules>,
    /// How many may come up in a second; `None`: as many as there are.
    pub admission: Option<Admission>,
    /// Where sessions are entered.
    pub directory: Arc<Directory>,
    /// Counters.
    pub metrics: Metrics,
    handshakes: Semaphore,
    sessions: Semaphore,
    log: Mutex<LogBudget>,
}

impl Acceptor {
    /// Nothing accepted yet.
    pub fn new(
        tls: Reloading<Arc<ServerConfig>>,
        identity: IdentityField,
        tokens: Option<TokenRules>,
        admission: Option<Admission>,
        directory: Arc<Directory>,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            tls,
            identity,
            tokens,
            admission,
            directory,
            metrics,
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            sessions: Semaphore::new(SESSIONS_MAX),
            log: Mutex::new(LogBudget { since: Instant::now(), logged: 0, silent: 0 }),
        })
    }

    /// Accepts until the drain starts, then waits until every session has ended, until the deadline at most.
    /// Cancel safe: dropping the future ends every connection.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut drain: Drain) {
        let mut tasks = Tasks::new();
        let draining = loop {
            let accepted = tokio::select! {
                draining = drain.started() => break draining,
                () = std::future::poll_fn(|cx| tasks.poll_reap(cx)), if !tasks.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => tasks.spawn("device", Arc::clone(&self).welcome(stream, peer)),
                Err(error) => {
                    tracing::warn!(%error, "a device's connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        drop(listener);
        let _ = tokio::time::timeout_at(draining.deadline, tasks.finished()).await;
        tasks.abort().await;
    }

    async fn welcome(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        match self.hold(stream, peer).await {
            Ok(()) => {}
            Err((outcome, sentence)) => {
                self.metrics.accepted(outcome);
                self.log_refusal(peer, outcome, &sentence);
            }
        }
    }

    /// One connection from its first byte to its last.
    async fn hold(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), (&'static str, String)> {
        let (Ok(handshake), Ok(_session)) = (self.handshakes.try_acquire(), self.sessions.try_acquire()) else {
            return Err(("busy", "too many devices connect at once; it will try again".to_owned()));
        };
        // Only speed is lost where the system refuses.
        let _ = stream.set_nodelay(true).and_then(|()| keep_kernel_queue_short(&stream));
        let accepting = TlsStream::accept(stream, self.tls.get());
        let mut stream = match timeout(TLS_TIMEOUT, accepting).await {
            Err(_) => return Err(("tls-timeout", "the TLS handshake did not end in 10 s".to_owned())),
            Ok(Err(error)) => return Err(("tls-failed", format!("the TLS handshake failed: {error}"))),
            Ok(Ok(stream)) => stream,
        };
        let asked = match timeout(UPGRADE_TIMEOUT, upgrade::read(&mut stream)).await {
            Err(_) => return Err(("upgrade-timeout", format!("{peer} sent no complete request in 10 s"))),
            Ok(Err(error)) => return Err(("upgrade-refused", error.to_string())),
            Ok(Ok(asked)) => asked,
        };
        // Before anything expensive is done for it.
        if self.admission.as_ref().is_some_and(|admission| !admission.admit()) {
            let fields = format!("Retry-After: {}\r\n", retry_after(peer.port()));
            let sentence = "too many devices come up at once; come back later";
            tell(upgrade::refuse(&mut stream, StatusCode::SERVICE_UNAVAILABLE, &fields, sentence)).await;
            return Err(("not-admitted", "more upgrades a second than --max-upgrades-per-second allows".to_owned()));
        }
        let leaf = stream.tls().peer_certificates().and_then(|chain| chain.first());
        let certified = leaf.map(|leaf| identity_of(leaf, self.identity).and_then(usable));
        let device = match self.who(certified, asked.bearer.as_ref()).await {
            Ok(device) => device,
            Err(Unknown::Certificate(sentence)) => {
                tell(upgrade::refuse(&mut stream, StatusCode::FORBIDDEN, "", &sentence)).await;
                return Err(("identity", sentence));
            }
            Err(Unknown::Token(sentence)) => {
                // Why is for the log: a stranger learns nothing.
                let fields = "WWW-Authenticate: Bearer\r\n";
                tell(upgrade::refuse(&mut stream, StatusCode::UNAUTHORIZED, fields, "unauthorized")).await;
                return Err(("unauthorized", sentence));
            }
        };
        match timeout(UPGRADE_TIMEOUT, upgrade::switch(&mut stream, &asked.carrier)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(("upgrade-refused", format!("{device}: the connection broke: {error}"))),
            Err(_) => return Err(("upgrade-timeout", format!("{device} did not take the 101 in 10 s"))),
        }
        let starting = match asked.carrier {
            Carrier::Native => session::start(Box::new(stream), asked.early, device, peer),
            Carrier::WebSocket { .. } => {
                let stream = WebSocketIo::new(stream, asked.early, End::Remote).await;
                session::start(Box::new(stream), Bytes::new(), device, peer)
            }
        };
        let (session, mut driver) = starting.await.map_err(|failure| ("session-failed", failure.message))?;
        match timeout(FIRST_BYTES_TIMEOUT, driver.first_bytes()).await {
            Err(_) => {
                return Err(("session-failed", "the device did not begin HTTP/2 in 10 s after the 101".to_owned()));
            }
            Ok(Err(failure)) => return Err(("session-failed", failure.message)),
            Ok(Ok(())) => {}
        }
        drop(handshake);
        self.metrics.accepted("accepted");
        let entered = Entered { core: Arc::clone(session.core()), directory: Arc::clone(&self.directory) };
        tracing::info!(device = entered.core.device, %peer, "a device is connected");
        self.directory.enter(session);
        let ended = driver.run().await;
        tracing::info!(device = entered.core.device, %peer, cause = %ended.cause, "a session ended: {ended}");
        Ok(())
    }

    /// The device's name: by its certificate, else by its token.
    async fn who(&self, certified: Option<Result<String, String>>, bearer: Option<&Secret>) -> Result<String, Unknown> {
        match (certified, &self.tokens, bearer) {
            (Some(named), _, _) => named.map_err(Unknown::Certificate),
            (None, Some(rules), Some(token)) => {
                let named = timeout(TOKEN_TIMEOUT, rules.device(token)).await;
                let named = named.unwrap_or_else(|_| Err("the keys of tokens did not come in time".to_owned()));
                named.and_then(usable).map_err(Unknown::Token)
            }
            (None, Some(_), None) => Err(Unknown::Token("neither a certificate nor a token was shown".to_owned())),
            (None, None, _) => Err(Unknown::Certificate("the device sent no certificate".to_owned())),
        }
    }

    fn log_refusal(&self, peer: SocketAddr, outcome: &str, sentence: &str) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.since.elapsed() >= LOGGED_PERIOD {
            if log.silent > 0 {
                tracing::warn!(count = log.silent, "more connections were refused and not logged one by one");
            }
            *log = LogBudget { since: Instant::now(), logged: 0, silent: 0 };
        }
        if log.logged < LOGGED_MAX {
            log.logged += 1;
            tracing::warn!(%peer, outcome, "a connection was refused: {sentence}");
        } else {
            log.silent += 1;
        }
    }
}

/// Why a device has no name.
enum Unknown {
    /// Its certificate names none that can be used.
    Certificate(String),
    /// It has no valid token.
    Token(String),
}

/// Tells a device why it is refused; one that does not listen is not waited for.
async fn tell(refusing: impl Future<Output = std::io::Result<()>>) {
    let _ = timeout(UPGRADE_TIMEOUT, refusing).await;
}

struct LogBudget {
    since: Instant,
    logged: u32,
    silent: u32,
}

/// Takes a session out of the directory however its task ends.
struct Entered {
    core: Arc<session::Core>,
    directory: Arc<Directory>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.directory.leave(&self.core);
    }
}

/// Refuses names that no address can hold: browsers remove `.` and `..` from paths.
fn usable(device: String) -> Result<String, String> {
    match device.as_str() {
        "" | "." | ".." => Err("the certificate names no usable device".to_owned()),
        _ => Ok(device),
    }
}
