//! What reaches the device for each level, and as which bytes.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::*;
use crate::{
    base::http::{BodyError, Refused},
    model::{
        access::{Refusal, Role, operations::Operation},
        uplink::testing::uplink,
        user_level::UserLevel,
    },
    onvif::soap::SOAP_12,
};

/// Remembers what it was asked; answers with what it was told to.
#[derive(Default)]
struct Device {
    asked: Mutex<Vec<(Parts, Bytes)>>,
    answer: Mutex<String>,
}

struct Ask(Arc<Device>);

impl Handler for Ask {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let device = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await else { return Response::new(Body::empty()) };
            device.asked.lock().expect("one thread").push((parts, body.to_bytes()));
            let mut response = Response::new(Body::full(device.answer.lock().expect("one thread").clone()));
            let soap = http::HeaderValue::from_static("application/soap+xml");
            response.headers_mut().insert(header::CONTENT_TYPE, soap);
            response
        })
    }
}

/// A device behind an uplink.
struct Scene {
    device: Arc<Device>,
    level: Level,
}

impl Scene {
    fn of(levels: &[UserLevel], access: Access) -> Self {
        Self::with(levels, access, &Directory::default())
    }

    fn with(levels: &[UserLevel], access: Access, directory: &Directory) -> Self {
        let device = Arc::new(Device::default());
        let uplink = Uplink { user_level: levels.to_vec(), access, ..uplink("https://cloud/?access_token=secret") };
        let level = Level::new(Arc::new(Ask(Arc::clone(&device))), &uplink, directory);
        Self { device, level }
    }

