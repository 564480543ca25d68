//! The native carrier end to end over loopback, with client authentication by files; the remote is tokio-rustls.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::TcpListener,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    authz::{Authorizer, mtls::MutualTls},
    base::watch::FileWatcher,
    model::{
        access::Access,
        address::RemoteAddress,
        authorization::{Authorization, CertPathValidationPolicy, Certificate, Trust},
        device::{Device, LoopbackUrl},
        failure::Cause,
        user_level::UserLevel,
    },
    tls::{
        client::{ClientConfigs, server_name},
        identity::Identity,
        server::{ClientCertificates, server_config},
        stream::TlsStream,
        test_pki::{Authority, Issued},
        trust::Anchors,
    },
    transport::secure::{HANDSHAKE, handshake},
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
                rtsp_via: Default::default(),
                connect_ports: Default::default(),
                addresses: Default::default(),
                credentials: std::collections::BTreeMap::new(),
                pass_through: false,
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
                crl_files: Vec::new(),
                pins: Vec::new(),
            }),
            user_level: vec![UserLevel::Operator],
            access: Access::default(),
            network: Default::default(),
            tls: Default::default(),
            lab: Default::default(),
        }
    }

    /// Our side of TLS with `identity`, for the time that a test gives it.
    async fn handshake(&self, socket: DuplexStream, identity: &Issued) -> Result<TlsStream<DuplexStream>, Failure> {
        let remote = address();
        let (cert, key) = identity.write(self.directory.path(), "ours");
        let identity = Identity::load_files(&cert, &key).expect("a pair");
        let anchors = Anchors::from_files(std::slice::from_ref(&self.ca)).expect("an authority");
        let tls = ClientConfigs::new().get(Some(&identity), &anchors);
        let name = server_name(remote.host()).expect("an address");
        handshake(socket, &remote.to_string(), SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)), tls, name, &()).await
    }
}

/// The remote of the tests over an in-memory stream.
fn address() -> RemoteAddress {
    RemoteAddress::parse("https://127.0.0.1:8443/up").expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_takes_the_connection_and_says_nothing_is_a_tls_timeout() {
    let bench = Bench::new();
    let (near, _far) = duplex(64 * 1024);
    let began = Instant::now();
    let failure = bench.handshake(near, &bench.device).await.err().expect("no TLS");
    assert_eq!(failure.cause, Cause::TlsTimeout);
    assert_eq!(began.elapsed(), HANDSHAKE);
    assert!(failure.message.contains("127.0.0.1:8443"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_drips_has_no_more_time_than_a_silent_one() {
    let bench = Bench::new();
    let (near, mut far) = duplex(64 * 1024);
    let drip = async {
        // The head of a handshake record of 16 KiB, whose octets come one by one.
        far.write_all(&[0x16, 0x03, 0x03, 0x40, 0x00, 0x02]).await.expect("open");
        loop {
            sleep(Duration::from_secs(1)).await;
            far.write_u8(0).await.expect("open");
        }
    };
    let began = Instant::now();
    let failure = tokio::select! {
        result = bench.handshake(near, &bench.device) => result.err().expect("no TLS"),
        () = drip => unreachable!("it drips for ever"),
    };
    assert_eq!(failure.cause, Cause::TlsTimeout, "{failure}");
    assert_eq!(began.elapsed(), HANDSHAKE);
}

#[tokio::test(start_paused = true)]
async fn a_slow_remote_has_the_whole_time_of_the_handshake() {
    let bench = Bench::new();
    let server =
        server_config(&bench.server.0, &bench.server.1, ClientCertificates::Required(&bench.ca)).expect("a pair");
    let (near, far) = duplex(64 * 1024);
    let remote = async {
        sleep(HANDSHAKE.saturating_sub(Duration::from_millis(1))).await;
        tokio_rustls::TlsAcceptor::from(server).accept(far).await
    };
    let (stream, accepted) = tokio::join!(bench.handshake(near, &bench.device), remote);
    assert!(stream.is_ok() && accepted.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_close_within_the_handshake_is_no_timeout() {
    let bench = Bench::new();
    let (near, far) = duplex(64 * 1024);
    drop(far);
    let failure = bench.handshake(near, &bench.device).await.err().expect("no TLS");
    assert_eq!(failure.cause, Cause::TlsHandshakeFailed, "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_tls_1_3_refuses_after_the_handshake_is_named_by_the_upgrade() {
    let bench = Bench::new();
    let server =
        server_config(&bench.server.0, &bench.server.1, ClientCertificates::Required(&bench.ca)).expect("a pair");
    let stranger = Authority::new("stranger").issue("camera-1", &[], |_| ());
    let (near, far) = duplex(64 * 1024);
    let remote = async { tokio_rustls::TlsAcceptor::from(server).accept(far).await.is_err() };
    let device = async {
        let mut stream = bench.handshake(near, &stranger).await.expect("over before the remote looks at us");
        assert_eq!(stream.tls().protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        upgrade(&mut stream, &Ask::native(&bench.uplink(&address().to_string()), None).expect("valid"), &())
            .await
            .expect_err("refused")
    };
    let (failure, refused) = tokio::join!(device, remote);
    assert!(refused);
    assert_eq!(failure.cause, Cause::ClientCertificateRefused, "{failure}");
    assert!(failure.message.contains("does not trust the authority"), "{failure}");
}

#[tokio::test]
async fn an_uplink_to_a_bare_address_connects_and_says_what_tls_came_to() {
    let bench = Bench::new();
    bench.device.write(bench.directory.path(), "device");
    let server =
        server_config(&bench.server.0, &bench.server.1, ClientCertificates::Required(&bench.ca)).expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let uplink = bench.uplink(&address.to_string());
    let grant = MutualTls::new(FileWatcher::start()).grant(&uplink, &()).await.expect("usable");
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
    let transport = Https::new(Reach::default());
    let (connected, _stream) = tokio::join!(transport.connect(&uplink, grant, &()), remote);
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
    let failure = authorizer.grant(&uplink, &()).await.expect_err("missing");
    assert_eq!(failure.cause, Cause::CredentialUnreadable);
    bench.device.write(bench.directory.path(), "device");
    let first = authorizer.grant(&uplink, &()).await.expect("mended");
    let again = authorizer.grant(&uplink, &()).await.expect("unchanged");
    assert!(Arc::ptr_eq(&first.tls, &again.tls), "an unchanged identity keeps its session tickets");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_refused() {
    let bench = Bench::new();
    bench.device.write(bench.directory.path(), "device");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let uplink = bench.uplink(&listener.local_addr().expect("bound").to_string());
    drop(listener);
    let grant = MutualTls::new(FileWatcher::start()).grant(&uplink, &()).await.expect("usable");
    let failure = Https::new(Reach::default()).connect(&uplink, grant, &()).await.err().expect("refused");
    assert_eq!(failure.cause, Cause::ConnectionRefused);
}
