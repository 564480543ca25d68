//! Credentials through the whole sidecar (issue 6, item 2): a remote without credentials uses a camera that asks for some, over
//! HTTP/2 and TLS, and neither side sees what is the other's.

use std::time::Duration;

use bytes::Bytes;
use onvif_uplink::{
    app::Outcome,
    base::secret::Secret,
    demo::camera::{Camera, guard},
    model::failure::{Cause, Failure},
};
use tokio::time::timeout;

use crate::support::{
    device::{RunningCamera, run},
    http::PATIENCE,
    remote::{Remote, Upgraded, answer},
    sidecar::{Line, Sidecar, Site, document, of},
};

const PASSWORD: &str = "pass word: 7";
const CREDENTIALS: &str = "    credentials:\n      Administrator: { username: admin, passwordFile: password }\n";

/// A guarded camera, a sidecar with its password, and a remote.
struct Scene {
    site: Site,
    sidecar: Sidecar,
    session: Upgraded,
    _camera: RunningCamera,
}

impl Scene {
    async fn new(scheme: guard::Scheme, password: &str) -> Self {
        Self::with(scheme, password, None, 0).await
    }

    async fn with(scheme: guard::Scheme, password: &str, lock_out: Option<u32>, clock_skew: i64) -> Self {
        let site = Site::new(&["camera-1"]);
        let remote = Remote::start(&site.authority).await;
        let account = ("admin".to_owned(), Secret::new(PASSWORD));
        let camera = Camera::bind("127.0.0.1:0".parse().expect("address")).await.expect("a free port");
        let camera = camera.guarded(guard::Options { account, scheme, lock_out }).with_clock_skew(clock_skew);
        let camera = run(camera);
        std::fs::write(site.path().join("password"), format!("{password}\n")).expect("writable");
        let line = Line { level: "Administrator".into(), ..Line::new("camera-1", camera.address, remote.remote()) };
        site.write(&document(&[line]).replacen("    uplinks:", &format!("{CREDENTIALS}    uplinks:"), 1));
        let sidecar = site.start().await;
        let session = remote.upgrade().await;
        sidecar.online("camera-1").await;
        Self { site, sidecar, session, _camera: camera }
    }

    async fn ask(&self, request: http::request::Builder, body: impl Into<Bytes>) -> (http::response::Parts, Bytes) {
        let body = body.into();
        let request = request.header("content-length", body.len()).body(()).expect("valid");
        let mut requests = self.session.requests.clone().ready().await.expect("the session stands");
        let (response, mut stream) = requests.send_request(request, body.is_empty()).expect("sent");
        if !body.is_empty() {
            stream.send_data(body, true).expect("sent");
        }
        timeout(PATIENCE, answer(response)).await.expect("in time")
    }

    async fn snapshot(&self) -> (http::response::Parts, Bytes) {
        self.ask(http::Request::get("https://cloud.example/snapshot.jpg").header("cookie", "a=b"), "").await
    }

