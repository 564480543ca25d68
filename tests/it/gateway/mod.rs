//! The gateway over real loopback sockets: a scripted device dials in, plain clients ask at the front.

mod connect;
mod fetch;
mod front;
mod hostile;
mod life;
mod retry;
mod rtsp;
mod rtsp_http;
mod tokens;
mod websocket;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use onvif_uplink::{
    base::drain::{DrainSwitch, drain},
    gateway::{Gateway, Options},
    tls::{provider::provider, server::IdentityField},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "a-token-of-some-length";

type Tls = tokio_rustls::client::TlsStream<TcpStream>;
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).expect("signed");
        Self { issuer: Issuer::new(params, key), cert }
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xbc]));
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).expect("signed"), key)
    }
}

struct Cloud {
    authority: Authority,
    listen: SocketAddr,
    front: SocketAddr,
    rtsp: Option<SocketAddr>,
    switch: DrainSwitch,
    run: JoinHandle<std::io::Result<()>>,
    dir: tempfile::TempDir,
}

fn options(dir: &tempfile::TempDir, authority: &Authority) -> Options {
    let (cert, key) = authority.issue("gateway", ExtendedKeyUsagePurpose::ServerAuth);
    let write = |name: &str, text: String| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    Options {
        listen: "127.0.0.1:0".parse().expect("address"),
        cert: write("tls.crt", cert.pem()),
        key: write("tls.key", key.serialize_pem()),
        client_ca: Some(write("ca.crt", authority.cert.pem())),
        tokens: None,
        max_upgrades: None,
        identity: IdentityField::CommonName,
        front: "127.0.0.1:0".parse().expect("address"),
        front_domain: None,
        front_token_file: None,
        front_open: false,
        rtsp: None,
        threads: NonZeroUsize::MIN,
    }
}

fn cloud(change: impl FnOnce(&mut Options)) -> Cloud {
    let (dir, authority) = (tempfile::tempdir().expect("directory"), Authority::new());
    let mut options = options(&dir, &authority);
    change(&mut options);
    let gateway = Gateway::build(options).expect("builds");
    let (listen, front, rtsp) = (gateway.listen_address(), gateway.front_address(), gateway.rtsp_address());
    let (switch, part) = drain();
    let run = tokio::spawn(gateway.run(part));
    Cloud { authority, listen, front, rtsp, switch, run, dir }
}

/// TLS to the gateway with a certificate of `authority`, or none.
async fn tls(cloud: &Cloud, identity: Option<(&Authority, &str)>) -> std::io::Result<Tls> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cloud.authority.cert.der().clone()).expect("root");
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((authority, name)) => {
            let (cert, key) = authority.issue(name, ExtendedKeyUsagePurpose::ClientAuth);
            let chain: Vec<CertificateDer<'static>> = vec![cert.der().clone()];
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(chain, key).expect("identity")
        }
    };
    let tcp = TcpStream::connect(cloud.listen).await?;
    let name = ServerName::try_from("localhost").expect("name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn upgraded(cloud: &Cloud, name: &str) -> Tls {
    let mut stream = tls(cloud, Some((&cloud.authority, name))).await.expect("accepted");
    stream
        .write_all(b"GET /up HTTP/1.1\r\nHost: cloud\r\nConnection: Upgrade\r\nUpgrade: h2c-reverse\r\n\r\n")
        .await
        .expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    stream
}

/// A device that hands its requests to the test.
struct Device {
    asked: mpsc::Receiver<Asked>,
    _task: JoinHandle<()>,
}

impl Device {
    async fn connect(cloud: &Cloud, name: &str) -> Self {
        Self::connect_as(cloud, name, &h2::server::Builder::new()).await
    }

    /// A device that announces SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
    async fn connect_with_websockets(cloud: &Cloud, name: &str) -> Self {
        Self::connect_as(cloud, name, h2::server::Builder::new().enable_connect_protocol()).await
    }

