//! Players of plain RTSP reach the cameras: `rtsp://gateway:8554/<device>/<path>`, TCP interleaved (RFC 2326 §10.12).
//!
//! Each player becomes one pair of RTSP over HTTP on the device's session, two streams (ONVIF Uplink, RTSP over HTTP): that
//! works with every device that streams through an uplink at all. The first request says which device; from then on the
//! connection belongs to it. UDP goes through no uplink: a SETUP for it is answered 461, and players ask again for TCP.
//!
//! - [`begin`]: whose camera, and whether it may; [`map`]: addresses outward to device and back.
//! - [`up`]: from the player, in base64 ([`quantum`]); [`down`]: from the device, video untouched.

pub mod begin;
pub mod down;
pub mod map;
pub mod quantum;
pub mod up;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version, header};
use http_body_util::{BodyExt, Limited};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use self::{
    begin::{Begin, Wanted, begin, response, status_of},
    down::Downward,
    up::Upward,
};
use super::{
    deliver::{self, Failed, NoAnswer, once},
    fields,
    first::TUNNELLED,
    front::Front,
    metrics::Kind,
    session::Session,
    tunnel::{self, Cut, End, READ_MAX, body_of},
};
use crate::{
    base::{
        drain::Drain,
        http::{Body, Response},
        rtsp::{Message, Splitter, Unit},
        tasks::Tasks,
    },
    transport::websocket::new_key,
};

/// Players at once; each costs a descriptor and two streams.
const CONNECTIONS_MAX: usize = 4096;
/// A player without a device must send its next request in this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests of a player before it has named a device that it may see: some ask without credentials first, each time anew.
const BEGINNINGS_MAX: usize = 8;
/// The device's answer to the GET; the sidecar's own deadlines are shorter.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of a refusal, bytes, and how long; its first line is shown to the player.
const REFUSAL_MAX: usize = 4 * 1024;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a refusal that go into the reason.
const REASON_MAX: usize = 200;
/// Answers of the gateway that wait for the end of a frame: a player asks one after the other.
const OWN_MAX: usize = 8;
/// After the player has closed its direction the device has this long for its last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener of plain RTSP.
pub struct RtspListener {
    front: Arc<Front>,
    connections: Arc<Semaphore>,
}

impl RtspListener {
    /// Nothing accepted yet.
    pub fn new(front: Arc<Front>) -> Arc<Self> {
        Arc::new(Self { front, connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)) })
    }

    /// Accepts until the drain starts, then lets players go on until its deadline. Cancel safe: dropping the future closes
    /// every connection.
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
                    let (front, drain) = (Arc::clone(&self.front), drain.clone());
                    tasks.spawn("player", async move {
                        conversation(front, stream, peer, drain).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a player's connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        drop(listener);
        let _ = tokio::time::timeout_at(draining.deadline, tasks.finished()).await;
        tasks.abort().await;
    }
}

/// A player's connection from its first byte to its last.
async fn conversation(front: Arc<Front>, stream: TcpStream, peer: SocketAddr, drain: Drain) {
    let _ = stream.set_nodelay(true);
    tunnel::watch(&stream);
    let (mut reader, mut writer) = stream.into_split();
    let mut splitter = Splitter::new();
    let beginning = beginning(&front, &mut reader, &mut writer, &mut splitter);
    let wanted = match until(drain, beginning).await {
        Some(Ok(Some(wanted))) => wanted,
        Some(Ok(None)) | None => return,
        Some(Err(error)) => {
            return tracing::debug!(%peer, %error, "a player's connection ended before it named a device");
        }
    };
    let device = wanted.device.clone();
    let opened = match open(&front, &wanted, peer).await {
        Ok(opened) => opened,
        Err(no) => {
            front.metrics.refused(Kind::Rtsp);
            tracing::debug!(%peer, device, "a player was refused: {}", no.sentence);
            let answer = response(&wanted.request, status_of(no.status), &no.sentence);
            let _ = timeout(REQUEST_TIMEOUT, say(&mut writer, &answer)).await;
            return;
        }
    };
    let open = front.metrics.opened(Kind::Rtsp);
    tracing::info!(%peer, device, "a player is connected");
    let end = play(&front, *wanted, opened, splitter, (reader, writer)).await;
    tracing::info!(%peer, device, ?end, "a player's connection ended");
    drop(open);
}

