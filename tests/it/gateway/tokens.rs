//! Devices without a certificate: access tokens, WebSockets, and how many may come at once (RFC 7519, RFC 6455).

use std::num::NonZeroU32;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use onvif_uplink::{
    app::Proxies,
    gateway::TokenOptions,
    tls::jose::{install, signing_key},
};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://idp.example/";
const AUDIENCE: &str = "uplink";

/// Whoever issues tokens: a key with its identifier.
struct Idp {
    key: EncodingKey,
    public: Vec<u8>,
    id: &'static str,
}

impl Idp {
    fn new(id: &'static str) -> Self {
        install();
        let pair = KeyPair::generate().expect("P-256");
        let der = PrivateKeyDer::try_from(pair.serialize_der()).expect("PKCS#8");
        let (_, key) = signing_key(&der).expect("P-256");
        Self { key, public: pair.public_key_raw().to_vec(), id }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.public[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig",
               "x": BASE64_URL_SAFE_NO_PAD.encode(x), "y": BASE64_URL_SAFE_NO_PAD.encode(y)})
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "camera-1", "exp": now() + 600});
        change(&mut claims);
        encode(&Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::ES256) }, &claims, &self.key)
            .expect("signed")
    }
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs()
}

fn write_keys(dir: &tempfile::TempDir, keys: &[&Idp]) -> String {
    let path = dir.path().join("jwks.json");
    let keys: Vec<_> = keys.iter().map(|idp| idp.jwk()).collect();
    std::fs::write(&path, json!({ "keys": keys }).to_string()).expect("written");
    path.to_str().expect("text").to_owned()
}

fn rules(jwks: String) -> TokenOptions {
    TokenOptions {
        jwks,
        jwks_ca: None,
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        claim: "sub".to_owned(),
        proxies: Proxies::default(),
    }
}

/// A gateway that takes tokens of `idp`, and certificates as well.
fn with_tokens(idp: &Idp) -> (Cloud, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("directory");
    let jwks = write_keys(&dir, &[idp]);
    (cloud(|options| options.tokens = Some(rules(jwks))), dir)
}

/// Sends a head on a new connection and returns the answer's head.
async fn ask(cloud: &Cloud, identity: Option<(&Authority, &str)>, target: &str, fields: &str) -> (Tls, String) {
    let mut stream = tls(cloud, identity).await.expect("a handshake");
    let head = format!("GET {target} HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => answer.push(byte),
                Err(_) => break,
            }
        }
    };
    timeout(PATIENCE, read).await.expect("in time");
    (stream, String::from_utf8(answer).expect("text"))
}

const NATIVE: &str = "Upgrade: h2c-reverse\r\n";
const WEBSOCKET: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: h2c-reverse\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn native(cloud: &Cloud, token: &str) -> String {
    ask(cloud, None, "/", &format!("{NATIVE}Authorization: Bearer {token}\r\n")).await.1
}

#[tokio::test]
async fn a_device_with_a_valid_token_is_let_in_and_one_without_gets_401_and_nothing_more() {
    let idp = Idp::new("k1");
    let (cloud, _dir) = with_tokens(&idp);
    assert!(native(&cloud, &idp.token(|_| ())).await.starts_with("HTTP/1.1 101 "));
    for fields in [
        NATIVE.to_owned(),
        format!("{NATIVE}Authorization: Basic eDp5\r\n"),
        format!("{NATIVE}Authorization: Bearer x\r\n"),
    ] {
        let (mut stream, head) = ask(&cloud, None, "/", &fields).await;
        assert!(
            head.starts_with("HTTP/1.1 401 Unauthorized\r\n") && head.contains("\r\nWWW-Authenticate: Bearer\r\n"),
            "{head}"
        );
        let mut body = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut body)).await.expect("closed").expect("text");
        assert_eq!(body, "unauthorized\n", "no hint for a stranger");
    }
}

