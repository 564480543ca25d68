//! The life of a sidecar in a pod: `/drain` for preStop, `/quitquitquit` for Jobs, and readiness that requires an uplink.

use std::time::Duration;

use onvif_uplink::app::Outcome;
use tokio::{io::AsyncWriteExt, time::timeout};

use crate::support::{
    cloud::cloud,
    device::{FakeDevice, camera},
    http::{PATIENCE, ask},
    sidecar::{Line, Sidecar, Site, document},
};

async fn readiness_becomes(sidecar: &Sidecar, status: u16) -> String {
    let becomes = async {
        loop {
            let (now, verdict) = sidecar.page("/readyz").await;
            if now == status {
                return verdict;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, becomes).await.expect("readiness changes")
}

#[tokio::test]
async fn a_drain_lets_an_open_stream_go_on_until_the_stop_and_takes_nothing_new() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = FakeDevice::start().await;
    site.write(&document(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]));
    let sidecar = Sidecar::start(site.config(), |options| options.drain_endpoint = true).await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let request = tokio::spawn(ask(cloud.front, "GET", "/camera-1/slow"));
    let (mut asked, _) = device.asked().await;

    for _ in 0..2 {
        assert_eq!(ask(sidecar.admin, "GET", "/drain").await.status, 200);
    }
    let verdict = readiness_becomes(&sidecar, 503).await;
    assert!(verdict.contains("drain: "), "{verdict}");
    assert_eq!(sidecar.page("/livez").await.0, 200);
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.expect("sent");
    let answer = timeout(PATIENCE, request).await.expect("in time").expect("no panic");
    assert_eq!((answer.status, answer.rest().await), (200, b"done".to_vec()));

    sidecar.until("the uplink is gone", |all| all.uplinks.is_empty().then_some(())).await;
    assert_ne!(ask(cloud.front, "GET", "/camera-1/new").await.status, 200, "nothing new is taken");
    assert!(!sidecar.run.is_finished(), "it waits for the stop");
    assert_eq!(sidecar.stop(Duration::from_secs(20)).await, Outcome::Stopped);
}

#[tokio::test]
async fn a_stop_after_a_drain_gives_an_open_stream_its_grace_period_and_no_more() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = FakeDevice::start().await;
    site.write(&document(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]));
    let sidecar = Sidecar::start(site.config(), |options| {
        options.drain_endpoint = true;
        options.grace = Duration::from_millis(200);
    })
    .await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let request = tokio::spawn(ask(cloud.front, "GET", "/camera-1/never"));
    let _held = device.asked().await;
    assert_eq!(ask(sidecar.admin, "POST", "/drain").await.status, 200);
    readiness_becomes(&sidecar, 503).await;
    assert!(!request.is_finished(), "a drain cuts nothing");
    assert_eq!(sidecar.stop(Duration::from_millis(200)).await, Outcome::Stopped);
    let answer = timeout(PATIENCE, request).await.expect("in time").expect("no panic");
    assert_eq!(answer.status, 502, "{}", answer.head);
}

#[tokio::test]
async fn quitquitquit_ends_the_sidecar_as_a_stop_does() {
    let site = Site::new(&["camera-1"]);
    site.write("devices: []\n");
    let sidecar = site.start().await;
    sidecar.generation(1).await;
    assert_eq!(ask(sidecar.admin, "GET", "/quitquitquit").await.status, 405);
    assert_eq!(ask(sidecar.admin, "POST", "/quitquitquit").await.status, 200);
    let outcome = timeout(PATIENCE, sidecar.run).await.expect("ends by itself").expect("no panic");
    assert_eq!(outcome, Outcome::Stopped);
}

#[tokio::test]
async fn readiness_requires_an_uplink_only_where_that_was_asked_for() {
    let site = Site::new(&["camera-1"]);
    let device = camera("camera-1").await;
    // Nobody listens there.
    let nowhere = FakeDevice::start().await.address;
    let down = document(&[Line::new("camera-1", device.address, format!("https://{nowhere}/uplink"))]);
    site.write(&down);
    let indifferent = site.start().await;
    readiness_becomes(&indifferent, 200).await;

    let sidecar = Sidecar::start(site.config(), |options| options.ready_requires_uplink = true).await;
    sidecar.generation(1).await;
    let (status, verdict) = sidecar.page("/readyz?verbose").await;
    assert_eq!(status, 503);
    assert!(verdict.contains("[+] configuration") && verdict.contains("[-] uplink: no uplink is Online"), "{verdict}");
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    site.write(&document(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]));
    readiness_becomes(&sidecar, 200).await;
    site.write(&down);
    readiness_becomes(&sidecar, 503).await;
}