/// `None` when the drain started first: a player that has no device yet is nobody's loss.
async fn until<T>(mut drain: Drain, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = drain.started() => None,
    }
}

/// Answers requests until one is for a device. `None` when there is none in time.
async fn beginning(
    front: &Front,
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    splitter: &mut Splitter,
) -> io::Result<Option<Box<Wanted>>> {
    for _ in 0..BEGINNINGS_MAX {
        let request = match timeout(REQUEST_TIMEOUT, next_message(reader, splitter)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => return Ok(None),
            Ok(Err(error)) => return Err(error),
        };
        match begin(front, request) {
            Begin::Device(wanted) => return Ok(Some(wanted)),
            Begin::Answer(answer) => timeout(REQUEST_TIMEOUT, say(writer, &answer)).await??,
        }
    }
    Ok(None)
}

async fn next_message(reader: &mut OwnedReadHalf, splitter: &mut Splitter) -> io::Result<Option<Message>> {
    let mut piece = BytesMut::with_capacity(READ_MAX);
    loop {
        match splitter.next_unit().map_err(io::Error::other)? {
            Some(Unit::Message(message)) => return Ok(Some(message)),
            Some(Unit::Frame(_)) => return Err(io::Error::other("a frame came before a request")),
            None => {}
        }
        piece.clear();
        if reader.read_buf(&mut piece).await? == 0 {
            return Ok(None);
        }
        splitter.push(&piece);
    }
}

async fn say(writer: &mut OwnedWriteHalf, answer: &Message) -> io::Result<()> {
    writer.write_all(&answer.to_bytes()).await
}

/// The device has taken the GET.
struct Opened {
    session: Arc<Session>,
    post: http::Request<()>,
    answer: Body,
}

/// Opens the GET of a pair; once more by a newer session when the first never processed it.
async fn open(front: &Front, wanted: &Wanted, peer: SocketAddr) -> Result<Opened, NoAnswer> {
    // Letters and digits only: devices keep it as they please.
    let cookie: String = new_key().chars().filter(char::is_ascii_alphanumeric).collect();
    for _ in 0..2 {
        let session = deliver::session(&front.directory, &wanted.device, wanted.any_case)?;
        let get = head(Method::GET, wanted, &cookie, peer)?;
        let answer = timeout(ANSWER_TIMEOUT, once(&front.directory, &session, get, Body::empty())).await;
        match answer {
            Ok(Ok(response)) if response.status().is_success() => {
                let post = head(Method::POST, wanted, &cookie, peer)?;
                return Ok(Opened { session, post, answer: response.into_body() });
            }
            Ok(Ok(response)) => return Err(refusal(&wanted.device, response).await),
            Ok(Err(Failed::Final(no))) => return Err(no),
            Ok(Err(Failed::Again(_))) => {}
            Err(_) => {
                let sentence = format!("the device {} did not answer in {} s", wanted.device, ANSWER_TIMEOUT.as_secs());
                return Err(NoAnswer { status: StatusCode::GATEWAY_TIMEOUT, sentence });
            }
        }
    }
    let sentence = format!("the device {} is not connected now; try again soon", wanted.device);
    Err(NoAnswer { status: StatusCode::SERVICE_UNAVAILABLE, sentence })
}

/// The head of one half, as players of RTSP over HTTP write it.
fn head(method: Method, wanted: &Wanted, cookie: &str, peer: SocketAddr) -> Result<http::Request<()>, NoAnswer> {
    let marked = if method == Method::GET { header::ACCEPT } else { header::CONTENT_TYPE };
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(wanted.authority.as_str())
        .path_and_query(wanted.path.clone())
        .build();
    let head = uri.and_then(|uri| {
        http::Request::builder()
            .method(method)
            .version(Version::HTTP_2)
            .uri(uri)
            .header("x-sessioncookie", cookie)
            .header(marked, HeaderValue::from_static(TUNNELLED))
            .header(header::PRAGMA, HeaderValue::from_static("no-cache"))
            .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .body(())
    });
    let bad = |sentence: String| NoAnswer { status: StatusCode::BAD_REQUEST, sentence };
    let mut head = head.map_err(|error| bad(format!("the address is not valid: {error}")))?;
    if let Some(authority) = head.uri().authority().cloned() {
        fields::to_device(head.headers_mut(), peer, &authority, false);
    }
    Ok(head)
}

