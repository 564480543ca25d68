//! A conversation wrapped in HTTP (Apple's "Tunnelling RTSP and RTP through HTTP"; ONVIF Streaming): a GET whose answer never
//! ends carries what the camera says, POSTs that are never answered carry, in base64, what the player says.
//!
//! The two are joined by the player's `x-sessioncookie`. A player may end its POST and begin another; one at a time is heard,
//! so that requests never mix. The announced length of a POST is not believed: players write any number there.

use std::{io, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{
    connection::converse,
    conversation::{SERVER, is_camera},
    joined::Tunnels,
    station::Station,
};
use crate::base::{drain::Drain, rtsp};

/// The media type of both halves, to the letter: players compare it so.
const TUNNELLED: &str = "application/x-rtsp-tunnelled";
/// How long the head of a request may take, and how long a POST waits for its GET, or for the POST before it to end.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest cookie; players make them of some ten characters.
const COOKIE_MAX: usize = 128;
/// Most fields of a head.
const FIELDS_MAX: usize = 64;
/// Bytes of base64 read at once.
const READ_ROOM: usize = 4 * 1024;
/// What a head says.
struct Head {
    get: bool,
    cookie: String,
}

/// A refusal: status line, sentence.
struct Refusal(&'static str, &'static str);

/// Serves one half of a wrapped conversation; `early` was read already. Aborting it closes the connection, and with a GET
/// the conversation.
///
/// # Errors
/// The connection broke or ended too early.
pub async fn serve<S>(mut stream: S, early: Bytes, station: Arc<Station>, drain: Drain) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut came = BytesMut::from(early);
    let read = timeout(DEADLINE, read_head(&mut stream, &mut came)).await;
    let late = Err(Refusal("408 Request Timeout", "The head did not arrive within 10 s."));
    let head = match read.unwrap_or(Ok(late))? {
        Ok(head) => head,
        Err(refusal) => return refuse(&mut stream, refusal).await,
    };
    let Some(tunnels) = station.tunnels.clone() else {
        return refuse(&mut stream, Refusal("404 Not Found", "RTSP is not wrapped in HTTP at this port.")).await;
    };
    if !head.get {
        return serve_post(stream, came.freeze(), &tunnels, &head.cookie, drain).await;
    }
    let Some((open, posted)) = tunnels.open(&head.cookie) else {
        return refuse(&mut stream, Refusal("409 Conflict", "There is a conversation with this x-sessioncookie."))
            .await;
    };
    let head = format!(
        "HTTP/1.0 200 OK\r\nServer: {SERVER}\r\nConnection: close\r\nCache-Control: no-store\r\nPragma: no-cache\r\n\
         Content-Type: {TUNNELLED}\r\n\r\n"
    );
    timeout(DEADLINE, stream.write_all(head.as_bytes())).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let ended = converse(stream, Bytes::new(), Some(posted), station, drain).await;
    drop(open);
    ended
}

/// Hands what a POST carries to its conversation until either of them ends.
async fn serve_post<S>(
    mut stream: S,
    early: Bytes,
    tunnels: &Arc<Tunnels>,
    cookie: &str,
    mut drain: Drain,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let taken = tokio::select! {
        taken = timeout(DEADLINE, tunnels.take(cookie)) => taken,
        _ = drain.started() => return Ok(()),
    };
    let Ok(lease) = taken else {
        return refuse(&mut stream, Refusal("408 Request Timeout", "No GET with this x-sessioncookie wants it.")).await;
    };
    let mut decoder = Decoder::default();
    let mut came = BytesMut::from(early);
    loop {
        match decoder.decode(&came) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => {
                if lease.sender.send(Ok(bytes)).await.is_err() {
                    return Ok(());
                }
            }
            Err(sentence) => {
                // What was lost may have been half a request: the conversation cannot go on.
                let _ = lease.sender.send(Err(io::Error::new(io::ErrorKind::InvalidData, sentence))).await;
                return refuse(&mut stream, Refusal("400 Bad Request", sentence)).await;
            }
        }
        came.clear();
        came.reserve(READ_ROOM);
        tokio::select! {
            read = stream.read_buf(&mut came) => if read? == 0 {
                return Ok(());
            },
            () = lease.sender.closed() => return Ok(()),
            _ = drain.started() => return Ok(()),
        }
    }
}

/// Reads until the head is complete and leaves in `came` what follows it. Not cancel safe.
async fn read_head(stream: &mut (impl AsyncRead + Unpin), came: &mut BytesMut) -> io::Result<Result<Head, Refusal>> {
    loop {
        match parse_head(came) {
            Ok(Some((head, length))) => {
                let _ = came.split_to(length);
                return Ok(Ok(head));
            }
            Ok(None) if came.len() < rtsp::HEAD_MAX => {}
            Ok(None) => {
                return Ok(Err(Refusal("431 Request Header Fields Too Large", "The head is longer than 16 KiB.")));
            }
            Err(refusal) => return Ok(Err(refusal)),
        }
        came.reserve(READ_ROOM);
        if stream.read_buf(came).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Refusal("400 Bad Request", "This is no HTTP request.")),
    };
    let field = |name: &str| {
        let field = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok()).map(str::trim)
    };
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    if !is_camera(path.trim_end_matches('/')) {
        return Err(Refusal("404 Not Found", "This camera shows its picture at /stream."));
    }
    let get = request.method == Some("GET");
    let kind = field(if get { "Accept" } else { "Content-Type" }).unwrap_or_default();
    if !kind.split(',').any(|kind| kind.trim().eq_ignore_ascii_case(TUNNELLED)) {
        return Err(Refusal("400 Bad Request", "This port speaks RTSP, also wrapped as application/x-rtsp-tunnelled."));
    }
    match field("x-sessioncookie").unwrap_or_default() {
        "" => Err(Refusal("400 Bad Request", "The x-sessioncookie is missing.")),
        cookie if cookie.len() > COOKIE_MAX => Err(Refusal("400 Bad Request", "The x-sessioncookie is too long.")),
        cookie => Ok(Some((Head { get, cookie: cookie.to_owned() }, length))),
    }
}

async fn refuse(stream: &mut (impl AsyncWrite + Unpin), Refusal(status, sentence): Refusal) -> io::Result<()> {
    let length = sentence.len() + 1;
    let answer = format!(
        "HTTP/1.0 {status}\r\nServer: {SERVER}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n\r\n{sentence}\n"
    );
    let send = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    timeout(DEADLINE, send).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Base64 in pieces (RFC 4648 §4). Players encode each request for itself, so padding may stand anywhere between two groups
/// of four; line ends are passed over.
#[derive(Debug, Default)]
struct Decoder {
    /// Less than a group of four.
    rest: Vec<u8>,
}

impl Decoder {
    fn decode(&mut self, text: &[u8]) -> Result<Bytes, &'static str> {
        let mut symbols = std::mem::take(&mut self.rest);
        symbols.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        self.rest = symbols.split_off(symbols.len() / 4 * 4);
        let mut decoded = Vec::with_capacity(symbols.len() / 4 * 3);
        // Each padded group ends what one request was encoded to.
        for part in symbols.chunks(4).collect::<Vec<_>>().split_inclusive(|group| group[3] == b'=') {
            STANDARD.decode_vec(part.concat(), &mut decoded).map_err(|_| "The body is not base64.")?;
        }
        Ok(decoded.into())
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
