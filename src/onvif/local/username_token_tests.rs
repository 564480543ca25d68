//! Tokens as toolkits send them, and each way not to be taken.

use super::*;
use crate::onvif::soap::envelope::read;

/// The example of ONVIF's Application Programmer's Guide: userpassword, 2010-09-16T07:50:45Z.
const NONCE: &str = "LKqI6G/AikKCQrN0zqZFlg==";
const CREATED: &str = "2010-09-16T07:50:45Z";
const DIGEST: &str = "tuOSpGlFlIXsozq4HFNeeGeFLEI=";

fn envelope(password: &str, nonce: &str, created: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header><Security s:mustUnderstand=\"1\" xmlns=\"{SECURITY}\">\
         <UsernameToken><Username>u&#115;er</Username><Password Type=\"x#PasswordDigest\">{password}</Password><Nonce>{nonce}</Nonce>\
         <Created xmlns=\"{UTILITY}\">{created}</Created></UsernameToken></Security></s:Header><s:Body><a/></s:Body></s:Envelope>"
    )
}

fn token(text: &str) -> UsernameToken {
    UsernameToken::of(&read(text.as_bytes(), None).expect("sound")).expect("a token")
}

fn then() -> SystemTime {
    OffsetDateTime::parse(CREATED, &Rfc3339).expect("a time").into()
}

fn password(user: &str) -> Option<Secret> {
    (user == "user").then(|| Secret::new("userpassword"))
}

#[tokio::test(start_paused = true)]
async fn the_example_of_onvif_is_taken_once() {
    let (tokens, token) = (Tokens::default(), token(&envelope(DIGEST, NONCE, CREATED)));
    assert_eq!(tokens.verify(&token, then(), password), Ok(()));
    let (sentence, right) = tokens.verify(&token, then(), password).expect_err("a replay");
    assert!(sentence.contains("used before") && right);
}

#[tokio::test(start_paused = true)]
async fn a_token_from_another_time_is_refused_either_way() {
    let (tokens, token) = (Tokens::default(), token(&envelope(DIGEST, NONCE, CREATED)));
    for now in [then() + WINDOW + Duration::from_secs(1), then() - WINDOW - Duration::from_secs(1)] {
        assert!(tokens.verify(&token, now, password).expect_err("too far").0.contains("five minutes"));
    }
    assert_eq!(tokens.verify(&token, then() + WINDOW, password), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_or_missing_is_refused() {
    let tokens = Tokens::default();
    for (text, part) in [
        (envelope("AAAA", NONCE, CREATED), "wrong"),
        (envelope(DIGEST, "", CREATED), "Nonce"),
        (envelope(DIGEST, "?", CREATED), "base64"),
        (envelope(DIGEST, NONCE, ""), "Created"),
        (envelope(DIGEST, NONCE, "2010-09-16T07:50:46Z"), "wrong"),
        (envelope(DIGEST, NONCE, CREATED).replace("#PasswordDigest", "#PasswordText"), "PasswordDigest"),
        (envelope(DIGEST, NONCE, CREATED).replace("u&#115;er", "other"), "wrong"),
    ] {
        let (sentence, right) = tokens.verify(&token(&text), then(), password).expect_err(part);
        assert!(sentence.contains(part) && !right, "{part}: {sentence}");
    }
}

#[test]
fn a_message_without_a_token_has_none() {
    let text = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><a/></s:Body></s:Envelope>";
    assert_eq!(UsernameToken::of(&read(text.as_bytes(), None).expect("sound")), None);
}