/// What the device said instead of a stream.
async fn refusal(device: &str, response: Response) -> NoAnswer {
    let status = response.status();
    let body = timeout(REFUSAL_TIMEOUT, Limited::new(response.into_body(), REFUSAL_MAX).collect()).await;
    let text = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // A page is nothing for a reason.
    let line = text.lines().next().unwrap_or_default().trim();
    let said: String = line.chars().take(if line.starts_with('<') { 0 } else { REASON_MAX }).collect();
    let sentence = match said.as_str() {
        "" => format!("the device {device} answered {status} to RTSP over HTTP"),
        said => said.to_owned(),
    };
    NoAnswer { status, sentence }
}

/// Opens the POST and carries both ways to their end.
async fn play(
    front: &Arc<Front>,
    wanted: Wanted,
    opened: Opened,
    splitter: Splitter,
    (reader, writer): (OwnedReadHalf, OwnedWriteHalf),
) -> End {
    let Opened { session, post, answer } = opened;
    let (own, answers) = mpsc::channel(OWN_MAX);
    let mut up = Upward::plain(Arc::clone(front), wanted.map.clone(), splitter, own);
    let first = match up.request(wanted.request) {
        Ok(Some(request)) => request.to_bytes(),
        Ok(None) => Bytes::new(),
        Err(_) => return End::Client,
    };
    let (end, ended) = oneshot::channel();
    let body = body_of(up.stream(first, Box::new(reader)), end);
    let mut posting = pin!(once(&front.directory, &session, post, body));
    let mut showing = pin!(show(answer, Downward::new(Some(wanted.map)), writer, answers));
    let mut left = pin!(async {
        let _ = ended.await;
        sleep(LAST_WORDS).await;
    });
    // Kept to the end: dropping an answer gives the POST up.
    let mut answered = None;
    loop {
        tokio::select! {
            end = &mut showing => return end,
            () = &mut left => return End::Client,
            post = &mut posting, if answered.is_none() => match post {
                // Some answer it at once and take what comes all the same.
                Ok(response) if response.status().is_success() => answered = Some(response),
                refused => {
                    let said = match refused {
                        Ok(response) => refusal(&wanted.device, response).await.sentence,
                        Err(Failed::Final(no)) => no.sentence,
                        Err(Failed::Again(_)) => "its session takes no more requests".to_owned(),
                    };
                    tracing::info!(device = wanted.device, "the device refused the POST of a player: {said}");
                    return End::Device;
                }
            },
        }
    }
}

/// Writes what the device sends, and answers of the gateway between that.
pub async fn show<W: Cut>(
    mut answer: Body,
    mut down: Downward,
    mut writer: W,
    mut answers: mpsc::Receiver<Bytes>,
) -> End {
    let (mut out, mut asking) = (Vec::new(), true);
    loop {
        tokio::select! {
            frame = answer.frame() => match frame {
                None => return if writer.shutdown().await.is_ok() { End::Closed } else { End::Client },
                Some(Err(_)) => {
                    writer.cut();
                    return End::Device;
                }
                Some(Ok(frame)) => if let Ok(data) = frame.into_data()
                    && let Err(error) = down.push(data, &mut out)
                {
                    tracing::warn!(%error, "what a device sends to a player is not RTSP");
                    writer.cut();
                    return End::Device;
                }
            },
            own = answers.recv(), if asking => match own {
                Some(own) => {
                    down.put(own);
                    down.due(&mut out);
                }
                None => asking = false,
            },
        }
        for piece in out.drain(..) {
            if writer.write_all(&piece).await.is_err() {
                return End::Client;
            }
        }
    }
}
