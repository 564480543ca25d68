//! `check --connect`: what a person reads when an uplink does not come up, phase by phase.

use onvif_uplink::app::{
    Proxies,
    probe::{
        connect,
        walk::{Outcome, Walk},
    },
};
use rcgen::{CertificateParams, date_time_ymd};
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::support::{
    device::nobody,
    http::PATIENCE,
    pki::Authority,
    remote::{Remote, SWITCH, server_certificate, tls, upgraded},
    sidecar::{Line, Site, document},
};

/// Walks the only uplink of the site's configuration.
async fn walk(site: &Site) -> Walk {
    let mut walks = Vec::new();
    let all = connect(&site.config(), site.path(), Proxies::default(), |walk| walks.push(walk.clone()))
        .await
        .expect("a good file");
    let [walk] = walks.try_into().expect("one uplink");
    assert_eq!(all, walk.online);
    walk
}

/// A site with one uplink to this address; the device is one that nobody may ask.
async fn site(remote: impl Into<String>) -> Site {
    let site = Site::new(&["camera-1"]);
    site.write(&document(&[Line::new("camera-1", nobody().await, remote)]));
    site
}

/// The outcome of a phase, and what was seen.
fn row(walk: &Walk, phase: &str) -> (Outcome, String) {
    let row = walk.rows.iter().find(|row| row.phase == phase).expect("a row for each phase");
    assert_eq!(row.milliseconds.is_some(), row.outcome != Outcome::NotTried);
    (row.outcome, row.seen.join("\n"))
}

/// That the walk ended in `phase` with `cause`: all rows after it are not tried. Returns the sentence.
fn ended(walk: &Walk, phase: &str, cause: &str) -> String {
    let error = walk.error.as_ref().expect("an error");
    assert_eq!(error.cause, cause, "{}", error.message);
    assert!(!error.advice.is_empty());
    let at = walk.rows.iter().position(|row| row.outcome == Outcome::Failed).expect("a failed phase");
    assert_eq!(walk.rows[at].phase, phase);
    assert!(walk.rows[at + 1..].iter().all(|row| row.outcome == Outcome::NotTried), "{:?}", walk.rows);
    error.message.clone()
}

/// Walks while the remote plays its part once.
async fn against(site: &Site, remote: &Remote, answer: &[u8]) -> Walk {
    let play = async {
        let mut stream = remote.asked().await;
        stream.write_all(answer).await.expect("sent");
        stream.shutdown().await.expect("closed");
    };
    tokio::join!(walk(site), play).0
}

/// Walks while the remote begins one handshake, however that ends.
async fn shaking(site: &Site, remote: &Remote) -> Walk {
    tokio::join!(walk(site), remote.handshake()).0
}

/// A site and a remote with a certificate for 127.0.0.1 that `change` makes special.
async fn with_server(change: impl FnOnce(&mut CertificateParams)) -> (Site, Remote) {
    let site = Site::new(&["camera-1"]);
    let issued = site.authority.issue("cloud", &["127.0.0.1", "localhost"], change);
    let remote = Remote::with(tls(&issued, None, false)).await;
    site.write(&document(&[Line::new("camera-1", nobody().await, remote.remote())]));
    (site, remote)
}

#[tokio::test]
async fn an_uplink_that_comes_up_shows_every_phase_and_says_goodbye() {
    let (site, remote) = with_server(|_| {}).await;
    let port = remote.address.port();
    site.write(&document(&[Line::new(
        "camera-1",
        nobody().await,
        format!("https://localhost:{port}/uplink?k=secret"),
    )]));
    let play = async {
        let session = remote.upgrade().await;
        drop(session.requests);
        timeout(PATIENCE, session.connection).await.expect("ends by itself").expect("no panic")
    };
    let (walk, ended) = tokio::join!(walk(&site), play);
    assert!(ended.is_ok(), "the session ends in good order: {ended:?}");
    assert!(walk.online && walk.error.is_none() && walk.notes.is_empty(), "{walk:?}");
    assert_eq!(walk.remote_address, format!("https://localhost:{port}/uplink"), "no query");
    let (outcome, seen) = row(&walk, "authorize");
    assert!(outcome == Outcome::Ok && seen.starts_with("certificate c-camera-1, valid until 4096-"), "{seen}");
    let (outcome, seen) = row(&walk, "resolve");
    assert!(outcome == Outcome::Ok && seen.starts_with("localhost is ") && seen.contains("127.0.0.1"), "{seen}");
    let (outcome, seen) = row(&walk, "dial");
    assert!(outcome == Outcome::Ok && seen == format!("127.0.0.1:{port} from 127.0.0.1"), "{seen}");
    assert_eq!(row(&walk, "proxy").0, Outcome::NotTried);
    let (outcome, seen) = row(&walk, "tls");
    assert!(outcome == Outcome::Ok && seen.starts_with("TLSv1.3 X25519MLKEM768 TLS13_"), "{seen}");
    assert!(seen.contains("\n1: CN=cloud") && seen.contains("localhost") && seen.contains("by CN=fleet"), "{seen}");
    assert_eq!(row(&walk, "upgrade").0, Outcome::Ok);
    assert_eq!(row(&walk, "preface").0, Outcome::Ok);
}

