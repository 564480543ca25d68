//! Tokens against a scripted server, in virtual time: what each method sends, what is kept, what is asked again.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tempfile::TempDir;

use super::*;
use crate::model::{
    authorization::{
        AccessToken, AuthorizationServer, CertPathValidationPolicy, Certificate, ClientAuth, TokenPlacement, Trust,
    },
    network::Network,
    uplink::testing::uplink,
};
use crate::tls::test_pki::Authority;

const METADATA: &str = r#"{"issuer":"https://idp.example/","token_endpoint":"https://idp.example/token"}"#;

/// A server that answers by path, and keeps what it was asked.
#[derive(Default)]
struct Server {
    answers: Mutex<BTreeMap<String, Vec<Response<Bytes>>>>,
    asked: Mutex<Vec<Request<Bytes>>>,
    slow: Mutex<Duration>,
}

impl Server {
    fn says(&self, path: &str, status: u16, body: &str) {
        self.answers(path, Response::builder().status(status).body(Bytes::from(body.to_owned())).expect("valid"));
    }

    fn answers(&self, path: &str, answer: Response<Bytes>) {
        self.answers.lock().expect("one thread").entry(path.to_owned()).or_default().push(answer);
    }

    fn asked(&self, path: &str) -> Vec<Request<Bytes>> {
        let asked = self.asked.lock().expect("one thread");
        asked.iter().filter(|request| request.uri().path() == path).cloned().collect()
    }
}

impl Fetch for Server {
    fn fetch<'a>(
        &'a self,
        request: Request<Bytes>,
        _: Arc<rustls::ClientConfig>,
        _: &'a Network,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Failure>> {
        let path = request.uri().path().to_owned();
        self.asked.lock().expect("one thread").push(request);
        let mut answers = self.answers.lock().expect("one thread");
        let answer = match answers.get_mut(&path) {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => Response::builder().status(404).body(Bytes::new()).expect("valid"),
        };
        let slow = *self.slow.lock().expect("one thread");
        Box::pin(async move {
            tokio::time::sleep(slow).await;
            Ok(answer)
        })
    }
}

struct Bench {
    directory: TempDir,
    server: Arc<Server>,
    tokens: AccessTokens,
    uplink: Uplink,
}

fn bench(change: impl FnOnce(&Path, &mut AuthorizationServer)) -> Bench {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("idp");
    std::fs::write(directory.path().join("ca.crt"), authority.pem()).expect("writable");
    authority.issue("client", &[], |_| ()).write(directory.path(), "client");
    std::fs::write(directory.path().join("secret"), "s3 cret+\n").expect("writable");
    let trust = Trust::Policy(CertPathValidationPolicy {
        id: "p".to_owned(),
        trust_anchor_files: vec![directory.path().join("ca.crt")],
        crl_files: Vec::new(),
        pins: Vec::new(),
    });
    let mut configured = AuthorizationServer {
        id: "idp".to_owned(),
        server_uri: "https://idp.example/.well-known/oauth-authorization-server".parse().expect("valid"),
        client_id: "camera 1".to_owned(),
        client_auth: ClientAuth::SecretBasic { secret_file: directory.path().join("secret") },
        scopes: vec!["uplink".to_owned(), "video".to_owned()],
        audience: None,
        trust: trust.clone(),
    };
    change(directory.path(), &mut configured);
    let mut uplink = uplink("https://cloud.example/");
    uplink.trust = trust;
    uplink.authorization =
        Authorization::AccessToken(Box::new(AccessToken { server: configured, placement: TokenPlacement::Header }));
    let server = Arc::new(Server::default());
    let tokens = AccessTokens::new(FileWatcher::start(), Arc::clone(&server) as Arc<dyn Fetch>);
    Bench { directory, server, tokens, uplink }
}

