//! Uplinks through egress proxies: the real sidecar, scripted proxies that really carry, or misbehave.

use std::net::SocketAddr;

use onvif_uplink::model::{failure::Cause, status::Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::support::{
    device::{camera, nobody},
    http::PATIENCE,
    remote::{Remote, SWITCH, upgraded},
    sidecar::{Line, Sidecar, Site, document},
};

/// A proxy that plays `script` on each connection and keeps what it was sent first.
struct Proxy {
    address: SocketAddr,
    asked: tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
    _task: JoinHandle<()>,
}

/// What a scripted proxy does after it was asked.
#[derive(Clone)]
enum Script {
    /// Opens the way to the remote.
    Carry(SocketAddr),
    /// Sends these bytes and closes, or stays open.
    Say(&'static [u8], bool),
}

/// An HTTP proxy.
async fn http_proxy(script: Script) -> Proxy {
    proxy(move |mut stream, asked| {
        let script = script.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            let _ = asked.send(head);
            match script {
                Script::Carry(remote) => {
                    let _ = stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await;
                    carry(stream, remote).await;
                }
                Script::Say(bytes, close) => {
                    let _ = stream.write_all(bytes).await;
                    if !close {
                        let _ = stream.read_u8().await;
                    }
                }
            }
        }
    })
    .await
}

/// A SOCKS 5 proxy that wants a password if one is given, and answers the request with `reply`.
async fn socks_proxy(password: Option<&'static str>, reply: u8, remote: SocketAddr) -> Proxy {
    proxy(move |stream, asked| async move {
        let _ = socks(stream, asked, password, reply, remote).await;
    })
    .await
}

async fn socks(
    mut stream: TcpStream,
    asked: tokio::sync::mpsc::UnboundedSender<Vec<u8>>,
    password: Option<&'static str>,
    reply: u8,
    remote: SocketAddr,
) -> std::io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let mut methods = vec![0; stream.read_u8().await?.into()];
    stream.read_exact(&mut methods).await?;
    let method = if password.is_some() { 2 } else { 0 };
    stream.write_all(&[5, if methods.contains(&method) { method } else { 0xff }]).await?;
    if let Some(password) = password {
        assert_eq!(stream.read_u8().await?, 1);
        let mut user = vec![0; stream.read_u8().await?.into()];
        stream.read_exact(&mut user).await?;
        let mut given = vec![0; stream.read_u8().await?.into()];
        stream.read_exact(&mut given).await?;
        stream.write_all(&[1, u8::from(given != password.as_bytes())]).await?;
    }
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = match head[3] {
        1 => 4,
        3 => stream.read_u8().await?.into(),
        _ => 16,
    };
    let mut target = vec![0; length + 2];
    stream.read_exact(&mut target).await?;
    let _ = asked.send(target);
    stream.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if reply == 0 {
        carry(stream, remote).await;
    }
    Ok(())
}

async fn carry(mut stream: TcpStream, remote: SocketAddr) {
    if let Ok(mut onward) = TcpStream::connect(remote).await {
        let _ = copy_bidirectional(&mut stream, &mut onward).await;
    }
}

async fn proxy<F: Future<Output = ()> + Send + 'static>(
    play: impl Fn(TcpStream, tokio::sync::mpsc::UnboundedSender<Vec<u8>>) -> F + Send + 'static,
) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(play(stream, sender.clone()));
        }
    });
    Proxy { address, asked, _task: task }
}

impl Proxy {
    async fn asked(&mut self) -> Vec<u8> {
        timeout(PATIENCE, self.asked.recv()).await.expect("in time").expect("the proxy lives")
    }
}

/// A sidecar whose uplink of `camera-1` goes through `proxy` with these further settings.
async fn scene(site: &Site, remote: &str, device: SocketAddr, proxy: &str, more: &str) -> Sidecar {
    let text = document(&[Line::new("camera-1", device, remote)]);
    let network = format!("network: {{ proxy: '{proxy}'{more} }}\n        userLevel:");
    site.write(&text.replace("userLevel:", &network));
    site.start().await
}

#[tokio::test]
async fn an_uplink_comes_up_through_an_http_proxy_that_gets_name_port_and_credentials() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    std::fs::write(site.path().join("proxy"), "me:secret\n").expect("writable");
    let mut proxy = http_proxy(Script::Carry(remote.address)).await;
    let name = format!("https://localhost:{}/uplink", remote.address.port());
    let through = format!("http://{}", proxy.address);
    let sidecar = scene(&site, &name, device.address, &through, ", proxyCredentialsFile: proxy").await;
    let session = remote.upgrade().await;
    let head = String::from_utf8(proxy.asked().await).expect("text");
    let port = remote.address.port();
    assert!(head.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_ascii_lowercase().contains(&format!("\r\nhost: localhost:{port}\r\n")), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nproxy-authorization: basic bwu6c2vjcmv0\r\n"), "{head}");
    sidecar.online("camera-1").await;
    let get = http::Request::get("https://c/snapshot.jpg").version(http::Version::HTTP_2).body(()).expect("valid");
    assert_eq!(session.get(get).await.0.status, 200);
}

