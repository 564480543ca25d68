//! Whole uplinks in virtual time: supervisor, runner and session against a scripted cloud.

use std::time::Duration;

use tokio::time::Instant;

use super::testing::{Cloud, PANICS, World, uplink};
use crate::model::{
    desired::DesiredSet,
    failure::{Cause, Failure},
    status::{Status, UplinkStatus},
};

fn cause(status: Option<&UplinkStatus>) -> Option<Cause> {
    status?.error.as_ref().map(|error| error.cause)
}

fn scrape(world: &World) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &world.registry).expect("writes to a string");
    text
}

/// A world with one uplink, online.
async fn online() -> (World, Cloud) {
    let mut world = World::new();
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let cloud = world.cloud().await;
    world.until_status(&uplink("camera-1", 80).key(), Status::Online).await;
    (world, cloud)
}

#[tokio::test(start_paused = true)]
async fn a_session_serves_requests_and_shows_itself() {
    let (world, cloud) = online().await;
    assert_eq!(cloud.get(0).await.expect("answered"), "80");
    let status = world.board.snapshot().uplinks.remove(&uplink("camera-1", 80).key()).expect("on the board");
    assert!(status.session.is_some() && status.certificate_expiry.is_some() && status.error.is_none());
    let text = scrape(&world);
    assert!(
        text.contains(r#"onvif_uplink_requests_total{device="camera-1",remote="https://cloud/",code="2xx"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"onvif_uplink_state{device="camera-1",remote="https://cloud/"} 2"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_101_without_a_preface_is_dead_after_thirty_seconds_and_redialed() {
    let mut world = World::new();
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let first = world.arrival().await;
    let key = uplink("camera-1", 80).key();
    world.until(&key, |status| cause(status) == Some(Cause::PrefaceTimeout)).await;
    assert_eq!(first.at.elapsed().as_secs(), 30);
    let second = world.arrival().await;
    assert!(second.at - first.at >= Duration::from_secs(32));
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_only_answers_pings_stays_connected() {
    let (mut world, cloud) = online().await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(cloud.get(0).await.expect("the same session"), "80");
    assert!(world.arrivals.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_is_dead_after_thirty_seconds() {
    use tokio::io::AsyncWriteExt;
    let mut world = World::new();
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let mut arrival = world.arrival().await;
    arrival.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("room");
    let key = uplink("camera-1", 80).key();
    world.until_status(&key, Status::Online).await;
    world.until(&key, |status| cause(status) == Some(Cause::Silent)).await;
    assert_eq!(arrival.at.elapsed().as_secs(), 30);
    world.cloud().await;
}

#[tokio::test(start_paused = true)]
async fn failed_attempts_ascend_and_retry_after_is_honoured() {
    let mut world = World::new();
    world.fail_next(Failure::new(Cause::ConnectionRefused, "refused"));
    world.fail_next(Failure::new(Cause::ConnectionRefused, "refused"));
    world.fail_next(Failure::new(Cause::RemoteBusy, "busy").with_retry_after(Some(Duration::from_secs(120))));
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let mut at = Vec::new();
    for _ in 0..4 {
        at.push(world.arrival().await.at);
    }
    let delays: Vec<_> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!((2000..=3302).contains(&delays[0]) && (4000..=6602).contains(&delays[1]), "{delays:?}");
    assert!((120_000..120_010).contains(&delays[2]), "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_a_normal_end_with_its_cause() {
    let (mut world, cloud) = online().await;
    cloud.connection.abort();
    drop(cloud);
    let key = uplink("camera-1", 80).key();
    world.until(&key, |status| cause(status) == Some(Cause::ClosedByRemote)).await;
    let _next = world.cloud().await;
    world.until_status(&key, Status::Online).await;
}

#[tokio::test(start_paused = true)]
async fn uplinks_connect_in_parallel_and_do_not_wait_for_each_other() {
    let mut world = World::new();
    let start = Instant::now();
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80), uplink("camera-2", 80)]));
    let first = world.arrival().await;
    let second = world.arrival().await;
    assert!(first.at == start && second.at == start);
    let key = second.uplink.key();
    let _cloud = Cloud::open(second.stream).await;
    world.until_status(&key, Status::Online).await;
    assert_eq!(world.board.snapshot().uplinks[&first.uplink.key()].status, Status::Connecting);
}

#[tokio::test(start_paused = true)]
async fn a_removed_uplink_finishes_its_request_and_disappears() {
    let (mut world, cloud) = online().await;
    let request = tokio::spawn(async move { cloud.get(10).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.supervisor.apply(DesiredSet::default());
    assert_eq!(world.board.snapshot().uplinks.len(), 1);
    assert_eq!(request.await.expect("ran").expect("not cut"), "80");
    world.until(&uplink("camera-1", 80).key(), |status| status.is_none()).await;
    assert!(!scrape(&world).contains("camera-1"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_forced_at_its_deadline() {
    let (world, cloud) = online().await;
    let request = tokio::spawn(async move { cloud.get(1000).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    world.supervisor.shutdown().await;
    assert!((20..=22).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(request.await.expect("ran").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_a_period_of_its_own_lets_a_stream_go_on_beyond_that_of_the_process() {
    let (mut world, cloud) = online().await;
    let request = tokio::spawn(async move { cloud.get(100).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.supervisor.drain(Duration::from_secs(3600));
    assert_eq!(request.await.expect("ran").expect("not cut"), "80");
}

#[tokio::test(start_paused = true)]
async fn a_stop_after_such_a_drain_is_forced_at_the_period_of_the_process() {
    let (mut world, cloud) = online().await;
    let request = tokio::spawn(async move { cloud.get(1000).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.supervisor.drain(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(100)).await;
    let start = Instant::now();
    world.supervisor.shutdown().await;
    assert!((20..=22).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(request.await.expect("ran").is_err());
}

#[tokio::test(start_paused = true)]
async fn an_uplink_comes_back_while_its_old_runner_drains() {
    let (mut world, cloud) = online().await;
    let request = tokio::spawn(async move { cloud.get(10).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.supervisor.apply(DesiredSet::default());
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let _new = world.cloud().await;
    world.until_status(&uplink("camera-1", 80).key(), Status::Online).await;
    assert!(request.await.expect("ran").is_ok());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.board.snapshot().uplinks[&uplink("camera-1", 80).key()].status, Status::Online);
}

#[tokio::test(start_paused = true)]
async fn rotated_material_makes_the_new_session_before_the_old_one_drains() {
    let (mut world, old) = online().await;
    world.authorizer.material.send_modify(|version| *version += 1);
    let arrival = world.arrival().await;
    assert_eq!(old.get(0).await.expect("the old one serves meanwhile"), "80");
    let running = tokio::spawn(async move { (old.get(5).await, old) });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let new = Cloud::open(arrival.stream).await;
    assert_eq!(new.get(0).await.expect("the new one serves"), "80");
    let (answer, old) = running.await.expect("ran");
    assert_eq!(answer.expect("no request is lost"), "80");
    assert!(old.connection.await.is_ok());
    assert_eq!(world.board.snapshot().uplinks[&uplink("camera-1", 80).key()].status, Status::Online);
}

#[tokio::test(start_paused = true)]
async fn changed_settings_take_effect_without_losing_a_request() {
    let (mut world, old) = online().await;
    let running = tokio::spawn(async move { old.get(5).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 81)]));
    let new = world.cloud().await;
    assert_eq!(new.get(0).await.expect("served"), "81");
    assert_eq!(running.await.expect("ran").expect("not cut"), "80");
}

#[tokio::test(start_paused = true)]
async fn a_session_with_old_settings_drains_when_the_first_attempt_with_new_ones_fails() {
    let (mut world, old) = online().await;
    world.fail_next(Failure::new(Cause::KeyMismatch, "the key is another's"));
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 81)]));
    world.arrival().await;
    world.until(&uplink("camera-1", 80).key(), |status| cause(status) == Some(Cause::KeyMismatch)).await;
    assert!(old.connection.await.is_ok());
    assert_eq!(world.cloud().await.get(0).await.expect("served"), "81");
}

#[tokio::test(start_paused = true)]
async fn mended_material_is_tried_at_once() {
    let mut world = World::new();
    world.fail_next(Failure::new(Cause::KeyMismatch, "the key is another's"));
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let first = world.arrival().await;
    world.until(&uplink("camera-1", 80).key(), |status| cause(status) == Some(Cause::KeyMismatch)).await;
    world.authorizer.material.send_modify(|version| *version += 1);
    assert!(world.arrival().await.at - first.at < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_uplink_is_not_touched() {
    let (mut world, cloud) = online().await;
    for port in 1..10 {
        world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80), uplink("camera-2", port)]));
        let other = world.arrival().await;
        assert_eq!(other.uplink.device.name, "camera-2");
    }
    assert_eq!(cloud.get(0).await.expect("the same session"), "80");
}

#[tokio::test(start_paused = true)]
async fn a_goaway_is_a_normal_end_with_its_cause() {
    let (mut world, cloud) = online().await;
    // The library says GOAWAY when nobody can send requests any more.
    drop(cloud.send);
    let key = uplink("camera-1", 80).key();
    world.until(&key, |status| cause(status) == Some(Cause::ClosedByRemote)).await;
    let _next = world.cloud().await;
    world.until_status(&key, Status::Online).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_remote_cancels_dies_alone_and_counts_as_canceled() {
    let (world, cloud) = online().await;
    let cancelled = tokio::time::timeout(Duration::from_secs(1), cloud.get(100)).await;
    assert!(cancelled.is_err());
    assert_eq!(cloud.get(0).await.expect("the session goes on"), "80");
    assert!(scrape(&world).contains(r#"code="canceled"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_remote_that_allows_push_gets_none() {
    let (_world, cloud) = online().await;
    let request = http::Request::get("http://camera/0").body(()).expect("valid");
    let (mut response, _) = cloud.send.clone().ready().await.expect("open").send_request(request, true).expect("room");
    let mut pushes = response.push_promises();
    assert_eq!(response.await.expect("answered").status(), 200);
    assert!(pushes.push_promise().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_supervisor_ends_its_sessions_and_clears_the_board() {
    let (world, cloud) = online().await;
    let World { supervisor, board, .. } = world;
    drop(supervisor);
    assert!(cloud.get(0).await.is_err());
    assert!(board.snapshot().uplinks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_panics_stays_on_the_board_and_is_started_again() {
    let mut world = World::new();
    let key = uplink("camera-1", PANICS).key();
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", PANICS)]));
    let mut at = Vec::new();
    for _ in 0..3 {
        let arrival = world.arrival().await;
        at.push(arrival.at);
        let cloud = Cloud::open(arrival.stream).await;
        world.until(&key, |status| cause(status) == Some(Cause::ProtocolViolation)).await;
        assert!(world.board.snapshot().uplinks.contains_key(&key) && cloud.get(0).await.is_err());
    }
    assert!(at[1] - at[0] >= Duration::from_secs(2) && at[2] - at[1] > at[1] - at[0], "{at:?}");
    world.supervisor.apply(DesiredSet::new([uplink("camera-1", 80)]));
    let cloud = world.cloud().await;
    assert_eq!(cloud.get(0).await.expect("the mended one serves"), "80");
    world.supervisor.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_until_its_body_has_ended() {
    let (world, cloud) = online().await;
    cloud.get(7).await.expect("answered");
    let text = scrape(&world);
    let sum = r#"onvif_uplink_request_duration_seconds_sum{device="camera-1",remote="https://cloud/"} 7."#;
    assert!(text.contains(sum), "{text}");
}
