//! One object against a scripted API server in virtual time: what is told, what is not, and when it is dialed again.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower::service_fn;

use super::*;

/// What the server does with one request.
enum Act {
    Answer(u16, Value),
    /// Events of a watch, then silence.
    Stream(Vec<Value>),
    /// Events of a watch, then the end of the connection.
    Cut(Vec<Value>),
    Silence,
    Refuse,
}

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Plays `acts`, one for each request; after the last there is silence. Returns what it was asked too.
struct Server {
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<(Duration, String)>>,
    start: Instant,
}

impl Server {
    fn start(acts: impl IntoIterator<Item = Act>) -> (Arc<Self>, ObjectWatch<ConfigMap>) {
        let acts = Mutex::new(acts.into_iter().collect());
        let server = Arc::new(Self { acts, asked: Mutex::default(), start: Instant::now() });
        let of_service = Arc::clone(&server);
        let service = service_fn(move |request: Request<Body>| {
            let (server, uri) = (Arc::clone(&of_service), request.uri().to_string());
            async move { server.answer(uri).await }
        });
        let api = Api::namespaced(Client::new(service, "cams"), "cams");
        (server, ObjectWatch::new(api, "uplinks"))
    }

    async fn answer(&self, uri: String) -> io::Result<Answer> {
        let asked = (self.start.elapsed(), uri);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let act = self.acts.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Act::Silence);
        let frames = |events: Vec<Value>| {
            stream::iter(events.into_iter().map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n"))))))
        };
        let (status, body) = match act {
            Act::Answer(status, value) => (status, StreamBody::new(frames(vec![value])).boxed_unsync()),
            Act::Cut(events) => (200, StreamBody::new(frames(events)).boxed_unsync()),
            Act::Stream(events) => (200, StreamBody::new(frames(events).chain(stream::pending())).boxed_unsync()),
            Act::Silence => std::future::pending().await,
            Act::Refuse => return Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
        };
        Ok(Response::builder().status(status).body(body).expect("a response"))
    }

    fn asked(&self) -> Vec<(Duration, String)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn object(version: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "uplinks", "namespace": "cams", "resourceVersion": version.to_string() },
        "data": { "v": version.to_string() },
    })
}

fn list(items: &[u32]) -> Act {
    let items: Vec<_> = items.iter().map(|version| object(*version)).collect();
    let list =
        json!({ "apiVersion": "v1", "kind": "ConfigMapList", "metadata": { "resourceVersion": "9" }, "items": items });
    Act::Answer(200, list)
}

fn event(kind: &str, version: u32) -> Value {
    json!({ "type": kind, "object": object(version) })
}

fn status(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason,
        "metadata": {},
    })
}

fn refusal(code: u16, reason: &str) -> Act {
    Act::Answer(code, status(code, reason))
}

/// What is told next, as the version of the object, `none`, or the trouble.
async fn next(watch: &mut ObjectWatch<ConfigMap>) -> Result<String, Trouble> {
    let told = tokio::time::timeout(Duration::from_secs(600), watch.next()).await.expect("something is told");
    told.map(|object| object.and_then(|object| object.data?.remove("v")).unwrap_or_else(|| "none".to_owned()))
}

