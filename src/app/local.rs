//! The local ONVIF listener (`run --onvif ADDR`): the uplink configuration service of each device for tools beside it, over HTTP/1.1.
//!
//! `/<device>/onvif/uplink_service`, and without the name when there is one device. Who may do what is for the accounts of the
//! document ([`LocalGate`]). Nothing else of the device is here: tools reach that at the device itself.

use std::{convert::Infallible, io, io::Read, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{StatusCode, Uri, uri::PathAndQuery};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::uplinks::{Current, Uplinks};
use crate::{
    base::{
        drain::Drain,
        http::{Body, BoxFuture, Handler, Request, Response, text_response},
        secret::Secret,
        tasks::Tasks,
    },
    model::user_level::UserLevel,
    onvif::{
        local::{Accounts, LocalGate, Target},
        uplink_service::UplinkService,
    },
};

/// Connections at once: a few tools. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// A request head is no longer.
const HEAD_MAX: usize = 16 * 1024;
/// A head must be complete, and an idle connection must ask again, within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// A request is answered within this: its message may take 30 s to come, its change some more to be in force.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// No connection is older: one that never reads its answers cannot hold its place for ever.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// What an open answer gets when its connection is too old.
const CONNECTION_END_MAX: Duration = Duration::from_secs(5);
/// After a failed accept (mostly: no descriptors left) the next one waits, or the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest password file, bytes; ONVIF allows 128 characters.
const PASSWORD_MAX: u64 = 4096;

/// A bound listener that does not answer yet.
pub(super) struct Local {
    listener: TcpListener,
    address: SocketAddr,
    service: Arc<Service>,
}

impl Local {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says, with the address and what to do.
    pub(super) async fn bind(address: SocketAddr, uplinks: Arc<Uplinks>) -> io::Result<Self> {
        let explain = |error: io::Error| {
            let sentence =
                format!("the ONVIF listener cannot use {address}: {error}; choose another address with --onvif");
            io::Error::new(error.kind(), sentence)
        };
        let listener = TcpListener::bind(address).await.map_err(explain)?;
        let address = listener.local_addr()?;
        if !address.ip().to_canonical().is_loopback() {
            tracing::warn!(%address, "the local ONVIF listener speaks plain HTTP and is not on loopback");
        }
        let gate = LocalGate::new(Arc::new(Configured(uplinks.current.clone())));
        Ok(Self { listener, address, service: Arc::new(Service { uplinks, gate: Arc::new(gate) }) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the drain starts, then finishes the open answers until its deadline. Dropped, it cuts its connections.
    pub(super) async fn run(self, mut drain: Drain) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = Tasks::new();
        let draining = loop {
            tokio::select! {
                draining = drain.started() => break draining,
                (stream, permit) = accept(&self.listener, &permits) => {
                    let (service, drain) = (Arc::clone(&self.service), drain.clone());
                    connections.spawn("local ONVIF connection", async move {
                        serve(stream, service, drain).await;
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

/// The next connection with its place. Cancel safe: a place that was taken without a connection is given back.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "the local ONVIF listener cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, service: Arc<Service>, mut drain: Drain) {
    let answer = service_fn(|request: http::Request<Incoming>| {
        let service = Arc::clone(&service);
        async move {
            let answered = timeout(ANSWER_TIMEOUT, service.answer(request.map(Body::new))).await;
            let slow = || text_response(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long; ask again");
            Ok::<_, Infallible>(answered.unwrap_or_else(|_| slow()))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), answer)
    );
    let deadline = tokio::select! {
        ended = connection.as_mut() => return log_end(ended),
        draining = drain.started() => draining.deadline,
        () = sleep(CONNECTION_AGE_MAX) => Instant::now() + CONNECTION_END_MAX,
    };
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout_at(deadline, connection).await {
        log_end(ended);
    }
}

fn log_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a local ONVIF connection ended early");
    }
}

struct Service {
    uplinks: Arc<Uplinks>,
    gate: Arc<LocalGate>,
}

impl Service {
    async fn answer(&self, mut request: Request) -> Response {
        let current = Arc::clone(&self.uplinks.current.borrow());
        let names: Vec<&str> = current.configuration.devices.iter().map(|device| device.device.name.as_str()).collect();
        let Some(device) = find(&mut request, &names) else {
            let sentence = match &names[..] {
                [] => "the configuration has no device yet",
                _ => "there is no such device here; ask /<device>/onvif/uplink_service",
            };
            return text_response(StatusCode::NOT_FOUND, sentence);
        };
        let (store, gate) = (self.uplinks.of(&device), Arc::clone(&self.gate));
        UplinkService::new(Arc::new(Nothing), store, gate).handle(request).await
    }
}

/// The device that a request is for; its name is taken off the path.
fn find(request: &mut Request, names: &[&str]) -> Option<String> {
    let target = request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let (first, rest) = target.get(1..)?.split_once('/').unwrap_or((target.get(1..)?, ""));
    if !names.contains(&first) {
        return match names {
            [only] => Some((*only).to_owned()),
            _ => None,
        };
    }
    let (name, path) = (first.to_owned(), PathAndQuery::try_from(format!("/{rest}")).ok()?);
    *request.uri_mut() = Uri::from(path);
    request.extensions_mut().insert(Target(target));
    Some(name)
}

/// What is beside the service.
struct Nothing;

impl Handler for Nothing {
    fn handle(&self, _request: Request) -> BoxFuture<'static, Response> {
        let sentence =
            "only the uplink configuration service is here, at /onvif/uplink_service; ask the device for all else";
        Box::pin(std::future::ready(text_response(StatusCode::NOT_FOUND, sentence)))
    }
}

/// The accounts of the document in force. Passwords are read anew each time, so that a changed file counts at once.
struct Configured(watch::Receiver<Arc<Current>>);

impl Accounts for Configured {
    fn find(&self, username: &str) -> Option<(UserLevel, Secret)> {
        let current = Arc::clone(&self.0.borrow());
        if current.configuration.accounts.is_empty() {
            tracing::warn!("somebody tried the local ONVIF listener, but the configuration has no `accounts`");
        }
        let account = current.configuration.accounts.iter().find(|account| account.username == username)?;
        let mut password = String::new();
        let read = std::fs::File::open(&account.password_file)
            .and_then(|file| file.take(PASSWORD_MAX).read_to_string(&mut password));
        if let Err(error) = read {
            tracing::warn!(user = username, file = %account.password_file.display(), %error, "a password cannot be read");
            return None;
        }
        let password = password.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            tracing::warn!(user = username, file = %account.password_file.display(), "a password is empty; nobody gets in by it");
            return None;
        }
        Some((account.level.clone(), Secret::new(password)))
    }
}
