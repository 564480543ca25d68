//! A session over an in-memory pipe, with a device that the test plays.

use super::*;
use crate::base::io::Direct;

async fn session() -> (Session, Driver, tokio::io::DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let peer = "192.0.2.1:4000".parse().expect("address");
    let started = start(Box::new(Direct(near)), Bytes::new(), "camera-1".to_owned(), peer).await;
    let (session, driver) = started.expect("open");
    (session, driver, far)
}

#[tokio::test(start_paused = true)]
async fn a_device_that_says_nothing_for_30_s_is_dead() {
    let (_session, driver, _far) = session().await;
    let begin = Instant::now();
    assert_eq!(driver.run().await.cause, Cause::Silent);
    assert!((SILENCE_MAX..SILENCE_MAX + Duration::from_secs(1)).contains(&begin.elapsed()));
}

#[test]
fn windows_grow_with_the_round_trip_within_their_bounds() {
    for (millis, window) in [(0, STREAM_WINDOW), (26, 1_040_000.max(STREAM_WINDOW)), (50, 2_000_000)] {
        assert_eq!(window_for(Duration::from_millis(millis)), window, "{millis} ms");
    }
    assert_eq!(window_for(Duration::from_secs(9)), STREAM_WINDOW_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_far_device_is_told_of_larger_windows() {
    let (session, driver, far) = session().await;
    let device = async {
        tokio::time::sleep(Duration::from_millis(80)).await;
        let mut builder = h2::server::Builder::new();
        builder.max_send_buffer_size(STREAM_WINDOW_MAX as usize);
        let mut connection = builder.handshake::<_, Bytes>(far).await.expect("preface");
        let (_, mut respond) = connection.accept().await.expect("a request").expect("a good one");
        let mut stream = respond.send_response(http::Response::new(()), false).expect("answered");
        stream.reserve_capacity(STREAM_WINDOW_MAX as usize);
        let granted = async {
            while stream.capacity() < window_for(Duration::from_millis(80)) as usize {
                poll_fn(|cx| stream.poll_capacity(cx)).await.expect("open").expect("open");
            }
        };
        tokio::select! {
            () = granted => {}
            _ = poll_fn(|cx| connection.poll_closed(cx)) => panic!("the session stands"),
        }
    };
    let request = async {
        let mut sender = session.sender().ready().await.expect("ready");
        let request = http::Request::builder().uri("http://device/").body(()).expect("request");
        sender.send_request(request, true).expect("sent")
    };
    tokio::select! {
        _ = driver.run() => panic!("the session stands"),
        done = tokio::time::timeout(Duration::from_secs(10), async { tokio::join!(request, device) }) => {
            assert!(done.is_ok(), "the window did not grow");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_device_that_answers_pings_stays_and_goes_with_its_last_sender() {
    let (session, driver, far) = session().await;
    let device = async {
        let mut connection = h2::server::handshake(far).await.expect("preface");
        assert!(connection.accept().await.is_none());
    };
    let owner = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(!session.core().has_ended());
        drop(session);
        Instant::now()
    };
    let (ended, (), dropped) = tokio::join!(driver.run(), device, owner);
    assert_eq!(ended.cause, Cause::ClosedByRemote);
    assert!(dropped.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_session_with_an_open_stream_ends_at_its_deadline() {
    let (session, driver, far) = session().await;
    let device = async {
        let mut connection = h2::server::handshake(far).await.expect("preface");
        let mut open = Vec::new();
        while let Some(Ok(asked)) = connection.accept().await {
            open.push(asked);
        }
    };
    let owner = async {
        let mut sender = session.sender().ready().await.expect("ready");
        let request = http::Request::builder().uri("http://device/").body(()).expect("request");
        let (response, _) = sender.send_request(request, true).expect("sent");
        let begin = Instant::now();
        session.core().stop(Stop::Drain);
        assert!(response.await.is_err());
        begin.elapsed()
    };
    let (ended, (), lasted) = tokio::join!(driver.run(), device, owner);
    assert_eq!(ended.cause, Cause::Drained);
    assert!((OLD_SESSION_MAX..OLD_SESSION_MAX + CLOSE_TIMEOUT * 2).contains(&lasted), "{lasted:?}");
}
