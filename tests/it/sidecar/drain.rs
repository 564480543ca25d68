//! Ends: removal and stop finish what is open; the deadline forces.

use std::time::Duration;

use onvif_uplink::{
    app::Outcome,
    model::status::{Status, UplinkStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::support::{
    cloud::cloud,
    device::{FakeDevice, camera},
    http::{PATIENCE, ask},
    remote::Remote,
    sidecar::{Line, Sidecar, Site, document, of},
};

const LONG: u64 = 48 << 20;
const STEP: usize = 256 << 10;

#[tokio::test]
async fn a_removed_uplink_finishes_its_download_and_disappears() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]).await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let mut download = ask(cloud.front, "GET", &format!("/camera-1/download/{LONG}")).await;
    download.check_pattern(0, STEP).await;
    site.write("devices: []\n");
    sidecar.generation(2).await;
    assert!(of(&sidecar.board.snapshot(), "camera-1").is_some(), "what drains is still shown");
    let mut offset = STEP as u64;
    while offset < LONG {
        download.check_pattern(offset, STEP).await;
        offset += STEP as u64;
    }
    assert!(download.at_end().await);
    sidecar.until("the uplink is gone", |all| all.uplinks.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_stop_finishes_the_requests_in_flight_and_is_not_ready_meanwhile() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = FakeDevice::start().await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]).await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let request = tokio::spawn(ask(cloud.front, "GET", "/camera-1/slow"));
    let (mut asked, _) = device.asked().await;

    sidecar.switch.start(Duration::from_secs(20));
    let unready = async {
        while sidecar.page("/readyz").await.0 != 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, unready).await.expect("the latch closes");
    assert_eq!(sidecar.page("/livez").await.0, 200);
    assert!(!sidecar.run.is_finished());
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.expect("sent");
    let answer = timeout(PATIENCE, request).await.expect("in time").expect("no panic");
    assert_eq!((answer.status, answer.rest().await), (200, b"done".to_vec()));
    assert_eq!(sidecar.stop(Duration::from_secs(20)).await, Outcome::Stopped);
}

#[tokio::test]
async fn the_deadline_cuts_what_does_not_finish() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = FakeDevice::start().await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]).await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let request = tokio::spawn(ask(cloud.front, "GET", "/camera-1/never"));
    let _held = device.asked().await;
    // The first signal gives the grace period, the second ends it.
    sidecar.switch.start(Duration::from_secs(20));
    let begin = Instant::now();
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let answer = timeout(PATIENCE, request).await.expect("in time").expect("no panic");
    assert_eq!(answer.status, 502, "{}", answer.head);
}

#[tokio::test]
async fn an_endless_stream_does_not_outlive_the_grace_period() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    site.write(&document(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]));
    let sidecar = Sidecar::start(site.config(), |options| options.grace = Duration::from_millis(500)).await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let video = ask(cloud.front, "GET", "/camera-1/stream.mjpeg").await;
    assert_eq!(video.status, 200);
    site.write("devices: []\n");
    sidecar.until("the uplink is gone", |all| all.uplinks.is_empty().then_some(())).await;
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
}

#[tokio::test]
async fn an_upload_in_progress_is_finished_by_the_session_that_drains() {
    const HALF: usize = 8 << 20;
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]).await;
    let before = sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let mut upload = TcpStream::connect(cloud.front).await.expect("the front");
    let head = format!(
        "PUT /camera-1/firmware HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        2 * HALF
    );
    upload.write_all(head.as_bytes()).await.expect("sent");
    upload.write_all(&vec![1; HALF]).await.expect("taken");
    site.issue("camera-1");
    let session = |uplink: &UplinkStatus| uplink.session.as_ref().map(|session| session.since);
    sidecar.until("the new session", |all| (session(of(all, "camera-1")?) != session(&before)).then_some(())).await;
    upload.write_all(&vec![2; HALF]).await.expect("taken");
    let mut answer = String::new();
    timeout(PATIENCE, upload.read_to_string(&mut answer)).await.expect("in time").expect("read");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(&format!("{{\"bytes\":{}}}", 2 * HALF)), "{answer}");
}

#[tokio::test]
async fn one_of_two_uplinks_of_a_device_goes_and_the_other_stays() {
    let site = Site::new(&["camera-1"]);
    let (first, second) = (Remote::start(&site.authority).await, Remote::start(&site.authority).await);
    let device = camera("camera-1").await;
    let line = Line::new("camera-1", device.address, first.remote());
    let one = document(std::slice::from_ref(&line));
    let another = format!(
        "      - {{ remoteAddress: {}, certificateID: c-camera-1, userLevel: User, certPathValidationPolicyID: p-camera-1 }}\n",
        second.remote()
    );
    site.write(&one.replace("certificates:\n", &format!("{another}certificates:\n")));
    let sidecar = site.start().await;
    let stays = first.upgrade().await;
    let goes = second.upgrade().await;
    sidecar.until("both", |all| all.uplinks.values().all(|uplink| uplink.status == Status::Online).then_some(())).await;
    site.write(&one);
    goes.connection.await.expect("no panic").expect("GOAWAY, and a close in good order");
    sidecar.until("the other one", |all| (all.uplinks.len() == 1).then_some(())).await;
    let request = http::Request::get("https://cloud/").version(http::Version::HTTP_2).body(()).expect("valid");
    assert_eq!(stays.get(request).await.0.status, 200);
}
