//! Conversations with RTSP servers that want credentials, and what each side of them sees.

use super::*;
use crate::{
    base::rtsp::{Splitter, Unit},
    device::bench::{Bench, bench, good},
};

fn read(text: &str) -> Message {
    let mut splitter = Splitter::new();
    splitter.push(text.replace('\n', "\r\n").as_bytes());
    match splitter.next_unit() {
        Ok(Some(Unit::Message(message))) => message,
        other => panic!("{other:?} in {text}"),
    }
}

fn request(method: &str, number: &str, more: &str) -> Message {
    read(&format!("{method} rtsp://127.0.0.1/cam RTSP/1.0\ncseq:{number}\nUser-Agent: x\n{more}\n"))
}

fn answer(status: &str, number: &str, more: &str) -> Message {
    read(&format!("RTSP/1.0 {status}\nCSeq: {number}\n{more}\n"))
}

fn challenge(number: &str, nonce: &str, more: &str) -> Message {
    answer("401 Unauthorized", number, &format!("WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\"{more}\n"))
}

async fn conversation() -> (Bench, Box<dyn Mediator>) {
    let bench = bench(good);
    let mediator = Conversations::new(Arc::clone(&bench.account)).conversation().await;
    (bench, mediator)
}

fn to_device(passed: Passed) -> Message {
    assert_eq!(passed.to_remote, None);
    passed.to_device.expect("a message to the device")
}

fn to_remote(passed: Passed) -> Message {
    assert_eq!(passed.to_device, None);
    passed.to_remote.expect("a message to the remote")
}