/// A server with metadata and a token that is good for 1000 s.
fn good() -> Bench {
    let bench = bench(|_, _| ());
    bench.server.says("/.well-known/oauth-authorization-server", 200, METADATA);
    bench.server.says("/token", 200, r#"{"access_token":"first","token_type":"Bearer","expires_in":1000}"#);
    bench
}

impl Bench {
    async fn token(&self) -> Result<String, Failure> {
        let grant = self.tokens.grant(&self.uplink, &()).await?;
        Ok(grant.token.expect("a token").expose().to_owned())
    }

    fn form(&self) -> BTreeMap<String, String> {
        let asked = self.server.asked("/token");
        url::form_urlencoded::parse(asked.last().expect("asked").body()).into_owned().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn basic_sends_both_parts_encoded_in_the_header_and_scopes_in_the_body() {
    let bench = good();
    assert_eq!(bench.token().await.expect("granted"), "first");
    let asked = bench.server.asked("/token");
    let basic =
        asked[0].headers()["authorization"].to_str().expect("text").strip_prefix("Basic ").expect("Basic").to_owned();
    assert_eq!(STANDARD.decode(basic).expect("base64"), b"camera+1:s3+cret%2B");
    let form = bench.form();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "uplink video");
    assert!(!form.contains_key("client_secret"));
}

#[tokio::test(start_paused = true)]
async fn post_sends_the_secret_in_the_body() {
    let mut bench = good();
    change(&mut bench, |directory, server| {
        server.client_auth = ClientAuth::SecretPost { secret_file: directory.join("secret") }
    });
    bench.token().await.expect("granted");
    let form = bench.form();
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("camera 1", "s3 cret+"));
    assert!(!bench.server.asked("/token")[0].headers().contains_key("authorization"));
}

fn change(bench: &mut Bench, change: impl FnOnce(&Path, &mut AuthorizationServer)) {
    let Authorization::AccessToken(token) = &mut bench.uplink.authorization else { unreachable!("made so") };
    change(bench.directory.path(), &mut token.server);
}

#[tokio::test(start_paused = true)]
async fn assertions_carry_the_claims_of_rfc_7523_and_the_key_id() {
    for (method, algorithm) in [("secret", "HS256"), ("key", "ES256")] {
        let mut bench = good();
        change(&mut bench, |directory, server| {
            if method == "secret" {
                server.client_auth = ClientAuth::SecretJwt { secret_file: directory.join("secret") };
            } else {
                server.audience = Some("https://audience/".to_owned());
                let key_file = directory.join("client.key");
                server.client_auth = ClientAuth::PrivateKeyJwt { key_file, key_id: Some("k1".to_owned()) };
            }
        });
        bench.token().await.expect("granted");
        let form = bench.form();
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let parts: Vec<_> = form["client_assertion"].split('.').collect();
        let json = |part: &str| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
        };
        let (header, claims) = (json(parts[0]), json(parts[1]));
        assert_eq!(header["alg"], algorithm);
        assert_eq!(header["kid"], if method == "key" { serde_json::json!("k1") } else { serde_json::Value::Null });
        assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("camera 1"), Some("camera 1")));
        let audience = if method == "key" { "https://audience/" } else { "https://idp.example/token" };
        assert_eq!(claims["aud"], audience);
        assert_eq!(claims["exp"].as_u64().expect("a time") - claims["iat"].as_u64().expect("a time"), 120);
        assert!(claims["jti"].as_str().is_some_and(|id| id.len() >= 20));
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_needs_only_the_client_id_and_goes_to_the_address_for_certificates() {
    let mut bench = bench(|_, _| ());
    change(&mut bench, |directory, server| {
        server.client_auth = ClientAuth::SelfSignedTlsClientAuth(Certificate {
            id: "c".to_owned(),
            cert_file: directory.join("client.crt"),
            key_file: directory.join("client.key"),
        });
    });
    let metadata = r#"{"issuer":"https://idp.example","token_endpoint":"https://idp.example/token",
        "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.idp.example/certified"}}"#;
    bench.server.says("/.well-known/oauth-authorization-server", 200, metadata);
    bench.server.says("/certified", 200, r#"{"access_token":"t","token_type":"bearer","expires_in":"60"}"#);
    assert_eq!(bench.token().await.expect("granted"), "t");
    let asked = bench.server.asked("/certified");
    let form: BTreeMap<_, _> = url::form_urlencoded::parse(asked[0].body()).into_owned().collect();
    assert_eq!(form["client_id"], "camera 1");
}

