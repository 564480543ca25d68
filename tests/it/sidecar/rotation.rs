//! Certificate rotation under load: the new session stands before the old one drains, and no request is lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use onvif_uplink::model::status::{Status, UplinkStatus};
use tokio::{task::yield_now, time::timeout};

use crate::support::{
    cloud::cloud,
    device::camera,
    http::{PATIENCE, ask},
    sidecar::{Line, Site, of},
};

const LONG: u64 = 96 << 20;
const STEP: usize = 256 << 10;

#[tokio::test]
async fn a_rotated_certificate_costs_no_request_and_no_download() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]).await;
    let mut before = sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let mut download = ask(cloud.front, "GET", &format!("/camera-1/download/{LONG}")).await;
    download.check_pattern(0, STEP).await;

    let (end, asked, front) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), cloud.front);
    let (stop, count) = (Arc::clone(&end), Arc::clone(&asked));
    let requests = tokio::spawn(async move {
        while !stop.load(SeqCst) {
            let answer = ask(front, "GET", "/camera-1/download/10000").await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            assert_eq!(answer.rest().await.len(), 10_000);
            count.fetch_add(1, SeqCst);
        }
    });
    let session = |uplink: &UplinkStatus| uplink.session.as_ref().map(|session| session.since);
    for _ in 0..3 {
        site.issue("camera-1");
        let was = session(&before);
        before = sidecar
            .until("the new session", |all| {
                let now = of(all, "camera-1")?;
                assert_eq!(now.status, Status::Online, "it was never down");
                (session(now) != was).then(|| now.clone())
            })
            .await;
        // Some requests go by before the next rotation.
        let goal = asked.load(SeqCst) + 20;
        let go = async {
            while asked.load(SeqCst) < goal && !requests.is_finished() {
                yield_now().await;
            }
        };
        timeout(PATIENCE, go).await.expect("requests go on");
    }
    end.store(true, SeqCst);
    timeout(PATIENCE, requests).await.expect("in time").expect("not one request failed");
    let mut offset = STEP as u64;
    while offset < LONG {
        download.check_pattern(offset, STEP).await;
        offset += STEP as u64;
    }
    assert!(download.at_end().await);
}

#[tokio::test]
async fn a_bad_new_certificate_does_not_end_the_session_that_stands() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]).await;
    let before = sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    std::fs::write(site.path().join("camera-1.crt"), "not PEM\n").expect("written");
    let failed = sidecar.until("the attempt failed", |all| of(all, "camera-1")?.error.clone()).await;
    assert_eq!(failed.cause.as_str(), "credential-invalid", "{}", failed.message);
    let now = sidecar.now("camera-1");
    assert_eq!((now.status, now.since), (Status::Online, before.since));
    assert_eq!(ask(cloud.front, "GET", "/camera-1/").await.status, 200);
    site.issue("camera-1");
    let session = |uplink: &UplinkStatus| uplink.session.as_ref().map(|session| session.since);
    sidecar
        .until("the mended pair is used", |all| (session(of(all, "camera-1")?) != session(&before)).then_some(()))
        .await;
}
