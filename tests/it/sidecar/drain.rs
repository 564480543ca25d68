//! Ends: removal and stop finish what is open; the deadline forces.

use std::time::Duration;

use onvif_uplink::app::Outcome;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use crate::support::{
    cloud::cloud,
    device::{FakeDevice, camera},
    http::{PATIENCE, ask},
    sidecar::{Line, Site, of},
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
