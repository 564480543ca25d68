//! The front: ordinary HTTP/1.1 and HTTP/2 clients reach the devices (no TLS; a proxy before it may add that).
//!
//! CONNECT and WebSocket are answered 501: they need RFC 8441, which this form of the gateway does not speak. Any other upgrade
//! that a client offers is passed over and the request served as it is (RFC 9110 §7.8). 1xx answers of a device other than 100
//! end here, because hyper's server cannot send them.

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
};

use super::{
    auth::FrontAccess,
    directory::{Directory, Lookup},
    exchange::{ExchangeError, Retry, broken_sentence, exchange},
    fields,
    metrics::Metrics,
    page,
    route::{self, Target},
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
/// What a client is told to wait for an offline device: devices come back within 30 s (ONVIF Uplink §5.2).
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every client connection needs.
pub struct Front {
    /// Who may use it.
    pub access: FrontAccess,
    /// Domains under which devices have host names.
    pub suffixes: Vec<String>,
    /// The one that the list of devices links to; without it the links are paths.
    pub domain: Option<String>,
    /// The devices.
    pub directory: Arc<Directory>,
    /// Counters.
    pub metrics: Metrics,
    connections: Arc<Semaphore>,
}

#[derive(Clone, Default)]
struct ConnectionTasks(Arc<Owned>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionTasks {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl Front {
    /// Nothing accepted yet.
    pub fn new(
        access: FrontAccess,
        suffixes: Vec<String>,
        domain: Option<String>,
        directory: Arc<Directory>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Arc::new(Self { access, suffixes, domain, directory, metrics, connections })
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
                    let (front, drain) = (Arc::clone(&self), drain.clone());
                    tasks.spawn("client", async move {
                        front.connection(stream, peer, drain).await;
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

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, mut drain: Drain) {
        let _ = stream.set_nodelay(true);
        let used = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&used);
        let service = service_fn(move |request| {
            noted.store(true, Relaxed);
            let front = Arc::clone(&self);
            async move { Ok::<_, Infallible>(front.answer(request, peer).await) }
        });
        let builder = builder();
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut unused = std::pin::pin!(tokio::time::sleep(HEAD_TIMEOUT));
        let (mut watching, mut draining) = (true, false);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a client's connection ended");
                    }
                    return;
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
    }

    async fn answer(&self, request: http::Request<Incoming>, peer: SocketAddr) -> Response {
        let response = self.route(request, peer).await;
        self.metrics.answered(response.status());
        response
    }

    async fn route(&self, request: http::Request<Incoming>, peer: SocketAddr) -> Response {
        let (parts, body) = request.into_parts();
        let bad = |sentence| text_response(StatusCode::BAD_REQUEST, sentence);
        let authority = match route::authority(&parts.uri, &parts.headers) {
            Ok(authority) => authority,
            Err(sentence) => return bad(sentence),
        };
        if let Err(answer) = self.access.check(&parts.method, &authority, &parts.headers, &self.suffixes) {
            return answer;
        }
        if parts.method == Method::CONNECT || fields::asks_for_websocket(&parts.headers) {
            return text_response(
                StatusCode::NOT_IMPLEMENTED,
                "this gateway carries no WebSocket and no CONNECT yet; use plain HTTP requests",
            );
        }
        match route::target(&authority, &parts.uri, &self.suffixes) {
            Err(sentence) => bad(sentence),
            Ok(Target::Root) => redirect(StatusCode::FOUND, "/devices"),
            Ok(Target::AddSlash(to)) => redirect(StatusCode::PERMANENT_REDIRECT, &to),
            Ok(Target::Devices) if !matches!(parts.method, Method::GET | Method::HEAD) => {
                text_response(StatusCode::METHOD_NOT_ALLOWED, "the list of devices can only be read")
            }
            Ok(Target::Devices) => {
                let links = page::Links { domain: self.domain.as_deref(), port: authority.port_u16() };
                page::devices(&parts.headers, &self.directory, &links)
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
                fields::to_device(head.headers_mut(), peer, &authority, self.access.uses_authorization());
                let mut response = match self.forward(&device, prefix.is_none(), head, incoming(body)).await {
                    Ok(response) => response,
                    Err(none) => none.response(html),
                };
                fields::to_client(response.headers_mut(), prefix.as_deref(), &authority);
                response
            }
        }
    }

    /// Sends the request by the device's session; once more by a newer one when the first never processed it.
    async fn forward(
        &self,
        device: &str,
        any_case: bool,
        head: http::Request<()>,
        body: Body,
    ) -> Result<Response, NoAnswer> {
        let mut next = Retry { head, body };
        for last in [false, true] {
            let session = match self.directory.find(device, any_case) {
                Lookup::Online(session) => session,
                Lookup::Offline => return Err(NoAnswer::offline(device)),
                Lookup::Unknown => {
                    let sentence = format!("no device {device:?} has connected to this gateway");
                    return Err(NoAnswer { status: StatusCode::NOT_FOUND, sentence });
                }
            };
            let core = Arc::clone(session.core());
            match exchange(&session, next.head, next.body).await {
                Ok(response) => return Ok(response),
                Err(ExchangeError::NotProcessed(retry)) if !last => {
                    // It said GOAWAY or is gone: nobody shall ask it again.
                    self.directory.retire(&core);
                    next = retry;
                }
                Err(ExchangeError::NotProcessed(_)) => break,
                Err(ExchangeError::NoSlot) => {
                    let sentence = format!("the device {device} has as many streams open as it allows");
                    return Err(NoAnswer { status: StatusCode::SERVICE_UNAVAILABLE, sentence });
                }
                Err(ExchangeError::Broken(error)) => {
                    return Err(NoAnswer { status: StatusCode::BAD_GATEWAY, sentence: broken_sentence(&core, &error) });
                }
            }
        }
        Err(NoAnswer::offline(device))
    }
}

/// Why the gateway answers for the device.
struct NoAnswer {
    status: StatusCode,
    sentence: String,
}

impl NoAnswer {
    fn offline(device: &str) -> Self {
        let sentence = format!("the device {device} is not connected now; try again soon");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence }
    }

    /// A page for a browser, plain text for all else.
    fn response(&self, html: bool) -> Response {
        let mut response =
            if html { page::sentence(self.status, &self.sentence) } else { text_response(self.status, &self.sentence) };
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if self.status != StatusCode::NOT_FOUND {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
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