#[tokio::test]
async fn a_name_without_an_address_ends_at_resolve() {
    let site = site("https://nowhere.invalid/uplink").await;
    let walk = walk(&site).await;
    ended(&walk, "resolve", "name-not-resolved");
    assert_eq!(row(&walk, "authorize").0, Outcome::Ok);
}

#[tokio::test]
async fn a_closed_port_ends_at_dial() {
    let site = site(format!("https://{}/uplink", nobody().await)).await;
    let walk = walk(&site).await;
    ended(&walk, "dial", "connection-refused");
}

#[tokio::test]
async fn a_missing_key_ends_before_anything_is_dialed() {
    let site = site("https://127.0.0.1:9/uplink").await;
    std::fs::remove_file(site.path().join("camera-1.key")).expect("was there");
    let walk = walk(&site).await;
    assert!(ended(&walk, "authorize", "credential-unreadable").contains("camera-1.key"));
}

#[tokio::test]
async fn a_proxy_that_is_not_there_ends_at_proxy() {
    let site = Site::new(&["camera-1"]);
    let text = document(&[Line::new("camera-1", nobody().await, "https://127.0.0.1:9/uplink")]);
    let proxy = nobody().await;
    site.write(&text.replace("userLevel:", &format!("network: {{ proxy: 'http://{proxy}' }}\n        userLevel:")));
    let walk = walk(&site).await;
    assert!(ended(&walk, "proxy", "proxy-unreachable").contains(&proxy.to_string()));
}

#[tokio::test]
async fn the_chain_of_a_stranger_is_shown() {
    let (site, remote) = with_server(|_| {}).await;
    let stranger = Authority::new("stranger");
    std::fs::write(site.path().join("ca.crt"), stranger.pem()).expect("writable");
    let walk = shaking(&site, &remote).await;
    ended(&walk, "tls", "server-untrusted");
    let (_, seen) = row(&walk, "tls");
    assert!(seen.contains("1: CN=cloud for 127.0.0.1, localhost") && seen.contains("by CN=fleet"), "{seen}");
}

#[tokio::test]
async fn an_expired_and_an_early_certificate_are_marked_in_the_chain() {
    for (begin, end, cause, mark) in [
        (2020, 2021, "server-certificate-expired", "EXPIRED"),
        (2090, 2091, "server-certificate-not-yet-valid", "NOT YET VALID"),
    ] {
        let (site, remote) = with_server(|params| {
            params.not_before = date_time_ymd(begin, 1, 1);
            params.not_after = date_time_ymd(end, 1, 1);
        })
        .await;
        let walk = shaking(&site, &remote).await;
        ended(&walk, "tls", cause);
        assert!(row(&walk, "tls").1.contains(mark), "{walk:?}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_lists_its_names() {
    let site = Site::new(&["camera-1"]);
    let issued = site.authority.issue("cloud", &["cloud.example.com"], |_| {});
    let remote = Remote::with(tls(&issued, None, false)).await;
    site.write(&document(&[Line::new("camera-1", nobody().await, remote.remote())]));
    let walk = shaking(&site, &remote).await;
    ended(&walk, "tls", "server-name-mismatch");
    assert!(row(&walk, "tls").1.contains("cloud.example.com"), "{walk:?}");
}

#[tokio::test]
async fn a_wrong_pin_ends_at_tls() {
    let (site, remote) = with_server(|_| {}).await;
    let text = std::fs::read_to_string(site.config()).expect("written");
    let pin = format!("sha256/{}=", "A".repeat(43));
    site.write(&text.replace("trustAnchorFiles: [ca.crt]", &format!("trustAnchorFiles: [ca.crt], pins: ['{pin}']")));
    let walk = shaking(&site, &remote).await;
    ended(&walk, "tls", "server-pin-mismatch");
}

#[tokio::test]
async fn a_remote_that_refuses_our_certificate_ends_at_tls() {
    let site = Site::new(&["camera-1"]);
    let others = Authority::new("others");
    let remote = Remote::with(tls(&server_certificate(&site.authority), Some(&others), false)).await;
    site.write(&document(&[Line::new("camera-1", nobody().await, remote.remote())]));
    let walk = shaking(&site, &remote).await;
    ended(&walk, "tls", "client-certificate-refused");
}

#[tokio::test]
async fn an_answer_that_is_no_101_ends_at_upgrade_with_its_status() {
    for (answer, cause) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "upgrade-refused"),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "unauthorized"),
        ("HTTP/1.1 301 Moved\r\nLocation: https://other/\r\nContent-Length: 0\r\n\r\n", "redirected"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "upgrade-malformed"),
    ] {
        let (site, remote) = with_server(|_| {}).await;
        let walk = against(&site, &remote, answer.as_bytes()).await;
        ended(&walk, "upgrade", cause);
        assert_eq!(row(&walk, "tls").0, Outcome::Ok);
    }
}

