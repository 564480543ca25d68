//! Write-back against a scripted API server in virtual time: what is written, on what condition, and what becomes of refusals.

use serde_json::Value;

use super::*;
use crate::{
    base::scripted_api::{Act, ScriptedApi, refusal},
    config::store::Entry,
    model::{address::Scheme, authorization::AuthorizationMode},
};

const TEXT: &str = "# by hand\ndevices:\n  - name: camera-1\n    http: http://127.0.0.1:80 # the camera\n    uplinks: []\ncertificates:\n  \
                    c: { certFile: a, keyFile: b }\n";

fn map(version: &str, data: Value) -> Act {
    let metadata = json!({ "name": "uplinks", "namespace": "cams", "resourceVersion": version });
    Act::Answer(200, json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data }))
}

fn with(version: &str, text: &str) -> Act {
    map(version, json!({ "uplinks.yaml": text, "other": "stays" }))
}

fn store(acts: Vec<Act>) -> (Arc<ScriptedApi>, ConfigMapStore) {
    counting_store(acts, Writes::default())
}

fn counting_store(acts: Vec<Act>, writes: Writes) -> (Arc<ScriptedApi>, ConfigMapStore) {
    let (server, client) = ScriptedApi::start(acts);
    let served = Served {
        schemes: vec![Scheme::Https],
        authorization_modes: vec![AuthorizationMode::Mtls],
        ..Served::default()
    };
    let at = ConfigMapKey::parse("cams/uplinks").expect("good");
    (server, ConfigMapStore::new(client, at, "/", served, writes))
}

fn set(remote: &str) -> Edit {
    Edit::Set(Entry {
        remote_address: remote.to_owned(),
        certificate_id: Some("c".to_owned()),
        user_level: vec!["User".to_owned()],
        ..Entry::default()
    })
}

async fn refused(acts: Vec<Act>) -> (usize, String) {
    let (server, store) = store(acts);
    let error = store.change("camera-1", set("https://a/")).await.expect_err("refused");
    (server.asked().len(), error.to_string())
}

#[tokio::test(start_paused = true)]
async fn only_the_key_is_applied_and_only_to_the_version_that_was_read() {
    let (server, store) = store(vec![with("41", TEXT), with("42", "")]);
    let new = store.change("camera-1", set("https://a/")).await.expect("changed");
    assert!(new.text.starts_with("# by hand\n") && new.text.contains("# the camera"), "{}", new.text);
    assert!(new.text.contains("https://a/"), "{}", new.text);
    assert_eq!(new.name, "cams/uplinks/uplinks.yaml");
    let asked = server.asked();
    assert!(asked[0].line.starts_with("GET /api/v1/namespaces/cams/configmaps/uplinks"), "{}", asked[0].line);
    let line = &asked[1].line;
    assert!(line.starts_with("PATCH /api/v1/namespaces/cams/configmaps/uplinks?"), "{line}");
    assert!(line.contains("fieldManager=onvif-uplink-config") && line.contains("force=true"), "{line}");
    let wanted = json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "uplinks", "resourceVersion": "41" }, "data": { "uplinks.yaml": new.text } });
    assert_eq!(asked[1].body, wanted);
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_came_in_between_is_kept_and_ours_is_made_on_top() {
    let theirs = TEXT.replace("# by hand", "# by another hand");
    let acts = vec![with("41", TEXT), refusal(409, "Conflict"), with("42", &theirs), with("43", "")];
    let writes = Writes::default();
    let (server, store) = counting_store(acts, writes.clone());
    let new = store.change("camera-1", set("https://a/")).await.expect("changed");
    assert!(new.text.starts_with("# by another hand\n"), "{}", new.text);
    assert_eq!(["conflict", "done"].map(|outcome| writes.counted(Purpose::WriteBack, outcome)), [1, 1]);
    assert_eq!(server.asked()[3].body["metadata"]["resourceVersion"], "42");
}

#[tokio::test(start_paused = true)]
async fn conflicts_without_end_are_given_up_after_five_attempts() {
    let acts = (0..10).flat_map(|_| [with("41", TEXT), refusal(409, "Conflict")]).collect();
    let (asked, sentence) = refused(acts).await;
    assert_eq!(asked, 2 * ATTEMPTS_MAX as usize);
    assert!(sentence.contains("try again"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_role_without_the_rule_is_told_with_it() {
    let (asked, sentence) = refused(vec![with("41", TEXT), refusal(403, "Forbidden")]).await;
    assert_eq!(asked, 2, "it is not tried again");
    let rule = "{apiGroups: [\"\"], resources: [configmaps], resourceNames: [uplinks], verbs: [get, patch]}";
    assert!(sentence.contains(rule) && sentence.contains("namespace cams"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_or_fails_changes_nothing_and_is_told() {
    let start = tokio::time::Instant::now();
    assert!(refused(vec![Act::Silence]).await.1.contains("did not answer within 10 s"));
    assert_eq!(start.elapsed(), crate::base::call::CALL_MAX);
    assert!(refused(vec![with("41", TEXT), refusal(500, "InternalError")]).await.1.contains("500"));
    assert!(refused(vec![refusal(429, "TooManyRequests")]).await.1.contains("429"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_has_errors_is_left_to_whoever_mends_it() {
    assert!(refused(vec![refusal(404, "NotFound")]).await.1.contains("there is no such ConfigMap"));
    assert!(refused(vec![map("1", json!({ "other": "" }))]).await.1.contains("it has other"));
    let (asked, sentence) = refused(vec![with("41", "devices: [{ nam: x }]\n")]).await;
    assert_eq!(asked, 1);
    assert!(sentence.contains("mend it first"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_changes_nothing_writes_nothing() {
    let (_server, first) = store(vec![with("41", TEXT), with("42", "")]);
    let new = first.change("camera-1", set("https://a/")).await.expect("changed");
    let (server, second) = store(vec![with("42", &new.text)]);
    assert_eq!(second.change("camera-1", set("https://a/")).await.expect("as it is"), new);
    assert_eq!(server.asked().len(), 1);
    let (server, third) = store(vec![with("42", &new.text)]);
    let error = third.change("camera-1", Edit::Delete("https://b/".to_owned())).await;
    assert_eq!((error, server.asked().len()), (Err(StoreError::Address), 1));
}