#[tokio::test]
async fn an_uplink_comes_up_through_socks_with_and_without_a_password() {
    for password in [None, Some("secret")] {
        let site = Site::new(&["camera-1"]);
        let remote = Remote::start(&site.authority).await;
        let device = camera("camera-1").await;
        std::fs::write(site.path().join("proxy"), "me:secret\n").expect("writable");
        let mut proxy = socks_proxy(password, 0, remote.address).await;
        let name = format!("https://localhost:{}/uplink", remote.address.port());
        let file = if password.is_some() { ", proxyCredentialsFile: proxy" } else { "" };
        let sidecar = scene(&site, &name, device.address, &format!("socks5://{}", proxy.address), file).await;
        let _session = upgraded(remote.answer(SWITCH).await).await;
        assert!(proxy.asked().await.starts_with(b"localhost"), "the proxy resolves the name");
        sidecar.online("camera-1").await;
    }
}

#[tokio::test]
async fn every_failure_of_an_http_proxy_is_its_own_and_another_uplink_does_not_notice() {
    const LONG: &[u8] = &[b'x'; 40_000];
    for (script, cause, part) in [
        (
            Script::Say(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n", true),
            Cause::ProxyAuthentication,
            "407",
        ),
        (Script::Say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", true), Cause::ProxyRefused, "403"),
        (Script::Say(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", true), Cause::ProxyRefused, "502"),
        (Script::Say(b"SSH-2.0-OpenSSH_9.2\r\n", true), Cause::ProxyInvalid, "HTTP proxy"),
        (Script::Say(b"HTTP/1.1 2", true), Cause::ProxyInvalid, "HTTP proxy"),
        (Script::Say(b"", true), Cause::ProxyInvalid, "HTTP proxy"),
        (Script::Say(LONG, false), Cause::ProxyInvalid, "HTTP proxy"),
        (Script::Say(b"HTTP/1.1 200 OK\r\n\r\n", true), Cause::TlsHandshakeFailed, "TLS handshake"),
    ] {
        let site = Site::new(&["camera-1", "camera-2"]);
        let (remote, other) = (Remote::start(&site.authority).await, Remote::start(&site.authority).await);
        let (device, second) = (camera("camera-1").await, camera("camera-2").await);
        let proxy = http_proxy(script).await;
        let lines = [
            Line::new("camera-1", device.address, remote.remote()),
            Line::new("camera-2", second.address, other.remote()),
        ];
        let network = format!("network: {{ proxy: 'http://{}' }}\n        userLevel:", proxy.address);
        site.write(&document(&lines).replacen("userLevel:", &network, 1));
        let sidecar = site.start().await;
        let _session = other.upgrade().await;
        let sentence = sidecar.fails("camera-1", cause).await;
        assert!(sentence.contains(part), "{sentence}");
        if cause.phase() == onvif_uplink::model::failure::Phase::Proxy {
            assert!(sentence.contains(&proxy.address.to_string()), "the proxy is named: {sentence}");
        }
        assert_eq!(sidecar.online("camera-2").await.status, Status::Online);
    }
}

#[tokio::test]
async fn every_reply_of_socks_is_a_sentence_about_the_proxy() {
    for (reply, part) in
        [(1, "does not say why"), (2, "its rules"), (4, "no way to it"), (5, "refused"), (7, "does not support")]
    {
        let site = Site::new(&["camera-1"]);
        let proxy = socks_proxy(None, reply, nobody().await).await;
        let through = format!("socks5://{}", proxy.address);
        let sidecar = scene(&site, "https://cloud.example/", nobody().await, &through, "").await;
        let sentence = sidecar.fails("camera-1", Cause::ProxyRefused).await;
        assert!(sentence.contains(part) && sentence.contains(&proxy.address.to_string()), "{sentence}");
    }
    let site = Site::new(&["camera-1"]);
    let proxy = socks_proxy(Some("secret"), 0, nobody().await).await;
    let sidecar =
        scene(&site, "https://cloud.example/", nobody().await, &format!("socks5://{}", proxy.address), "").await;
    sidecar.fails("camera-1", Cause::ProxyAuthentication).await;
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_told_from_a_remote_that_is_not_there() {
    let site = Site::new(&["camera-1"]);
    let nobody_there = nobody().await;
    let sidecar = scene(&site, "https://cloud.example/", nobody().await, &format!("http://{nobody_there}"), "").await;
    let sentence = sidecar.fails("camera-1", Cause::ProxyUnreachable).await;
    assert!(sentence.contains(&format!("http://{nobody_there}")), "{sentence}");
}
