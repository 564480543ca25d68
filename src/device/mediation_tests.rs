//! Devices that want credentials at the level of HTTP in every way, good and bad, and what the remote and they themselves get
//! to see.

use bytes::Bytes;
use futures_util::future::join_all;
use http::header;
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;
use crate::{
    base::http::BodyError,
    device::{
        bench::{Bench, PASSWORD, answer, bench, challenge, good},
        replay::BODY_MAX,
        standing::FIRST_PAUSE,
    },
    model::{failure::Cause, uplink::testing::uplink},
};

#[tokio::test(start_paused = true)]
async fn a_challenge_is_answered_once_and_then_foreseen() {
    let bench = bench(good);
    assert_eq!((bench.get("/a?b=c").await, bench.get("/other").await, bench.get("/a").await), (200, 200, 200));
    let counts = bench.seen(|seen| seen.parameter("nc").map(str::to_owned));
    let number = |number: u32| Some(format!("{number:08x}"));
    assert_eq!(counts, [None, number(1), number(2), number(3)]);
    assert_eq!(bench.told(), None);
}

#[tokio::test(start_paused = true)]
async fn what_the_remote_shows_stays_away_from_the_device_and_the_challenge_from_the_remote() {
    let bench = bench(good);
    let own = [(AUTHORIZATION, "Bearer theirs"), (PROXY_AUTHORIZATION, "Basic theirs"), (COOKIE, "theirs=1")];
    for path in ["/cold", "/warm"] {
        let mut request = http::Request::get(path).header("x-other", "stays").body(Body::empty()).expect("valid");
        own.iter().for_each(|(name, value)| drop(request.headers_mut().insert(name, value.parse().expect("valid"))));
        let response = bench.ask(request).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
    for fields in bench.seen(|seen| format!("{:?}", seen.headers)) {
        assert!(!fields.contains("theirs") && fields.contains("stays"), "{fields}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_left_alone_and_tried_once_after_the_pause() {
    let bench = bench(|_, count| challenge(&format!("n{count}"), ""));
    let request = http::Request::get("/a").body(Body::empty()).expect("valid");
    let response = bench.ask(request).await;
    assert_eq!((response.status().as_u16(), response.headers().contains_key(WWW_AUTHENTICATE)), (502, false));
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    for _ in 0..5 {
        assert_eq!(bench.get("/a").await, 502);
    }
    assert_eq!((bench.shown(), bench.told()), (1, Some(Cause::DeviceCredentialsRefused)));
    tokio::time::advance(FIRST_PAUSE).await;
    assert_eq!((bench.get("/a").await, bench.get("/a").await, bench.shown()), (502, 502, 2));
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_credentials_works_while_the_password_is_left_alone() {
    let bench = bench(|seen, _| if seen.target == "/free" { answer(200, &[], "") } else { challenge("n", "") });
    assert_eq!((bench.get("/a").await, bench.get("/free").await, bench.get("/a").await), (502, 200, 502));
    assert_eq!(bench.shown(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_requests_at_once_are_one_try_of_a_wrong_password() {
    let bench = bench(|_, count| challenge(&format!("n{count}"), ""));
    let answers = join_all((0..20).map(|_| bench.get("/a"))).await;
    assert_eq!((answers, bench.shown()), (vec![502; 20], 1));
}

#[tokio::test(start_paused = true)]
async fn many_requests_at_once_all_get_through_with_the_right_one() {
    let bench = bench(good);
    assert_eq!(join_all((0..20).map(|_| bench.get("/a"))).await, vec![200; 20]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_nonce_is_replaced_and_nothing_is_counted() {
    let bench = bench(|seen, count| {
        let nonce = if count < 3 { "old" } else { "new" };
        if seen.answers(PASSWORD, nonce) { answer(200, &[], "") } else { challenge(nonce, ", stale=true") }
    });
    assert_eq!((bench.get("/a").await, bench.get("/a").await, bench.get("/a").await), (200, 200, 200));
    assert_eq!(bench.seen(|seen| seen.parameter("nonce").map(str::to_owned)).len(), 5);
    assert!(bench.account.proven() && bench.told().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_calls_every_nonce_stale_is_asked_three_times_at_most() {
    let bench = bench(|_, count| challenge(&format!("n{count}"), ", stale=true"));
    assert_eq!((bench.get("/a").await, bench.seen(|_| ()).len()), (502, 3));
    assert_eq!(bench.told(), Some(Cause::DeviceAuthenticationUnknown));
}

#[tokio::test(start_paused = true)]
async fn a_device_with_a_nonce_for_each_request_is_served_and_soon_asked_first() {
    let bench = bench(|seen, count| {
        let last = format!("n{}", count.wrapping_sub(1));
        if seen.answers(PASSWORD, &last) { answer(200, &[], "") } else { challenge(&format!("n{count}"), "") }
    });
    for _ in 0..6 {
        assert_eq!(bench.get("/a").await, 200);
    }
    // Two guesses are lost; from then on each request asks for its nonce.
    assert_eq!((bench.seen(|_| ()).len(), bench.shown()), (12, 8));
    assert!(bench.account.proven());
}

#[tokio::test(start_paused = true)]
async fn the_nonce_that_the_device_names_is_used_next() {
    let bench = bench(|seen, count| match seen.parameter("nonce").map(str::to_owned) {
        Some(nonce) if seen.answers(PASSWORD, &nonce) => {
            answer(200, &[("authentication-info", &format!("nextnonce=\"n{count}\""))], "")
        }
        _ => challenge("first", ""),
    });
    let request = http::Request::get("/a").body(Body::empty()).expect("valid");
    assert!(!bench.ask(request).await.headers().contains_key("authentication-info"));
    assert_eq!((bench.get("/a").await, bench.get("/a").await), (200, 200));
    let nonces = bench.seen(|seen| seen.parameter("nonce").map(str::to_owned));
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(nonces, [None, named("first"), named("n1"), named("n2")]);
}

#[tokio::test(start_paused = true)]
async fn a_challenge_in_pieces_is_understood_and_an_unknown_one_told() {
    let pieces = bench(|seen, _| {
        let fields = [("www-authenticate", "Digest realm=\"r\""), ("www-authenticate", "nonce=\"n\", qop=\"auth\"")];
        if seen.answers(PASSWORD, "n") { answer(200, &[], "") } else { answer(401, &fields, "") }
    });
    assert_eq!(pieces.get("/a").await, 200);
    let unknown = bench(|_, _| answer(401, &[("www-authenticate", "Negotiate")], ""));
    assert_eq!((unknown.get("/a").await, unknown.told()), (502, Some(Cause::DeviceAuthenticationUnknown)));
    assert_eq!((unknown.shown(), unknown.get("/a").await), (0, 502));
}

#[tokio::test(start_paused = true)]
async fn a_password_that_worked_may_be_refused_once_for_an_operation_above_its_rights() {
    let bench = bench(|seen, count| if seen.target == "/above" { challenge("n", "") } else { good(seen, count) });
    for _ in 0..4 {
        assert_eq!((bench.get("/a").await, bench.get("/above").await), (200, 502));
    }
    assert_eq!(bench.told(), None);
}

#[tokio::test(start_paused = true)]
async fn a_small_body_is_sent_again_and_a_large_one_has_its_nonce_before() {
    let bench = bench(good);
    let post = |body: Body| http::Request::post("/a").header(header::CONTENT_TYPE, "x/y").body(body).expect("valid");
    let frames = ["one ", "two"].map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::from(piece))));
    let small = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    assert_eq!(bench.ask(post(small)).await.status(), 200);
    let large = vec![b'x'; BODY_MAX + 1];
    assert_eq!(bench.ask(post(Body::full(large.clone()))).await.status(), 200);
    let seen = bench.seen(|seen| (seen.method.clone(), seen.body.len(), seen.authorization().is_some()));
    let one = |method: &str, length, shown| (method.to_owned(), length, shown);
    // A body of unknown length may be a large one, so its nonce is fetched too.
    let expected =
        [one("HEAD", 0, false), one("POST", 7, true), one("HEAD", 0, false), one("POST", BODY_MAX + 1, true)];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_gone_by_is_asked_for_again() {
    // It wants nothing of a HEAD and has no device service, so nothing is known before the body is on its way.
    let bench = bench(|seen, count| match seen.target.as_str() {
        "/onvif/device_service" => answer(404, &[], ""),
        _ if seen.method == "HEAD" => answer(405, &[], ""),
        _ => good(seen, count),
    });
    let post = || http::Request::post("/a").header(header::CONTENT_TYPE, "x/y").body(Body::full(vec![0; BODY_MAX + 1]));
    let response = bench.ask(post().expect("valid")).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
}

#[tokio::test(start_paused = true)]
async fn auth_int_hashes_the_body_and_basic_is_taken_when_there_is_nothing_else() {
    let integrity = bench(|seen, _| match seen.parameter("qop") {
        Some("auth-int") => answer(200, &[], ""),
        _ => answer(401, &[("www-authenticate", "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"")], ""),
    });
    let post = http::Request::put("/a").body(Body::full("hashed")).expect("valid");
    assert_eq!(integrity.ask(post).await.status(), 200);
    let basic = bench(|seen, _| match seen.authorization() {
        Some("Basic YWRtaW46c2VjcmV0IDc=") => answer(200, &[], ""),
        _ => answer(401, &[("www-authenticate", "Basic realm=\"r\"")], ""),
    });
    assert_eq!(
        (basic.get("/a").await, basic.get("/b").await, basic.shown(), basic.seen(|_| ()).len()),
        (200, 200, 2, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn an_uplink_that_is_gone_hears_of_no_more_trouble() {
    let bench = bench(|_, _| challenge("n", ""));
    let Bench { handler, account, board, _dir, .. } = bench;
    account.refresh().await;
    drop(handler);
    account.refused("HTTP Digest");
    assert!(board.snapshot().uplinks[&uplink("https://cloud/").key()].device_error.is_none());
}
