//! What is sent again and what is not: RFC 9113 §8.7, RFC 9110 §9.2.2.

use super::*;

const GET: &str = "GET /camera-1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn no_content() -> Response<()> {
    Response::builder().status(204).body(()).expect("answer")
}

#[tokio::test]
async fn a_refused_stream_goes_once_more_to_the_newer_session() {
    let cloud = cloud(|_| {});
    let mut old = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, GET).await;
    let (_, mut refuse) = old.next().await;
    let mut new = Device::connect(&cloud, "camera-1").await;
    refuse.send_reset(h2::Reason::REFUSED_STREAM);
    new.next().await.1.send_response(no_content(), true).expect("sent");
    assert!(whole(client).await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn a_refused_stream_with_no_other_session_is_503() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, GET).await;
    device.next().await.1.send_reset(h2::Reason::REFUSED_STREAM);
    let text = whole(client).await;
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: "), "{text}");
}

#[tokio::test]
async fn an_upload_of_which_a_part_went_out_is_not_sent_again() {
    let cloud = cloud(|_| {});
    let mut old = Device::connect(&cloud, "camera-1").await;
    let client = raw(
        &cloud,
        "POST /camera-1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhalf",
    )
    .await;
    let (mut request, mut refuse) = old.next().await;
    assert_eq!(request.body_mut().data().await.expect("data").expect("good"), "half");
    let mut new = Device::connect(&cloud, "camera-1").await;
    refuse.send_reset(h2::Reason::REFUSED_STREAM);
    assert!(whole(client).await.starts_with("HTTP/1.1 502 "));
    assert!(new.asked.try_recv().is_err());
}

#[tokio::test]
async fn after_goaway_a_download_ends_well_and_new_requests_wait_for_the_next_session() {
    let cloud = cloud(|_| {});
    let mut old = h2::server::handshake(upgraded(&cloud, "camera-1").await).await.expect("preface");
    timeout(PATIENCE, async { while devices(&cloud).await.is_empty() {} }).await.expect("entered");
    let download = raw(&cloud, GET).await;
    let (_, mut respond) = old.accept().await.expect("open").expect("request");
    let mut body = respond.send_response(Response::new(()), false).expect("sent");
    old.graceful_shutdown();
    let going = tokio::spawn(async move { while let Some(Ok(_)) = old.accept().await {} });
    // Until the GOAWAY has arrived a request may still go to the old session, which gives it up.
    let refused = async { while !whole(raw(&cloud, GET).await).await.starts_with("HTTP/1.1 503 ") {} };
    timeout(PATIENCE, refused).await.expect("nobody is asked any more");
    body.send_data(Bytes::from_static(b"the end"), true).expect("sent");
    assert!(whole(download).await.contains("the end"));
    timeout(PATIENCE, going).await.expect("the old session ends").expect("joined");
    timeout(PATIENCE, async { while !devices(&cloud).await.is_empty() {} }).await.expect("left");
    let mut new = Device::connect(&cloud, "camera-1").await;
    let client = raw(&cloud, GET).await;
    new.next().await.1.send_response(no_content(), true).expect("sent");
    assert!(whole(client).await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn a_fifth_replaced_session_costs_the_oldest_its_life() {
    let cloud = cloud(|_| {});
    let mut first = Device::connect(&cloud, "camera-1").await;
    let download = raw(&cloud, GET).await;
    let mut body = first.next().await.1.send_response(Response::new(()), false).expect("sent");
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut device = Device::connect(&cloud, "camera-1").await;
        // Each one has a download, or it would end by itself when it is replaced.
        let client = raw(&cloud, GET).await;
        let sending = device.next().await.1.send_response(Response::new(()), false).expect("sent");
        kept.push((device, client, sending));
    }
    let ended = timeout(PATIENCE, std::future::poll_fn(|cx| body.poll_reset(cx))).await.expect("in time");
    assert!(ended.is_err() || ended.is_ok_and(|reason| reason != h2::Reason::NO_ERROR));
    assert!(whole(download).await.starts_with("HTTP/1.1 200 "));
    kept[0].2.send_data(Bytes::from_static(b"alive"), true).expect("the second one still stands");
    let (_, client, _) = kept.swap_remove(0);
    assert!(whole(client).await.contains("alive"));
}