#[tokio::test]
async fn every_token_that_is_not_right_is_refused() {
    let (idp, stranger) = (Idp::new("k1"), Idp::new("k2"));
    let (cloud, _dir) = with_tokens(&idp);
    let unsigned = |header: Value| {
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "camera-1", "exp": now() + 600});
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&header), part(&claims))
    };
    let confused = {
        let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "camera-1", "exp": now() + 600});
        encode(&header, &claims, &EncodingKey::from_secret(&idp.public)).expect("signed")
    };
    let forger = Idp { id: "k1", ..Idp::new("k1") };
    for (what, token) in [
        ("expired", idp.token(|claims| claims["exp"] = json!(now() - 120))),
        ("not yet valid", idp.token(|claims| claims["nbf"] = json!(now() + 600))),
        ("without an end", idp.token(|claims| drop(claims.as_object_mut().expect("a map").remove("exp")))),
        ("of another issuer", idp.token(|claims| claims["iss"] = json!("https://evil/"))),
        ("for another audience", idp.token(|claims| claims["aud"] = json!("other"))),
        ("by an unknown key", stranger.token(|_| ())),
        ("by another key of the same name", forger.token(|_| ())),
        ("without a device", idp.token(|claims| drop(claims.as_object_mut().expect("a map").remove("sub")))),
        ("with an unusable device", idp.token(|claims| claims["sub"] = json!(".."))),
        ("with a path for a device", idp.token(|claims| claims["sub"] = json!("a/b"))),
        ("with a number for a device", idp.token(|claims| claims["sub"] = json!(7))),
        ("unsigned", unsigned(json!({"alg": "none"}))),
        ("with the public key as secret", confused),
        ("cut", idp.token(|_| ())[..40].to_owned()),
    ] {
        assert!(native(&cloud, &token).await.starts_with("HTTP/1.1 401 "), "{what}");
    }
}

#[tokio::test]
async fn a_claim_of_choice_names_the_device_and_a_list_of_audiences_is_fine() {
    let idp = Idp::new("k1");
    let dir = tempfile::tempdir().expect("directory");
    let jwks = write_keys(&dir, &[&idp]);
    let cloud = cloud(|options| {
        options.client_ca = None;
        options.tokens = Some(TokenOptions { claim: "device".to_owned(), ..rules(jwks) });
    });
    let token = idp.token(|claims| {
        claims["device"] = json!("camera-7");
        claims["aud"] = json!(["x", AUDIENCE]);
    });
    assert!(native(&cloud, &token).await.starts_with("HTTP/1.1 101 "));
    assert!(native(&cloud, &idp.token(|_| ())).await.starts_with("HTTP/1.1 401 "), "no such claim");
}

