//! The local listener: the same service for tools beside the device, by the accounts of the document.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use onvif_uplink::base::digest::Algorithm;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{SERVICE, SOAP, USUAL, delete, message, set};
use crate::support::{
    http::PATIENCE,
    remote::Remote,
    sidecar::{Line, Sidecar, Site, document},
};

const ACCOUNTS: &str = "accounts:\n  - { username: admin, level: Administrator, passwordFile: admin.txt }\n  \
                        - { username: viewer, level: User, passwordFile: viewer.txt }\n";

/// A sidecar with these devices, no uplinks that come up, and a local listener.
async fn local(devices: &[&str]) -> (Site, Sidecar, SocketAddr) {
    let site = Site::new(devices);
    let nobody = crate::support::device::nobody().await;
    let lines: Vec<_> =
        devices.iter().map(|name| Line::new(name, nobody, format!("https://{nobody}/{name}"))).collect();
    site.write(&format!("{}{ACCOUNTS}", document(&lines)));
    std::fs::write(site.path().join("admin.txt"), "secret\n").expect("written");
    std::fs::write(site.path().join("viewer.txt"), "look").expect("written");
    let address = Some("127.0.0.1:0".parse().expect("address"));
    let sidecar = Sidecar::start(site.config(), |options| options.onvif = address).await;
    sidecar.generation(1).await;
    let address = sidecar.onvif.expect("listens");
    (site, sidecar, address)
}

/// One request on a connection of its own: status, head, body.
async fn send(to: SocketAddr, path: &str, fields: &str, message: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(to).await.expect("somebody listens");
    let length = message.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Type: {SOAP}\r\nContent-Length: {length}\r\n{fields}\r\n{message}"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

/// The same by HTTP Digest.
async fn digest(
    to: SocketAddr,
    path: &str,
    (user, password): (&str, &str),
    algorithm: Algorithm,
    body: &str,
) -> (u16, String) {
    let message = message(body);
    let (status, head, _) = send(to, path, "", &message).await;
    assert_eq!(status, 401);
    let name = if algorithm == Algorithm::Md5 { "MD5" } else { "SHA-256" };
    let is_ours =
        |line: &&str| line.to_ascii_lowercase().starts_with("www-authenticate: digest") && line.contains(name);
    let challenge = head.lines().find(is_ours).expect("a challenge");
    let field = |name: &str| {
        challenge
            .split(&format!("{name}=\""))
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .expect("a field")
            .to_owned()
    };
    let (realm, nonce) = (field("realm"), field("nonce"));
    let a1 = algorithm.hash(&format!("{user}:{realm}:{password}"));
    let a2 = algorithm.hash(&format!("POST:{path}"));
    let response = algorithm.hash(&format!("{a1}:{nonce}:00000001:c:auth:{a2}"));
    let authorization = format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{path}\", algorithm={name}, qop=auth, \
         nc=00000001, cnonce=\"c\", response=\"{response}\"\r\n"
    );
    let (status, _, body) = send(to, path, &authorization, &message).await;
    (status, body)
}

const ADMIN: (&str, &str) = ("admin", "secret");

#[tokio::test]
async fn an_administrator_configures_by_digest_with_both_hashes() {
    let (site, sidecar, to) = local(&["camera-1"]).await;
    let remote = Remote::start(&site.authority).await;
    let (status, body) = digest(to, SERVICE, ADMIN, Algorithm::Sha256, &set(&remote.remote(), USUAL)).await;
    assert_eq!(status, 200, "{body}");
    let session = remote.upgrade().await;
    let (status, body) = digest(to, SERVICE, ADMIN, Algorithm::Md5, "<tup:GetUplinks/>").await;
    assert!(status == 200 && body.contains(&remote.remote()), "{body}");
    let (status, _) = digest(to, "/onvif/Uplink", ADMIN, Algorithm::Md5, &delete(&remote.remote())).await;
    assert_eq!(status, 200);
    session.connection.await.expect("no panic").expect("drained in order");
    drop(sidecar);
}

