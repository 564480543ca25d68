//! What a scrape shows.

use super::*;
use crate::model::{address::RemoteAddress, failure::Failure, status::Status};

fn key() -> UplinkKey {
    UplinkKey {
        device: "camera-1".into(),
        remote: RemoteAddress::parse("https://cloud/?access_token=s").expect("valid"),
    }
}

fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("writes to a string");
    text
}

#[test]
fn a_scrape_shows_board_and_counters_without_the_query_of_the_remote() {
    let mut registry = Registry::with_prefix("onvif_uplink");
    let board = StatusBoard::new();
    let metrics = UplinkMetrics::register(&mut registry, Arc::clone(&board));
    let series = metrics.series(&key());
    board.update(&key(), |uplink| uplink.set(Status::Connecting));
    board.note_device(&key(), Some(&Failure::new(Cause::DeviceCredentialsRefused, "refused")));
    series.attempt_failed(Cause::DialTimeout);
    series.request("2xx");
    let text = scrape(&registry);
    for line in [
        r#"onvif_uplink_state{device="camera-1",remote="https://cloud/"} 1"#,
        r#"onvif_uplink_connection_attempts_total{device="camera-1",remote="https://cloud/",outcome="failed"} 1"#,
        r#"onvif_uplink_device_failure{device="camera-1",remote="https://cloud/",cause="device-credentials-refused"} 1"#,
        r#"onvif_uplink_connection_failures_total{device="camera-1",remote="https://cloud/",cause="dial-timeout"} 1"#,
        r#"onvif_uplink_requests_total{device="camera-1",remote="https://cloud/",code="2xx"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("access_token"));
}

#[tokio::test]
async fn bytes_never_go_backwards_when_a_session_ends() {
    let series = Arc::new(Series::new());
    let first = Arc::new(Activity::start());
    let guard = series.session(Arc::clone(&first));
    first.received(100);
    first.sent(7);
    assert_eq!(series.traffic(), (100, 7, 0));
    drop(guard);
    assert_eq!(series.traffic(), (100, 7, 0));
    let second = Arc::new(Activity::start());
    let _guard = series.session(Arc::clone(&second));
    second.received(1);
    assert_eq!(series.traffic(), (101, 7, 0));
}

#[tokio::test(start_paused = true)]
async fn seconds_blocked_are_there_while_a_stream_waits_and_after_its_session() {
    let mut registry = Registry::with_prefix("onvif_uplink");
    let series = UplinkMetrics::register(&mut registry, StatusBoard::new()).series(&key());
    let line = r#"onvif_uplink_send_blocked_seconds_total{device="camera-1",remote="https://cloud/",kind="stream"}"#;
    let activity = Arc::new(Activity::start());
    let guard = series.session(Arc::clone(&activity));
    assert!(scrape(&registry).contains(&format!("{line} 0.0")));
    let stall = activity.flow().stall(StreamKind::Stream);
    tokio::time::advance(Duration::from_secs(90)).await;
    assert!(scrape(&registry).contains(&format!("{line} 90.0")));
    drop(stall);
    drop(guard);
    tokio::time::advance(Duration::from_secs(90)).await;
    assert!(scrape(&registry).contains(&format!("{line} 90.0")));
}

#[test]
fn the_series_of_a_removed_uplink_disappear() {
    let mut registry = Registry::with_prefix("onvif_uplink");
    let metrics = UplinkMetrics::register(&mut registry, StatusBoard::new());
    let series = metrics.series(&key());
    assert!(scrape(&registry).contains("camera-1"));
    drop(series);
    assert!(!scrape(&registry).contains("camera-1"));
}
