//! A scripted remote over real TLS: the test accepts, reads the upgrade, and answers what it likes.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use h2::client::SendRequest;
use onvif_uplink::tls::provider::provider;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    http::PATIENCE,
    pki::{Authority, Issued},
};

/// The smallest 101 there is.
pub const SWITCH: &[u8] = b"HTTP/1.1 101 x\r\n\r\n";

/// TLS with a device.
pub type Tls = TlsStream<TcpStream>;

/// A remote that does nothing by itself.
pub struct Remote {
    /// Where it listens.
    pub address: SocketAddr,
    listener: TcpListener,
    config: Mutex<Arc<ServerConfig>>,
}

/// An upgraded session, seen from the remote.
pub struct Upgraded {
    /// Sends requests to the device.
    pub requests: SendRequest<Bytes>,
    /// Drives the connection; ends with the session.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// TLS with this certificate; devices must show one of `devices`, if given; TLS 1.2 only if asked.
pub fn tls(issued: &Issued, devices: Option<&Authority>, only_1_2: bool) -> Arc<ServerConfig> {
    let versions: &[_] = if only_1_2 { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("versions");
    let builder = match devices {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            builder.with_client_cert_verifier(verifier.expect("verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    Arc::new(builder.with_single_cert(chain, key).expect("a pair"))
}

/// A good server certificate for this machine.
pub fn server_certificate(authority: &Authority) -> Issued {
    authority.issue("remote", &["localhost", "127.0.0.1"], |_| {})
}

impl Remote {
    /// Listens with a good certificate of `authority` and asks devices for one of the same.
    pub async fn start(authority: &Authority) -> Self {
        Self::with(tls(&server_certificate(authority), Some(authority), false)).await
    }

    /// Listens with this configuration.
    pub async fn with(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self { address: listener.local_addr().expect("bound"), listener, config: Mutex::new(config) }
    }

    /// From now on with another configuration.
    pub fn change(&self, config: Arc<ServerConfig>) {
        *self.config.lock().expect("no panic") = config;
    }

    /// Its RemoteAddress.
    pub fn remote(&self) -> String {
        format!("https://{}/uplink", self.address)
    }

    /// The next connection, before its TLS handshake.
    pub async fn tcp(&self) -> TcpStream {
        timeout(PATIENCE, self.listener.accept()).await.expect("dialed in time").expect("accepted").0
    }

    /// The next connection, after its TLS handshake.
    pub async fn handshake(&self) -> std::io::Result<Tls> {
        let stream = self.tcp().await;
        let config = Arc::clone(&self.config.lock().expect("no panic"));
        timeout(PATIENCE, TlsAcceptor::from(config).accept(stream)).await.expect("a handshake in time")
    }

    /// The next connection, after its upgrade request has been read.
    pub async fn asked(&self) -> Tls {
        let mut stream = self.handshake().await.expect("a good handshake");
        read_head(&mut stream).await;
        stream
    }

    /// The next connection, answered with these bytes and left open.
    pub async fn answer(&self, bytes: &[u8]) -> Tls {
        let mut stream = self.asked().await;
        stream.write_all(bytes).await.expect("sent");
        stream.flush().await.expect("sent");
        stream
    }

    /// The next connection, upgraded, with HTTP/2 on it.
    pub async fn upgrade(&self) -> Upgraded {
        upgraded(self.answer(SWITCH).await).await
    }
}

/// HTTP/2 as the client on a stream that has had its 101.
pub async fn upgraded(stream: Tls) -> Upgraded {
    let (requests, connection) = h2::client::handshake(stream).await.expect("the stream stands");
    Upgraded { requests, connection: tokio::spawn(connection) }
}

impl Upgraded {
    /// Sends a request without body and returns status, fields and body.
    pub async fn get(&self, request: http::Request<()>) -> (http::response::Parts, Bytes) {
        let mut requests = self.requests.clone().ready().await.expect("the session stands");
        let (response, _) = requests.send_request(request, true).expect("sent");
        answer(response).await
    }
}

/// Waits for the whole of an answer.
pub async fn answer(response: h2::client::ResponseFuture) -> (http::response::Parts, Bytes) {
    let response = timeout(PATIENCE, response).await.expect("in time").expect("answered");
    let (parts, body) = response.into_parts();
    let (body, _) = timeout(PATIENCE, super::h2_peer::collect(body)).await.expect("in time").expect("a whole body");
    (parts, body)
}

/// Reads up to the blank line and not a byte more.
pub async fn read_head(stream: &mut Tls) -> String {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole head"));
        }
    };
    timeout(PATIENCE, read).await.expect("in time");
    String::from_utf8(head).expect("text")
}

/// Writes the authority's certificate where a policy finds it.
pub fn write_anchor(dir: &Path, name: &str, authority: &Authority) {
    std::fs::write(dir.join(name), authority.pem()).expect("writable");
}