#[tokio::test(start_paused = true)]
async fn both_forms_of_metadata_are_looked_for() {
    let mut bench = bench(|_, _| ());
    change(&mut bench, |_, server| server.server_uri = "https://idp.example/realm".parse().expect("valid"));
    bench.server.says("/realm/.well-known/openid-configuration", 200, METADATA);
    bench.server.says("/token", 200, r#"{"access_token":"t"}"#);
    bench.token().await.expect("granted");
    assert_eq!(bench.server.asked("/.well-known/oauth-authorization-server/realm").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_kept_refreshed_before_its_end_and_outlives_a_server_that_is_down() {
    let bench = good();
    assert_eq!(bench.token().await.expect("granted"), "first");
    tokio::time::advance(Duration::from_secs(790)).await;
    assert_eq!(bench.token().await.expect("kept"), "first");
    assert_eq!(bench.server.asked("/token").len(), 1);
    bench.server.answers.lock().expect("one thread").remove("/token");
    bench.server.says("/token", 503, "");
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(bench.token().await.expect("still good"), "first");
    assert_eq!(bench.server.asked("/token").len(), 2);
    tokio::time::advance(Duration::from_secs(190)).await;
    assert_eq!(bench.token().await.expect_err("over").cause, Cause::AuthorizationServerUnreachable);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_dropped_and_a_newer_one_stays() {
    let bench = good();
    bench.token().await.expect("granted");
    bench.server.answers.lock().expect("one thread").remove("/token");
    bench.server.says("/token", 200, r#"{"access_token":"second","expires_in":1000}"#);
    assert!(bench.tokens.refused(&bench.uplink, &Secret::new("first")));
    assert_eq!(bench.token().await.expect("anew"), "second");
    assert!(bench.tokens.refused(&bench.uplink, &Secret::new("first")));
    assert_eq!(bench.token().await.expect("kept"), "second");
    assert_eq!(bench.server.asked("/token").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_uplinks_ask_once_also_when_the_server_refuses() {
    for (status, body) in [(200, r#"{"access_token":"t","expires_in":60}"#), (401, r#"{"error":"invalid_client"}"#)] {
        let bench = bench(|_, _| ());
        bench.server.says("/.well-known/oauth-authorization-server", 200, METADATA);
        bench.server.says("/token", status, body);
        *bench.server.slow.lock().expect("one thread") = Duration::from_secs(2);
        let all = futures_util::future::join_all((0..1000).map(|_| bench.token())).await;
        assert!(all.iter().all(|one| one.is_ok() == (status == 200)));
        assert_eq!(bench.server.asked("/token").len(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_an_end_is_kept_for_five_minutes() {
    let bench = bench(|_, _| ());
    bench.server.says("/.well-known/oauth-authorization-server", 200, METADATA);
    bench.server.says("/token", 200, r#"{"access_token":"t"}"#);
    bench.token().await.expect("granted");
    tokio::time::advance(Duration::from_secs(230)).await;
    bench.token().await.expect("kept");
    assert_eq!(bench.server.asked("/token").len(), 1);
    tokio::time::advance(Duration::from_secs(70)).await;
    bench.token().await.expect("anew");
    assert_eq!(bench.server.asked("/token").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn metadata_that_cannot_be_believed_is_refused_before_any_credential_is_sent() {
    for (body, part) in [
        ("<html>", "not the JSON"),
        (r#"{"token_endpoint":"https://idp.example/token"}"#, "issuer"),
        (r#"{"issuer":"https://evil.example","token_endpoint":"https://idp.example/token"}"#, "another issuer"),
        (r#"{"issuer":"https://idp.example","token_endpoint":"https://evil.example/token"}"#, "another host"),
        (r#"{"issuer":"https://idp.example","token_endpoint":"https://x.idp.example/token"}"#, "another host"),
        (r#"{"issuer":"https://idp.example","token_endpoint":"http://idp.example/token"}"#, "not https"),
        (r#"{"issuer":"https://idp.example"}"#, "no `token_endpoint`"),
        (
            r#"{"issuer":"https://idp.example","token_endpoint":"https://idp.example/token","token_endpoint_auth_methods_supported":["private_key_jwt"]}"#,
            "change clientAuth",
        ),
    ] {
        let bench = bench(|_, _| ());
        bench.server.says("/.well-known/oauth-authorization-server", 200, body);
        let failure = bench.token().await.expect_err(body);
        assert_eq!(failure.cause, Cause::MetadataInvalid);
        assert!(failure.message.contains(part), "{failure}");
        assert!(bench.server.asked("/token").is_empty());
    }
    for (status, cause) in
        [(302, Cause::MetadataInvalid), (404, Cause::MetadataInvalid), (503, Cause::AuthorizationServerUnreachable)]
    {
        let bench = bench(|_, _| ());
        bench.server.says("/.well-known/oauth-authorization-server", status, "");
        assert_eq!(bench.token().await.expect_err("no document").cause, cause);
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_that_is_no_token_has_its_cause_and_quotes_no_token() {
    for (status, body, cause) in [
        (400, r#"{"error":"invalid_scope","error_description":"no\nsuch"}"#, Cause::TokenRefused),
        (401, r#"{"error":"invalid_client"}"#, Cause::TokenRefused),
        (403, "no JSON", Cause::TokenRefused),
        (302, "", Cause::TokenInvalid),
        (404, "", Cause::TokenInvalid),
        (200, "secret-token", Cause::TokenInvalid),
        (200, r#"{"access_token":""}"#, Cause::TokenInvalid),
        (200, r#"{"access_token":"secret-token","token_type":"mac"}"#, Cause::TokenInvalid),
        (200, r#"{"access_token":"secret-token\r\nX: y"}"#, Cause::TokenInvalid),
        (500, "", Cause::AuthorizationServerUnreachable),
    ] {
        let bench = bench(|_, _| ());
        bench.server.says("/.well-known/oauth-authorization-server", 200, METADATA);
        bench.server.says("/token", status, body);
        let failure = bench.token().await.expect_err(body);
        assert_eq!(failure.cause, cause, "{failure}");
        assert!(!failure.message.contains("secret-token") && !failure.message.contains('\n'), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_is_named_and_not_the_client() {
    let bench = bench(|_, _| ());
    bench.server.says("/.well-known/oauth-authorization-server", 200, METADATA);
    let theirs = time::OffsetDateTime::from(SystemTime::now() + Duration::from_secs(3720));
    let date = theirs.format(&time::format_description::well_known::Rfc2822).expect("a date").replace("+0000", "GMT");
    let answer = Response::builder().status(StatusCode::UNAUTHORIZED).header("date", date);
    bench.server.answers("/token", answer.body(Bytes::from_static(br#"{"error":"invalid_client"}"#)).expect("valid"));
    let failure = bench.token().await.expect_err("refused");
    assert_eq!(failure.cause, Cause::ClockSkew);
    assert!(failure.message.contains("this clock is 1 h") && failure.message.contains("behind"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_read_or_used_is_said_without_quoting_it() {
    let bench = good();
    let file = bench.directory.path().join("secret");
    std::fs::write(&file, "two\nlines").expect("writable");
    let failure = bench.token().await.expect_err("two lines");
    assert_eq!(failure.cause, Cause::CredentialInvalid);
    assert!(!failure.message.contains("two"));
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(bench.token().await.expect_err("missing").cause, Cause::CredentialUnreadable);
}
