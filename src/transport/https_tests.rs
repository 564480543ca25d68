//! The native carrier end to end over loopback, with client authentication by files; the remote is tokio-rustls.

use std::{path::PathBuf, sync::Arc};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    authz::{Authorizer, mtls::MutualTls},
    base::watch::FileWatcher,
    model::{
        address::RemoteAddress,
        authorization::{Authorization, CertPathValidationPolicy, Certificate, Trust},
        device::{Device, LoopbackUrl},
        user_level::UserLevel,
    },
    tls::{
        server::server_config,
        test_pki::{Authority, Issued},
    },
};

struct Bench {
    directory: TempDir,
    ca: PathBuf,
    device: Issued,
    server: (PathBuf, PathBuf),
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("writable");
        let authority = Authority::new("fleet");
        let ca = directory.path().join("ca.crt");
        std::fs::write(&ca, authority.pem()).expect("writable");
        let device = authority.issue("camera-1", &[], |_| ());
        let server = authority.issue("cloud", &["127.0.0.1"], |_| ()).write(directory.path(), "server");
        Self { directory, ca, device, server }
    }

    /// An uplink to a bare address and port; its certificate files are not written yet.
    fn uplink(&self, remote: &str) -> Uplink {
        Uplink {
            device: Device {
                name: "camera-1".to_owned(),
                http: LoopbackUrl::parse("http://127.0.0.1:80").expect("loopback"),
                rtsp: None,
                credentials: std::collections::BTreeMap::new(),
            },
            remote: RemoteAddress::parse(remote).expect("valid"),
            authorization: Authorization::Mtls(Certificate {
                id: "camera-1".to_owned(),
                cert_file: self.directory.path().join("device.crt"),
                key_file: self.directory.path().join("device.key"),
            }),
            trust: Trust::Policy(CertPathValidationPolicy {
                id: "fleet".to_owned(),
                trust_anchor_files: vec![self.ca.clone()],
            }),
            user_level: vec![UserLevel::Operator],
        }
    }
}

#[tokio::test]
async fn an_uplink_to_a_bare_address_connects_and_says_what_tls_came_to() {
    let bench = Bench::new();
    bench.device.write(bench.directory.path(), "device");
    let server = server_config(&bench.server.0, &bench.server.1, &bench.ca).expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let uplink = bench.uplink(&address.to_string());
    let grant = MutualTls::new(FileWatcher::start()).grant(&uplink).await.expect("usable");
    assert!(grant.certificate_expiry.is_some() && grant.token.is_none());
    let remote = async {
        let (socket, _) = listener.accept().await.expect("dialed");
        let mut stream = tokio_rustls::TlsAcceptor::from(server).accept(socket).await.expect("trusted");
        let mut head = vec![0; 1024];
        let length = stream.read(&mut head).await.expect("a request");
        assert!(head[..length].starts_with(b"GET / HTTP/1.1\r\n") && head[..length].ends_with(b"\r\n\r\n"));
        stream.write_all(b"HTTP/1.1 101 x\r\n\r\nPRI").await.expect("open");
        stream
    };
    let transport = Https::new();
    let (connected, _stream) = tokio::join!(transport.connect(&uplink, grant), remote);
    let connected = connected.expect("connects");
    assert_eq!(connected.peer, address);
    assert_eq!(&connected.early[..], b"PRI");
    assert_eq!(
        (connected.tls.version.as_str(), connected.tls.cipher.as_str()),
        ("TLSv1.3", "TLS13_AES_128_GCM_SHA256")
    );
    assert!(connected.tls.group.starts_with("X25519"), "{}", connected.tls.group);
}

#[tokio::test]
async fn a_grant_fails_while_the_certificate_is_missing_and_recovers_by_itself() {
    let bench = Bench::new();
    let uplink = bench.uplink("https://cloud.example/");
    let authorizer = MutualTls::new(FileWatcher::start());
    let failure = authorizer.grant(&uplink).await.expect_err("missing");
    assert_eq!(failure.cause, Cause::CredentialUnreadable);
    bench.device.write(bench.directory.path(), "device");
    let first = authorizer.grant(&uplink).await.expect("mended");
    let again = authorizer.grant(&uplink).await.expect("unchanged");
    assert!(Arc::ptr_eq(&first.tls, &again.tls), "an unchanged identity keeps its session tickets");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_refused() {
    let bench = Bench::new();
    bench.device.write(bench.directory.path(), "device");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let uplink = bench.uplink(&listener.local_addr().expect("bound").to_string());
    drop(listener);
    let grant = MutualTls::new(FileWatcher::start()).grant(&uplink).await.expect("usable");
    let failure = Https::new().connect(&uplink, grant).await.err().expect("refused");
    assert_eq!(failure.cause, Cause::ConnectionRefused);
}
