//! Events against a scripted API server in virtual time: what is written, and what trouble does and does not do.

use serde_json::json;

use super::*;
use crate::{
    base::scripted_api::{Act, Asked, ScriptedApi, refusal},
    cluster::pace::QUEUE_MAX,
    model::{
        address::RemoteAddress,
        failure::{Cause, Failure},
        status::Status,
        uplink::UplinkKey,
    },
};

fn key(device: &str) -> UplinkKey {
    UplinkKey { device: device.into(), remote: RemoteAddress::parse("https://cloud/").expect("valid") }
}

fn fails(board: &StatusBoard, device: &str, message: &str) {
    let failure = Failure::new(Cause::ConnectionRefused, message);
    board.update(&key(device), |uplink| uplink.error = Some(failure));
}

fn good() -> Act {
    Act::Answer(201, json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null }))
}

/// Follows the board until the server was asked `count` times and then so much longer.
async fn asked(acts: Vec<Act>, board: &StatusBoard, count: usize, then: Duration) -> Vec<Asked> {
    let (server, client) = ScriptedApi::start(acts);
    let pod = Pod { namespace: "cams".to_owned(), name: "nvr-0".to_owned(), uid: "u-1".to_owned() };
    let enough = async {
        server.until(count).await;
        sleep(then).await;
    };
    tokio::select! {
        never = Events::new(client, pod, Writes::default()).follow(board) => match never {},
        ended = tokio::time::timeout(Duration::from_secs(3600), enough) => ended.expect("asked often enough"),
    }
    server.asked()
}

#[tokio::test(start_paused = true)]
async fn an_uplink_that_fails_is_a_warning_on_the_pod_with_phase_cause_and_mend() {
    let board = StatusBoard::new();
    fails(&board, "camera-1", "nothing listens at cloud:443");
    let asked = asked(vec![good()], &board, 1, Duration::from_secs(60)).await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].line.starts_with("POST /apis/events.k8s.io/v1/namespaces/cams/events"), "{}", asked[0].line);
    let body = &asked[0].body;
    assert_eq!((&body["reason"], &body["type"]), (&json!("UplinkOffline"), &json!("Warning")));
    assert_eq!(body["regarding"]["uid"], "u-1");
    assert_eq!((&body["regarding"]["kind"], &body["regarding"]["name"]), (&json!("Pod"), &json!("nvr-0")));
    assert_eq!((&body["reportingController"], &body["reportingInstance"]), (&json!("onvif-uplink"), &json!("nvr-0")));
    let note = body["note"].as_str().expect("a note");
    assert!(note.contains("dial: connection-refused: nothing listens at cloud:443; check the port"), "{note}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_refuses_or_is_busy_is_asked_again_for_the_same_event() {
    let board = StatusBoard::new();
    fails(&board, "camera-1", "no");
    let acts = vec![Act::Silence, Act::Refuse, refusal(429, "TooManyRequests"), refusal(500, "InternalError"), good()];
    let asked = asked(acts, &board, 5, Duration::from_secs(600)).await;
    assert_eq!(asked.len(), 5, "once it is written it is not written again");
    assert!(asked.iter().all(|one| one.body["note"] == asked[0].body["note"]));
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(2)), "no storm of requests: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_role_without_the_rule_loses_the_event_and_nothing_else() {
    let (board, writes) = (StatusBoard::new(), Writes::default());
    fails(&board, "camera-1", "no");
    let (server, client) = ScriptedApi::start([refusal(403, "Forbidden"), good()]);
    let pod = Pod { namespace: "cams".to_owned(), name: "nvr-0".to_owned(), uid: "u-1".to_owned() };
    let later = async {
        server.until(1).await;
        sleep(Duration::from_secs(120)).await;
        assert_eq!(server.asked().len(), 1, "what is forbidden is not asked for again and again");
        board.update(&key("camera-1"), |uplink| (uplink.status, uplink.error) = (Status::Online, None));
        server.until(2).await
    };
    let asked = tokio::select! {
        never = Events::new(client, pod, writes.clone()).follow(&board) => match never {},
        asked = later => asked,
    };
    assert_eq!(writes.counted(Purpose::Event, "forbidden"), 1);
    assert_eq!((&asked[1].body["reason"], &asked[1].body["type"]), (&json!("UplinkOnline"), &json!("Normal")));
}

#[tokio::test(start_paused = true)]
async fn a_site_that_fails_as_a_whole_writes_a_burst_and_then_one_each_ten_seconds() {
    let board = StatusBoard::new();
    (0..40).for_each(|number| fails(&board, &format!("camera-{number}"), "no"));
    let asked = asked((0..40).map(|_| good()).collect(), &board, 22, Duration::ZERO).await;
    assert!(asked[19].at < Duration::from_secs(1), "{:?}", asked[19].at);
    assert!(asked[20].at >= Duration::from_secs(10) && asked[21].at >= Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn what_is_written_and_what_is_lost_in_a_flood_is_counted() {
    let (board, writes) = (StatusBoard::new(), Writes::default());
    (0..QUEUE_MAX + 30).for_each(|number| fails(&board, &format!("camera-{number}"), "no"));
    let (server, client) = ScriptedApi::start((0..20).map(|_| good()));
    let pod = Pod { namespace: "cams".to_owned(), name: "nvr-0".to_owned(), uid: "u-1".to_owned() };
    let enough = async {
        server.until(20).await;
        sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        never = Events::new(client, pod, writes.clone()).follow(&board) => match never {},
        () = enough => {}
    }
    assert_eq!(writes.counted(Purpose::Event, "done"), 20);
    assert_eq!(writes.counted(Purpose::Event, "dropped"), 30);
}

#[test]
fn a_note_is_cut_between_characters_at_the_bound_of_the_api() {
    let note = |note: String| {
        event(&Notice { reason: crate::cluster::notices::Reason::UplinkOffline, subject: String::new(), note })
    };
    let long = note("é".repeat(NOTE_MAX)).note.expect("a note");
    assert_eq!(long.len(), NOTE_MAX);
    let odd = note(format!("x{}", "é".repeat(NOTE_MAX))).note.expect("a note");
    assert_eq!(odd.len(), NOTE_MAX - 1);
    assert_ne!(note("a".to_owned()).action, note("b".to_owned()).action, "other notes are other Events");
    assert!(note("a".to_owned()).action.len() <= 128);
}