    async fn information(&self) -> (u16, String) {
        let request = http::Request::post("https://cloud.example/onvif/device_service")
            .header("content-type", "application/soap+xml; charset=utf-8");
        let (parts, body) = self.ask(request, DEVICE_INFORMATION).await;
        for challenge in ["www-authenticate", "authentication-info", "set-cookie"] {
            assert!(!parts.headers.contains_key(challenge), "{parts:?}");
        }
        (parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }

    fn told(&self) -> Option<Failure> {
        of(&self.sidecar.board.snapshot(), "camera-1").and_then(|uplink| uplink.device_error.clone())
    }
}

const DEVICE_INFORMATION: &str = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Header>\
    <w:Security xmlns:w=\"urn:w\"><w:UsernameToken><w:Username>theirs</w:Username></w:UsernameToken></w:Security></s:Header>\
    <s:Body><GetDeviceInformation xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></s:Body></s:Envelope>";

#[tokio::test]
async fn a_remote_without_credentials_uses_a_camera_that_asks_for_them_in_every_way() {
    for (scheme, skew) in [
        (guard::Scheme::Digest, 0),
        (guard::Scheme::DigestSha256, 0),
        (guard::Scheme::Basic, 0),
        (guard::Scheme::UsernameToken, -86_400),
    ] {
        let scene = Scene::with(scheme, PASSWORD, Some(1), skew).await;
        for _ in 0..3 {
            let (status, text) = scene.information().await;
            assert!(status == 200 && text.contains("GetDeviceInformationResponse"), "{scheme:?}: {text}");
            let (parts, body) = scene.snapshot().await;
            assert!(parts.status == 200 && body.starts_with(&[0xff, 0xd8]), "{scheme:?}: {parts:?}");
        }
        assert_eq!(scene.told(), None, "{scheme:?}");
        assert_eq!(scene.sidecar.stop(Duration::ZERO).await, Outcome::Stopped);
    }
}

#[tokio::test]
async fn a_large_upload_streams_to_a_camera_that_asks_for_credentials() {
    let scene = Scene::new(guard::Scheme::Digest, PASSWORD).await;
    let firmware = vec![7; 3 << 20];
    let mut requests = scene.session.requests.clone().ready().await.expect("the session stands");
    let request = http::Request::post("https://cloud.example/firmware")
        .header("content-type", "application/octet-stream")
        .header("content-length", firmware.len());
    let (response, mut stream) = requests.send_request(request.body(()).expect("valid"), false).expect("sent");
    stream.send_data(firmware.into(), true).expect("queued");
    let (parts, body) = timeout(PATIENCE, answer(response)).await.expect("in time");
    assert_eq!((parts.status.as_u16(), &body[..]), (200, &b"{\"bytes\":3145728}\n"[..]));
}

#[tokio::test]
async fn a_wrong_password_is_shown_in_the_status_does_not_lock_the_camera_and_is_mended_without_a_restart() {
    let scene = Scene::with(guard::Scheme::Digest, "wrong", Some(2), 0).await;
    for _ in 0..5 {
        let (status, text) = scene.information().await;
        assert!(status == 502 && text.contains("ter:Action") && !text.contains("admin"), "{text}");
        assert_eq!(scene.snapshot().await.0.status, 502);
    }
    assert_eq!(scene.told().map(|told| told.cause), Some(Cause::DeviceCredentialsRefused));
    let (_, status) = scene.sidecar.page("/status").await;
    assert!(
        status.contains("\"deviceError\":{\"phase\":\"device\"") || status.contains("device-credentials-refused"),
        "{status}"
    );
    assert!(!status.contains("wrong"), "{status}");
    let series = scene.sidecar.page("/metrics").await.1;
    assert!(
        series.contains("onvif_uplink_device_failure{") && series.contains("device-credentials-refused"),
        "{series}"
    );
    std::fs::write(scene.site.path().join("password"), PASSWORD).expect("writable");
    let mended = async { while scene.information().await.0 != 200 {} };
    timeout(PATIENCE, mended).await.expect("the new password is read and the camera is not locked");
    assert_eq!(scene.told(), None);
}

#[tokio::test]
async fn a_password_that_cannot_be_read_is_told_and_what_needs_none_still_works() {
    let scene = Scene::new(guard::Scheme::Digest, "").await;
    assert_eq!(scene.snapshot().await.0.status, 502);
    assert_eq!(scene.told().map(|told| told.cause), Some(Cause::DeviceCredentialsUnreadable));
    let request = http::Request::post("https://cloud.example/onvif/device_service")
        .header("content-type", "application/soap+xml; charset=utf-8");
    let (parts, _) =
        scene.ask(request, DEVICE_INFORMATION.replace("GetDeviceInformation", "GetSystemDateAndTime")).await;
    assert_eq!(parts.status, 200);
}
