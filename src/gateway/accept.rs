//! Devices come in: TCP, TLS with a client certificate, the upgrade, then a session (ONVIF Uplink §5.1, §5.3).
//!
//! Each connection is a task of its own with a deadline for each phase; a hostile one costs a bounded buffer and a place
//! among a bounded number of handshakes, and harms no other.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{directory::Directory, metrics::Metrics, reload::Reloading, session, upgrade};
use crate::{
    base::{drain::Drain, io::keep_kernel_queue_short, tasks::Tasks},
    tls::{
        server::{IdentityField, identity_of},
        stream::TlsStream,
    },
};

/// TLS: two round trips and some computing; more is a device behind a broken link, which tries again.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// From the end of the handshake to the end of the request head.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
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
        directory: Arc<Directory>,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            tls,
            identity,
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
        let leaf = stream.tls().peer_certificates().and_then(|chain| chain.first());
        let named = match leaf {
            Some(leaf) => identity_of(leaf, self.identity).and_then(usable),
            None => Err("the device sent no certificate".to_owned()),
        };
        let device = match named {
            Ok(device) => device,
            Err(sentence) => {
                let refusing = upgrade::refuse(&mut stream, http::StatusCode::FORBIDDEN, &sentence);
                let _ = timeout(UPGRADE_TIMEOUT, refusing).await;
                return Err(("identity", sentence));
            }
        };
        let early = match timeout(UPGRADE_TIMEOUT, upgrade::accept(&mut stream)).await {
            Err(_) => return Err(("upgrade-timeout", format!("{device} sent no complete request in 10 s"))),
            Ok(Err(error)) => return Err(("upgrade-refused", format!("{device}: {error}"))),
            Ok(Ok(early)) => early,
        };
        let starting = session::start(Box::new(stream), early, device, peer);
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
