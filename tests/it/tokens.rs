//! Access tokens end to end: the real sidecar, a scripted authorization server over TLS, a scripted remote that looks at the
//! bearer (ONVIF Uplink 26.06, Access token authentication; RFC 6749 §4.4).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use onvif_uplink::model::{failure::Cause, status::Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    device::camera,
    http::PATIENCE,
    remote::{Remote, SWITCH, server_certificate, tls, upgraded},
    sidecar::{Sidecar, Site},
    websocket,
};

/// An authorization server that gives `token-1`, `token-2` and so on.
struct Idp {
    port: u16,
    given: Arc<AtomicUsize>,
    _task: JoinHandle<()>,
}

async fn idp(site: &Site, status: &'static str) -> Idp {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = TlsAcceptor::from(tls(&server_certificate(&site.authority), None, false));
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut request = Vec::new();
            let mut piece = [0; 2048];
            while !complete(&request) {
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(length) => request.extend_from_slice(&piece[..length]),
                }
            }
            let (status, body) = if request.starts_with(b"GET /.well-known/") {
                let origin = format!("https://127.0.0.1:{port}");
                ("200 OK", format!(r#"{{"issuer":"{origin}","token_endpoint":"{origin}/token"}}"#))
            } else if status.starts_with("200") {
                let number = count.fetch_add(1, SeqCst) + 1;
                (status, format!(r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":3600}}"#))
            } else {
                (status, r#"{"error":"invalid_client"}"#.to_owned())
            };
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Idp { port, given, _task: task }
}

/// Whether the head and the body that it announces are there.
fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    body.len() >= length
}

/// A sidecar whose only uplink gets its token from `idp`.
async fn scene(site: &Site, remote: &str, device: std::net::SocketAddr, idp: &Idp, more: &str) -> Sidecar {
    std::fs::write(site.path().join("secret"), "hunter2\n").expect("writable");
    let port = idp.port;
    site.write(&format!(
        "devices:\n  - name: camera-1\n    http: http://{device}\n    uplinks:\n      - remoteAddress: {remote}\n        \
         authorizationServer: idp\n        userLevel: Administrator\n        certPathValidationPolicyID: p\n{more}\
         certPathValidationPolicies:\n  p: {{ trustAnchorFiles: [ca.crt] }}\nauthorizationServers:\n  idp: {{ type: \
         OAuthClientCredentials, serverUri: 'https://127.0.0.1:{port}/', clientID: camera-1, clientAuth: client_secret_basic, \
         secretFile: secret, certPathValidationPolicyID: p }}\n"
    ));
    site.start().await
}

fn bearer(head: &str) -> &str {
    head.split("\r\nAuthorization: Bearer ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a bearer token")
}

/// The next connection with the head of its request.
async fn asked(remote: &Remote) -> (crate::support::remote::Tls, String) {
    let mut stream = remote.handshake().await.expect("a good handshake");
    let head = crate::support::remote::read_head(&mut stream).await;
    (stream, head)
}

#[tokio::test]
async fn the_upgrade_carries_the_token_and_the_uplink_comes_online_without_a_certificate() {
    let site = Site::new(&[]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let (device, idp) = (camera("camera-1").await, idp(&site, "200 OK").await);
    let sidecar = scene(&site, &remote.remote(), device.address, &idp, "").await;
    let (mut stream, head) = asked(&remote).await;
    assert_eq!(bearer(&head), "token-1");
    stream.write_all(SWITCH).await.expect("sent");
    let _session = upgraded(stream).await;
    sidecar.online("camera-1").await;
    let (_, status) = sidecar.page("/status").await;
    assert!(!status.contains("token-1") && !status.contains("hunter2"), "{status}");
}

#[tokio::test]
async fn a_401_at_the_upgrade_gets_a_fresh_token_once_and_at_once() {
    let site = Site::new(&[]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let (device, idp) = (camera("camera-1").await, idp(&site, "200 OK").await);
    let sidecar = scene(&site, &remote.remote(), device.address, &idp, "").await;
    const NO: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    let (mut stream, head) = asked(&remote).await;
    assert_eq!(bearer(&head), "token-1");
    stream.write_all(NO).await.expect("sent");
    let (mut stream, head) = asked(&remote).await;
    assert_eq!(bearer(&head), "token-2");
    assert_eq!(sidecar.now("camera-1").attempt, 1, "the same attempt");
    stream.write_all(NO).await.expect("sent");
    let sentence = sidecar.fails("camera-1", Cause::Unauthorized).await;
    assert!(!sentence.contains("token-"), "{sentence}");
    assert_eq!(idp.given.load(SeqCst), 2, "not in a circle");
}

#[tokio::test]
async fn a_token_in_the_query_of_a_websocket_is_where_the_uplink_wants_it() {
    let site = Site::new(&[]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let (device, idp) = (camera("camera-1").await, idp(&site, "200 OK").await);
    let wss = format!("wss://{}/uplink?site=7", remote.address);
    let _sidecar = scene(&site, &wss, device.address, &idp, "        tokenIn: query\n").await;
    let (_stream, head) = websocket::accept(&remote).await;
    assert!(head.starts_with("GET /uplink?site=7&access_token=token-1 HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("Authorization"), "{head}");
}

#[tokio::test]
async fn a_client_that_is_refused_waits_with_the_cause_and_nothing_is_dialed() {
    let site = Site::new(&[]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let (device, idp) = (camera("camera-1").await, idp(&site, "401 Unauthorized").await);
    let sidecar = scene(&site, &remote.remote(), device.address, &idp, "").await;
    let sentence = sidecar.fails("camera-1", Cause::TokenRefused).await;
    assert!(sentence.contains("invalid_client") && sentence.contains("camera-1"), "{sentence}");
    assert!(!sentence.contains("hunter2"));
    assert_eq!(sidecar.now("camera-1").status, Status::Offline);
}

#[tokio::test]
async fn an_authorization_server_that_is_not_there_is_told_from_a_remote_that_is_not_there() {
    let site = Site::new(&[]);
    let (device, mut idp) = (camera("camera-1").await, idp(&site, "200 OK").await);
    idp.port = crate::support::device::nobody().await.port();
    let sidecar = scene(&site, "https://127.0.0.1:9/", device.address, &idp, "").await;
    let sentence = sidecar.fails("camera-1", Cause::AuthorizationServerUnreachable).await;
    assert!(sentence.contains(&format!("https://127.0.0.1:{}", idp.port)), "{sentence}");
    tokio::time::timeout(PATIENCE, sidecar.stop(std::time::Duration::ZERO)).await.expect("ends");
}
