//! The examples of RFC 7616 and RFC 2617, and what they leave out: sessions, counters, user names.

use super::*;

const MUFASA: &str = "Circle of Life";

fn challenge(algorithm: Algorithm) -> Challenge {
    Challenge {
        realm: "http-auth@example.org".to_owned(),
        nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".to_owned(),
        opaque: Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS".to_owned()),
        algorithm,
        session: false,
        qop: Qop::Auth,
        user_hash: false,
        stale: false,
    }
}

fn session(challenge: Challenge) -> Session {
    Session::with_client_nonce(challenge, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ".to_owned())
}

fn parameter<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = answer.strip_prefix("Digest ").expect("Digest").split(", ");
    parts.find_map(|part| Some(part.strip_prefix(name)?.strip_prefix('=')?.trim_matches('"')))
}

const INDEX: Subject<'_> = Subject { method: "GET", uri: "/dir/index.html", body: None };

#[test]
fn the_examples_of_rfc_7616_come_out() {
    for (algorithm, expected) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ] {
        let answer = session(challenge(algorithm)).answer("Mufasa", &Secret::new(MUFASA), INDEX);
        assert_eq!(parameter(&answer, "response"), Some(expected), "{answer}");
        assert_eq!(parameter(&answer, "nc"), Some("00000001"));
        assert_eq!(parameter(&answer, "algorithm"), Some(algorithm.name(false)));
        assert_eq!(parameter(&answer, "opaque"), Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"));
    }
}

#[test]
fn the_example_with_a_hashed_user_name_comes_out() {
    // RFC 7616 §3.9.2 with the values of its erratum 4897.
    let challenge = Challenge {
        realm: "api@example.org".to_owned(),
        nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK".to_owned(),
        opaque: Some("HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS".to_owned()),
        user_hash: true,
        ..challenge(Algorithm::Sha512Trunc256)
    };
    let mut session = Session::with_client_nonce(challenge, "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v".to_owned());
    let subject = Subject { method: "GET", uri: "/doe.json", body: None };
    let answer = session.answer("J\u{e4}s\u{f8}n Doe", &Secret::new("Secret, or not?"), subject);
    assert_eq!(
        parameter(&answer, "username"),
        Some("793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b")
    );
    assert_eq!(
        parameter(&answer, "response"),
        Some("3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5")
    );
}

#[test]
fn without_qop_the_digest_is_that_of_rfc_2069() {
    let mut plain = challenge(Algorithm::Md5);
    (plain.realm, plain.nonce) = ("testrealm@host.com".to_owned(), "dcd98b7102dd2f0e8b11d0f600bfb0c093".to_owned());
    (plain.qop, plain.opaque) = (Qop::None, None);
    let answer = session(plain).answer("Mufasa", &Secret::new("CircleOfLife"), INDEX);
    // RFC 2069 §2.4 with the erratum 749.
    assert_eq!(parameter(&answer, "response"), Some("1949323746fe6a43ef61f9606e7febea"), "{answer}");
    for absent in ["nc", "cnonce", "qop", "algorithm", "opaque"] {
        assert_eq!(parameter(&answer, absent), None, "{absent} in {answer}");
    }
}

#[test]
fn with_auth_int_another_body_is_another_answer() {
    let of = |body: Option<&[u8]>| {
        let challenge = Challenge { qop: Qop::AuthInt, ..challenge(Algorithm::Sha256) };
        let answer = session(challenge).answer("Mufasa", &Secret::new(MUFASA), Subject { body, ..INDEX });
        assert_eq!(parameter(&answer, "qop"), Some("auth-int"));
        parameter(&answer, "response").map(str::to_owned)
    };
    assert_ne!(of(Some(b"a")), of(Some(b"b")));
    assert_eq!(of(Some(b"")), of(None));
    // Computed with Python's hashlib from RFC 7616 §3.4.3.
    assert_eq!(of(Some(b"a")).as_deref(), Some("d61b880d6bb059538e2e47890356b30f3369083f4ca1c98e0ed3fa716241ebff"));
}

#[test]
fn a_session_keeps_its_key_and_its_client_nonce_while_the_counter_rises() {
    let mut session = session(Challenge { session: true, ..challenge(Algorithm::Md5) });
    let first = session.answer("Mufasa", &Secret::new(MUFASA), INDEX);
    session.go_on_with("another".to_owned());
    let second = session.answer("Mufasa", &Secret::new(MUFASA), INDEX);
    assert_eq!(parameter(&first, "algorithm"), Some("MD5-sess"));
    assert_eq!(parameter(&first, "response"), Some("e783283f46242139c486a698fec7211d"));
    assert_eq!(parameter(&first, "cnonce"), parameter(&second, "cnonce"));
    assert_eq!((parameter(&second, "nonce"), parameter(&second, "nc")), (Some("another"), Some("00000001")));
    assert_eq!(parameter(&second, "response"), Some("eeeffd2fa0f8a3663b2da4b636e1c67b"));
}

#[test]
fn each_answer_with_a_nonce_has_the_next_number() {
    let mut session = session(challenge(Algorithm::Md5));
    let mut numbers = Vec::new();
    for _ in 0..17 {
        let answer = session.answer("Mufasa", &Secret::new(MUFASA), INDEX);
        numbers.push(parameter(&answer, "nc").expect("counted").to_owned());
    }
    assert_eq!((numbers[0].as_str(), numbers[16].as_str()), ("00000001", "00000011"));
    session.go_on_with(session.nonce().to_owned());
    assert_eq!(parameter(&session.answer("Mufasa", &Secret::new(MUFASA), INDEX), "nc"), Some("00000012"));
}

#[test]
fn odd_user_names_stay_within_their_parameter() {
    let of = |name| session(challenge(Algorithm::Md5)).answer(name, &Secret::new(MUFASA), INDEX);
    assert!(of("a\"b\\c").starts_with("Digest username=\"a\\\"b\\\\c\", realm="));
    assert!(of("J\u{e4} n").starts_with("Digest username*=UTF-8''J%C3%A4%20n, realm="));
}

#[test]
fn the_password_is_in_no_answer() {
    assert!(!session(challenge(Algorithm::Md5)).answer("Mufasa", &Secret::new(MUFASA), INDEX).contains("Circle"));
}
