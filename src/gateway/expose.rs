//! The front: ordinary HTTP/1.1 and HTTP/2 clients reach the devices (no TLS; a proxy before it may add that).
//!
//! WebSockets and CONNECT go to [`super::switch`], the halves of RTSP over HTTP to [`super::halves`]. Any other upgrade that a
//! client offers is passed over and the request served as it is (RFC 9110 §7.8). 1xx answers of a device other than 100 end
//! here, because hyper's server cannot send them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, Uri, Version, header};
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::{
    deliver::deliver,
    fields,
    first::{First, Rewound, look},
    front::Front,
    halves, page,
    route::{self, Target},
    switch::{self, Asked},
};
use crate::base::{
    drain::Drain,
    http::{Body, BodyError, Response, text_response},
    owned::Owned,
    tasks::Tasks,
};

/// Clients at once; each costs a descriptor and some kilobytes.
const CONNECTIONS_MAX: usize = 4096;
/// A request head must be complete in this time; also how long a connection may stay unused.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Read buffer of HTTP/1.1 and so the bound of a request head.
const HEAD_MAX: usize = 128 * 1024;
/// Header list of HTTP/2.
const HEADER_LIST_MAX: u32 = 64 * 1024;
/// Streams of one HTTP/2 client.
const STREAMS_MAX: u32 = 256;
/// Upload windows: what may wait here for a slow device.
const STREAM_WINDOW: u32 = 512 * 1024;
/// Of all streams together, so that uploads which a device does not read never stop another one of the same connection.
const CONNECTION_WINDOW: u32 = STREAMS_MAX * STREAM_WINDOW;
/// HTTP/2 clients that are gone are noticed by PING.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The clients' side of a gateway, on one address.
pub struct Listener {
    front: Arc<Front>,
    connections: Arc<Semaphore>,
}

