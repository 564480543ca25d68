//! The admin listener over real loopback sockets; what is timed over an in-memory stream with virtual time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    admin::{Readiness, lifecycle::Asked, lifecycle::Lifecycle},
    base::drain::{DrainSwitch, drain},
    telemetry::{logs::LevelHandle, metrics::Metrics},
};

fn state() -> Arc<AdminState> {
    Arc::new(AdminState {
        readiness: Readiness::new(),
        metrics: Arc::new(Metrics::new("1.2.3")),
        status: Arc::new(|| serde_json::json!({ "generation": 3 })),
        level: LevelHandle::detached(),
        lifecycle: None,
    })
}

async fn start(state: Arc<AdminState>) -> (SocketAddr, DrainSwitch, tokio::task::JoinHandle<()>) {
    let admin = Admin::bind("127.0.0.1:0".parse().expect("an address"), state).await.expect("loopback");
    let (switch, part) = drain();
    (admin.local_addr(), switch, tokio::spawn(admin.run(part)))
}

async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("listens");
    // A refused head may be answered and closed while we still write.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("UTF-8")
}

async fn ask(address: SocketAddr, method: &str, target: &str, body: &str) -> String {
    let length = body.len();
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    exchange(address, request.as_bytes()).await
}

#[tokio::test]
async fn each_page_answers_with_its_type() {
    let (address, _switch, _run) = start(state()).await;
    for (target, status, content_type, part) in [
        ("/livez", "200 OK", "text/plain; charset=utf-8", "alive\n"),
        ("/readyz", "200 OK", "text/plain; charset=utf-8", "ready\n"),
        ("/metrics", "200 OK", "application/openmetrics-text; version=1.0.0; charset=utf-8", "# EOF\n"),
        ("/status", "200 OK", "application/json", "\"generation\": 3"),
        ("/nothing", "404 Not Found", "text/plain; charset=utf-8", "/livez"),
    ] {
        let answer = ask(address, "GET", target, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{target}: {answer}");
        assert!(answer.contains(&format!("content-type: {content_type}\r\n")), "{target}: {answer}");
        assert!(answer.contains(part), "{target}: {answer}");
    }
}

#[tokio::test]
async fn other_methods_are_refused_and_told_which_are_right() {
    let (address, _switch, _run) = start(state()).await;
    let answer = ask(address, "POST", "/status", "").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    let answer = ask(address, "GET", "/log-level", "").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: PUT\r\n"), "{answer}");
    let answer = ask(address, "HEAD", "/livez", "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn readiness_says_which_latch_blocks() {
    let state = state();
    state.readiness.set("configuration", "no document was read yet");
    state.readiness.clear("listener");
    let (address, _switch, _run) = start(Arc::clone(&state)).await;
    let answer = ask(address, "GET", "/readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("not ready: configuration: no document was read yet\n"), "{answer}");
    assert!(
        ask(address, "GET", "/readyz?verbose", "")
            .await
            .contains("[-] configuration: no document was read yet\n[+] listener\n")
    );
    assert!(ask(address, "GET", "/livez", "").await.starts_with("HTTP/1.1 200"));
    state.readiness.clear("configuration");
    assert!(ask(address, "GET", "/readyz", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_log_level_is_set_from_loopback() {
    let (address, _switch, _run) = start(state()).await;
    assert!(ask(address, "PUT", "/log-level", "debug").await.starts_with("HTTP/1.1 200"));
    let answer = ask(address, "PUT", "/log-level", "inof").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("`inof` is no log level"), "{answer}");
    let answer = ask(address, "PUT", "/log-level", &"x".repeat(5000)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_oversized_head_is_refused_and_the_listener_goes_on() {
    let (address, _switch, _run) = start(state()).await;
    let request = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(HEAD_MAX * 2));
    let answer = exchange(address, request.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(ask(address, "GET", "/livez", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_in_use_is_named_with_the_mend() {
    let (address, _switch, _run) = start(state()).await;
    let error = Admin::bind(address, state()).await.expect_err("in use").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--admin"), "{error}");
}

/// One connection over memory, from `peer`; ends when the server closes it.
async fn talk(peer: &str, request: &[u8]) -> (String, Duration) {
    talk_with(state(), peer, request).await
}

async fn talk_with(state: Arc<AdminState>, peer: &str, request: &[u8]) -> (String, Duration) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (_switch, part) = drain();
    let started = Instant::now();
    let served = tokio::spawn(serve(theirs, peer.parse().expect("an address"), state, part));
    let (mut reader, mut writer) = tokio::io::split(ours);
    writer.write_all(request).await.expect("fits");
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.expect("memory");
    served.await.expect("no panic");
    (String::from_utf8(answer).expect("UTF-8"), started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_cut_at_its_deadline() {
    let (answer, took) = talk("127.0.0.1:5", b"GET /livez HTTP/1.1\r\nhost:").await;
    assert_eq!(answer, "");
    assert!(took >= HEAD_TIMEOUT && took < HEAD_TIMEOUT + Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    let (answer, took) =
        talk("127.0.0.1:5", b"PUT /log-level HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nde").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(took <= CONNECTION_AGE_MAX, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_log_level_is_not_set_from_elsewhere() {
    let request = b"PUT /log-level HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\ndebug";
    let (answer, _) = talk("192.0.2.7:5", request).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let (answer, _) = talk("[::ffff:127.0.0.1]:5", request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_ends_the_listener() {
    let (address, switch, run) = start(state()).await;
    let mut idle = TcpStream::connect(address).await.expect("listens");
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("answer");
    switch.start(Duration::from_secs(30));
    timeout(Duration::from_secs(20), run).await.expect("well before the deadline").expect("no panic");
    assert!(TcpStream::connect(address).await.is_err());
}

/// A state that hears wishes.
fn living(drain_endpoint: bool) -> (Arc<AdminState>, tokio::sync::watch::Receiver<Asked>) {
    let lifecycle = Lifecycle::new(drain_endpoint);
    let asked = lifecycle.watch();
    let state = Arc::into_inner(state()).expect("the only one");
    (Arc::new(AdminState { lifecycle: Some(lifecycle), ..state }), asked)
}

#[tokio::test]
async fn the_drain_is_there_only_where_it_was_switched_on() {
    let (without, asked) = living(false);
    let (address, _switch, _run) = start(without).await;
    let answer = ask(address, "GET", "/drain", "").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("--drain-endpoint"), "{answer}");
    assert_eq!(*asked.borrow(), Asked::Nothing);
    let (address, _switch, _run) = start(state()).await;
    assert!(ask(address, "GET", "/drain", "").await.starts_with("HTTP/1.1 404"), "a gateway has none");
}

#[tokio::test]
async fn the_drain_is_asked_for_from_anywhere_with_get_or_post_as_often_as_one_likes() {
    for (method, status, then) in [
        ("HEAD", "405", Asked::Nothing),
        ("DELETE", "405", Asked::Nothing),
        ("GET", "200", Asked::Drain),
        ("POST", "200", Asked::Drain),
    ] {
        let (state, asked) = living(true);
        for _ in 0..2 {
            let request = format!("{method} /drain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let (answer, _) = talk_with(Arc::clone(&state), "192.0.2.7:5", request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method}: {answer}");
            assert_eq!(*asked.borrow(), then, "{method}");
        }
    }
}

#[tokio::test]
async fn the_process_is_ended_with_post_and_from_loopback_only() {
    for (peer, method, status, then) in [
        ("192.0.2.7:5", "POST", "403", Asked::Nothing),
        ("127.0.0.1:5", "GET", "405", Asked::Nothing),
        ("[::ffff:127.0.0.1]:5", "POST", "200", Asked::Stop),
        ("[::1]:5", "POST", "200", Asked::Stop),
    ] {
        let (state, asked) = living(false);
        let request = format!("{method} /quitquitquit HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let (answer, _) = talk_with(state, peer, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{peer} {method}: {answer}");
        assert_eq!(*asked.borrow(), then, "{peer} {method}");
    }
}