fn number(message: &Message) -> Option<&str> {
    message.field("CSeq")
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_hidden_and_the_numbers_of_both_sides_are_kept_apart() {
    let (bench, mut talk) = conversation().await;
    let first = to_device(talk.remote_says(request("OPTIONS", "7", "")));
    assert_eq!(first, request("OPTIONS", "7", ""), "nothing is changed before the device asks");
    to_remote(talk.device_says(answer("200 OK", "7", "")));
    to_device(talk.remote_says(request("DESCRIBE", "8", "Accept: application/sdp\n")));
    let again = to_device(talk.device_says(challenge("8", "n", "")));
    assert_eq!((number(&again), again.field("Accept")), (Some("9"), Some("application/sdp")));
    assert!(again.field("Authorization").is_some_and(|shown| shown.contains("uri=\"rtsp://127.0.0.1/cam\"")));
    let answered = to_remote(talk.device_says(answer("200 OK", "9", "")));
    assert_eq!(number(&answered), Some("8"));
    let next = to_device(talk.remote_says(request("SETUP", "9", "")));
    assert_eq!(number(&next), Some("10"));
    assert!(next.field("Authorization").is_some_and(|shown| shown.starts_with("Digest username=\"admin\"")));
    assert_eq!(number(&to_remote(talk.device_says(answer("200 OK", "10", "")))), Some("9"));
    assert!(bench.account.proven());
}

#[tokio::test(start_paused = true)]
async fn what_the_remote_shows_is_taken_out_and_what_the_device_says_of_it_too() {
    let (_bench, mut talk) = conversation().await;
    let sent = to_device(talk.remote_says(request("PLAY", "1", "Authorization: Basic theirs\nRange: npt=0-\n")));
    assert_eq!(sent, request("PLAY", "1", "Range: npt=0-\n"));
    let said = answer("200 OK", "1", "Authentication-Info: nextnonce=\"x\"\nRTP-Info: url=a\n");
    assert_eq!(to_remote(talk.device_says(said)), read("RTSP/1.0 200 OK\nCSeq: 1\nRTP-Info: url=a\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once_and_the_remote_sees_no_challenge() {
    let (bench, mut talk) = conversation().await;
    to_device(talk.remote_says(request("DESCRIBE", "1", "")));
    to_device(talk.device_says(challenge("1", "n", "")));
    let refused = to_remote(talk.device_says(challenge("2", "m", "")));
    assert_eq!((refused.kind(), number(&refused)), (Kind::Response { status: 502 }, Some("1")));
    assert!(refused.field("WWW-Authenticate").is_none() && bench.told().is_some());
    let next = to_device(talk.remote_says(request("DESCRIBE", "2", "")));
    assert_eq!(next.field("Authorization"), None);
    assert_eq!(to_remote(talk.device_says(challenge("3", "o", ""))).kind(), Kind::Response { status: 502 });
}

#[tokio::test(start_paused = true)]
async fn a_stale_nonce_is_replaced_but_not_for_ever() {
    let (bench, mut talk) = conversation().await;
    to_device(talk.remote_says(request("DESCRIBE", "1", "")));
    to_device(talk.device_says(challenge("1", "a", "")));
    to_device(talk.device_says(challenge("2", "b", ", stale=true")));
    let ended = to_remote(talk.device_says(challenge("3", "c", ", stale=true")));
    assert_eq!((ended.kind(), bench.told()), (Kind::Response { status: 502 }, None));
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_sent_together_are_each_sent_again_in_their_order() {
    let (_bench, mut talk) = conversation().await;
    for number in ["1", "2"] {
        to_device(talk.remote_says(request("SETUP", number, "")));
    }
    let asked = ["1", "2"].map(|number| challenge(number, "n", ", qop=\"auth\""));
    let again = asked.map(|said| to_device(talk.device_says(said)));
    for (message, count) in again.iter().zip(["nc=00000001", "nc=00000002"]) {
        assert!(message.field("Authorization").is_some_and(|shown| shown.contains(count)), "{message:?}");
    }
    assert_eq!(again.each_ref().map(|message| number(message)), [Some("3"), Some("4")]);
    let answered = ["3", "4"].map(|number| to_remote(talk.device_says(answer("200 OK", number, ""))));
    assert_eq!(answered.each_ref().map(|message| number(message)), [Some("1"), Some("2")]);
}

#[tokio::test(start_paused = true)]
async fn requests_of_the_device_and_answers_that_nobody_waits_for_pass() {
    let (_bench, mut talk) = conversation().await;
    let asked = read("OPTIONS * RTSP/1.0\nCSeq: 99\n\n");
    assert_eq!(to_remote(talk.device_says(asked.clone())), asked);
    let said = answer("200 OK", "99", "");
    assert_eq!(to_device(talk.remote_says(said.clone())), said);
    assert_eq!(to_remote(talk.device_says(said.clone())), said);
}

#[tokio::test(start_paused = true)]
async fn requests_that_a_device_leaves_without_an_answer_are_forgotten_and_hold_nobody_up() {
    let (bench, mut talk) = conversation().await;
    for number in 1..=3 * PENDING_MAX {
        to_device(talk.remote_says(request("GET_PARAMETER", &number.to_string(), "")));
    }
    let (oldest, newest) = ("1", (3 * PENDING_MAX).to_string());
    let late = to_remote(talk.device_says(challenge(oldest, "n", "")));
    assert_eq!(late.field("WWW-Authenticate"), None, "a challenge stays hidden all the same");
    assert!(to_device(talk.device_says(challenge(&newest, "n", ""))).field("Authorization").is_some());
    assert_eq!(bench.told(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_a_second_try_is_bounded_in_bytes() {
    let (_bench, mut talk) = conversation().await;
    for number in ["1", "2", "3", "4"] {
        let mut large = request("SET_PARAMETER", number, "");
        large.set_body(vec![b'x'; 60 * 1024]);
        to_device(talk.remote_says(large));
    }
    to_remote(talk.device_says(challenge("1", "n", "")));
    assert_eq!(to_device(talk.device_says(challenge("4", "n", ""))).body().len(), 60 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_number_gets_one_that_the_remote_does_not_see() {
    let (_bench, mut talk) = conversation().await;
    let sent = to_device(talk.remote_says(read("OPTIONS * RTSP/1.0\n\n")));
    assert_eq!(number(&sent), Some("1"));
    assert_eq!(number(&to_remote(talk.device_says(answer("200 OK", "1", "")))), None);
}

#[tokio::test(start_paused = true)]
async fn players_that_come_together_are_one_wrong_try() {
    let bench = bench(good);
    let mediators = Conversations::new(Arc::clone(&bench.account));
    let mut first = mediators.conversation().await;
    let mut second = Box::pin(mediators.conversation());
    to_device(first.remote_says(request("OPTIONS", "1", "")));
    to_remote(first.device_says(answer("200 OK", "1", "")));
    to_device(first.remote_says(request("DESCRIBE", "2", "")));
    to_device(first.device_says(challenge("2", "n", "")));
    assert!(futures_util::poll!(&mut second).is_pending(), "the first has not been answered");
    to_remote(first.device_says(challenge("3", "m", "")));
    let mut second = second.await;
    to_device(second.remote_says(request("DESCRIBE", "1", "")));
    let refused = to_remote(second.device_says(challenge("1", "n", "")));
    assert_eq!(refused.kind(), Kind::Response { status: 502 }, "it does not try again");
}

#[tokio::test(start_paused = true)]
async fn a_player_that_says_nothing_does_not_hold_others_up_for_long() {
    let bench = bench(good);
    let mediators = Conversations::new(Arc::clone(&bench.account));
    let _silent = mediators.conversation().await;
    let begun = tokio::time::Instant::now();
    mediators.conversation().await;
    assert_eq!(begun.elapsed(), std::time::Duration::from_secs(1));
}