#[tokio::test]
async fn an_account_may_what_its_level_may_and_capabilities_are_for_all() {
    let (_site, _sidecar, to) = local(&["camera-1"]).await;
    let (status, _, body) = send(to, SERVICE, "", &message("<tup:GetServiceCapabilities/>")).await;
    assert!(status == 200 && body.contains("MaxUplinks=\"16\""), "{body}");
    let viewer = ("viewer", "look");
    assert_eq!(digest(to, SERVICE, viewer, Algorithm::Md5, "<tup:GetUplinks/>").await.0, 200);
    let (status, body) = digest(to, SERVICE, viewer, Algorithm::Md5, &delete("https://a/")).await;
    assert!(status == 400 && body.contains("ter:NotAuthorized"), "{body}");
    assert_eq!(digest(to, SERVICE, ("viewer", "wrong"), Algorithm::Md5, "<tup:GetUplinks/>").await.0, 401);
}

#[tokio::test]
async fn a_password_file_that_changed_counts_at_once() {
    let (site, _sidecar, to) = local(&["camera-1"]).await;
    std::fs::write(site.path().join("admin.txt"), "another\r\n").expect("written");
    assert_eq!(digest(to, SERVICE, ADMIN, Algorithm::Md5, "<tup:GetUplinks/>").await.0, 401);
    assert_eq!(digest(to, SERVICE, ("admin", "another"), Algorithm::Md5, "<tup:GetUplinks/>").await.0, 200);
}

/// A message with a UsernameToken of now.
fn with_token(user: &str, password: &str, nonce: &[u8]) -> String {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let created = OffsetDateTime::now_utc().format(&Rfc3339).expect("a time");
    let mut all = nonce.to_vec();
    all.extend(created.as_bytes());
    all.extend(password.as_bytes());
    let digest = STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &all));
    let wss = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity";
    let header = format!(
        "<s:Header><w:Security s:mustUnderstand=\"true\" xmlns:w=\"{wss}-secext-1.0.xsd\"><w:UsernameToken><w:Username>{user}</w:Username>\
         <w:Password Type=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest\">{digest}\
         </w:Password><w:Nonce>{}</w:Nonce><u:Created xmlns:u=\"{wss}-utility-1.0.xsd\">{created}</u:Created></w:UsernameToken>\
         </w:Security></s:Header><s:Body>",
        STANDARD.encode(nonce)
    );
    message("<tup:GetUplinks/>").replace("<s:Body>", &header)
}

#[tokio::test]
async fn a_username_token_is_taken_once_and_a_wrong_one_is_a_fault_without_challenge() {
    let (_site, _sidecar, to) = local(&["camera-1"]).await;
    let good = with_token("admin", "secret", b"0123456789abcdef");
    let (status, _, body) = send(to, SERVICE, "", &good).await;
    assert!(status == 200 && body.contains("GetUplinksResponse"), "{body}");
    for refused in [good, with_token("admin", "wrong", b"another")] {
        let (status, head, body) = send(to, SERVICE, "", &refused).await;
        assert!(status == 400 && body.contains("ter:NotAuthorized"), "{body}");
        assert!(!head.to_ascii_lowercase().contains("www-authenticate"), "{head}");
    }
}

#[tokio::test]
async fn each_of_several_devices_has_its_own_path() {
    let (_site, _sidecar, to) = local(&["camera-1", "camera-2"]).await;
    let (status, body) = digest(to, "/camera-2/onvif/uplink_service", ADMIN, Algorithm::Md5, "<tup:GetUplinks/>").await;
    assert!(status == 200 && body.contains("/camera-2<") && !body.contains("/camera-1<"), "{body}");
    for path in [SERVICE, "/camera-3/onvif/uplink_service", "/"] {
        assert_eq!(send(to, path, "", &message("<tup:GetUplinks/>")).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn nothing_else_of_the_device_is_there() {
    let (_site, _sidecar, to) = local(&["camera-1"]).await;
    let (status, _, body) = send(to, "/onvif/device_service", "", &message("<tds:GetUsers/>")).await;
    assert!(status == 404 && body.contains("only the uplink configuration service"), "{body}");
}
