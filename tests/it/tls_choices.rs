//! What an uplink asks of TLS, end to end: version, key exchange, revocation, pins, verification, resumption (RFC 8446, RFC 5280).

use std::{path::Path, sync::Arc};

use onvif_uplink::{model::failure::Cause, tls::provider::provider};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::support::{
    device::camera,
    pki::{Authority, Issued},
    remote::{Remote, server_certificate, tls},
    sidecar::{Line, Sidecar, Site, document},
};

/// A sidecar with one uplink; the text is the document, changed.
async fn scene(
    site: &Site,
    remote: &Remote,
    device: std::net::SocketAddr,
    change: impl FnOnce(String) -> String,
) -> Sidecar {
    site.write(&change(document(&[Line::new("camera-1", device, remote.remote())])));
    site.start().await
}

fn with_tls(setting: &'static str) -> impl FnOnce(String) -> String {
    move |text| text.replace("userLevel:", &format!("tls: {{ {setting} }}\n        userLevel:"))
}

#[tokio::test]
async fn a_minimum_of_1_3_refuses_a_remote_that_has_only_1_2() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, true)).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, with_tls("minimumVersion: 1.3")).await;
    assert!(remote.handshake().await.is_err());
    sidecar.fails("camera-1", Cause::TlsHandshakeFailed).await;
}

#[tokio::test]
async fn the_key_exchange_is_classical_when_post_quantum_is_switched_off() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, with_tls("postQuantum: false")).await;
    let _session = remote.upgrade().await;
    let session = sidecar.online("camera-1").await.session.expect("online");
    assert!(!session.tls.group.contains("MLKEM"), "{}", session.tls.group);
    let status: serde_json::Value = serde_json::from_str(&sidecar.page("/status").await.1).expect("JSON");
    let shown = &status["uplinks"][0]["session"]["tls"];
    assert_eq!(shown["group"], session.tls.group);
    assert_eq!(shown["version"], "TLSv1.3");
}

#[cfg(feature = "aws-lc")]
#[tokio::test]
async fn the_key_exchange_is_post_quantum_by_default() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, |text| text).await;
    let _session = remote.upgrade().await;
    assert_eq!(sidecar.online("camera-1").await.session.expect("online").tls.group, "X25519MLKEM768");
}

/// An authority that can revoke.
struct Revoker {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Revoker {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "revoker");
        let key = KeyPair::generate().expect("P-256");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn server(&self, serial: u8) -> Issued {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        let key = KeyPair::generate().expect("P-256");
        Issued { cert: params.signed_by(&key, &self.issuer).expect("signed").pem(), key: key.serialize_pem() }
    }

    /// Writes a list of these serial numbers; it is past its end when `late`.
    fn revoke(&self, path: &Path, serials: &[u8], late: bool) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(if late { 2024 } else { 2090 }, 2, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(path, list.signed_by(&self.issuer).expect("signed").pem().expect("PEM")).expect("writable");
    }
}

/// A remote with this certificate that keeps sessions for resumption.
fn server(issued: &Issued) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(issued.cert.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("versions");
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).expect("a pair"))
}

#[tokio::test]
async fn a_revoked_server_is_refused_as_soon_as_the_list_says_so_and_a_ticket_does_not_help() {
    for late in [false, true] {
        let site = Site::new(&["camera-1"]);
        let revoker = Revoker::new();
        std::fs::write(site.path().join("ca.crt"), &revoker.pem).expect("writable");
        let list = site.path().join("ca.crl");
        revoker.revoke(&list, &[9], late);
        let remote = Remote::with(server(&revoker.server(7))).await;
        let device = camera("camera-1").await;
        let change =
            |text: String| text.replace("trustAnchorFiles: [ca.crt]", "trustAnchorFiles: [ca.crt], crlFiles: [ca.crl]");
        let sidecar = scene(&site, &remote, device.address, change).await;
        let session = remote.upgrade().await;
        sidecar.online("camera-1").await;
        revoker.revoke(&list, &[9, 7], late);
        // The changed list makes a successor, which is refused while the session goes on; then the session ends.
        let refused = remote.handshake().await;
        assert!(refused.is_err(), "a new session is not begun");
        drop(session);
        let cause = sidecar.until("the cause", |all| {
            let uplink = crate::support::sidecar::of(all, "camera-1")?;
            (uplink.error.as_ref()?.cause == Cause::ServerCertificateRevoked).then_some(())
        });
        // As often as it dials: whether a refused successor or the lost session dials first is not ours to say.
        let refusals = async {
            loop {
                assert!(remote.handshake().await.is_err(), "a new session is not begun");
            }
        };
        tokio::select! { () = cause => {}, () = refusals => {} }
    }
}

