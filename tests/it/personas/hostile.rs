//! What nobody should send and somebody will. Each costs one attempt with its cause, and the next one comes up. Silence for 30 s
//! is tested in virtual time (src/uplink/tests.rs), floods on the session in tests/it/hostile.rs.

use onvif_uplink::model::{failure::Cause, status::Status};
use tokio::io::AsyncWriteExt;

use super::scene;
use crate::support::{
    device::camera,
    frames::{GOAWAY, PREFACE, frame},
    remote::{Remote, SWITCH, upgraded},
    sidecar::Site,
};

#[tokio::test]
async fn every_wrong_answer_has_its_cause_and_the_next_attempt_is_made() {
    for (answer, cause) in [
        (
            &b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n"[..],
            Cause::Unauthorized,
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n", Cause::Redirected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Cause::UpgradeRefused),
        (b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", Cause::UpgradeMalformed),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Cause::UpgradeMalformed),
        (b"\0\0\0\x04\0\0\0\0\0", Cause::UpgradeMalformed),
    ] {
        let site = Site::new(&["camera-1"]);
        let remote = Remote::start(&site.authority).await;
        let device = camera("camera-1").await;
        let sidecar = scene(&site, &remote, device.address, &[]).await;
        let stream = remote.answer(answer).await;
        sidecar.fails("camera-1", cause).await;
        let uplink = sidecar.now("camera-1");
        assert!(uplink.next_attempt.is_some() && uplink.attempt == 1, "{uplink:?}");
        drop(stream);
    }
}

#[tokio::test]
async fn a_101_and_a_preface_in_one_record_with_the_end_behind_them_is_a_session_that_ended() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, &[]).await;
    drop(remote.answer(&[SWITCH, PREFACE].concat()).await);
    sidecar
        .until("an end", |all| {
            let uplink = crate::support::sidecar::of(all, "camera-1")?;
            let cause = uplink.error.as_ref()?.cause;
            matches!(cause, Cause::ClosedByRemote | Cause::ConnectionReset | Cause::PrefaceInvalid).then_some(())
        })
        .await;
}

#[tokio::test]
async fn goaway_storms_end_in_order_and_ascend() {
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let device = camera("camera-1").await;
    let sidecar = scene(&site, &remote, device.address, &[]).await;
    // Last stream 0, NO_ERROR; a hundred times in one write.
    let storm = frame(GOAWAY, 0, 0, &[0; 8]).repeat(100);
    let mut stream = remote.answer(&[SWITCH, PREFACE].concat()).await;
    sidecar.online("camera-1").await;
    stream.write_all(&storm).await.expect("sent");
    sidecar.fails("camera-1", Cause::ClosedByRemote).await;
    let waiting = sidecar.now("camera-1");
    assert_ne!(waiting.status, Status::Online);
    assert!(waiting.next_attempt.is_some(), "it is tried again, later: {waiting:?}");
    let _session = upgraded(remote.answer(SWITCH).await).await;
    sidecar.online("camera-1").await;
}
