//! Remotes that answer the upgrade with something else than a 101, or break what follows it: the cause is named, other
//! uplinks do not notice, memory stays bounded. What takes 15 s or 30 s of silence is tested in virtual time
//! (src/transport/upgrade_tests.rs, src/uplink/tests.rs).

use onvif_uplink::model::{failure::Cause, status::Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{
    device::{RunningCamera, camera},
    http::PATIENCE,
    remote::{Remote, SWITCH, Upgraded},
    sidecar::{Line, Sidecar, Site},
};

/// A sidecar with an uplink `good` that stands, and an uplink `bad` whose remote the test plays.
struct Scene {
    sidecar: Sidecar,
    remote: Remote,
    good_since: std::time::SystemTime,
    _good: Upgraded,
    _device: RunningCamera,
    _site: Site,
}

impl Scene {
    async fn new() -> Self {
        let site = Site::new(&["good", "bad"]);
        let (friend, remote) = (Remote::start(&site.authority).await, Remote::start(&site.authority).await);
        let device = camera("good").await;
        let lines =
            [Line::new("good", device.address, friend.remote()), Line::new("bad", device.address, remote.remote())];
        let sidecar = site.start_with(&lines).await;
        let good = friend.upgrade().await;
        let good_since = sidecar.online("good").await.since;
        Self { sidecar, remote, good_since, _good: good, _device: device, _site: site }
    }

    /// Answers the upgrade with these bytes and closes; returns the sentence.
    async fn answered(&self, bytes: &[u8], cause: Cause) -> String {
        let mut stream = self.remote.answer(bytes).await;
        stream.shutdown().await.expect("closed");
        let sentence = self.sidecar.fails("bad", cause).await;
        self.others_untouched();
        sentence
    }

    fn others_untouched(&self) {
        let good = self.sidecar.now("good");
        assert_eq!((good.status, good.since), (Status::Online, self.good_since));
    }

    /// After whatever went wrong, a good answer brings the uplink up.
    async fn recovers(&self) {
        let _session = self.remote.upgrade().await;
        self.sidecar.online("bad").await;
    }
}

#[tokio::test]
async fn each_refusal_is_named_in_status() {
    for (answer, cause, said) in [
        ("401 Unauthorized\r\nContent-Length: 0", Cause::Unauthorized, "401"),
        ("404 Not Found\r\nContent-Length: 0", Cause::UpgradeRefused, "check remoteAddress"),
        ("500 Oops\r\nContent-Type: text/plain\r\nContent-Length: 4", Cause::UpgradeRefused, "500"),
        (
            "302 Found\r\nLocation: https://u:p@elsewhere.example/up?token=secret",
            Cause::Redirected,
            "elsewhere.example/up`",
        ),
    ] {
        let scene = Scene::new().await;
        let sentence = scene.answered(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes(), cause).await;
        assert!(sentence.contains(said), "{sentence}");
        assert!(!sentence.contains("secret") && !sentence.contains("u:p"), "{sentence}");
        let (_, status) = scene.sidecar.page("/status").await;
        assert!(status.contains(&format!("\"cause\": \"{cause}\"")), "{status}");
    }
}

#[tokio::test]
async fn a_busy_remote_is_not_asked_before_its_retry_after() {
    let scene = Scene::new().await;
    scene.answered(b"HTTP/1.1 503 Busy\r\nRetry-After: 300\r\nContent-Length: 0\r\n\r\n", Cause::RemoteBusy).await;
    let due = scene.sidecar.now("bad").next_attempt.expect("it waits");
    let delay = due.duration_since(std::time::SystemTime::now()).expect("in the future");
    assert!((250..=400).contains(&delay.as_secs()), "{delay:?}");
}

#[tokio::test]
async fn garbage_half_a_head_and_nothing_are_named_and_the_uplink_comes_back() {
    for (bytes, cause) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], Cause::UpgradeMalformed),
        (b"\0\x01\x02\xff", Cause::UpgradeMalformed),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", Cause::UpgradeMalformed),
        (b"HTTP/1.1 101 Switch", Cause::UpgradeClosed),
        (b"", Cause::UpgradeClosed),
    ] {
        let scene = Scene::new().await;
        scene.answered(bytes, cause).await;
        scene.recovers().await;
    }
}

#[tokio::test]
async fn an_endless_head_stops_being_read() {
    let scene = Scene::new().await;
    let mut stream = scene.remote.answer(b"HTTP/1.1 101 x\r\nX-Endless: ").await;
    let block = vec![b'a'; 64 << 10];
    // Socket buffers take some megabytes at most; whoever reads on would take all of it.
    let flood = async {
        let mut sent = 0;
        while sent < 256 << 20 && stream.write_all(&block).await.is_ok() {
            sent += block.len();
        }
        sent
    };
    let sent = timeout(PATIENCE, flood).await.expect("the sidecar closes, so a write fails");
    assert!(sent < 64 << 20, "{sent} bytes of a head were taken");
    scene.sidecar.fails("bad", Cause::UpgradeHeadTooLarge).await;
    scene.others_untouched();
    scene.recovers().await;
}

#[tokio::test]
async fn a_101_that_garbage_or_the_end_follows_is_named() {
    for tail in [&b"this is no HTTP/2 preface, but long enough to be one"[..], b""] {
        let scene = Scene::new().await;
        scene.answered(&[SWITCH, tail].concat(), Cause::PrefaceInvalid).await;
        scene.recovers().await;
    }
}

#[tokio::test]
async fn a_session_waits_for_the_preface_before_it_is_online() {
    let scene = Scene::new().await;
    let mut stream = scene.remote.answer(SWITCH).await;
    // Our SETTINGS come at once, so both sides speak now; what is missing is the remote's preface.
    stream.read_u8().await.expect("our SETTINGS");
    assert_eq!(scene.sidecar.now("bad").status, Status::Connecting);
}

#[tokio::test]
async fn a_reset_connection_is_named_and_dialed_again() {
    let scene = Scene::new().await;
    let mut stream = scene.remote.answer(&[SWITCH, PREFACE].concat()).await;
    stream.read_u8().await.expect("our SETTINGS");
    scene.sidecar.online("bad").await;
    stream.get_ref().0.set_zero_linger().expect("a socket option");
    drop(stream);
    scene.sidecar.fails("bad", Cause::ConnectionReset).await;
    scene.others_untouched();
    scene.recovers().await;
}

#[tokio::test]
async fn malformed_frames_end_the_session_with_a_protocol_cause() {
    let scene = Scene::new().await;
    let mut stream = scene.remote.answer(&[SWITCH, PREFACE].concat()).await;
    scene.sidecar.online("bad").await;
    // DATA on stream 0 (RFC 9113 §6.1).
    stream.write_all(b"\0\0\x01\0\0\0\0\0\0x").await.expect("sent");
    stream.flush().await.expect("sent");
    scene.sidecar.fails("bad", Cause::ProtocolViolation).await;
    scene.others_untouched();
    scene.recovers().await;
}

/// The connection preface with empty SETTINGS (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
