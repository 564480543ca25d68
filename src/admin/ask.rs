//! The asking side: `onvif-uplink status` fetches `/status` from a running process and shows it.

use std::time::{Duration, SystemTime};

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

/// What `onvif-uplink status` prints for the process whose admin listener is at `admin` (`HOST:PORT`): the document itself
/// if `json`, a table else. Cancel safe.
///
/// # Errors
/// A sentence when the process did not answer within [`ANSWER_MAX`], or not with a status document.
pub async fn status(admin: &str, json: bool) -> Result<String, String> {
    let document = timeout(ANSWER_MAX, fetch(admin))
        .await
        .unwrap_or_else(|_| Err(format!("no complete answer within {} s", ANSWER_MAX.as_secs())))
        .map_err(|reason| {
            format!(
                "no status from {admin}: {reason}; is `onvif-uplink run` running there? Its address is set with --admin"
            )
        })?;
    if json {
        return String::from_utf8(document.into()).map_err(|_| format!("the status of {admin} is not UTF-8"));
    }
    let document: Document = serde_json::from_slice(&document)
        .map_err(|error| format!("the status of {admin} is not that of a sidecar ({error}); see it with --json"))?;
    Ok(table::render(&document, SystemTime::now()))
}

async fn fetch(admin: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect(admin).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let request = Request::get("/status")
            .header(header::HOST, admin)
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answered {}", response.status()));
        }
        let body =
            Limited::new(response.into_body(), DOCUMENT_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok(body.to_bytes())
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
}
