//! The status against a scripted API server in virtual time: what is written, how often, and what trouble does.

use super::*;
use crate::{
    base::scripted_api::{Act, Asked, ScriptedApi, refusal},
    model::{address::RemoteAddress, failure::Failure, pod::Pod},
};

fn key() -> UplinkKey {
    UplinkKey { device: "camera-1".into(), remote: RemoteAddress::parse("https://cloud/?token=secret").expect("valid") }
}

fn fails(board: &StatusBoard, cause: Cause) {
    board.update(&key(), |uplink| uplink.error = Some(Failure::new(cause, "no")));
}

fn good() -> Act {
    Act::Answer(200, json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "status" } }))
}

fn into_configmap() -> StatusTarget {
    StatusTarget::ConfigMap { namespace: "cams".to_owned(), name: "status".to_owned() }
}

/// Follows the board while `script` runs; returns what the server was asked.
async fn asked(
    acts: Vec<Act>,
    target: StatusTarget,
    board: &StatusBoard,
    script: impl AsyncFnOnce(&ScriptedApi),
) -> Vec<Asked> {
    asked_and_counted(acts, target, board, Writes::default(), script).await
}

async fn asked_and_counted(
    acts: Vec<Act>,
    target: StatusTarget,
    board: &StatusBoard,
    writes: Writes,
    script: impl AsyncFnOnce(&ScriptedApi),
) -> Vec<Asked> {
    let (server, client) = ScriptedApi::start(acts);
    let writer = StatusWriter::new(client, target, Arc::new(|| json!({ "generation": 7 })), writes);
    tokio::select! {
        never = writer.follow(board) => match never {},
        () = script(&server) => {}
    }
    server.asked()
}

#[tokio::test(start_paused = true)]
async fn the_document_is_applied_to_a_key_of_its_own_and_only_when_something_changed() {
    let board = StatusBoard::new();
    let asked = asked(vec![good(), good()], into_configmap(), &board, async |server| {
        server.until(1).await;
        sleep(Duration::from_secs(60)).await;
        board.update(&key(), |uplink| uplink.attempt = 3);
        board.update(&key(), |uplink| uplink.set(Status::Connecting));
        fails(&board, Cause::DialTimeout);
        server.until(2).await;
        board.update(&key(), |uplink| uplink.attempt = 4);
        sleep(Duration::from_secs(600)).await;
    })
    .await;
    assert_eq!(asked.len(), 2, "{asked:?}");
    let line = &asked[0].line;
    assert!(line.starts_with("PATCH /api/v1/namespaces/cams/configmaps/status?"), "{line}");
    assert!(line.contains("fieldManager=onvif-uplink") && line.contains("force=true"), "{line}");
    let wanted = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "status" },
        "data": { "status.json": "{\n  \"generation\": 7\n}\n" } });
    assert_eq!(asked[0].body, wanted, "nothing else becomes ours");
}

#[tokio::test(start_paused = true)]
async fn changes_that_follow_each_other_are_one_write_each_five_seconds() {
    let board = StatusBoard::new();
    let causes = [Cause::DialTimeout, Cause::ConnectionRefused];
    let asked = asked((0..20).map(|_| good()).collect(), into_configmap(), &board, async |_| {
        for round in 0..300 {
            fails(&board, causes[round % 2]);
            sleep(Duration::from_millis(101)).await;
        }
    })
    .await;
    assert!((4..=7).contains(&asked.len()), "{} writes in 30 s", asked.len());
    assert!(asked.windows(2).all(|pair| pair[1].at - pair[0].at >= WRITE_EVERY));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forbids_or_hangs_is_asked_again_at_intervals_and_each_outcome_is_counted() {
    let (board, writes) = (StatusBoard::new(), Writes::default());
    let acts = vec![refusal(403, "Forbidden"), Act::Silence, refusal(500, "InternalError"), good()];
    let asked = asked_and_counted(acts, into_configmap(), &board, writes.clone(), async |server| {
        server.until(4).await;
        sleep(Duration::from_secs(600)).await;
    })
    .await;
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1].at - pair[0].at >= WRITE_EVERY + Duration::from_secs(2)));
    let counted = ["forbidden", "silent", "refused", "done"].map(|outcome| writes.counted(Purpose::Status, outcome));
    assert_eq!(counted, [1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_annotation_is_one_line_without_secrets() {
    let board = StatusBoard::new();
    fails(&board, Cause::ConnectionRefused);
    board.update_config(|config| config.errors = vec!["u.yaml:1:1: bad".to_owned()]);
    let pod = Pod { namespace: "cams".to_owned(), name: "nvr-0".to_owned(), uid: "u-1".to_owned() };
    let asked = asked(vec![good()], StatusTarget::Annotation(pod), &board, async |server| {
        server.until(1).await;
    })
    .await;
    assert!(asked[0].line.starts_with("PATCH /api/v1/namespaces/cams/pods/nvr-0?"), "{}", asked[0].line);
    let metadata = &asked[0].body["metadata"];
    assert_eq!(metadata["uid"], "u-1", "never another pod of the name");
    let line = "0 of 1 uplinks Online; configuration refused: u.yaml:1:1: bad; camera-1 -> https://cloud/: dial: connection-refused";
    assert_eq!(metadata["annotations"][ANNOTATION], line);
}
