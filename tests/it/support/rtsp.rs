//! A device with a web service and an RTSP port, both played byte by byte, and a remote that speaks tunnelled RTSP to it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{self, ResponseFuture},
};
use onvif_uplink::{
    base::mediator::Mediators,
    forward::{
        Routes,
        rtsp::way::{Known, Way},
    },
    model::{device::LoopbackUrl, status::StatusBoard, streaming::RtspVia},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    connect::{Opened, device},
    h2_peer::{Session, session},
    http::PATIENCE,
};

/// A request as a player begins with it.
pub const OPTIONS: &str = "OPTIONS rtsp://h/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n";
/// Its answer.
pub const ANSWER: &str = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: PLAY\r\n\r\n";

/// The device, and a session whose requests go to it.
pub struct Scene {
    /// The remote's end.
    pub session: Session,
    /// The device's web service.
    pub web: TcpListener,
    /// Its RTSP port.
    pub rtsp: TcpListener,
    /// What is known of the device.
    pub way: Arc<Way>,
}

/// A device of which a probe has found whether its web service carries RTSP over HTTP; its RTSP port works.
pub async fn scene(via: RtspVia, carries_http: bool) -> Scene {
    scene_with(via, carries_http, None).await
}

/// The same with a mediator in each conversation.
pub async fn scene_with(via: RtspVia, carries_http: bool, mediators: Option<Arc<dyn Mediators>>) -> Scene {
    let bind = async || TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let (web, rtsp) = (bind().await, bind().await);
    let mut device = device("http", web.local_addr().expect("bound"), &[]);
    let port = rtsp.local_addr().expect("bound");
    device.rtsp = Some(LoopbackUrl::parse(&format!("rtsp://{port}")).expect("loopback"));
    device.rtsp_via = via;
    let way = Way::new(&device, StatusBoard::new());
    way.found(Known { looked: true, web: true, http: carries_http, websocket: None, bridge: true });
    let routes = Routes::with_way(&device, Arc::clone(&way), mediators);
    let session = session(Arc::new(routes), client::Builder::new()).await;
    Scene { session, web, rtsp, way }
}

/// A POST that has been sent.
pub struct Post {
    /// Its answer, which comes at its end.
    pub answer: ResponseFuture,
    /// Its body.
    pub send: SendStream<Bytes>,
}

impl Post {
    /// Says something in base64, padded for itself.
    pub fn say(&mut self, what: impl AsRef<[u8]>) {
        self.raw(BASE64_STANDARD.encode(what));
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: impl Into<Bytes>) {
        self.send.send_data(bytes.into(), false).expect("open");
    }

    /// Ends the body.
    pub fn end(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("open");
    }

    /// The status and the sentence of the answer.
    pub async fn answered(self) -> (u16, String) {
        let response = timeout(PATIENCE, self.answer).await.expect("in time").expect("answered");
        let status = response.status().as_u16();
        let (body, _) = super::h2_peer::collect(response.into_body()).await.expect("whole");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }
}

/// The GET of a conversation, before its answer, with `fields` besides the customary ones.
pub async fn ask_get(session: &Session, cookie: &str, fields: &[(&str, &str)]) -> ResponseFuture {
    let request = request("GET", cookie, "accept", fields);
    session.remote.clone().ready().await.expect("the session stands").send_request(request, true).expect("sent").0
}

/// The GET of a conversation with its answer's head.
pub async fn get(session: &Session, cookie: &str) -> (http::response::Parts, RecvStream) {
    let answer = ask_get(session, cookie, &[]).await;
    timeout(PATIENCE, answer).await.expect("in time").expect("answered").into_parts()
}

/// A POST of a conversation.
pub async fn post(session: &Session, cookie: &str, length: Option<u64>) -> Post {
    let length = length.map(|length| length.to_string());
    let fields: Vec<_> = length.iter().map(|length| ("content-length", length.as_str())).collect();
    let request = request("POST", cookie, "content-type", &fields);
    let mut remote = session.remote.clone().ready().await.expect("the session stands");
    let (answer, send) = remote.send_request(request, false).expect("sent");
    Post { answer, send }
}

fn request(method: &str, cookie: &str, typed: &str, fields: &[(&str, &str)]) -> http::Request<()> {
    let mut request = http::Request::builder().method(method).uri("https://cloud.example/cam?x=1");
    request = request.header("x-sessioncookie", cookie).header(typed, "application/x-rtsp-tunnelled");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("valid")
}

/// The next `count` bytes of a GET's answer.
pub async fn hear(stream: &mut RecvStream, count: usize) -> String {
    let mut heard = Vec::new();
    while heard.len() < count {
        let chunk = timeout(PATIENCE, stream.data()).await.expect("in time").expect("not the end").expect("sound");
        stream.flow_control().release_capacity(chunk.len()).expect("taken");
        heard.extend_from_slice(&chunk);
    }
    String::from_utf8(heard).expect("text")
}

/// How a GET's answer ends: `Ok` in good order. Has no deadline, so that a test may measure one.
pub async fn end_of(stream: &mut RecvStream) -> Result<(), h2::Error> {
    loop {
        match stream.data().await {
            None => return Ok(()),
            // What carries END_STREAM.
            Some(Ok(chunk)) => assert!(chunk.is_empty(), "{} bytes instead of the end", chunk.len()),
            Some(Err(error)) => return Err(error),
        }
    }
}

/// The next `count` bytes that come to the device, as text.
pub async fn heard_by(socket: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    timeout(PATIENCE, socket.read_exact(&mut bytes)).await.expect("in time").expect("so much comes");
    String::from_utf8(bytes).expect("text")
}

/// Waits until the device sees the end of a connection, in whichever way.
pub async fn closed(mut socket: TcpStream) {
    let ended = async { while matches!(socket.read(&mut [0; 1024]).await, Ok(1..)) {} };
    timeout(PATIENCE, ended).await.expect("an end in time");
}

/// A masked frame of a WebSocket, as a remote sends it (RFC 6455 §5.2); a mask of zeros leaves the payload as it is.
pub fn client_frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0xfe);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0xff);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame.into()
}

/// Sends a frame of the remote.
pub fn say_frame(opened: &mut Opened, opcode: u8, payload: &[u8]) {
    opened.send.send_data(client_frame(opcode, payload), false).expect("open");
}
