//! The plainest HTTP/1.1 client: what it sends and what it got are visible, byte for byte.

use std::{net::SocketAddr, time::Duration};

use onvif_uplink::demo::camera::bulk::pattern;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// Longer than anything in these tests takes, on a busy machine too. It bounds a failure, it never paces a test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer whose body can still be read.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and fields, as they came.
    pub head: String,
    stream: BufReader<TcpStream>,
}

/// Sends one request on a connection of its own and reads the head of the answer.
pub async fn ask(to: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(to).await.expect("somebody listens");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole head"));
        }
    };
    timeout(PATIENCE, read).await.expect("an answer in time");
    let head = String::from_utf8(head).expect("text");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line");
    Answer { status, head, stream }
}

/// GET, and the whole body as text.
pub async fn get(to: SocketAddr, path: &str) -> (u16, String) {
    let answer = ask(to, "GET", path).await;
    let status = answer.status;
    (status, String::from_utf8(answer.rest().await).expect("text"))
}

impl Answer {
    /// The body to its end, without the chunks of a chunked one.
    pub async fn rest(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        timeout(PATIENCE, self.stream.read_to_end(&mut body)).await.expect("in time").expect("read");
        if self.head.to_ascii_lowercase().contains("transfer-encoding: chunked") { dechunked(&body) } else { body }
    }

    /// Reads `count` bytes of a `/download/N` that stands at `offset` and checks each.
    pub async fn check_pattern(&mut self, offset: u64, count: usize) {
        let mut bytes = vec![0; count];
        timeout(PATIENCE, self.stream.read_exact(&mut bytes)).await.expect("in time").expect("the download goes on");
        let wrong = (offset..).zip(&bytes).find(|(at, byte)| **byte != pattern(*at));
        assert_eq!(wrong, None, "a byte of the download is another");
    }

    /// Whether the connection ends here, in good order.
    pub async fn at_end(mut self) -> bool {
        timeout(PATIENCE, self.stream.read(&mut [0])).await.expect("in time").is_ok_and(|count| count == 0)
    }
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|pair| pair == b"\r\n").expect("a chunk size");
        let size = std::str::from_utf8(&body[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("a chunk size");
        body = &body[line + 2..];
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
    }
}
