//! Ends: removal and stop finish what is open; the deadline forces.

use std::time::Duration;

use onvif_uplink::{
    app::Outcome,
    model::status::{Status, UplinkStatus},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{Instant, timeout},
};

use crate::support::{
    cloud::cloud,
    device::{FakeDevice, camera},
    h2_peer,
    http::{PATIENCE, ask},
    remote::{Remote, SWITCH},
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
    let unready = async {
        while sidecar.page("/readyz").await.0 != 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, unready).await.expect("the drain has begun");
    let begin = Instant::now();
    assert_eq!(sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
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
        "      - {{ remoteAddress: {}, certificateID: c-camera-1, userLevel: Administrator, certPathValidationPolicyID: p-camera-1 }}\n",
        second.remote()
    );
    site.write(&one.replace("certificates:\n", &format!("{another}certificates:\n")));
    let sidecar = site.start().await;
    let stays = first.upgrade().await;
    let goes = second.upgrade().await;
    sidecar.until("both", |all| all.uplinks.values().all(|uplink| uplink.status == Status::Online).then_some(())).await;
    site.write(&one);
    // How its own last write met our close is of no interest.
    let _ = goes.connection.await.expect("no panic");
    sidecar.until("the other one", |all| (all.uplinks.len() == 1).then_some(())).await;
    let request = http::Request::get("https://cloud/").version(http::Version::HTTP_2).body(()).expect("valid");
    assert_eq!(stays.get(request).await.0.status, 200);
}

/// Copies one direction while the gate is open.
async fn gated(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut block = [0; 4096];
    loop {
        gate.wait_for(|open| *open).await.expect("the test holds it");
        match from.read(&mut block).await {
            Ok(count @ 1..) if to.write_all(&block[..count]).await.is_ok() => {}
            _ => return,
        }
    }
}

#[tokio::test]
async fn the_end_of_a_large_answer_arrives_over_a_slow_link_although_the_remote_goes_on_sending() {
    // What the kernel takes unsent, and no more: the rest would wait in HTTP/2.
    const SIZE: usize = 96 << 10;
    let site = Site::new(&["camera-1"]);
    let remote = Remote::start(&site.authority).await;
    let link = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = link.local_addr().expect("bound");
    // Little fits on the way, so the end of the answer waits in the sidecar's own send buffer.
    socket2::SockRef::from(&link).set_recv_buffer_size(16 << 10).expect("a socket option");
    let (gate, open) = watch::channel(true);
    let device = FakeDevice::start().await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, format!("https://{address}/"))]).await;
    let (near, far) = (link.accept().await.expect("dialed").0, TcpStream::connect(remote.address).await.expect("up"));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let (_always, always) = watch::channel(true);
    let _ways = (tokio::spawn(gated(near_read, far_write, open)), tokio::spawn(gated(far_read, near_write, always)));

    let stream = remote.answer(SWITCH).await;
    let mut client = h2::client::Builder::new();
    client.initial_window_size(16 << 20).initial_connection_window_size(16 << 20);
    let (requests, mut connection) = client.handshake::<_, bytes::Bytes>(stream).await.expect("the stream stands");
    let mut pings = connection.ping_pong().expect("the first taker");
    let _driver = tokio::spawn(connection);
    let activity = sidecar.online("camera-1").await.session.expect("online").activity;
    let request = http::Request::get("https://cloud/large").version(http::Version::HTTP_2).body(()).expect("valid");
    let mut ready = requests.ready().await.expect("the session stands");
    let (response, _) = ready.send_request(request, true).expect("sent");
    let (mut asked, _) = device.asked().await;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {SIZE}\r\n\r\n");
    asked.write_all(head.as_bytes()).await.expect("sent");
    let response = timeout(PATIENCE, response).await.expect("in time").expect("answered");

    site.write("devices: []\n");
    sidecar.generation(2).await;
    // A refused new request shows that GOAWAY came; the answer to the PING behind it shows that ours came back.
    let refused = async {
        while ready.clone().ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, refused).await.expect("GOAWAY");
    pings.ping(h2::Ping::opaque()).await.expect("the session stands");
    gate.send_replace(false);
    asked.write_all(&vec![7; SIZE]).await.expect("taken");
    let written = async {
        while activity.bytes_sent() < SIZE as u64 {
            tokio::task::yield_now().await
        }
    };
    timeout(PATIENCE, written).await.expect("the sidecar has written all of it");
    // A sidecar that closes in haste has time to do so; then the remote still speaks, as it does when it gives back windows.
    let gone = sidecar.until("gone", |all| all.uplinks.is_empty().then_some(()));
    let _ = timeout(Duration::from_millis(500), gone).await;
    pings.send_ping(h2::Ping::opaque()).expect("queued");
    gate.send_replace(true);
    let (body, _) = timeout(PATIENCE, h2_peer::collect(response.into_body())).await.expect("in time").expect("whole");
    assert_eq!(body.len(), SIZE);
    sidecar.until("the uplink is gone", |all| all.uplinks.is_empty().then_some(())).await;
}
