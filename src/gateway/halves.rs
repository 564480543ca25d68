//! RTSP over HTTP of an ordinary player at the front: a GET that is answered without an end and a POST that has none, on two
//! connections, become two streams of one session (ONVIF Uplink, RTSP over HTTP; Apple's note on tunnelling).
//!
//! The text on the wire is that of the servers which players were made for: an answer of HTTP/1.0 without length or chunks.
//! The announced length of the POST is not obeyed and goes no further, because HTTP/2 would obey it.
//!
//! With the path form the addresses in the RTSP within have a segment too many, so both ways are mapped as for players
//! of plain RTSP ([`super::rtsp`]); with the host form every byte passes as it is.

use std::{io::Cursor, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, uri::Authority};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::io::ReaderStream;

use super::{
    deliver::{Failed, NoAnswer, once},
    fields,
    first::{Half, Head},
    front::Front,
    metrics::Kind,
    pairs::Held,
    route::{self, Target},
    rtsp::{
        ANSWER_TIMEOUT,
        down::Downward,
        map::{Mapping, without_token},
        show,
        up::Upward,
    },
    tunnel::{self, Cut, End, READ_MAX, Reader, body_of},
};
use crate::base::http::{Body, Response, text_response};

/// A player must take an answer in this time.
const TELL_TIMEOUT: Duration = Duration::from_secs(30);
/// After a player has closed its POST the device has this long to answer it.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// Set by servers for players that come back to another address; the device's own is of no use outside.
const SERVER_ADDRESS: HeaderName = HeaderName::from_static("x-server-ip-address");

/// A half that passed the rules of the front.
struct Allowed {
    device: String,
    any_case: bool,
    head: http::Request<()>,
    /// With the path form.
    map: Option<Mapping>,
    cookie: String,
    /// The player waits for a 100 before it sends.
    expects: bool,
}

/// Serves one half from its head to its end. Cancel safe: dropping the future closes the connection and resets the stream.
pub async fn serve(front: &Arc<Front>, half: Half, peer: SocketAddr) {
    let local = half.stream.local_addr().ok();
    tunnel::watch(&half.stream);
    let Half { head: Head { method, uri, headers, cookie, .. }, early, stream } = half;
    let (reader, mut writer) = stream.into_split();
    let expects = headers.contains_key(header::EXPECT);
    let allowed = match allow(front, &method, &uri, headers, local, peer) {
        Ok((device, prefix, head, authority)) => {
            let map = prefix.as_deref().map(|prefix| Mapping::new("rtsp", authority.as_str(), prefix));
            Allowed { device, any_case: prefix.is_none(), head, map, cookie, expects }
        }
        Err(answer) => {
            front.metrics.answered(answer.status());
            front.metrics.refused(Kind::RtspHttp);
            let _ = timeout(TELL_TIMEOUT, tell(&mut writer, answer)).await;
            return;
        }
    };
    let device = allowed.device.clone();
    let end = match method {
        Method::GET => get(front, allowed, reader, writer).await,
        _ => post(front, allowed, early, reader, writer).await,
    };
    tracing::debug!(%peer, device, %method, ?end, "one half of RTSP over HTTP ended");
}

type Way = (String, Option<String>, http::Request<()>, Authority);