#[derive(Clone, Default)]
struct ConnectionTasks(Arc<Owned>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionTasks {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl Listener {
    /// Nothing accepted yet.
    pub fn new(front: Arc<Front>) -> Arc<Self> {
        Arc::new(Self { front, connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)) })
    }

    /// Accepts until the drain starts, then lets requests finish until its deadline. Cancel safe: dropping the future
    /// closes every connection.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut drain: Drain) {
        let mut tasks = Tasks::new();
        let connections = Arc::clone(&self.connections);
        let draining = loop {
            let accepted = tokio::select! {
                draining = drain.started() => break draining,
                () = std::future::poll_fn(|cx| tasks.poll_reap(cx)), if !tasks.is_empty() => continue,
                accepted = async {
                    let place = Arc::clone(&connections).acquire_owned().await;
                    listener.accept().await.map(|accepted| (accepted, place))
                } => accepted,
            };
            match accepted {
                Ok(((stream, peer), place)) => {
                    let (listener, drain) = (Arc::clone(&self), drain.clone());
                    tasks.spawn("client", async move {
                        listener.connection(stream, peer, drain).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a client's connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        drop(listener);
        let _ = tokio::time::timeout_at(draining.deadline, tasks.finished()).await;
        tasks.abort().await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, drain: Drain) {
        let _ = stream.set_nodelay(true);
        let mut stop = drain.clone();
        let looking = look(stream, async move {
            stop.started().await;
        });
        match timeout(HEAD_TIMEOUT, looking).await {
            Ok(Ok(First::Ordinary(stream))) => self.requests(stream, peer, drain).await,
            Ok(Ok(First::Tunnelled(half))) => halves::serve(&self.front, *half, peer).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a client's connection ended before its first request"),
            Err(_) => tracing::debug!(%peer, "a client sent no complete request head in time"),
        }
    }

    /// Serves the requests of a connection, then waits for the tunnels that they became.
    async fn requests(self: Arc<Self>, stream: Rewound, peer: SocketAddr, mut drain: Drain) {
        let tunnels = Arc::new(Owned::default());
        let used = Arc::new(AtomicBool::new(false));
        let (noted, owner) = (Arc::clone(&used), Arc::clone(&tunnels));
        let service = service_fn(move |request| {
            noted.store(true, Relaxed);
            let (listener, tunnels) = (Arc::clone(&self), Arc::clone(&owner));
            async move { Ok::<_, Infallible>(listener.answer(request, peer, &tunnels).await) }
        });
        let builder = builder();
        let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut unused = std::pin::pin!(tokio::time::sleep(HEAD_TIMEOUT));
        let (mut watching, mut draining) = (true, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a client's connection ended");
                    }
                    break;
                }
                () = &mut unused, if watching => {
                    watching = false;
                    if !used.load(Relaxed) {
                        return;
                    }
                }
                _ = drain.started(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
        tunnels.finished().await;
    }

    async fn answer(&self, request: http::Request<Incoming>, peer: SocketAddr, tunnels: &Arc<Owned>) -> Response {
        let response = self.route(request, peer, tunnels).await;
        self.front.metrics.answered(response.status());
        response
    }

    async fn route(&self, request: http::Request<Incoming>, peer: SocketAddr, tunnels: &Arc<Owned>) -> Response {
        let (parts, body) = request.into_parts();
        let bad = |sentence| text_response(StatusCode::BAD_REQUEST, sentence);
        let authority = match route::authority(&parts.uri, &parts.headers) {
            Ok(authority) => authority,
            Err(sentence) => return bad(sentence),
        };
        // A plain CONNECT has a device where others have their host.
        let plain = parts.method == Method::CONNECT && parts.extensions.get::<hyper::ext::Protocol>().is_none();
        let host = (!plain).then_some(&authority);
        if let Err(answer) = self.front.access.check(&parts.method, host, &parts.headers, &self.front.suffixes) {
            return answer;
        }
        if switch::is_wanted(&parts) {
            return switch::switch(&self.front, Asked { parts, authority: &authority, peer, tunnels }).await;
        }
        match route::target(&authority, &parts.uri, &self.front.suffixes) {
            Err(sentence) => bad(sentence),
            Ok(Target::Root) => redirect(StatusCode::FOUND, "/devices"),
            Ok(Target::AddSlash(to)) => redirect(StatusCode::PERMANENT_REDIRECT, &to),
            Ok(Target::Devices) if !matches!(parts.method, Method::GET | Method::HEAD) => {
                text_response(StatusCode::METHOD_NOT_ALLOWED, "the list of devices can only be read")
            }
            Ok(Target::Devices) => {
                let links = page::Links {
                    domain: self.front.domain.as_deref(),
                    port: authority.port_u16(),
                    rtsp: self.front.rtsp.map(|port| (authority.host(), port)),
                };
                page::devices(&parts.headers, &self.front.directory, &links)
            }
            Ok(Target::Device { device, path, prefix }) => {
                let Ok(uri) = Uri::builder().scheme("http").authority(authority.clone()).path_and_query(path).build()
                else {
                    return bad("the request target is not valid");
                };
                let html = page::is_wanted(&parts.headers);
                let mut head = http::Request::new(());
                *head.method_mut() = parts.method;
                *head.uri_mut() = uri;
                *head.version_mut() = Version::HTTP_2;
                *head.headers_mut() = parts.headers;
                fields::to_device(head.headers_mut(), peer, &authority, self.front.access.uses_authorization());
                fields::name(head.headers_mut(), &device, prefix.as_deref(), &authority, self.front.rtsp);
                let mut response =
                    match deliver(&self.front.directory, &device, prefix.is_none(), head, incoming(body)).await {
                        Ok(response) => response,
                        Err(none) => none.response(html),
                    };
                fields::to_client(response.headers_mut(), prefix.as_deref(), &authority);
                response
            }
        }
    }
}

fn builder() -> auto::Builder<ConnectionTasks> {
    let mut builder = auto::Builder::new(ConnectionTasks::default());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .enable_connect_protocol()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// The client's body. When it breaks the client has gone away, which the device is told as CANCEL.
fn incoming(body: Incoming) -> Body {
    use http_body_util::BodyExt;
    if hyper::body::Body::is_end_stream(&body) {
        return Body::empty();
    }
    Body::new(body.map_err(|_| BodyError::Reset(h2::Reason::CANCEL)))
}

fn redirect(status: StatusCode, to: &str) -> Response {
    let mut response = text_response(status, to);
    if let Ok(to) = HeaderValue::try_from(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}
