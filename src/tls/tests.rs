//! Tests of the room: handshakes against an independent TLS stream (tokio-rustls), and our own stream under load.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use rcgen::{CertificateParams, SerialNumber};
use rustls::{ClientConfig, ServerConfig, pki_types::CertificateDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use url::Host;

use super::{
    client::{ClientConfigs, server_name},
    identity::Identity,
    refusal,
    server::{ClientCertificates, IdentityField, identity_of, server_config},
    stream::TlsStream,
    trust::Anchors,
};
use crate::model::{
    authorization::Certificate,
    failure::{Cause, Failure},
};

use super::test_pki::{Authority, Issued};

/// An authority with a device's certificate, on disk.
struct Bench {
    directory: TempDir,
    authority: Authority,
    ca: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("writable");
        let authority = Authority::new("fleet");
        let ca = directory.path().join("ca.crt");
        std::fs::write(&ca, authority.pem()).expect("writable");
        Self { directory, authority, ca }
    }

    fn certificate(&self, issued: &Issued) -> Certificate {
        let (cert_file, key_file) = issued.write(self.directory.path(), "device");
        Certificate { id: "camera-1".to_owned(), cert_file, key_file }
    }

    fn client(&self) -> Arc<ClientConfig> {
        let device = self.certificate(&self.authority.issue("camera-1", &[], |_| ()));
        let identity = Identity::load(&device).expect("a pair");
        ClientConfigs::new()
            .get(Some(&identity), &Anchors::from_files(std::slice::from_ref(&self.ca)).expect("an authority"))
    }

    fn server(&self, issued: &Issued, client_ca: &std::path::Path) -> Arc<ServerConfig> {
        let (cert, key) = issued.write(self.directory.path(), "server");
        server_config(&cert, &key, ClientCertificates::Required(client_ca)).expect("a pair")
    }

    /// The failure of a handshake with a server that shows `issued`, when `host` is dialed.
    async fn failure(&self, issued: &Issued, host: &str) -> Option<Failure> {
        handshake(self.client(), self.server(issued, &self.ca), host).await.err()
    }
}

/// A handshake of our client with tokio-rustls; in TLS 1.3 the first read belongs to it.
async fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>, host: &str) -> Result<(), Failure> {
    let (near, far) = duplex(64 * 1024);
    let server = async move {
        if let Ok(mut stream) = tokio_rustls::TlsAcceptor::from(server).accept(far).await {
            let _ = stream.write_all(b"!").await;
            let _ = stream.shutdown().await;
        }
    };
    let name = server_name(&Host::parse(host).expect("a host")).expect("a name");
    let client = async {
        let mut stream =
            TlsStream::connect(near, client, name).await.map_err(|error| refusal::of_handshake("cloud", &error))?;
        stream.read_u8().await.map(|_| ()).map_err(|error| refusal::of_handshake("cloud", &error))
    };
    tokio::join!(client, server).0
}

fn dated(from: i32, to: i32) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
    }
}