/// The rules of the front and the way to the device.
// The answer is made once and goes to the client as it is.
#[allow(clippy::result_large_err)]
fn allow(
    front: &Front,
    method: &Method,
    uri: &Uri,
    headers: HeaderMap,
    local: Option<SocketAddr>,
    peer: SocketAddr,
) -> Result<Way, Response> {
    let bad = |sentence| text_response(StatusCode::BAD_REQUEST, sentence);
    // Some players name no host. Browsers always do, and theirs are the pages that the rules keep out.
    let here = || Authority::try_from(local?.to_string()).ok();
    let authority = match headers.contains_key(header::HOST) || uri.authority().is_some() {
        true => route::authority(uri, &headers).map_err(bad)?,
        false => here().ok_or_else(|| bad("the request has no Host field"))?,
    };
    let mut uri = uri.clone();
    let mut shown = false;
    if front.access.uses_authorization()
        && let (cleaned, Some(token)) = without_token(&uri.to_string())
    {
        shown = front.access.is_token(token.expose());
        uri = cleaned.parse().map_err(|_| bad("the request target is not valid"))?;
    }
    if !shown {
        front.access.check(method, Some(&authority), &headers, &front.suffixes)?;
    }
    let Target::Device { device, path, prefix } = route::target(&authority, &uri, &front.suffixes).map_err(bad)? else {
        return Err(text_response(StatusCode::NOT_FOUND, "RTSP over HTTP leads to a device: write /DEVICE/PATH"));
    };
    let uri = Uri::builder().scheme("http").authority(authority.clone()).path_and_query(path).build();
    let mut head = http::Request::new(());
    *head.method_mut() = method.clone();
    *head.uri_mut() = uri.map_err(|_| bad("the request target is not valid"))?;
    *head.version_mut() = Version::HTTP_2;
    *head.headers_mut() = headers;
    let is_ours = front.access.uses_authorization();
    fields::to_device(head.headers_mut(), peer, &authority, is_ours);
    for name in [header::CONTENT_LENGTH, header::EXPECT] {
        head.headers_mut().remove(name);
    }
    Ok((device, prefix, head, authority))
}

/// The way to the player.
async fn get(front: &Front, allowed: Allowed, mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf) -> End {
    let opened = tokio::select! {
        opened = open(front, &allowed) => opened,
        () = gone(&mut reader) => return End::Client,
    };
    let (held, response) = match opened {
        Ok(opened) => opened,
        Err(no) => {
            front.metrics.answered(no.status);
            front.metrics.refused(Kind::RtspHttp);
            let _ = timeout(TELL_TIMEOUT, tell(&mut writer, no.response(false))).await;
            return End::Device;
        }
    };
    front.metrics.answered(response.status());
    if !response.status().is_success() {
        front.metrics.refused(Kind::RtspHttp);
        let _ = timeout(TELL_TIMEOUT, tell(&mut writer, response)).await;
        return End::Device;
    }
    let open = front.metrics.opened(Kind::RtspHttp);
    let (mut parts, answer) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if writer.write_all(head_text(parts.status, parts.headers).as_bytes()).await.is_err() {
        return End::Client;
    }
    let end = tokio::select! {
        end = async {
            match allowed.map {
                Some(map) => show(answer, Downward::new(Some(map)), writer, mpsc::channel(1).1).await,
                None => pass(answer, writer).await,
            }
        } => end,
        () = gone(&mut reader) => End::Client,
    };
    drop((open, held));
    end
}

/// Sends the GET by the session of the pair; once more by a newer one when the first never processed it.
async fn open(front: &Front, allowed: &Allowed) -> Result<(Held, Response), NoAnswer> {
    for _ in 0..2 {
        let held = front.pairs.hold(&front.directory, &allowed.device, allowed.any_case, &allowed.cookie)?;
        match timeout(ANSWER_TIMEOUT, once(&front.directory, &held.session, copy(&allowed.head), Body::empty())).await {
            Ok(Ok(response)) => return Ok((held, response)),
            Ok(Err(Failed::Final(no))) => return Err(no),
            Ok(Err(Failed::Again(_))) => {}
            Err(_) => {
                let sentence =
                    format!("the device {} did not answer in {} s", allowed.device, ANSWER_TIMEOUT.as_secs());
                return Err(NoAnswer { status: StatusCode::GATEWAY_TIMEOUT, sentence });
            }
        }
    }
    let sentence = format!("the device {} is not connected now; try again soon", allowed.device);
    Err(NoAnswer { status: StatusCode::SERVICE_UNAVAILABLE, sentence })
}

fn copy(head: &http::Request<()>) -> http::Request<()> {
    let mut copy = http::Request::new(());
    *copy.method_mut() = head.method().clone();
    *copy.uri_mut() = head.uri().clone();
    *copy.version_mut() = head.version();
    *copy.headers_mut() = head.headers().clone();
    copy
}

