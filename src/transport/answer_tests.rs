//! Tests of the verdict on an answer to the upgrade.

use super::*;

fn remote() -> RemoteAddress {
    RemoteAddress::parse("https://cloud.example/uplink?access_token=hunter2").expect("valid")
}

fn refusal(head: &str) -> Refusal {
    match parse(head.as_bytes(), &Wanted::Native) {
        Parsed::Refused(refusal) => refusal,
        other => panic!("{head}: {other:?}"),
    }
}

fn failure(head: &str) -> Failure {
    refusal(head).into_failure(&remote(), b"")
}

#[test]
fn a_minimal_101_and_one_with_many_headers_switch() {
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101\r\n\r\n",
        "HTTP/1.1 101 whatever\r\nUPGRADE: H2C-Reverse\r\nserver: x\r\nSet-Cookie: a=b\r\n\r\n",
    ] {
        assert_eq!(parse(head.as_bytes(), &Wanted::Native), Parsed::Switched { head: head.len() });
    }
}

#[test]
fn a_101_to_another_protocol_is_malformed() {
    assert!(matches!(parse(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", &Wanted::Native), Parsed::Malformed(_)));
}

#[test]
fn each_status_has_its_cause() {
    for (status, cause) in [
        (200, Cause::UpgradeRefused),
        (302, Cause::Redirected),
        (401, Cause::Unauthorized),
        (403, Cause::Unauthorized),
        (404, Cause::UpgradeRefused),
        (429, Cause::RemoteBusy),
        (500, Cause::UpgradeRefused),
        (503, Cause::RemoteBusy),
    ] {
        let failure = failure(&format!("HTTP/1.1 {status} x\r\n\r\n"));
        assert_eq!(failure.cause, cause, "{status}");
        assert!(failure.message.contains(&status.to_string()), "{failure}");
        assert!(!failure.message.contains("hunter2"), "{failure}");
    }
}

#[test]
fn a_redirect_names_its_place_without_secrets() {
    let failure = failure("HTTP/1.1 307 x\r\nLocation: https://user:pw@else.example/there?token=hunter2\r\n\r\n");
    assert!(failure.message.contains("`https://else.example/there`"), "{failure}");
    assert!(!failure.message.contains("hunter2") && !failure.message.contains("pw"), "{failure}");
}

#[test]
fn retry_after_is_read_as_seconds_and_as_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
    assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
    assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
    assert_eq!(retry_after("99999999999999999999999", now), Some(RETRY_AFTER_MAX));
    assert_eq!(retry_after("soon", now), None);
    assert_eq!(retry_after("", now), None);
}

#[test]
fn retry_after_reaches_the_failure() {
    let failure = failure("HTTP/1.1 503 x\r\nRetry-After: 7\r\n\r\n");
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn control_characters_of_a_body_are_escaped_and_its_length_is_bounded() {
    let refusal = refusal("HTTP/1.1 500 x\r\nContent-Type: text/plain\r\n\r\n");
    assert!(refusal.text);
    let body = ["\x1b[31mred ", &"x".repeat(1000)].concat();
    let failure = refusal.into_failure(&remote(), body.as_bytes());
    assert!(failure.message.contains("\\u{1b}[31mred"), "{failure}");
    assert!(failure.message.len() < 400, "{failure}");
}

#[test]
fn an_endless_head_ends_at_its_bound() {
    let mut head = b"HTTP/1.1 101 x\r\nA: ".to_vec();
    head.resize(HEAD_MAX - 1, b'a');
    assert_eq!(parse(&head, &Wanted::Native), Parsed::Partial);
    head.resize(HEAD_MAX, b'a');
    assert_eq!(parse(&head, &Wanted::Native), Parsed::TooLarge);
    let many = format!("HTTP/1.1 101 x\r\n{}", "a: b\r\n".repeat(HEADERS_MAX + 1));
    assert_eq!(parse(many.as_bytes(), &Wanted::Native), Parsed::TooLarge);
}

#[test]
fn what_is_not_http_is_malformed() {
    for bytes in
        [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"\x16\x03\x01\x00\x05", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/2 101\r\n\r\n"]
    {
        assert!(matches!(parse(bytes, &Wanted::Native), Parsed::Malformed(_)), "{bytes:?}");
    }
}
