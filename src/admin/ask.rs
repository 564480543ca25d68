//! The asking side: `onvif-uplink status` fetches `/status` from a running process and shows it, `healthcheck` asks its probes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{status::Document, table};

/// The answer must be complete within this; a healthy process on the same machine needs a millisecond.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);
/// No longer document is read: some ten thousand uplinks.
pub const DOCUMENT_MAX: usize = 16 * 1024 * 1024;

/// Asks whether the process lives.
pub const ALIVE: &str = "/livez";
/// Asks whether it is ready.
pub const READY: &str = "/readyz";

/// What `onvif-uplink status` prints for the process whose admin listener is at `admin` (`HOST:PORT`): the document itself
/// if `json`, a table else. Cancel safe.
///
/// # Errors
/// A sentence when the process did not answer within [`ANSWER_MAX`], or not with a status document.
pub async fn status(admin: &str, json: bool) -> Result<String, String> {
    let failed = |reason| {
        format!(
            "no status from {admin}: {reason}; is `onvif-uplink run` running there? Its address is set with --admin"
        )
    };
    let (status, document) = ask(admin, "/status").await.map_err(failed)?;
    if status != StatusCode::OK {
        return Err(failed(format!("it answered {status}")));
    }
    if json {
        return String::from_utf8(document.into()).map_err(|_| format!("the status of {admin} is not UTF-8"));
    }
    let document: Document = serde_json::from_slice(&document)
        .map_err(|error| format!("the status of {admin} is not that of a sidecar ({error}); see it with --json"))?;
    Ok(table::render(&document, SystemTime::now()))
}

/// Asks the process at `admin` its page [`ALIVE`] or [`READY`]: what it says if that is a yes, a sentence if it is a no. Cancel safe.
///
/// # Errors
/// A sentence when it did not answer within [`ANSWER_MAX`].
pub async fn health(admin: &str, page: &str) -> Result<Result<String, String>, String> {
    let (status, verdict) = ask(admin, page).await.map_err(|reason| {
        format!("no answer from {admin}: {reason}; the address of the process is set with --admin")
    })?;
    let verdict = String::from_utf8_lossy(&verdict).trim().to_owned();
    Ok(if status.is_success() { Ok(verdict) } else { Err(format!("{admin}{page}: {status}: {verdict}")) })
}

/// Asks a page within [`ANSWER_MAX`].
async fn ask(admin: &str, page: &str) -> Result<(StatusCode, Bytes), String> {
    timeout(ANSWER_MAX, fetch(&reachable(admin), page))
        .await
        .unwrap_or_else(|_| Err(format!("no complete answer within {} s", ANSWER_MAX.as_secs())))
}

/// Where to dial for a listener: one on all addresses is on loopback as well. The commands share the twin of `run --admin`, which
/// has such an address in a pod.
fn reachable(admin: &str) -> String {
    let Ok(address) = admin.parse::<SocketAddr>() else { return admin.to_owned() };
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(ip, address.port()).to_string()
}

async fn fetch(admin: &str, page: &str) -> Result<(StatusCode, Bytes), String> {
    let stream = TcpStream::connect(admin).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let request = Request::get(page)
            .header(header::HOST, admin)
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), DOCUMENT_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    };
    // The connection only moves bytes; what goes wrong on it shows in the exchange, which ends first.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = exchange.as_mut() => answer,
        _ = connection.as_mut() => exchange.await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn answering(answer: &'static [u8]) -> (String, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            // An answer before its question would be a protocol error.
            let _ = stream.read(&mut [0; 1024]).await.expect("open");
            stream.write_all(answer).await.expect("open");
            std::future::pending::<()>().await;
        });
        (address, server)
    }

    #[tokio::test]
    async fn the_document_is_shown_as_it_is_or_as_a_table() {
        const ANSWER: &[u8] =
            b"HTTP/1.1 200 OK\r\ncontent-length: 67\r\n\r\n{\"generation\":0,\"config\":{\"generation\":0,\"errors\":[]},\"uplinks\":[]}";
        let (address, server) = answering(ANSWER).await;
        assert!(status(&address, true).await.expect("answers").starts_with("{\"generation\":0"));
        server.abort();
        let (address, server) = answering(ANSWER).await;
        assert!(status(&address, false).await.expect("answers").contains("no uplinks"));
        server.abort();
    }

    #[tokio::test]
    async fn nobody_there_and_another_page_are_sentences() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let error = status(&address, false).await.expect_err("nobody");
        assert!(error.contains(&address) && error.contains("--admin"), "{error}");
        let (address, server) = answering(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        assert!(status(&address, false).await.expect_err("404").contains("404"));
        server.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_given_up() {
        let (address, server) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").await;
        let error = status(&address, false).await.expect_err("half an answer");
        assert!(error.contains("within 5 s"), "{error}");
        server.abort();
    }

    #[tokio::test]
    async fn a_yes_and_a_no_of_a_probe_are_told_apart_from_no_answer() {
        let (address, server) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n").await;
        assert_eq!(health(&address, READY).await, Ok(Ok("ready".to_owned())));
        server.abort();
        let (address, server) =
            answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nnot ready").await;
        let no = health(&address, READY).await.expect("an answer").expect_err("a no");
        assert!(no.contains("503") && no.ends_with("not ready"), "{no}");
        server.abort();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        assert!(health(&address, ALIVE).await.expect_err("nobody").contains("--admin"));
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9600"), "127.0.0.1:9600");
        assert_eq!(reachable("[::]:9600"), "[::1]:9600");
        assert_eq!(reachable("10.0.0.1:9600"), "10.0.0.1:9600");
        assert_eq!(reachable("localhost:9600"), "localhost:9600");
    }
}
