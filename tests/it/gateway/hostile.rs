//! Hostile heads on the uplink listener, behind a good certificate: each is answered or dropped, and harms nobody.

use super::*;

async fn answer(cloud: &Cloud, request: &[u8]) -> String {
    let mut stream = tls(cloud, Some((&cloud.authority, "camera-9"))).await.expect("accepted");
    // The gateway may close before all is sent; what it answered counts.
    let _ = stream.write_all(request).await;
    let mut text = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("in time");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn endless_and_garbage_heads_are_refused_and_other_devices_stay() {
    let cloud = cloud(|_| {});
    let _device = Device::connect(&cloud, "camera-1").await;
    let mut endless = b"GET / HTTP/1.1\r\nX: ".to_vec();
    endless.resize(16 * 1024, b'a');
    assert!(answer(&cloud, &endless).await.starts_with("HTTP/1.1 431 "));
    assert!(answer(&cloud, b"\x00\xff\x16garbage\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    assert!(answer(&cloud, b"GET / HTTP/1.1\r\nHost: cloud\r\n\r\n").await.starts_with("HTTP/1.1 426 "));
    assert_eq!(devices(&cloud).await.len(), 1);
}

#[tokio::test]
async fn half_a_head_that_ends_gets_no_place() {
    let cloud = cloud(|_| {});
    let mut stream = tls(&cloud, Some((&cloud.authority, "camera-9"))).await.expect("accepted");
    stream.write_all(b"GET /up HTTP/1.1\r\nHost: cl").await.expect("sent");
    stream.shutdown().await.expect("closed");
    let mut text = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("in time");
    assert!(!text.starts_with(b"HTTP/1.1 101 "));
    assert!(devices(&cloud).await.is_empty());
}

#[tokio::test]
async fn half_a_head_that_stays_silent_is_dropped_after_ten_seconds() {
    let cloud = cloud(|_| {});
    let mut stream = tls(&cloud, Some((&cloud.authority, "camera-9"))).await.expect("accepted");
    stream.write_all(b"GET /up HTTP/1.1\r\nHost: cl").await.expect("sent");
    let mut text = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("the gateway gives up");
    assert!(text.is_empty(), "{}", String::from_utf8_lossy(&text));
}
