//! A device that a test scripts, within the process, and the mediation in front of it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{self, AUTHORIZATION},
};
use http_body_util::BodyExt;
use md5::Digest as _;

use super::{account::Account, mediation::Mediation};
use crate::{
    base::{
        http::{Body, BoxFuture, Handler, Request, Response},
        watch::FileWatcher,
    },
    model::{device::DeviceAccount, failure::Cause, status::StatusBoard, uplink::testing::uplink},
};

/// A request as a device sees it.
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn authorization(&self) -> Option<&str> {
        self.headers.get(AUTHORIZATION).map(|value| value.to_str().expect("text"))
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parts = self.authorization()?.strip_prefix("Digest ")?.split(", ");
        parts.find_map(|part| Some(part.strip_prefix(name)?.strip_prefix('=')?.trim_matches('"')))
    }

    /// Whether it answers a challenge of MD5 with qop=auth in realm `r` for `admin` with this password and nonce.
    pub fn answers(&self, password: &str, nonce: &str) -> bool {
        let hash = |text: String| md5::Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = hash(format!("admin:r:{password}"));
        let subject = hash(format!("{}:{}", self.method, self.target));
        let field = |name| self.parameter(name).unwrap_or_default();
        let expected = hash(format!("{key}:{nonce}:{}:{}:auth:{subject}", field("nc"), field("cnonce")));
        self.parameter("response") == Some(&expected) && self.parameter("uri") == Some(&self.target)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

pub type Script = dyn Fn(&Seen, usize) -> Response + Send + Sync;

/// A device that answers as the test says and remembers what it was asked.
pub struct Device {
    pub script: Box<Script>,
    pub seen: Mutex<Vec<Seen>>,
}

pub struct Reach(Arc<Device>);

impl Handler for Reach {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let device = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let target = parts.uri.path_and_query().expect("a path").to_string();
            let seen = Seen { method: parts.method.to_string(), target, headers: parts.headers, body };
            tokio::task::yield_now().await;
            let mut all = device.seen.lock().expect("one thread");
            let answer = (device.script)(&seen, all.len());
            all.push(seen);
            answer
        })
    }
}

pub fn answer(status: u16, fields: &[(&'static str, &str)], body: &str) -> Response {
    let mut response = Response::new(Body::full(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in fields {
        response.headers_mut().append(*name, value.parse().expect("a value"));
    }
    response
}

pub fn challenge(nonce: &str, more: &str) -> Response {
    let text = format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"{more}");
    answer(401, &[("www-authenticate", &text), ("set-cookie", "a=b")], "who are you")
}

pub struct Bench {
    pub device: Arc<Device>,
    pub handler: Arc<Mediation>,
    pub board: Arc<StatusBoard>,
    pub account: Arc<Account>,
    pub _dir: tempfile::TempDir,
}

pub const PASSWORD: &str = "secret 7";

pub fn bench(script: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static) -> Bench {
    bench_with(false, script)
}

pub fn bench_with(pass_through: bool, script: impl Fn(&Seen, usize) -> Response + Send + Sync + 'static) -> Bench {
    let dir = tempfile::tempdir().expect("a directory");
    let password_file: PathBuf = dir.path().join("password");
    std::fs::write(&password_file, PASSWORD).expect("writable");
    let board = StatusBoard::new();
    let key = uplink("https://cloud/").key();
    board.update(&key, |_| {});
    let account = DeviceAccount { username: "admin".to_owned(), password_file };
    let account = Arc::new(Account::new("camera-1", &account, &FileWatcher::start(), Arc::clone(&board)));
    let device = Arc::new(Device { script: Box::new(script), seen: Mutex::default() });
    let inner = Arc::new(Reach(Arc::clone(&device)));
    let handler = Arc::new(Mediation::new(Arc::clone(&account), inner, key, pass_through));
    Bench { device, handler, board, account, _dir: dir }
}

impl Bench {
    pub async fn ask(&self, request: Request) -> Response {
        self.handler.handle(request).await
    }

    pub async fn get(&self, path: &str) -> u16 {
        let request = http::Request::get(path).body(Body::empty()).expect("valid");
        self.ask(request).await.status().as_u16()
    }

    pub async fn soap(&self, message: &str) -> (u16, String) {
        let request = http::Request::post("/onvif/device_service")
            .header(header::CONTENT_TYPE, "application/soap+xml; charset=utf-8")
            .header(header::CONTENT_LENGTH, message.len())
            .body(Body::full(message.to_owned()))
            .expect("valid");
        let response = self.ask(request).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    pub fn seen<T>(&self, of: impl Fn(&Seen) -> T) -> Vec<T> {
        self.device.seen.lock().expect("one thread").iter().map(of).collect()
    }

    pub fn shown(&self) -> usize {
        self.seen(|seen| seen.authorization().is_some()).into_iter().filter(|shown| *shown).count()
    }

    pub fn told(&self) -> Option<Cause> {
        let key = uplink("https://cloud/").key();
        self.board.snapshot().uplinks[&key].device_error.as_ref().map(|failure| failure.cause)
    }
}

/// A device with one nonce that lasts.
pub fn good(seen: &Seen, _: usize) -> Response {
    if seen.answers(PASSWORD, "n") { answer(200, &[("set-cookie", "c=d")], "here") } else { challenge("n", "") }
}