#[tokio::test]
async fn a_101_without_http_2_ends_at_preface() {
    let (site, remote) = with_server(|_| {}).await;
    let walk = against(&site, &remote, &[SWITCH, b"SSH-2.0-OpenSSH_9 is not the preface of HTTP/2\r\n"].concat()).await;
    ended(&walk, "preface", "preface-invalid");
    assert_eq!(row(&walk, "upgrade").0, Outcome::Ok);
}

#[tokio::test]
async fn a_clock_that_is_off_is_named_even_when_the_uplink_comes_up() {
    let (site, remote) = with_server(|_| {}).await;
    let play = async {
        let mut stream = remote.asked().await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.expect("sent");
        upgraded(stream).await
    };
    let (walk, _session) = tokio::join!(walk(&site), play);
    assert!(walk.online, "{walk:?}");
    let [note] = walk.notes.as_slice() else { panic!("one note: {walk:?}") };
    assert!(note.starts_with("this clock is ") && note.contains(" ahead of that of 127.0.0.1"), "{note}");
}

#[tokio::test]
async fn switches_of_the_lab_are_noted() {
    let (site, remote) = with_server(|_| {}).await;
    let text = std::fs::read_to_string(site.config()).expect("written");
    site.write(&text.replace("userLevel:", "lab: { skipServerVerification: true }\n        userLevel:"));
    let (walk, _session) = tokio::join!(walk(&site), remote.upgrade());
    assert!(walk.online && walk.notes.iter().any(|note| note.contains("skipServerVerification")), "{walk:?}");
}

#[tokio::test]
async fn a_wrong_configuration_is_told_line_by_line_and_nothing_is_dialed() {
    let site = Site::new(&[]);
    site.write("devices:\n  - name: camera-1\n    http: nonsense\n");
    let told = connect(&site.config(), site.path(), Proxies::default(), |_| panic!("nothing is walked")).await;
    let errors = told.expect_err("wrong");
    assert!(errors.iter().any(|error| error.contains("uplinks.yaml:3:")), "{errors:?}");
}

#[tokio::test]
async fn all_uplinks_are_walked_in_the_order_of_the_file_and_one_that_fails_fails_the_check() {
    let site = Site::new(&["a", "b", "c", "d", "e", "f"]);
    let remote = Remote::with(tls(&server_certificate(&site.authority), None, false)).await;
    let closed = nobody().await;
    let lines: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .map(|name| Line::new(name, closed, if name == "c" { remote.remote() } else { format!("https://{closed}/") }))
        .collect();
    site.write(&document(&lines));
    let mut told = Vec::new();
    let file = site.config();
    let walking = connect(&file, site.path(), Proxies::default(), |walk| told.push((walk.device.clone(), walk.online)));
    let (all, _session) = tokio::join!(walking, remote.upgrade());
    assert!(!all.expect("a good file"));
    let expected = ["a", "b", "c", "d", "e", "f"].map(|name| (name.to_owned(), name == "c"));
    assert_eq!(told, expected);
}