    async fn connect_as(cloud: &Cloud, name: &str, builder: &h2::server::Builder) -> Self {
        let builder = builder.clone();
        let stream = upgraded(cloud, name).await;
        let before = devices(cloud).await;
        let (send, asked) = mpsc::channel(16);
        let task = tokio::spawn(async move {
            let mut connection = builder.handshake(stream).await.expect("preface");
            while let Some(Ok(request)) = connection.accept().await {
                if send.send(request).await.is_err() {
                    break;
                }
            }
        });
        timeout(PATIENCE, async {
            while devices(cloud).await == before {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("entered");
        Self { asked, _task: task }
    }

    async fn next(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("in time").expect("a request")
    }
}

/// The identities and addresses of the connected devices.
async fn devices(cloud: &Cloud) -> Vec<(String, String)> {
    let text = get(cloud, "/devices", &format!("Authorization: Bearer {TOKEN}\r\n")).await;
    let (_, json) = text.split_once("\r\n\r\n").expect("head");
    let list: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}"));
    let field = |device: &serde_json::Value, name: &str| device[name].as_str().expect("text").to_owned();
    list.as_array()
        .expect("list")
        .iter()
        .map(|device| (field(device, "device"), field(device, "remoteAddress")))
        .collect()
}

async fn raw(cloud: &Cloud, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(cloud.front).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

async fn whole(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("in time").expect("read");
    String::from_utf8_lossy(&text).into_owned()
}

/// An HTTP head, up to its empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("open"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// So many bytes, as text.
async fn text(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("in time").expect("open");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The next DATA of a stream, its window given back; `None` at its end.
async fn data(stream: &mut RecvStream) -> Option<Bytes> {
    loop {
        let data = timeout(PATIENCE, stream.data()).await.expect("in time").transpose().expect("good")?;
        stream.flow_control().release_capacity(data.len()).expect("open");
        // The end may come in a frame of its own.
        if !data.is_empty() {
            return Some(data);
        }
    }
}

/// How a stream was reset.
async fn reset_of(stream: &mut h2::SendStream<Bytes>) -> h2::Reason {
    timeout(PATIENCE, std::future::poll_fn(|cx| stream.poll_reset(cx))).await.expect("in time").expect("reset")
}

/// A token file of [`TOKEN`] for a gateway's options.
fn with_token(dir: &tempfile::TempDir) -> PathBuf {
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).expect("written");
    file
}

async fn get(cloud: &Cloud, path: &str, fields: &str) -> String {
    whole(raw(cloud, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n")).await)
        .await
}

#[tokio::test]
async fn a_request_reaches_the_device_and_its_answer_streams_back_with_trailers() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, "GET /camera-1/a%2Fb?x=%20 HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close, TE, X-Hop\r\nX-Hop: 1\r\n\r\n").await;
    let (request, mut respond) = device.next().await;
    assert_eq!(request.uri().to_string(), "http://localhost/a%2Fb?x=%20");
    assert!(!request.headers().contains_key("x-hop"));
    assert_eq!(request.headers()["x-forwarded-for"], "127.0.0.1");
    let answer = Response::builder().header("trailer", "x-sum").header("location", "/next").body(()).expect("answer");
    let mut body = respond.send_response(answer, false).expect("sent");
    body.send_data(Bytes::from_static(b"picture"), false).expect("sent");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().expect("value"));
    body.send_trailers(trailers).expect("sent");
    let text = whole(client).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("location: /camera-1/next\r\n"), "{text}");
    assert!(text.contains("picture\r\n0\r\nx-sum: 7\r\n"), "{text}");
}

#[tokio::test]
async fn an_upload_that_the_device_does_not_read_is_held_back() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client =
        raw(&cloud, "POST /camera-1/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n").await;
    let (_request, _respond) = device.next().await;
    let chunk = vec![0; 64 * 1024];
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_secs(1), client.write(&chunk)).await {
        sent += written.expect("open");
        assert!(sent < 64 * 1024 * 1024, "nothing holds the upload back");
    }
    assert!(sent > 0);
}

#[tokio::test]
async fn a_client_that_goes_away_resets_the_stream_and_an_early_answer_passes_the_upload() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client =
        raw(&cloud, "POST /camera-1/up HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf").await;
    let (mut request, mut respond) = device.next().await;
    assert_eq!(request.body_mut().data().await.expect("data").expect("good"), "half");
    let mut body = respond.send_response(Response::new(()), false).expect("sent");
    body.send_data(Bytes::from_static(b"early"), false).expect("sent");
    let mut seen = Vec::new();
    while !seen.ends_with(b"early\r\n") {
        seen.push(timeout(PATIENCE, client.read_u8()).await.expect("in time").expect("open"));
    }
    drop(client);
    let reset = timeout(PATIENCE, std::future::poll_fn(|cx| body.poll_reset(cx))).await.expect("in time");
    assert_eq!(reset.expect("reset"), h2::Reason::CANCEL);
}

