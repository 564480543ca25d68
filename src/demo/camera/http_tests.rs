//! Tests of the web server: each path through the handler, and the stream over a real HTTP/1.1 connection in memory.

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::{
    base::{
        drain::{DrainSwitch, drain},
        tasks::Tasks,
    },
    demo::camera::encode,
};

struct Running {
    site: Site,
    switch: DrainSwitch,
    drain: Drain,
    tasks: Tasks,
}

const SERVICE_PATH: &str = "/onvif/device_service";

fn start() -> Running {
    let (feed, clockwork) = feed::feed("camera-1");
    let (switch, drain) = drain();
    let mut tasks = Tasks::new();
    tasks.spawn("clockwork", clockwork.run(drain.clone()));
    let facts = crate::demo::camera::facts("camera-1");
    let site = Site::new(feed, "camera <1>", facts, "127.0.0.1:8080".parse().unwrap());
    Running { site, switch, drain, tasks }
}

impl Running {
    async fn ask(&self, method: Method, path: &str, kind: &str, body: &str) -> (http::response::Parts, Bytes) {
        let mut request = Request::new(Body::full(body.to_owned()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("camera.test:81"));
        let (parts, body) = self.site.handle(request).await.into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    }

    fn connect(&mut self) -> DuplexStream {
        let (client, server) = duplex(64 * 1024);
        self.tasks.spawn("connection", serve(server, self.site.clone(), self.drain.clone()));
        client
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_links_relatively_and_escapes_the_name() {
    let (head, body) = start().ask(Method::GET, "/", "", "").await;
    let page = std::str::from_utf8(&body).unwrap();
    assert_eq!(head.headers[header::CONTENT_TYPE], HTML);
    assert!(page.contains("<h1>camera &lt;1&gt;</h1>") && !page.contains("{{"), "{page}");
    assert!(!page.contains("=\"/"), "an absolute link leaves the prefix: {page}");
}

#[tokio::test(start_paused = true)]
async fn head_has_the_headers_of_get_and_no_body() {
    let camera = start();
    for path in ["/", "/style.css", "/download/1000"] {
        let (get, body) = camera.ask(Method::GET, path, "", "").await;
        let (head, none) = camera.ask(Method::HEAD, path, "", "").await;
        assert_eq!((head.status, &head.headers), (get.status, &get.headers), "{path}");
        assert_eq!(head.headers[header::CONTENT_LENGTH], body.len().to_string());
        assert!(none.is_empty());
    }
    let (head, none) = camera.ask(Method::HEAD, "/stream.mjpeg", "", "").await;
    assert!(head.status == 200 && none.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_a_jpeg_with_its_stamp() {
    let (head, body) = start().ask(Method::GET, "/snapshot.jpg", "", "").await;
    assert_eq!(head.headers[header::CONTENT_TYPE], "image/jpeg");
    let stamp = encode::read_stamp(&body).unwrap();
    assert_eq!(head.headers["x-timestamp"], feed::timestamp(stamp));
}

#[tokio::test(start_paused = true)]
async fn what_a_path_does_not_take_is_refused() {
    let camera = start();
    let soap = "application/soap+xml";
    for (method, path, kind, status) in [
        (Method::GET, "/nothing", "", 404),
        (Method::POST, "/", "", 405),
        (Method::DELETE, "/snapshot.jpg", "", 405),
        (Method::GET, SERVICE_PATH, "", 405),
        (Method::GET, "/firmware", "", 405),
        (Method::POST, SERVICE_PATH, "text/xml", 415),
        (Method::POST, SERVICE_PATH, "", 415),
    ] {
        let (head, _) = camera.ask(method.clone(), path, kind, "").await;
        assert_eq!(head.status, status, "{method} {path} {kind}");
        assert_eq!(head.headers.contains_key(header::ALLOW), status == 405);
    }
    let (head, _) = camera.ask(Method::POST, SERVICE_PATH, soap, &" ".repeat(MAX_SOAP_BYTES)).await;
    assert_eq!(head.status, 400);
    let (head, _) = camera.ask(Method::POST, SERVICE_PATH, soap, &" ".repeat(MAX_SOAP_BYTES + 1)).await;
    assert_eq!(head.status, 413);
}

#[tokio::test(start_paused = true)]
async fn the_onvif_service_answers_with_the_host_that_was_asked() {
    let request = "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body>\
                   <GetCapabilities xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></e:Body></e:Envelope>";
    let (head, body) = start().ask(Method::POST, SERVICE_PATH, "Application/SOAP+XML; charset=utf-8", request).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers[header::CONTENT_TYPE], SOAP);
    let xml = std::str::from_utf8(&body).unwrap();
    assert!(xml.contains("<tt:XAddr>http://camera.test:81/onvif/device_service</tt:XAddr>"), "{xml}");
}

async fn stream_address(camera: &Running, path: &str) -> String {
    let request = "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body>\
                   <GetStreamUri xmlns=\"http://www.onvif.org/ver20/media/wsdl\"><Protocol>RTSP</Protocol>\
                   <ProfileToken>Profile_1</ProfileToken></GetStreamUri></e:Body></e:Envelope>";
    let (_, body) = camera.ask(Method::POST, path, "application/soap+xml", request).await;
    let xml = String::from_utf8(body.to_vec()).unwrap();
    xml.split("Uri>").nth(1).unwrap_or(&xml).trim_end_matches("</tr2:").to_owned()
}

#[tokio::test(start_paused = true)]
async fn addresses_have_the_host_that_was_asked_unless_another_is_advertised() {
    let mut camera = start();
    camera.site = Site::new(feed::feed("c").0, "c", crate::demo::camera::facts("c"), "127.0.0.1:8080".parse().unwrap())
        .addressed(None, Some(8554));
    assert_eq!(stream_address(&camera, "/onvif/media2_service").await, "rtsp://camera.test:8554/stream");
    camera.site = Site::new(feed::feed("c").0, "c", crate::demo::camera::facts("c"), "127.0.0.1:8080".parse().unwrap())
        .addressed(Some(Authority::from_static("192.168.1.10")), Some(554));
    assert_eq!(stream_address(&camera, "/onvif/media2_service").await, "rtsp://192.168.1.10/stream");
}

#[tokio::test(start_paused = true)]
async fn the_system_log_tells_what_was_done() {
    let camera = start();
    let request = "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body>\
                   <SystemReboot xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></e:Body></e:Envelope>";
    let (head, _) = camera.ask(Method::POST, SERVICE_PATH, "application/soap+xml", request).await;
    assert_eq!(head.status, 200);
    let (_, log) = camera.ask(Method::GET, "/system.log", "", "").await;
    assert!(std::str::from_utf8(&log).unwrap().ends_with("Z SystemReboot: answered, not done\n"), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_parts_with_the_right_length_each_a_whole_jpeg() {
    let camera = start();
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/stream.mjpeg".parse().unwrap();
    let mut body = camera.site.handle(request).await.into_body();
    let mut next = async || body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(next().await, feed::separator());
    let mut before = None;
    for _ in 0..5 {
        let part = next().await;
        let end = part.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let head = std::str::from_utf8(&part[..end]).unwrap();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let length: usize = field("Content-Length: ").parse().unwrap();
        assert_eq!(field("Content-Type: "), "image/jpeg");
        let (jpeg, tail) = part[end..].split_at(length);
        assert!(jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9]));
        assert_eq!(tail, format!("\r\n{}", feed::separator()).as_bytes());
        let stamp = encode::read_stamp(jpeg).unwrap();
        assert_eq!(field("X-Timestamp: "), feed::timestamp(stamp));
        assert!(before.is_none_or(|before| stamp.frame == before + 1));
        before = Some(stamp.frame);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_request() {
    let mut camera = start();
    let mut client = camera.connect();
    for _ in 0..2 {
        client.write_all(b"HEAD /download/5 HTTP/1.1\r\nHost: c\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(client.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200 ok") && answer.contains("content-length: 5\r\n"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_does_not_read_has_few_pictures_waiting() {
    let mut camera = start();
    let mut client = camera.connect();
    client.write_all(b"GET /stream.mjpeg HTTP/1.1\r\nHost: c\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    camera.switch.start(Duration::from_secs(30));
    let mut waiting = Vec::new();
    client.read_to_end(&mut waiting).await.unwrap();
    let pictures = waiting.windows(8).filter(|window| window == b"X-Frame:").count();
    assert!((1..=10).contains(&pictures), "{pictures} of 100 pictures were queued");
}

#[tokio::test(start_paused = true)]
async fn the_drain_ends_streams_and_connections_before_its_deadline() {
    let mut camera = start();
    let mut client = camera.connect();
    client.write_all(b"GET /stream.mjpeg HTTP/1.1\r\nHost: c\r\n\r\n").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'H');
    let began = tokio::time::Instant::now();
    camera.switch.start(Duration::from_secs(30));
    client.read_to_end(&mut Vec::new()).await.unwrap();
    camera.tasks.finished().await;
    assert!(began.elapsed() < Duration::from_secs(1));
}