#[tokio::test]
async fn a_certificate_still_serves_and_names_the_device_before_a_token() {
    let idp = Idp::new("k1");
    let (cloud, _dir) = with_tokens(&idp);
    let identity = Some((&cloud.authority, "camera-9"));
    let fields = format!("{NATIVE}Authorization: Bearer {}\r\n", idp.token(|_| ()));
    let (stream, head) = ask(&cloud, identity, "/", &fields).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut device = h2::server::handshake(stream).await.expect("a preface");
    let driver = tokio::spawn(async move { while device.accept().await.is_some() {} });
    let online = async {
        loop {
            let (_, devices) = crate::support::http::get(cloud.front, "/devices").await;
            if devices.contains("camera-9") {
                break assert!(!devices.contains("camera-1"), "{devices}");
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, online).await.expect("in the directory");
    driver.abort();
    let stranger = Authority::new();
    assert!(tls_refused(&cloud, &stranger).await, "a certificate of strangers is no certificate");
}

/// Whether the gateway refuses a certificate of this authority, in the handshake or right behind it.
async fn tls_refused(cloud: &Cloud, stranger: &Authority) -> bool {
    match tls(cloud, Some((stranger, "camera-1"))).await {
        Err(_) => true,
        Ok(mut stream) => {
            let _ = stream.write_all(format!("GET / HTTP/1.1\r\nConnection: Upgrade\r\n{NATIVE}\r\n").as_bytes()).await;
            timeout(PATIENCE, stream.read_u8()).await.expect("in time").is_err()
        }
    }
}

#[tokio::test]
async fn a_websocket_uplink_serves_requests_of_the_front() {
    let idp = Idp::new("k1");
    let (cloud, _dir) = with_tokens(&idp);
    let target = format!("/uplink?access_token={}", idp.token(|_| ()));
    let (stream, head) = ask(&cloud, None, &target, WEBSOCKET).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let stream = onvif_uplink::transport::websocket::WebSocketIo::new(
        stream,
        Bytes::new(),
        onvif_uplink::transport::websocket::End::Device,
    )
    .await;
    let mut device = h2::server::handshake(stream).await.expect("a preface");
    let answering = async {
        while let Some(asked) = device.accept().await {
            let (request, mut respond) = asked.expect("a request");
            assert_eq!(request.uri().path(), "/hello");
            let mut body = respond.send_response(Response::new(()), false).expect("sent");
            body.send_data(Bytes::from_static(b"hello"), true).expect("sent");
        }
    };
    let asking = async {
        loop {
            let (status, body) = crate::support::http::get(cloud.front, "/camera-1/hello").await;
            if status == 200 {
                break body;
            }
            tokio::task::yield_now().await;
        }
    };
    let body = tokio::select! { body = timeout(PATIENCE, asking) => body.expect("in time"), () = answering => panic!("the session ended") };
    assert_eq!(body, "hello");
}

#[tokio::test]
async fn a_changed_key_file_counts_for_the_next_device() {
    let (old, new) = (Idp::new("k1"), Idp::new("k2"));
    let (cloud, dir) = with_tokens(&old);
    assert!(native(&cloud, &new.token(|_| ())).await.starts_with("HTTP/1.1 401 "));
    write_keys(&dir, &[&new]);
    // Files are looked at once a second at most.
    let taken = async {
        while !native(&cloud, &new.token(|_| ())).await.starts_with("HTTP/1.1 101 ") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, taken).await.expect("the new key counts");
    assert!(native(&cloud, &old.token(|_| ())).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn more_devices_than_admitted_are_told_to_come_back_before_their_token_is_looked_at() {
    let idp = Idp::new("k1");
    let dir = tempfile::tempdir().expect("directory");
    let jwks = write_keys(&dir, &[&idp]);
    let cloud = cloud(|options| {
        options.tokens = Some(rules(jwks));
        options.max_upgrades = NonZeroU32::new(1);
    });
    let mut refused = None;
    // The second within a second is refused; a slow machine may need a few more.
    for _ in 0..20 {
        let answer = native(&cloud, "no token at all").await;
        if answer.starts_with("HTTP/1.1 503 ") {
            refused = Some(answer);
            break;
        }
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    let refused = refused.expect("one of them is one too many");
    let seconds =
        refused.split("\r\nRetry-After: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("a delay");
    assert!((1..=5).contains(&seconds.parse::<u32>().expect("seconds")), "{refused}");
}

#[test]
fn a_gateway_that_no_device_could_enter_does_not_start() {
    let (dir, authority) = (tempfile::tempdir().expect("directory"), Authority::new());
    let refused = |change: fn(&mut Options)| {
        let mut options = options(&dir, &authority);
        change(&mut options);
        Gateway::build(options).err().expect("refused").to_string()
    };
    assert!(refused(|options| options.client_ca = None).contains("--client-ca"));
    assert!(refused(|options| options.tokens = Some(rules("http://idp/jwks".to_owned()))).contains("https://"));
    assert!(refused(|options| options.tokens = Some(rules("/no/such/file".to_owned()))).contains("cannot read"));
}