#[tokio::test]
async fn a_file_that_is_no_revocation_list_is_named() {
    let site = Site::new(&["camera-1"]);
    std::fs::write(site.path().join("ca.crl"), "not a list").expect("writable");
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let change =
        |text: String| text.replace("trustAnchorFiles: [ca.crt]", "trustAnchorFiles: [ca.crt], crlFiles: [ca.crl]");
    let sidecar = scene(&site, &remote, device.address, change).await;
    let sentence = sidecar.fails("camera-1", Cause::CredentialInvalid).await;
    assert!(sentence.contains("ca.crl"), "{sentence}");
}

#[tokio::test]
async fn a_pin_of_the_servers_key_is_accepted_and_the_sentence_of_another_lists_what_was_seen() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let pinned = |pin: String| {
        move |text: String| {
            text.replace("trustAnchorFiles: [ca.crt]", &format!("trustAnchorFiles: [ca.crt], pins: ['{pin}']"))
        }
    };
    let zeros = format!("sha256/{}=", "A".repeat(43));
    let sidecar = scene(&site, &remote, device.address, pinned(zeros)).await;
    assert!(remote.handshake().await.is_err());
    let sentence = sidecar.fails("camera-1", Cause::ServerPinMismatch).await;
    let seen =
        sentence.split("seen were ").nth(1).and_then(|rest| rest.split([',', ':']).next()).expect("a pin").to_owned();
    assert!(seen.starts_with("sha256/"), "{sentence}");
    site.write(&pinned(seen)(document(&[Line::new("camera-1", device.address, remote.remote())])));
    let _session = remote.upgrade().await;
    sidecar.online("camera-1").await;
}

#[tokio::test]
async fn a_server_of_strangers_is_taken_only_with_the_lab_switch() {
    let site = Site::new(&["camera-1"]);
    let strangers = Authority::new("strangers");
    let remote = Remote::with(tls(&strangers.issue("x", &["elsewhere.example"], |_| {}), None, false)).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, |text| text).await;
    assert!(remote.handshake().await.is_err());
    sidecar.fails("camera-1", Cause::ServerUntrusted).await;
    let lab = document(&[Line::new("camera-1", device.address, remote.remote())])
        .replace("userLevel:", "lab: { skipServerVerification: true }\n        userLevel:");
    site.write(&lab);
    let _session = remote.upgrade().await;
    sidecar.online("camera-1").await;
}

#[tokio::test]
async fn the_next_session_goes_on_from_the_ticket_of_the_one_before() {
    for only_1_2 in [false, true] {
        let site = Site::new(&["camera-1"]);
        let remote = Remote::with(tls(&server_certificate(&site.authority), None, only_1_2)).await;
        let device = camera("camera-1").await;
        let sidecar = scene(&site, &remote, device.address, |text| text).await;
        let first = remote.upgrade().await;
        assert!(!sidecar.online("camera-1").await.session.expect("online").tls.resumed);
        drop(first.requests);
        sidecar.fails("camera-1", Cause::ClosedByRemote).await;
        let _second = remote.upgrade().await;
        let resumed = sidecar.until("a second session", |all| {
            crate::support::sidecar::of(all, "camera-1")?.session.as_ref().map(|session| session.tls.resumed)
        });
        assert!(resumed.await, "TLS 1.2 only: {only_1_2}");
    }
}

#[tokio::test]
async fn plain_tcp_is_spoken_to_loopback_only_when_the_lab_says_so() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let site = Site::new(&["camera-1"]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let device = camera("camera-1").await;
    let text = document(&[Line::new("camera-1", device.address, format!("https://{address}/u"))]);
    site.write(&text.replace("userLevel:", "lab: { plainTcp: true }\n        userLevel:"));
    let sidecar = site.start().await;
    let (mut stream, _) = listener.accept().await.expect("dialed");
    let mut head = vec![0; 7];
    stream.read_exact(&mut head).await.expect("a head");
    assert_eq!(head, b"GET /u ", "no TLS");
    let mut rest = Vec::new();
    while !rest.ends_with(b"\r\n\r\n") {
        rest.push(stream.read_u8().await.expect("a head"));
    }
    stream.write_all(b"HTTP/1.1 101 x\r\n\r\n").await.expect("sent");
    let (requests, connection) = h2::client::handshake(stream).await.expect("a preface");
    let _driver = tokio::spawn(connection);
    let session = sidecar.online("camera-1").await.session.expect("online");
    assert_eq!(session.tls.version, "");
    drop(requests);
}