    async fn ask(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Response {
        self.level.handle(request.body(Body::full(body)).expect("valid")).await
    }

    async fn soap(&self, path: &str, message: &str) -> Response {
        self.ask(http::Request::post(path).header("content-type", "application/soap+xml"), message.to_owned()).await
    }

    async fn get(&self, path: &str) -> StatusCode {
        self.ask(http::Request::get(path), "").await.status()
    }

    /// What the device was asked last, if it was asked since the last look.
    fn seen(&self) -> Option<(Parts, Bytes)> {
        self.device.asked.lock().expect("one thread").pop()
    }

    fn answers(&self, answer: String) {
        *self.device.answer.lock().expect("one thread") = answer;
    }
}

fn message(function: &str, content: &str) -> String {
    let operation = Operation::by_function(function).expect("known");
    let (namespace, name) = (operation.namespace(), operation.name());
    format!(
        "<s:Envelope xmlns:s=\"{SOAP_12}\"><s:Body><{name} xmlns=\"{namespace}\">{content}</{name}></s:Body></s:Envelope>"
    )
}

fn rules(list: &[(&str, AccessClass, &[&str])]) -> Access {
    let rule = |(path, class, methods): &(&str, AccessClass, &[&str])| {
        PathRule::new(path, *class, methods.iter().map(|m| (*m).to_owned()).collect()).expect("valid")
    };
    Access { paths: list.iter().map(rule).collect(), ..Access::default() }
}

const DEVICE_SERVICE: &str = "/onvif/device_service";

#[tokio::test]
async fn each_level_reaches_the_operations_of_its_classes_with_the_same_bytes() {
    let all =
        ["tds:GetServices", "tds:GetDeviceInformation", "tptz:Stop", "tds:GetUsers", "tds:SetUser", "tds:SystemReboot"];
    for (level, allowed) in [
        (UserLevel::User, 2),
        (UserLevel::Operator, 3),
        (UserLevel::Administrator, 6),
        (UserLevel::Role("nobody".into()), 1),
    ] {
        let scene = Scene::of(std::slice::from_ref(&level), Access::default());
        for (index, function) in all.iter().enumerate() {
            let message = message(function, "<a>&amp;</a>");
            let response = scene.soap(DEVICE_SERVICE, &message).await;
            if index < allowed {
                let (parts, body) = scene.seen().expect("forwarded");
                assert!(
                    response.status() == 200 && body == message && parts.uri.path() == DEVICE_SERVICE,
                    "{level} {function}"
                );
            } else {
                assert_eq!(response.status(), 400, "{level} {function}");
                assert!(scene.seen().is_none(), "{level} {function}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_is_marked_with_its_class() {
    for (refusal, status) in [(Refusal::BadRequest, 400), (Refusal::Unauthorized, 401), (Refusal::Forbidden, 403)] {
        let scene = Scene::of(&[UserLevel::User], Access { refusal, ..Access::default() });
        let response = scene.soap(DEVICE_SERVICE, &message("tds:SystemReboot", "")).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.extensions().get(), Some(&Refused { class: "UNRECOVERABLE" }));
        assert_eq!(response.headers().contains_key(header::WWW_AUTHENTICATE), status == 401);
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        let body = std::str::from_utf8(&body).expect("text");
        assert!(body.contains("ter:NotAuthorized") && body.contains("tds:SystemReboot (UNRECOVERABLE)"), "{body}");
    }
}

#[tokio::test]
async fn a_role_reaches_its_functions_and_nothing_else() {
    let functions = ["tds:SystemReboot", "trt:GetSnapshotUri"].map(|name| Operation::by_function(name).expect("known"));
    let roles = [("Janitors".to_owned(), Role { functions: functions.into() })].into();
    let scene = Scene::of(&[UserLevel::Role("Janitors".into())], Access { roles, ..Access::default() });
    assert_eq!(scene.soap(DEVICE_SERVICE, &message("tds:SystemReboot", "")).await.status(), 200);
    assert_eq!(scene.soap(DEVICE_SERVICE, &message("tds:GetDeviceInformation", "")).await.status(), 400);
    let uri = "<Uri>http://192.0.2.1/snap</Uri>";
    scene.answers(message("trt:GetSnapshotUri", uri).replace("GetSnapshotUri", "GetSnapshotUriResponse"));
    assert_eq!(scene.get("/snap").await, 403);
    let answer = scene.soap("/onvif/media", &message("trt:GetSnapshotUri", "")).await;
    answer.into_body().collect().await.expect("whole");
    assert_eq!(scene.get("/snap").await, 200);
}

#[tokio::test]
async fn what_is_not_understood_never_reaches_the_device_but_for_administrators() {
    let good = message("tds:GetServices", "");
    let (user, administrator) = (
        Scene::of(&[UserLevel::Operator], Access::default()),
        Scene::of(&[UserLevel::Administrator], Access::default()),
    );
    for bad in [
        good.replace("<s:Body>", "<!DOCTYPE x><s:Body>"),
        good.replace("</s:Body>", "<SystemReboot xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></s:Body>"),
        good.replace("ver10/device", "ver99/device"),
        "no XML".to_owned(),
        String::new(),
    ] {
        assert_eq!(user.soap(DEVICE_SERVICE, &bad).await.status(), 400, "{bad}");
        assert!(user.seen().is_none(), "{bad}");
        assert_eq!(administrator.soap(DEVICE_SERVICE, &bad).await.status(), 200);
        assert_eq!(administrator.seen().expect("forwarded").1, bad);
    }
}

#[tokio::test]
async fn actions_that_contradict_the_body_are_taken_out_and_others_stay() {
    let scene = Scene::of(&[UserLevel::User], Access::default());
    let ask = |action: &'static str| {
        let kind = format!("application/soap+xml; charset=utf-8; action=\"urn:x/{action}\"");
        let request = http::Request::post(DEVICE_SERVICE)
            .header("content-type", kind)
            .header("soapaction", format!("\"urn:x/{action}\""));
        scene.ask(request, message("tds:GetServices", ""))
    };
    assert_eq!(ask("SystemReboot").await.status(), 200);
    let (parts, _) = scene.seen().expect("forwarded");
    assert!(
        !parts.headers.contains_key("soapaction")
            && parts.headers["content-type"] == "application/soap+xml; charset=utf-8"
    );
    assert_eq!(ask("GetServices").await.status(), 200);
    let (parts, _) = scene.seen().expect("forwarded");
    assert!(
        parts.headers.contains_key("soapaction")
            && parts.headers["content-type"].to_str().expect("text").contains("action=")
    );
}

#[tokio::test]
async fn messages_go_to_services_only() {
    let scene = Scene::of(&[UserLevel::User], Access::default());
    let call = message("tds:GetServices", "");
    for path in ["/", "/cgi-bin/reboot.cgi", "/onvif/../cgi-bin/reboot.cgi", "/x/onvif/"] {
        assert_eq!(scene.soap(path, &call).await.status(), 400, "{path}");
    }
    for path in ["/onvif/a%2fb", "/onvif/..%2Fcgi", "/onvif//../x", "/onvif/a;b"] {
        assert_eq!(scene.soap(path, &call).await.status(), 400, "{path}");
    }
    assert!(scene.seen().is_none());
    assert_eq!(scene.soap("/onvif//media%5Fservice?x=1", &call).await.status(), 200);
    assert_eq!(scene.seen().expect("forwarded").0.uri, "/onvif/media_service?x=1");
    scene.answers(
        message("tds:GetServices", "<XAddr>http://c/services</XAddr>").replace("GetServices", "GetServicesResponse"),
    );
    scene.soap(DEVICE_SERVICE, &call).await.into_body().collect().await.expect("whole");
    assert_eq!(scene.soap("/services", &call).await.status(), 200);
}

#[tokio::test]
async fn encoded_and_packed_messages_are_refused_and_what_is_no_message_too() {
    let scene = Scene::of(&[UserLevel::Operator], Access::default());
    let call = message("tds:GetServices", "");
    let with = |name: &'static str, value: &'static str| {
        let mut request = http::Request::post(DEVICE_SERVICE);
        if name != "content-type" {
            request = request.header("content-type", "application/soap+xml");
        }
        scene.ask(request.header(name, value), call.clone())
    };
    assert_eq!(with("content-encoding", "gzip").await.status(), 415);
    assert_eq!(with("content-type", "multipart/related; type=\"application/xop+xml\"").await.status(), 415);
    assert_eq!(with("content-type", "application/json").await.status(), 415);
    assert_eq!(with("content-type", "application/soap+xml; charset=utf-7").await.status(), 400);
    assert!(scene.seen().is_none());
    assert_eq!(with("content-encoding", "identity").await.status(), 200);
    let twice =
        http::Request::post(DEVICE_SERVICE).header("content-type", "image/png").header("content-type", "text/xml");
    assert_eq!(scene.ask(twice, call.clone()).await.status(), 400);
    let long = call.replace("<s:Body>", &format!("<!--{}--><s:Body>", "x".repeat(128 * 1024)));
    assert_eq!(scene.soap(DEVICE_SERVICE, &long).await.status(), 413);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_arrive_is_given_up() {
    let scene = Scene::of(&[UserLevel::User], Access::default());
    let never = Body::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, BodyError>>()));
    let request = http::Request::post(DEVICE_SERVICE).header("content-type", "text/xml").body(never).expect("valid");
    assert_eq!(scene.level.handle(request).await.status(), 408);
}

#[tokio::test]
async fn paths_are_allowed_by_rule_and_forwarded_as_they_were_compared() {
    let access = rules(&[
        ("/snapshot.jpg", AccessClass::ReadMedia, &[]),
        ("/admin/*", AccessClass::WriteSystem, &["GET", "POST"]),
        ("/move", AccessClass::Actuate, &["POST"]),
    ]);
    let scene = Scene::of(&[UserLevel::User], access.clone());
    for path in ["/snapshot.jpg", "/snapshot.jpg?t=1", "//snapshot.jpg?t=1", "/%73napshot.jpg", "/x/../snapshot.jpg"] {
        assert_eq!(scene.get(path).await, 200, "{path}");
        assert_eq!(scene.seen().expect("forwarded").0.uri.path(), "/snapshot.jpg", "{path}");
    }
    for path in ["/", "/snapshot.jp", "/snapshot.jpg/", "/admin/x", "/Snapshot.jpg"] {
        assert_eq!(scene.get(path).await, 403, "{path}");
    }
    for path in [
        "/x/%2e%2e//snapshot.jpg",
        "/snapshot%2ejpg%00",
        "/a%2f../snapshot.jpg",
        "/%2573napshot.jpg",
        "/snapshot.jpg;x",
    ] {
        assert_eq!(scene.get(path).await, 400, "{path}");
    }
    assert_eq!(scene.ask(http::Request::post("/snapshot.jpg"), "").await.status(), 403);
    assert_eq!(scene.ask(http::Request::post("/move"), "x").await.status(), 403);
    assert!(scene.seen().is_none());
    let operator = Scene::of(&[UserLevel::Operator], access);
    assert_eq!(operator.ask(http::Request::post("/move"), "x").await.status(), 200);
    assert_eq!(operator.get("/admin/x").await, 403);
}

#[tokio::test]
async fn a_get_has_no_body_and_no_field_that_changes_it() {
    let scene = Scene::of(&[UserLevel::User], rules(&[("/a", AccessClass::ReadMedia, &[])]));
    let request = http::Request::get("/a")
        .header("x-http-method-override", "DELETE")
        .header("x-original-url", "/b")
        .header("content-length", 5);
    assert_eq!(scene.ask(request, "GET /").await.status(), 200);
    let (parts, body) = scene.seen().expect("forwarded");
    assert!(body.is_empty() && parts.headers.is_empty(), "{:?}", parts.headers);
}

#[tokio::test]
async fn addresses_that_an_administrator_was_given_serve_the_other_uplinks_by_their_class() {
    let directory = Directory::default();
    let administrator = Scene::with(&[UserLevel::Administrator], Access::default(), &directory);
    let user = Scene::with(&[UserLevel::User], rules(&[("/*", AccessClass::ReadMedia, &[])]), &directory);
    let uris = "<SystemBackupUri>http://c/backup;v=1</SystemBackupUri>";
    administrator.answers(message("tds:GetSystemUris", uris).replace("GetSystemUris", "GetSystemUrisResponse"));
    administrator
        .soap(DEVICE_SERVICE, &message("tds:GetSystemUris", ""))
        .await
        .into_body()
        .collect()
        .await
        .expect("whole");
    assert_eq!(user.get("/backup;v=1").await, 403);
    assert_eq!(user.get("/other").await, 200);
    let upload = "<UploadUri>http://c/fw</UploadUri>";
    administrator.answers(message("tds:StartFirmwareUpgrade", upload).replace("Upgrade", "UpgradeResponse"));
    administrator
        .soap(DEVICE_SERVICE, &message("tds:StartFirmwareUpgrade", ""))
        .await
        .into_body()
        .collect()
        .await
        .expect("whole");
    assert_eq!(user.ask(http::Request::post("/fw"), "firmware").await.status(), 403);
    assert_eq!(administrator.ask(http::Request::post("/fw"), "firmware").await.status(), 200);
}

#[tokio::test]
async fn another_port_has_only_what_the_device_named_there() {
    let scene = Scene::of(&[UserLevel::User], rules(&[("/*", AccessClass::ReadMedia, &[])]));
    let uri = "<Uri>http://192.0.2.1:8081/snap</Uri>";
    scene.answers(message("trt:GetSnapshotUri", uri).replace("GetSnapshotUri", "GetSnapshotUriResponse"));
    scene.soap("/onvif/media", &message("trt:GetSnapshotUri", "")).await.into_body().collect().await.expect("whole");
    let at = |port: u16, path: &str| scene.ask(http::Request::get(path).extension(DevicePort(port)), "");
    assert_eq!(at(8081, "/snap").await.status(), 200);
    assert_eq!(at(8082, "/snap").await.status(), 403);
    assert_eq!(at(8081, "/other").await.status(), 403);
    let call = http::Request::post("/onvif/x").header("content-type", "text/xml").extension(DevicePort(8081));
    assert_eq!(scene.ask(call, message("tds:GetServices", "")).await.status(), 400);
}

#[tokio::test]
async fn other_ports_and_other_methods_are_for_administrators() {
    let scene = Scene::of(&[UserLevel::Operator], rules(&[("/*", AccessClass::ReadMedia, &[])]));
    for request in [
        http::Request::connect("127.0.0.1:22"),
        http::Request::builder().method("OPTIONS").uri("*"),
        http::Request::delete("/x"),
        http::Request::put("/x"),
        http::Request::builder().method("PROPFIND").uri("/x"),
    ] {
        let status = scene.ask(request, "").await.status();
        assert!(status == 403 || status == 400, "{status}");
    }
    assert!(scene.seen().is_none());
}

#[tokio::test]
async fn streams_are_viewed_by_rule_and_their_methods_are_checked() {
    let scene = Scene::of(&[UserLevel::User], rules(&[("/live", AccessClass::ReadMedia, &[])]));
    let half = |method: &str, path: &str| {
        let field = if method == "GET" { "accept" } else { "content-type" };
        http::Request::builder()
            .method(method)
            .uri(path)
            .header(field, "application/x-rtsp-tunnelled")
            .header("x-sessioncookie", "c")
    };
    assert_eq!(scene.ask(half("GET", "/live"), "").await.status(), 200);
    assert!(scene.seen().is_some());
    assert_eq!(scene.ask(half("GET", "/cgi-bin/reboot"), "").await.status(), 403);
    assert_eq!(scene.ask(half("POST", "/cgi-bin/reboot"), "").await.status(), 403);
    let play = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "PLAY rtsp://c/live RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    );
    scene.ask(half("POST", "/live"), play.clone()).await;
    assert_eq!(scene.seen().expect("forwarded").1, play);
    let record = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "RECORD rtsp://c/live RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    );
    for body in [record, message("tds:SystemReboot", "")] {
        scene.ask(half("POST", "/live"), body).await;
        assert!(scene.seen().is_none());
    }
}

#[tokio::test]
async fn a_viewer_whose_device_has_an_rtsp_port_comes_there_and_nowhere_else_whatever_the_path() {
    let device = Arc::new(Device::default());
    let mut uplink = Uplink { user_level: vec![UserLevel::User], ..uplink("https://cloud/") };
    uplink.device.rtsp = Some(crate::model::device::LoopbackUrl::parse("rtsp://127.0.0.1").expect("loopback"));
    let level = Level::new(Arc::new(Ask(Arc::clone(&device))), &uplink, &Directory::default());
    let scene = Scene { device, level };
    let get = http::Request::get("/cgi-bin/reboot").header("accept", "application/x-rtsp-tunnelled");
    assert_eq!(scene.ask(get.header("x-sessioncookie", "c"), "").await.status(), 200);
    assert!(scene.seen().expect("forwarded").0.extensions.get::<RtspPortOnly>().is_some());
    let socket = |protocol: &str| {
        let request = http::Request::connect("https://c/ws").extension(h2::ext::Protocol::from_static("websocket"));
        request.header("sec-websocket-protocol", protocol)
    };
    assert_eq!(scene.ask(socket("rtsp.onvif.org"), "").await.status(), 200);
    assert!(scene.seen().expect("forwarded").0.extensions.get::<RtspPortOnly>().is_some());
    assert_eq!(scene.ask(socket("chat"), "").await.status(), 403);
    assert_eq!(scene.get("/cgi-bin/reboot").await, 403);
    assert!(scene.seen().is_none());
}