#[tokio::test]
async fn a_device_that_resets_gives_502_and_a_head_request_keeps_its_length() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, "GET /camera-1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    device.next().await.1.send_reset(h2::Reason::INTERNAL_ERROR);
    assert!(whole(client).await.starts_with("HTTP/1.1 502 "));
    let client = raw(&cloud, "HEAD /camera-1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let answer = Response::builder().header("content-length", "1234").body(()).expect("answer");
    device.next().await.1.send_response(answer, true).expect("sent");
    let text = whole(client).await;
    assert!(text.contains("content-length: 1234\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn the_newer_session_takes_requests_while_an_old_download_finishes() {
    let cloud = cloud(|_| {});
    let mut old = Device::connect(&cloud, "camera-1").await;
    let download = raw(&cloud, "GET /camera-1/big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let mut body = old.next().await.1.send_response(Response::new(()), false).expect("sent");
    let mut new = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, "GET /camera-1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    new.next().await.1.send_response(Response::builder().status(204).body(()).expect("answer"), true).expect("sent");
    assert!(whole(client).await.starts_with("HTTP/1.1 204 "));
    body.send_data(Bytes::from_static(b"the end"), true).expect("sent");
    assert!(whole(download).await.contains("the end"));
    assert!(timeout(PATIENCE, old.asked.recv()).await.expect("the old session ends").is_none());
}

#[tokio::test]
async fn an_unknown_device_is_404_and_an_offline_one_503() {
    let cloud = cloud(|_| {});
    assert!(get(&cloud, "/camera-1/", "").await.starts_with("HTTP/1.1 404 "));
    let device = Device::connect(&cloud, "camera-1").await;
    device._task.abort();
    timeout(PATIENCE, async { while !devices(&cloud).await.is_empty() {} }).await.expect("left");
    let text = get(&cloud, "/camera-1/", "").await;
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: "), "{text}");
}

#[tokio::test]
async fn certificates_decide_who_is_who() {
    let by_serial = cloud(|options| options.identity = IdentityField::SerialNumber);
    let _device = Device::connect(&by_serial, "camera-1").await;
    assert_ne!(devices(&by_serial).await[0].0, "camera-1");
    let stranger = Authority::new();
    for identity in [None, Some((&stranger, "camera-1"))] {
        let refused = match tls(&by_serial, identity).await {
            Err(_) => true,
            // TLS 1.3: the refusal arrives with the first read.
            Ok(mut stream) => stream.read_u8().await.is_err(),
        };
        assert!(refused);
    }
    assert_eq!(devices(&by_serial).await.len(), 1);
}

#[tokio::test]
async fn the_front_token_lets_in_and_never_reaches_the_device() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).expect("written");
    let cloud = cloud(|options| options.front_token_file = Some(file));
    let mut device = Device::connect(&cloud, "camera-1").await;
    assert!(get(&cloud, "/camera-1/", "").await.starts_with("HTTP/1.1 401 "));
    assert!(get(&cloud, "/camera-1/", "Authorization: Bearer wrong\r\n").await.starts_with("HTTP/1.1 401 "));
    let fields = format!("Authorization: Bearer {TOKEN}\r\n");
    let (text, ()) = tokio::join!(get(&cloud, "/camera-1/", &fields), async {
        let (request, mut respond) = device.next().await;
        assert!(!request.headers().contains_key("authorization"));
        respond.send_response(Response::new(()), true).expect("sent");
    });
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[tokio::test]
async fn hosts_route_and_foreign_hosts_are_refused() {
    let cloud = cloud(|options| options.front_domain = Some("cams.example.com".to_owned()));
    let mut device = Device::connect(&cloud, "camera-1").await;
    for host in ["camera-1.localhost:8800", "Camera-1.cams.example.com"] {
        let client = raw(&cloud, &format!("GET /x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        let (request, mut respond) = device.next().await;
        assert_eq!(request.uri().authority().expect("authority").as_str(), host);
        respond
            .send_response(Response::builder().header("location", "/y").body(()).expect("answer"), true)
            .expect("sent");
        assert!(whole(client).await.contains("location: /y\r\n"));
    }
    let client = raw(&cloud, "GET /x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert!(whole(client).await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn ambiguous_and_hostile_heads_harm_nobody() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    for (request, status) in [
        ("GET /camera-1/ HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n", "400"),
        ("GET /camera-1/ HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("POST /camera-1/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("POST /camera-1/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", "400"),
        (
            "GET /camera-1/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n",
            "400",
        ),
        ("GET /camera-1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "308"),
        ("garbage\r\n\r\n", "400"),
    ] {
        let text = whole(raw(&cloud, request).await).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {text}");
    }
    // Both lengths: chunked counts, the connection ends after it, and what follows is not a request (RFC 9112 §6.1).
    let client = raw(&cloud, "POST /camera-1/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /camera-1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let (request, mut respond) = device.next().await;
    assert!(!request.headers().contains_key("content-length"));
    respond.send_response(Response::new(()), true).expect("sent");
    let text = whole(client).await;
    assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
    assert!(device.asked.try_recv().is_err());
}

#[tokio::test]
async fn the_list_of_devices_is_a_page_for_browsers() {
    let cloud = cloud(|_| {});
    let _device = Device::connect(&cloud, "<cam> 1").await;
    let text = get(&cloud, "/devices", "Accept: text/html\r\n").await;
    assert!(text.contains("</i><a href=\"/%3Ccam%3E%201/\">&lt;cam&gt; 1</a>"), "{text}");
    assert!(get(&cloud, "/", "").await.contains("location: /devices\r\n"));
}

#[tokio::test]
async fn a_gateway_that_could_be_reached_by_anybody_does_not_start_by_accident() {
    let cloud = cloud(|_| {});
    let mut open = options(&cloud.dir, &cloud.authority);
    open.front = "0.0.0.0:0".parse().expect("address");
    let refused = Gateway::build(open).err().expect("refused").to_string();
    assert!(refused.contains("--front-open"), "{refused}");
}
