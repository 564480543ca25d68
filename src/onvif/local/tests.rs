//! Requests with and without credentials, against two accounts.

use http::Method;

use super::*;
use crate::{
    model::access::operations::{Operation, UPLINK},
    onvif::soap::envelope::read,
};

struct Two;

impl Accounts for Two {
    fn find(&self, username: &str) -> Option<(UserLevel, Secret)> {
        match username {
            "admin" => Some((UserLevel::Administrator, Secret::new("secret"))),
            "viewer" => Some((UserLevel::User, Secret::new("look"))),
            _ => None,
        }
    }
}

const PATH: &str = "/onvif/uplink_service";

async fn ask(gate: &LocalGate, operation: &str, authorization: Option<&str>) -> Result<(), Response> {
    let text = format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><{operation} xmlns=\"{UPLINK}\"/></s:Body></s:Envelope>"
    );
    let envelope = read(text.as_bytes(), None).expect("sound");
    let mut request = http::Request::builder().method(Method::POST).uri(PATH);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let (parts, ()) = request.body(()).expect("valid").into_parts();
    let found = Operation::find(UPLINK, operation).expect("known");
    let subject = Subject { name: operation.to_owned(), operation: Some(found), class: found.class() };
    gate.admit(&parts, &envelope, &subject).await.map_err(|response| *response)
}

/// The answer of a client that knows this password.
fn answer(challenge: &str, algorithm: Algorithm, user: &str, password: &str, count: u32) -> String {
    let field = |name: &str| {
        challenge.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).expect("a field")
    };
    let (realm, nonce) = (field("realm"), field("nonce"));
    let a1 = algorithm.hash(&format!("{user}:{realm}:{password}"));
    let a2 = algorithm.hash(&format!("POST:{PATH}"));
    let response = algorithm.hash(&format!("{a1}:{nonce}:{count:08x}:c:auth:{a2}"));
    let name = if algorithm == Algorithm::Md5 { "MD5" } else { "SHA-256" };
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{PATH}\", algorithm={name}, qop=auth, nc={count:08x}, \
         cnonce=\"c\", response=\"{response}\""
    )
}

fn challenges(response: &Response) -> Vec<String> {
    assert_eq!(response.status(), 401);
    let all = response.headers().get_all(header::WWW_AUTHENTICATE);
    all.iter().map(|value| value.to_str().expect("text").to_owned()).collect()
}

async fn challenged(gate: &LocalGate) -> Vec<String> {
    challenges(&ask(gate, "GetUplinks", None).await.expect_err("a challenge"))
}

#[tokio::test]
async fn what_needs_no_authentication_gets_none_and_all_else_a_challenge_for_both_hashes() {
    let gate = LocalGate::new(Arc::new(Two));
    assert!(ask(&gate, "GetServiceCapabilities", None).await.is_ok());
    let challenges = challenged(&gate).await;
    assert!(challenges[0].contains("algorithm=SHA-256") && challenges[1].contains("algorithm=MD5"), "{challenges:?}");
}

#[tokio::test]
async fn both_hashes_are_taken_and_a_count_only_once() {
    let gate = LocalGate::new(Arc::new(Two));
    let challenges = challenged(&gate).await;
    for (challenge, algorithm) in challenges.iter().zip([Algorithm::Sha256, Algorithm::Md5]) {
        let first = answer(challenge, algorithm, "admin", "secret", 1);
        assert!(ask(&gate, "SetUplink", Some(&first)).await.is_ok());
        assert!(ask(&gate, "SetUplink", Some(&answer(challenge, algorithm, "admin", "secret", 2))).await.is_ok());
        let replayed = ask(&gate, "SetUplink", Some(&first)).await.expect_err("a replay");
        assert!(self::challenges(&replayed)[0].contains("stale=true"));
    }
}

#[tokio::test]
async fn the_level_of_the_account_counts() {
    let gate = LocalGate::new(Arc::new(Two));
    let challenge = &challenged(&gate).await[1];
    let of = |count| answer(challenge, Algorithm::Md5, "viewer", "look", count);
    assert!(ask(&gate, "GetUplinks", Some(&of(1))).await.is_ok());
    assert_eq!(ask(&gate, "DeleteUplink", Some(&of(2))).await.expect_err("too low").status(), 400);
}

#[tokio::test]
async fn wrong_passwords_lock_the_account_and_no_other() {
    let gate = LocalGate::new(Arc::new(Two));
    let challenge = &challenged(&gate).await[1];
    for count in 1..=lockout::TRIES_MAX {
        let wrong = answer(challenge, Algorithm::Md5, "admin", "guess", count);
        assert!(ask(&gate, "GetUplinks", Some(&wrong)).await.is_err());
    }
    let right = answer(challenge, Algorithm::Md5, "admin", "secret", 99);
    assert_eq!(ask(&gate, "GetUplinks", Some(&right)).await.expect_err("locked").status(), 401);
    let other = answer(challenge, Algorithm::Md5, "viewer", "look", 1);
    assert!(ask(&gate, "GetUplinks", Some(&other)).await.is_ok());
}

#[tokio::test]
async fn nobody_and_another_scheme_are_challenged() {
    let gate = LocalGate::new(Arc::new(Two));
    let challenge = &challenged(&gate).await[1];
    for authorization in ["Basic YWRtaW46c2VjcmV0", "Digest x", &answer(challenge, Algorithm::Md5, "nobody", "", 1)] {
        let refused = ask(&gate, "GetUplinks", Some(authorization)).await.expect_err(authorization);
        assert_eq!(challenges(&refused).len(), 2);
    }
}
