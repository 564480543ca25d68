//! The admin listener itself: bounded connections, bounded heads, deadlines, an orderly end.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{AdminState, pages};
use crate::base::{drain::Drain, tasks::Tasks};

/// Connections at once: a few probes, scrapers and people. Further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// A request head is no longer: nothing here needs long headers.
pub const HEAD_MAX: usize = 16 * 1024;
/// A head must be complete, and an idle connection must ask again, within this. Prometheus scrapes seldom more often than
/// each 15 s and connects anew then, which costs nothing.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A request is answered within this, its body included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection is older: one that never reads its answers cannot hold its place for ever.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// What an open answer gets when its connection is too old.
const CONNECTION_END_MAX: Duration = Duration::from_secs(5);
/// After a failed accept (mostly: no descriptors left) the next one waits, or the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound admin listener that does not answer yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    local: SocketAddr,
    state: Arc<AdminState>,
}

impl Admin {
    /// Binds `address`; port 0 takes a free one. Connections wait until [`Admin::run`].
    ///
    /// # Errors
    /// What the system says, with the address and what to do.
    pub async fn bind(address: SocketAddr, state: Arc<AdminState>) -> io::Result<Self> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let local = listener.local_addr()?;
            Ok((listener, local))
        };
        let (listener, local) = bound.await.map_err(|error: io::Error| explain(address, &error))?;
        Ok(Self { listener, local, state })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Answers until the drain starts, then finishes the open answers until its deadline. Give it a drain that starts after
    /// that of the uplinks, so that probes and metrics see the end. Not cancel safe in the sense of HTTP: dropped, it cuts
    /// its connections.
    pub async fn run(self, mut drain: Drain) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = Tasks::new();
        let draining = loop {
            tokio::select! {
                draining = drain.started() => break draining,
                (stream, peer, permit) = accept(&self.listener, &permits) => {
                    let (state, drain) = (Arc::clone(&self.state), drain.clone());
                    connections.spawn("admin connection", async move {
                        serve(stream, peer, state, drain).await;
                        drop(permit);
                    });
                }
                () = connections.finished(), if !connections.is_empty() => {}
            }
        };
        drop(self.listener);
        let _ = timeout_at(draining.deadline, connections.finished()).await;
        connections.abort().await;
    }
}

fn explain(address: SocketAddr, error: &io::Error) -> io::Error {
    let mend = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another process uses it; containers of a pod share it: choose another with --admin"
        }
        io::ErrorKind::AddrNotAvailable => "no interface has this address; choose one of this machine with --admin",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one with --admin",
        _ => "choose another with --admin",
    };
    io::Error::new(error.kind(), format!("the admin listener cannot use {address}: {error}; {mend}"))
}

/// The next connection with its place. Cancel safe: a place that was taken without a connection is given back.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve<S>(stream: S, peer: SocketAddr, state: Arc<AdminState>, mut drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let state = Arc::clone(&state);
        async move {
            match timeout(ANSWER_TIMEOUT, pages::answer(&state, peer, request)).await {
                Ok(response) => Ok::<_, Infallible>(response),
                Err(_) => Ok(pages::too_slow()),
            }
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let deadline = tokio::select! {
        ended = connection.as_mut() => return log_end(peer, ended),
        draining = drain.started() => draining.deadline,
        () = sleep(CONNECTION_AGE_MAX) => Instant::now() + CONNECTION_END_MAX,
    };
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout_at(deadline, connection).await {
        log_end(peer, ended);
    }
}

fn log_end(peer: SocketAddr, ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an admin connection ended early");
    }
}

#[cfg(test)]
mod tests;
