//! The gateway's own life: it drains, it has several threads, its files change while it runs.

use super::*;

const GET: &str = "GET /camera-1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_drain_lets_a_download_finish_and_takes_nobody_new() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, GET).await;
    let mut body = device.next().await.1.send_response(Response::new(()), false).expect("sent");
    cloud.switch.start(Duration::from_secs(60));
    timeout(PATIENCE, async { while TcpStream::connect(cloud.front).await.is_ok() {} }).await.expect("closed");
    timeout(PATIENCE, async { while TcpStream::connect(cloud.listen).await.is_ok() {} }).await.expect("closed");
    body.send_data(Bytes::from_static(b"the end"), true).expect("sent");
    assert!(whole(client).await.contains("the end"));
    timeout(PATIENCE, cloud.run).await.expect("long before the deadline").expect("joined").expect("in good order");
}

#[tokio::test]
async fn at_the_deadline_everything_ends() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, GET).await;
    let _body = device.next().await.1.send_response(Response::new(()), false).expect("sent");
    cloud.switch.start(Duration::from_millis(200));
    timeout(PATIENCE, cloud.run).await.expect("at the deadline").expect("joined").expect("in good order");
    assert!(!whole(client).await.ends_with("0\r\n\r\n"), "a cut answer must not look complete");
}

#[tokio::test]
async fn with_two_threads_every_device_is_reached_from_every_client() {
    let cloud = cloud(|options| options.threads = NonZeroUsize::new(2).expect("two"));
    let mut all = Vec::new();
    for index in 0..4 {
        all.push(Device::connect(&cloud, &format!("camera-{index}")).await);
    }
    for _ in 0..4 {
        for (index, device) in all.iter_mut().enumerate() {
            let request = GET.replace("camera-1", &format!("camera-{index}"));
            let client = raw(&cloud, &request).await;
            device.next().await.1.send_response(Response::new(()), true).expect("sent");
            assert!(whole(client).await.starts_with("HTTP/1.1 200 "));
        }
    }
}

/// Whether a device with a certificate of `authority` is let in.
async fn lets_in(cloud: &Cloud, authority: &Authority) -> bool {
    let Ok(mut stream) = tls(cloud, Some((authority, "camera-1"))).await else { return false };
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: cloud\r\n\r\n").await;
    // TLS 1.3: a refusal of the certificate arrives with the first read.
    stream.read_u8().await.is_ok()
}

#[tokio::test]
async fn a_changed_authority_counts_for_new_connections_and_a_bad_file_does_not() {
    let cloud = cloud(|_| {});
    let (file, next) = (cloud.dir.path().join("ca.crt"), Authority::new());
    let mut old = Device::connect(&cloud, "camera-1").await;
    std::fs::write(&file, "not a certificate").expect("written");
    // The files are looked at once a second: past that, the last good authority is still the one that counts.
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_millis(1500) {
        assert!(lets_in(&cloud, &cloud.authority).await && !lets_in(&cloud, &next).await);
    }
    std::fs::write(&file, next.cert.pem()).expect("written");
    timeout(PATIENCE, async { while !lets_in(&cloud, &next).await {} }).await.expect("the new authority counts");
    assert!(!lets_in(&cloud, &cloud.authority).await);
    let client = raw(&cloud, GET).await;
    old.next().await.1.send_response(Response::new(()), true).expect("a session that stands is left alone");
    assert!(whole(client).await.starts_with("HTTP/1.1 200 "));
}