#[tokio::test]
async fn names_wildcards_and_addresses_are_accepted_by_their_san() {
    let bench = Bench::new();
    for (san, host) in [
        ("cloud.example", "cloud.example"),
        ("*.cloud.example", "a.cloud.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "[2001:db8::7]"),
    ] {
        let server = bench.authority.issue("other", &[san], |_| ());
        assert_eq!(bench.failure(&server, host).await, None, "{san}");
    }
}

#[tokio::test]
async fn other_names_are_refused_and_listed_and_a_common_name_does_not_count() {
    let bench = Bench::new();
    for (san, host, part) in [
        (&["else.example"][..], "cloud.example", "else.example"),
        (&["*.example"], "a.b.example", "*.example"),
        (&["cloud.example"], "192.0.2.7", "192.0.2.7"),
        (&[], "cloud.example", "no subject alternative name"),
    ] {
        let failure = bench.failure(&bench.authority.issue("cloud.example", san, |_| ()), host).await.expect("refused");
        assert_eq!(failure.cause, Cause::ServerNameMismatch, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
    }
}

#[tokio::test]
async fn certificates_of_another_time_or_authority_are_told_apart() {
    let bench = Bench::new();
    let names = &["cloud.example"];
    for (server, cause) in [
        (bench.authority.issue("x", names, dated(2001, 2002)), Cause::ServerCertificateExpired),
        (bench.authority.issue("x", names, dated(2190, 2191)), Cause::ServerCertificateNotYetValid),
        (Authority::new("stranger").issue("x", names, |_| ()), Cause::ServerUntrusted),
    ] {
        let failure = bench.failure(&server, "cloud.example").await.expect("refused");
        assert_eq!(failure.cause, cause, "{failure}");
    }
}

#[tokio::test]
async fn a_refused_client_certificate_is_named_in_both_versions() {
    let bench = Bench::new();
    let other = bench.directory.path().join("other.crt");
    std::fs::write(&other, Authority::new("stranger").pem()).expect("writable");
    let server = bench.server(&bench.authority.issue("x", &["cloud.example"], |_| ()), &other);
    let failure = handshake(bench.client(), server, "cloud.example").await.expect_err("refused");
    assert_eq!(failure.cause, Cause::ClientCertificateRefused, "{failure}");
    let mut old = (*bench.client()).clone();
    old.resumption = rustls::client::Resumption::disabled();
    let identity = bench.authority.issue("x", &["cloud.example"], |_| ());
    let (cert, key) = identity.write(bench.directory.path(), "old");
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::clone(Anchors::from_files(&[other]).expect("an authority").store()),
        super::provider::provider(),
    )
    .build()
    .expect("an authority");
    let server = ServerConfig::builder_with_provider(super::provider::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Identity::load_files(&cert, &key).expect("a pair").resolver());
    let failure = handshake(Arc::new(old), Arc::new(server), "cloud.example").await.expect_err("refused");
    assert_eq!(failure.cause, Cause::ClientCertificateRefused, "{failure}");
}

#[tokio::test]
async fn a_peer_with_tls_1_2_only_that_asks_for_no_certificate_works() {
    let bench = Bench::new();
    let (cert, key) = bench.authority.issue("x", &["cloud.example"], |_| ()).write(bench.directory.path(), "old");
    let server = ServerConfig::builder_with_provider(super::provider::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .with_no_client_auth()
        .with_cert_resolver(Identity::load_files(&cert, &key).expect("a pair").resolver());
    assert_eq!(handshake(bench.client(), Arc::new(server), "cloud.example").await, Ok(()));
}

#[tokio::test]
async fn a_peer_without_tls_is_told_so() {
    let bench = Bench::new();
    let (near, mut far) = duplex(4096);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("room");
    let name = server_name(&Host::parse("cloud.example").expect("a host")).expect("a name");
    let error = TlsStream::connect(near, bench.client(), name).await.err().expect("no TLS");
    let failure = refusal::of_handshake("cloud", &error);
    assert_eq!(failure.cause, Cause::TlsHandshakeFailed);
    assert!(failure.message.contains("does not speak TLS"), "{failure}");
}

#[test]
fn a_pair_that_cannot_be_used_has_its_cause() {
    let bench = Bench::new();
    let good = bench.authority.issue("camera-1", &[], |_| ());
    let other = bench.authority.issue("camera-1", &[], |_| ());
    let mixed = Issued { cert: good.cert.clone(), key: other.key };
    for (issued, cause) in [
        (mixed, Cause::KeyMismatch),
        (bench.authority.issue("c", &[], dated(2001, 2002)), Cause::ClientCertificateExpired),
        (bench.authority.issue("c", &[], dated(2190, 2191)), Cause::ClientCertificateNotYetValid),
        (Issued { cert: "no PEM".to_owned(), key: good.key.clone() }, Cause::CredentialInvalid),
        (Issued { cert: good.cert.clone(), key: good.cert.clone() }, Cause::CredentialInvalid),
    ] {
        assert_eq!(Identity::load(&bench.certificate(&issued)).err().map(|failure| failure.cause), Some(cause));
    }
    let identity = Identity::load(&bench.certificate(&good)).expect("a pair");
    assert!(identity.expiry() > SystemTime::now());
    let missing = Identity::load_files(&bench.ca, &bench.directory.path().join("none")).expect_err("missing");
    assert_eq!(missing.cause, Cause::CredentialUnreadable);
}

#[test]
fn the_same_content_keeps_its_configuration_and_a_new_identity_gets_a_new_one() {
    let bench = Bench::new();
    let load = |issued: &Issued| Identity::load(&bench.certificate(issued)).expect("a pair");
    let anchors = || Anchors::from_files(std::slice::from_ref(&bench.ca)).expect("an authority");
    let (one, two) = (bench.authority.issue("a", &[], |_| ()), bench.authority.issue("a", &[], |_| ()));
    let configs = ClientConfigs::new();
    let first = configs.get(Some(&load(&one)), &anchors());
    assert!(Arc::ptr_eq(&first, &configs.get(Some(&load(&one)), &anchors())));
    assert!(!Arc::ptr_eq(&first, &configs.get(Some(&load(&two)), &anchors())));
    assert!(!Arc::ptr_eq(&first, &configs.get(None, &anchors())));
}

#[test]
fn a_device_is_named_by_common_name_or_serial_number() {
    use rustls::pki_types::pem::PemObject;
    let issued = Bench::new()
        .authority
        .issue("camera-1", &[], |params| params.serial_number = Some(SerialNumber::from_slice(&[0xAB, 0x01])));
    let der = CertificateDer::from_pem_slice(issued.cert.as_bytes()).expect("PEM");
    assert_eq!(identity_of(&der, IdentityField::CommonName).as_deref(), Ok("camera-1"));
    assert_eq!(identity_of(&der, IdentityField::SerialNumber).as_deref(), Ok("ab01"));
    assert!(identity_of(&CertificateDer::from(vec![1, 2, 3]), IdentityField::CommonName).is_err());
}

#[tokio::test]
async fn large_transfers_both_ways_in_chunks_of_any_size_arrive_whole_and_end_in_good_order() {
    const LENGTH: usize = 2_000_003;
    let bench = Bench::new();
    let server = bench.server(&bench.authority.issue("x", &["cloud.example"], |_| ()), &bench.ca);
    let client = bench.client();
    let sent: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
    for seed in 1..=4 {
        let mut sizes = Sizes(seed);
        // From a few records to a part of one between the two ends.
        let (near, far) = duplex(sizes.up_to(64 * 1024));
        let name = server_name(&Host::parse("cloud.example").expect("a host")).expect("a name");
        let ours = async {
            let stream = TlsStream::connect(near, Arc::clone(&client), name).await.expect("trusted");
            both_ways(stream, &sent, seed + 100).await
        };
        let theirs = async {
            let stream = tokio_rustls::TlsAcceptor::from(Arc::clone(&server)).accept(far).await.expect("trusted");
            both_ways(stream, &sent, seed + 200).await
        };
        let (ours, theirs) = tokio::join!(ours, theirs);
        assert!(ours == sent && theirs == sent, "seed {seed}");
    }
}

/// Sizes that look random and are the same in each run: the generator of Lehmer (Park and Miller, 1988).
struct Sizes(u64);

impl Sizes {
    fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0 * 48_271 % 0x7fff_ffff;
        1 + usize::try_from(self.0).expect("31 bits") % most
    }

    /// The size of a chunk: as often a few bytes as more than one record.
    fn chunk(&mut self) -> usize {
        let most = [16, 2_000, 16_384, 50_000][self.up_to(4) - 1];
        self.up_to(most)
    }
}

async fn both_ways(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite, sent: &[u8], seed: u64) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        let (mut sizes, mut left) = (Sizes(seed), sent);
        while !left.is_empty() {
            let (chunk, rest) = left.split_at(sizes.chunk().min(left.len()));
            write.write_all(chunk).await.expect("open");
            if sizes.up_to(3) == 1 {
                write.flush().await.expect("open");
            }
            left = rest;
        }
        write.shutdown().await.expect("open");
    };
    let reading = async {
        let (mut sizes, mut received, mut buffer) = (Sizes(seed + 1), Vec::new(), vec![0; 50_000]);
        loop {
            let room = sizes.chunk();
            match read.read(&mut buffer[..room]).await.expect("close_notify") {
                0 => return received,
                length => received.extend_from_slice(&buffer[..length]),
            }
        }
    };
    tokio::join!(writing, reading).1
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error() {
    let bench = Bench::new();
    let server = bench.server(&bench.authority.issue("x", &["cloud.example"], |_| ()), &bench.ca);
    let (near, far) = duplex(64 * 1024);
    let name = server_name(&Host::parse("cloud.example").expect("a host")).expect("a name");
    let accept = async { drop(tokio_rustls::TlsAcceptor::from(server).accept(far).await.expect("trusted")) };
    let (stream, ()) = tokio::join!(TlsStream::connect(near, bench.client(), name), accept);
    let error = stream.expect("trusted").read_u8().await.expect_err("truncated");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_stops_the_writer_within_a_bound() {
    let bench = Bench::new();
    let server = bench.server(&bench.authority.issue("x", &["cloud.example"], |_| ()), &bench.ca);
    let (near, far) = duplex(16 * 1024);
    let name = server_name(&Host::parse("cloud.example").expect("a host")).expect("a name");
    let accept = tokio_rustls::TlsAcceptor::from(server).accept(far);
    let (stream, peer) = tokio::join!(TlsStream::connect(near, bench.client(), name), accept);
    let (mut stream, _peer) = (stream.expect("trusted"), peer.expect("trusted"));
    let mut accepted = 0;
    // A write that waits is dropped at once: what was accepted until then is what the queue holds.
    while let Some(Ok(written)) = futures_util::FutureExt::now_or_never(stream.write(&[7; 16 * 1024])) {
        accepted += written;
        assert!(accepted < 1024 * 1024, "the queue has no bound");
    }
    assert!(accepted >= 16 * 1024, "{accepted}");
}

/// The way through an https proxy: what TLS within TLS says must not wait in the outer queue for a turn of its own.
#[tokio::test]
async fn tls_within_tls_keeps_nothing_back() {
    use crate::base::io::TurnStream;
    let bench = Bench::new();
    let server = bench.server(&bench.authority.issue("x", &["cloud.example"], |_| ()), &bench.ca);
    let (near, far) = duplex(64 * 1024);
    let name = server_name(&Host::parse("cloud.example").expect("a host")).expect("a name");
    let acceptor = tokio_rustls::TlsAcceptor::from(server);
    let client = async {
        let outer = TlsStream::connect(near, bench.client(), name.clone()).await.expect("trusted");
        let mut inner = TlsStream::connect(outer, bench.client(), name).await.expect("trusted");
        inner.write_all(b"within").await.expect("sealed");
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut inner).poll_turn(cx)).await.expect("sent");
        inner
    };
    let peer = async {
        let outer = acceptor.accept(far).await.expect("trusted");
        let mut inner = acceptor.accept(outer).await.expect("trusted");
        let mut seen = [0; 6];
        inner.read_exact(&mut seen).await.expect("sent by the turn");
        assert_eq!(&seen, b"within");
        inner
    };
    let both = async { tokio::join!(client, peer) };
    tokio::time::timeout(std::time::Duration::from_secs(10), both).await.expect("nothing is kept back");
}