/// Resolves when the player has closed; what it sends behind its GET has no meaning.
async fn gone(reader: &mut OwnedReadHalf) {
    let mut scratch = [0; 256];
    while matches!(reader.read(&mut scratch).await, Ok(read) if read > 0) {}
}

async fn pass<W: Cut>(mut answer: Body, mut writer: W) -> End {
    while let Some(frame) = answer.frame().await {
        let Ok(frame) = frame else {
            writer.cut();
            return End::Device;
        };
        if let Ok(data) = frame.into_data()
            && writer.write_all(&data).await.is_err()
        {
            return End::Client;
        }
    }
    if writer.shutdown().await.is_ok() { End::Closed } else { End::Client }
}

/// The way to the device.
async fn post(
    front: &Arc<Front>,
    allowed: Allowed,
    early: Bytes,
    reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
) -> End {
    let Allowed { device, any_case, head, map, cookie, expects } = allowed;
    let held = match front.pairs.hold(&front.directory, &device, any_case, &cookie) {
        Ok(held) => held,
        Err(no) => {
            front.metrics.answered(no.status);
            let _ = timeout(TELL_TIMEOUT, tell(&mut writer, no.response(false))).await;
            return End::Device;
        }
    };
    // RFC 9110 §10.1.1; the device's own opinion comes with its answer.
    if expects && writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err() {
        return End::Client;
    }
    let reader: Reader = Box::new(Cursor::new(early).chain(reader));
    let (end, ended) = oneshot::channel();
    let body = match map {
        Some(map) => body_of(Upward::encoded(Arc::clone(front), map).stream(Bytes::new(), reader), end),
        None => body_of(ReaderStream::with_capacity(reader, READ_MAX).boxed(), end),
    };
    let left = async {
        let _ = ended.await;
        sleep(LAST_WORDS).await;
    };
    let answer = tokio::select! {
        answer = once(&front.directory, &held.session, head, body) => answer,
        () = left => return End::Client,
    };
    let answer = match answer {
        Ok(response) => response,
        Err(Failed::Final(no)) => no.response(false),
        Err(Failed::Again(_)) => text_response(StatusCode::SERVICE_UNAVAILABLE, "the session of this pair is gone"),
    };
    front.metrics.answered(answer.status());
    match timeout(TELL_TIMEOUT, tell(&mut writer, answer)).await {
        Ok(Ok(())) => End::Closed,
        _ => End::Client,
    }
}

/// Writes a whole answer and closes.
async fn tell<W: AsyncWrite + Unpin>(writer: &mut W, response: Response) -> std::io::Result<()> {
    let (parts, mut body) = response.into_parts();
    writer.write_all(head_text(parts.status, parts.headers).as_bytes()).await?;
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            writer.write_all(&data).await?;
        }
    }
    writer.shutdown().await
}

/// A head as servers of RTSP over HTTP write it.
fn head_text(status: StatusCode, mut headers: HeaderMap) -> String {
    fields::drop_one_hop(&mut headers);
    headers.remove(header::TE);
    headers.remove(SERVER_ADDRESS);
    if let header::Entry::Vacant(entry) = headers.entry(header::CACHE_CONTROL) {
        entry.insert(HeaderValue::from_static("no-store"));
    }
    let mut text = format!("HTTP/1.0 {status}\r\nConnection: close\r\n");
    for (name, value) in &headers {
        // What is not text has no business here.
        if let Ok(value) = value.to_str() {
            let name = name.as_str().split('-').map(capital).collect::<Vec<_>>().join("-");
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("\r\n");
    text
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_that_of_the_servers_which_players_were_made_for() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-rtsp-tunnelled"));
        headers.insert(SERVER_ADDRESS, HeaderValue::from_static("192.168.0.9"));
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        assert_eq!(
            head_text(StatusCode::OK, headers),
            "HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: application/x-rtsp-tunnelled\r\nCache-Control: no-store\r\n\r\n"
        );
    }
}
