//! The first request head of a client's connection: is it one half of RTSP over HTTP, or an ordinary request?
//!
//! The two halves (ONVIF Streaming, RTSP over HTTP; Apple's note on tunnelling) do not keep to HTTP: the answer to the GET has
//! neither length nor chunks, the POST announces a length that nobody obeys and is often never answered. hyper would mend
//! both, so such a connection is taken out before it sees it. Everything else goes on to hyper with the bytes that were read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A longer head is no player's; hyper has its own bound.
const HEAD_MAX: usize = 16 * 1024;
/// What a head usually takes.
const HEAD_USUAL: usize = 1024;
/// Players send about ten fields.
const FIELDS_MAX: usize = 64;
/// Players take some 20 characters.
const COOKIE_MAX: usize = 256;
/// What marks RTSP over HTTP.
pub const TUNNELLED: &str = "application/x-rtsp-tunnelled";

/// What a connection begins with.
#[derive(Debug)]
pub enum First {
    /// For hyper.
    Ordinary(Rewound),
    /// One half of RTSP over HTTP.
    Tunnelled(Box<Half>),
}

/// The head of one half of RTSP over HTTP.
#[derive(Debug)]
pub struct Head {
    /// Of the head itself, bytes.
    length: usize,
    /// GET, the way to the player, or POST, the way to the device.
    pub method: Method,
    /// As the player wrote it.
    pub uri: Uri,
    /// As the player wrote them.
    pub headers: HeaderMap,
    /// What joins the halves.
    pub cookie: String,
}

/// One half of RTSP over HTTP, its head read.
#[derive(Debug)]
pub struct Half {
    /// The head.
    pub head: Head,
    /// Bytes that came after the head.
    pub early: Bytes,
    /// The connection.
    pub stream: TcpStream,
}

/// A connection of which something was read already.
#[derive(Debug)]
pub struct Rewound {
    early: Bytes,
    stream: TcpStream,
}

impl Rewound {
    /// `early` comes before what `stream` brings.
    pub fn new(early: Bytes, stream: TcpStream) -> Self {
        Self { early, stream }
    }

    /// What was read and not taken yet, and the connection.
    pub fn into_parts(self) -> (Bytes, TcpStream) {
        (self.early, self.stream)
    }
}

/// Reads until it is clear what the connection begins with, or until `stop`. The caller sets the deadline; dropping the
/// future closes the connection.
///
/// # Errors
/// Those of the connection.
pub async fn look(mut stream: TcpStream, stop: impl Future<Output = ()>) -> io::Result<First> {
    let mut received = BytesMut::with_capacity(HEAD_USUAL);
    let mut stop = std::pin::pin!(stop);
    loop {
        let read = tokio::select! {
            read = stream.read_buf(&mut received) => read?,
            () = &mut stop => 0,
        };
        match half(&received) {
            Look::More if read > 0 && received.len() < HEAD_MAX => {}
            Look::Half(head) => {
                received.advance(head.length);
                return Ok(First::Tunnelled(Box::new(Half { head: *head, early: received.freeze(), stream })));
            }
            Look::More | Look::Other => return Ok(First::Ordinary(Rewound::new(received.freeze(), stream))),
        }
    }
}

enum Look {
    More,
    Other,
    Half(Box<Head>),
}

/// Looks at what was received so far.
fn half(received: &[u8]) -> Look {
    let may_become = |method: &[u8]| received.starts_with(method) || method.starts_with(received);
    if !may_become(b"GET ") && !may_become(b"POST ") {
        return Look::Other;
    }
    // Parsed once, when it is whole: a head that comes byte by byte shall not cost more than one that comes at once.
    if !received.windows(3).any(|end| end.ends_with(b"\n\n") || end == b"\n\r\n") {
        return Look::More;
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(received) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Look::More,
        // hyper says what is wrong with it.
        Err(_) => return Look::Other,
    };
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for field in request.headers.iter() {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
        else {
            return Look::Other;
        };
        headers.append(name, value);
    }
    let has = |name: HeaderName| {
        let values = headers.get_all(name);
        values.iter().any(|value| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains(TUNNELLED)))
    };
    let method = match request.method {
        Some("GET") if has(header::ACCEPT) => Method::GET,
        Some("POST") if has(header::CONTENT_TYPE) => Method::POST,
        _ => return Look::Other,
    };
    let cookie = headers.get("x-sessioncookie").and_then(|cookie| cookie.to_str().ok()).unwrap_or_default().to_owned();
    match request.path.unwrap_or_default().parse() {
        Ok(uri) if (1..=COOKIE_MAX).contains(&cookie.len()) => {
            Look::Half(Box::new(Head { length, method, uri, headers, cookie }))
        }
        _ => Look::Other,
    }
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..taken]);
        self.early.advance(taken);
        if self.early.is_empty() {
            // Gives the buffer back that they were a part of.
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str =
        "GET /cam/s HTTP/1.0\r\nx-sessioncookie: abc\r\nAccept: application/x-rtsp-tunnelled\r\nHost: h\r\n\r\n";

    fn is_half(text: &str) -> bool {
        matches!(half(text.as_bytes()), Look::Half(..))
    }

    #[test]
    fn both_halves_are_known_by_their_fields() {
        assert!(is_half(GET) && is_half(&GET.replace("1.0", "1.1")));
        let Look::Half(head) = half(format!("{GET}early").as_bytes()) else { panic!("a half") };
        let Head { length, method, uri, headers, cookie } = *head;
        assert_eq!((length, method, uri.path(), cookie.as_str()), (GET.len(), Method::GET, "/cam/s", "abc"));
        assert_eq!(headers["host"], "h");
        let post = GET.replace("GET", "POST").replace("Accept", "Content-Type");
        assert!(is_half(&post) && !is_half(&GET.replace("GET", "POST")) && !is_half(&post.replace("POST", "GET")));
    }

    #[test]
    fn without_a_cookie_or_with_an_endless_one_it_is_an_ordinary_request() {
        assert!(!is_half(&GET.replace("x-sessioncookie: abc\r\n", "")));
        assert!(!is_half(&GET.replace("abc", &"a".repeat(COOKIE_MAX + 1))));
        assert!(!is_half(&GET.replace("x-rtsp-tunnelled", "json")));
    }

    #[test]
    fn what_cannot_become_a_half_is_let_go_at_its_first_bytes() {
        for text in ["PRI * HTTP/2.0\r\n", "CONNECT a:1", "DELETE /", "\x16\x03\x01", "GET / HTTP/9\r\n\r\n"] {
            assert!(matches!(half(text.as_bytes()), Look::Other), "{text}");
        }
        for text in ["", "G", "GET ", "POS", "POST /x HTTP/1.1\r\nHost: h\r\n"] {
            assert!(matches!(half(text.as_bytes()), Look::More), "{text}");
        }
    }
}