async fn nothing_within(watch: &mut ObjectWatch<ConfigMap>, time: Duration) {
    let told = tokio::time::timeout(time, watch.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_is_told_as_it_is_and_as_it_becomes_and_nothing_else_is_asked_for() {
    let bookmark = json!({ "type": "BOOKMARK", "object": {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "resourceVersion": "20" } } });
    let events = vec![event("MODIFIED", 2), bookmark, event("DELETED", 3), event("ADDED", 4)];
    let (server, mut watch) = Server::start([list(&[1]), Act::Stream(events)]);
    for version in ["1", "2", "none", "4"] {
        assert_eq!(next(&mut watch).await, Ok(version.to_owned()));
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let path = "/api/v1/namespaces/cams/configmaps?";
    assert!(asked.iter().all(|(_, uri)| uri.starts_with(path) && uri.contains("metadata.name%3Duplinks")), "{asked:?}");
    let watched = &asked[1].1;
    assert!(watched.contains("watch=true") && watched.contains("allowWatchBookmarks=true"), "{asked:?}");
    let seconds = watched.split("timeoutSeconds=").nth(1).and_then(|rest| rest.split('&').next()?.parse::<u32>().ok());
    assert!(
        seconds.is_some_and(|seconds| (WATCH_SECONDS - WATCH_SPREAD..=WATCH_SECONDS).contains(&seconds)),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_there_yet_is_awaited() {
    let (_server, mut watch) = Server::start([list(&[]), Act::Stream(vec![event("ADDED", 1)])]);
    assert_eq!(next(&mut watch).await, Ok("none".to_owned()));
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_history_is_listed_again_and_is_no_trouble() {
    let gone = json!({ "type": "ERROR", "object": status(410, "Expired") });
    let acts = [list(&[1]), Act::Stream(vec![gone]), refusal(410, "Expired"), list(&[5]), Act::Stream(vec![])];
    let (server, mut watch) = Server::start(acts);
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
    assert_eq!(next(&mut watch).await, Ok("5".to_owned()));
    nothing_within(&mut watch, Duration::from_secs(30)).await;
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_role_without_the_rule_is_told_once_until_it_has_it() {
    let forbidden = || refusal(403, "Forbidden");
    let (server, mut watch) = Server::start([forbidden(), forbidden(), forbidden(), list(&[1]), Act::Stream(vec![])]);
    assert_eq!(next(&mut watch).await, Err(Trouble::Forbidden("Forbidden".to_owned())));
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
    let waits: Vec<_> = server.asked().windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(waits[..3].iter().all(|wait| *wait >= Duration::from_millis(400)), "no storm of requests: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_may_list_but_not_watch_is_told_once_and_edits_come_through_all_the_same() {
    let forbidden = || refusal(403, "Forbidden");
    let acts = [
        list(&[1]),
        forbidden(),
        list(&[1]),
        forbidden(),
        list(&[2]),
        forbidden(),
        list(&[2]),
        Act::Stream(vec![event("MODIFIED", 3)]),
    ];
    let (_server, mut watch) = Server::start(acts);
    let forbidden = Trouble::Forbidden("Forbidden".to_owned());
    for expected in [Ok("1"), Err(&forbidden), Ok("2"), Err(&forbidden), Ok("3")] {
        assert_eq!(next(&mut watch).await, expected.map(str::to_owned).map_err(Clone::clone));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_stands_again_tells_the_object_again() {
    let acts = [list(&[1]), refusal(403, "Forbidden"), list(&[1]), Act::Stream(vec![])];
    let (_server, mut watch) = Server::start(acts);
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
    assert!(next(&mut watch).await.is_err());
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()), "the trouble is over");
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_is_not_told_and_a_long_one_is() {
    let refuse = |times| std::iter::repeat_with(|| Act::Refuse).take(times);
    let short = [list(&[1]), Act::Cut(vec![])].into_iter().chain(refuse(2)).chain([list(&[1]), Act::Stream(vec![])]);
    let (_server, mut watch) = Server::start(short.chain(refuse(8)).chain([list(&[2]), Act::Stream(vec![])]));
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()), "back after a moment: no trouble in between");
    let begin = Instant::now();
    let trouble = next(&mut watch).await.expect_err("a long outage");
    assert!(matches!(&trouble, Trouble::Unreachable(reason) if reason.contains("refused")), "{trouble:?}");
    assert!(begin.elapsed() >= PATIENCE, "{:?}", begin.elapsed());
    assert_eq!(next(&mut watch).await, Ok("2".to_owned()), "the end of the outage");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_never_there_is_told_at_once() {
    let (_server, mut watch) = Server::start([Act::Refuse, refusal(401, "Unauthorized"), list(&[1])]);
    assert!(matches!(next(&mut watch).await, Err(Trouble::Unreachable(_))));
    assert_eq!(next(&mut watch).await, Err(Trouble::Unauthorized), "another trouble is told too");
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_after_a_deadline_and_asked_again() {
    let (server, mut watch) = Server::start([Act::Silence, Act::Silence, list(&[1]), Act::Stream(vec![])]);
    assert_eq!(next(&mut watch).await, Err(Trouble::Silent(LIST_MAX)));
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
    let asked = server.asked();
    assert!(asked[1].0 >= LIST_MAX && asked[1].0 < LIST_MAX * 2, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_or_broken_server_is_asked_at_growing_intervals() {
    let acts = (0..7).map(|_| refusal(429, "TooManyRequests")).chain((0..7).map(|_| refusal(500, "InternalError")));
    let (server, mut watch) = Server::start(acts.chain([list(&[1]), Act::Stream(vec![])]));
    assert_eq!(next(&mut watch).await, Err(Trouble::Answered(429, "TooManyRequests".to_owned())));
    assert_eq!(next(&mut watch).await, Err(Trouble::Answered(500, "InternalError".to_owned())));
    assert_eq!(next(&mut watch).await, Ok("1".to_owned()));
    let asked = server.asked();
    assert!(asked[13].0 - asked[12].0 > Duration::from_secs(10), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_asks_again_without_the_rest_of_the_wait() {
    let acts = (0..8).map(|_| Act::Refuse).chain([list(&[1]), Act::Stream(vec![])]);
    let (server, mut watch) = Server::start(acts);
    assert!(next(&mut watch).await.is_err());
    nothing_within(&mut watch, Duration::from_secs(60)).await;
    let asked = server.asked().len();
    watch.look();
    let _ = tokio::time::timeout(Duration::from_millis(1), watch.next()).await;
    assert!(server.asked().len() > asked);
}

#[test]
fn each_trouble_says_what_to_mend() {
    let sentence = |trouble: Trouble| sentence(&trouble, "secrets", "camera-1-tls", "cams");
    let rule = "resources: [secrets], resourceNames: [camera-1-tls], verbs: [get, list, watch]";
    assert!(sentence(Trouble::Forbidden("x".to_owned())).contains(rule));
    assert!(sentence(Trouble::Answered(429, String::new())).contains("too many requests"));
    assert!(sentence(Trouble::Answered(500, "boom".to_owned())).contains("500 (boom)"));
    assert!(sentence(Trouble::Unreachable("refused".to_owned())).contains("cannot be reached (refused)"));
}
