//! Players of plain RTSP at the gateway's listener, against a device that speaks RTSP over HTTP through its uplink.

use base64::{Engine, prelude::BASE64_STANDARD};
use h2::SendStream;

use super::*;

/// A device's ends of one conversation.
pub struct Conversation {
    /// The head of its GET.
    pub get: Request<RecvStream>,
    /// The head of its POST.
    pub post: Request<RecvStream>,
    down: SendStream<Bytes>,
    /// Kept: dropping it would answer the POST with a reset.
    _respond: SendResponse<Bytes>,
    received: Vec<u8>,
}

impl Conversation {
    /// Takes the GET and the POST that a player's connection becomes.
    pub async fn accept(device: &mut Device) -> Self {
        let (get, mut respond) = device.next().await;
        assert_eq!(
            (get.method(), &get.headers()["accept"]),
            (&http::Method::GET, &"application/x-rtsp-tunnelled".parse::<http::HeaderValue>().expect("value"))
        );
        let answer =
            Response::builder().header("content-type", "application/x-rtsp-tunnelled").body(()).expect("answer");
        let down = respond.send_response(answer, false).expect("sent");
        let (post, respond) = device.next().await;
        assert_eq!(
            (post.method(), &post.headers()["content-type"]),
            (&http::Method::POST, &"application/x-rtsp-tunnelled".parse::<http::HeaderValue>().expect("value"))
        );
        assert_eq!(post.headers()["x-sessioncookie"], get.headers()["x-sessioncookie"]);
        assert!(!post.headers().contains_key("content-length"));
        Self { get, post, down, _respond: respond, received: Vec::new() }
    }

    /// Takes the two halves of a player, whichever comes first.
    pub async fn accept_any(device: &mut Device) -> Self {
        let (mut get, mut post) = (None, None);
        for _ in 0..2 {
            let (request, respond) = device.next().await;
            let place = if request.method() == http::Method::GET { &mut get } else { &mut post };
            assert!(place.replace((request, respond)).is_none(), "one of each");
        }
        let ((get, mut respond), (post, kept)) = (get.expect("a GET"), post.expect("a POST"));
        assert!(!post.headers().contains_key("content-length"));
        let answer = Response::builder()
            .header("content-type", "application/x-rtsp-tunnelled")
            .header("x-server-ip-address", "10.0.0.9")
            .body(())
            .expect("answer");
        let down = respond.send_response(answer, false).expect("sent");
        Self { get, post, down, _respond: kept, received: Vec::new() }
    }

    /// The next request as the device hears it.
    pub async fn request(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(4).position(|end| end == b"\r\n\r\n") {
                return String::from_utf8(self.received.drain(..end + 4).collect()).expect("text");
            }
            let piece = data(self.post.body_mut()).await.expect("a request");
            self.take(&piece);
        }
    }

    fn take(&mut self, piece: &[u8]) {
        // Each unit is encoded for itself, so quantum by quantum.
        for quantum in piece.chunks(4) {
            self.received.extend(BASE64_STANDARD.decode(quantum).expect("base64"));
        }
    }

    /// Whether the player has closed its direction.
    pub async fn player_left(&mut self) -> bool {
        data(self.post.body_mut()).await.is_none()
    }

    /// Bytes of the device.
    pub fn say(&mut self, bytes: &[u8]) {
        self.down.send_data(Bytes::copy_from_slice(bytes), false).expect("sent");
    }

    /// The end of the device's direction.
    pub fn end(&mut self) {
        self.down.send_data(Bytes::new(), true).expect("sent");
    }

    /// Breaks the device's direction.
    pub fn reset(&mut self) {
        self.down.send_reset(h2::Reason::INTERNAL_ERROR);
    }

    /// Waits until the gateway gives the device's direction up.
    pub async fn given_up(&mut self) -> h2::Reason {
        reset_of(&mut self.down).await
    }
}

fn listening(change: impl FnOnce(&mut Options)) -> Cloud {
    cloud(|options| {
        options.rtsp = Some("127.0.0.1:0".parse().expect("address"));
        change(options);
    })
}

async fn player(cloud: &Cloud, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(cloud.rtsp.expect("a listener")).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    stream
}

fn request(method: &str, uri: &str, sequence: u32, fields: &str) -> String {
    format!("{method} {uri} RTSP/1.0\r\nCSeq: {sequence}\r\n{fields}\r\n")
}

#[tokio::test]
async fn a_player_describes_sets_up_plays_and_gets_video() {
    let cloud = listening(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut player =
        player(&cloud, &request("DESCRIBE", "rtsp://gw:8554/camera-1/live?ch=1", 1, "User-Agent: x\r\n")).await;
    let mut camera = Conversation::accept(&mut device).await;
    assert_eq!(camera.get.uri().path_and_query().expect("path").as_str(), "/live?ch=1");
    assert_eq!(camera.get.headers()["x-forwarded-for"], "127.0.0.1");
    assert_eq!(camera.request().await, request("DESCRIBE", "rtsp://gw:8554/live?ch=1", 1, "User-Agent: x\r\n"));
    let sdp =
        "v=0\r\na=control:rtsp://10.0.0.9/live/\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://10.0.0.9/live/t=1\r\n";
    camera.say(format!("RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://10.0.0.9/live/\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len()).as_bytes());
    let answer = head(&mut player).await;
    assert!(answer.contains("\r\nContent-Base: rtsp://gw:8554/camera-1/live/\r\n"), "{answer}");
    let mapped = sdp.replace("rtsp://10.0.0.9", "rtsp://gw:8554/camera-1");
    assert!(answer.contains(&format!("\r\nContent-Length: {}\r\n", mapped.len())), "{answer}");
    assert_eq!(text(&mut player, mapped.len()).await, mapped);

    let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    player.write_all(request("SETUP", "rtsp://gw:8554/camera-1/live/t=1", 2, tcp).as_bytes()).await.expect("sent");
    assert_eq!(camera.request().await, request("SETUP", "rtsp://gw:8554/live/t=1", 2, tcp));
    camera.say(b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nSession: 7\r\n\r\n");
    head(&mut player).await;
    player
        .write_all(request("PLAY", "rtsp://gw:8554/camera-1/live/", 3, "Session: 7\r\n").as_bytes())
        .await
        .expect("sent");
    assert_eq!(camera.request().await, request("PLAY", "rtsp://gw:8554/live/", 3, "Session: 7\r\n"));
    // The answer, a frame that looks like one, and a frame in two pieces.
    camera.say(
        b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nRTP-Info: url=rtsp://10.0.0.9/live/t=1;seq=1\r\n\r\n$\0\0\x08RTSP/1.0$\0\0",
    );
    camera.say(b"\x03abc");
    assert!(head(&mut player).await.contains("\r\nRTP-Info: url=rtsp://gw:8554/camera-1/live/t=1;seq=1\r\n"));
    assert_eq!(text(&mut player, 19).await, "$\0\0\x08RTSP/1.0$\0\0\x03abc");
    // A report of the player, then its end.
    player.write_all(b"$\x01\0\x02rr").await.expect("sent");
    player.write_all(request("TEARDOWN", "rtsp://gw:8554/camera-1/live/", 4, "").as_bytes()).await.expect("sent");
    assert_eq!(camera.request().await, format!("$\x01\0\x02rr{}", request("TEARDOWN", "rtsp://gw:8554/live/", 4, "")));
    camera.say(b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n");
    camera.end();
    assert_eq!(whole(player).await, "RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n");
}

#[tokio::test]
async fn udp_is_answered_461_between_frames_and_the_device_hears_nothing_of_it() {
    let cloud = listening(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut player = player(&cloud, &request("OPTIONS", "rtsp://gw/camera-1/live", 1, "")).await;
    let mut camera = Conversation::accept(&mut device).await;
    camera.request().await;
    camera.say(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n$\0\0\x04ab");
    head(&mut player).await;
    assert_eq!(text(&mut player, 6).await, "$\0\0\x04ab");
    let udp = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
    player.write_all(request("SETUP", "rtsp://gw/camera-1/live/1", 2, udp).as_bytes()).await.expect("sent");
    player.write_all(request("GET_PARAMETER", "rtsp://gw/camera-1/live", 3, "").as_bytes()).await.expect("sent");
    assert!(camera.request().await.starts_with("GET_PARAMETER "), "the SETUP ends at the gateway");
    camera.say(b"cd");
    assert_eq!(text(&mut player, 2).await, "cd");
    let answer = head(&mut player).await;
    assert!(answer.starts_with("RTSP/1.0 461 ") && answer.contains("\r\nCSeq: 2\r\n"), "{answer}");
}

#[tokio::test]
async fn with_a_host_name_every_request_reaches_the_device_as_the_player_wrote_it() {
    let cloud = listening(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let digest = "Authorization: Digest username=\"u\", realm=\"c\", nonce=\"n\", uri=\"rtsp://camera-1.localhost:8554/live\", response=\"r\"\r\n";
    let asked = request("DESCRIBE", "rtsp://camera-1.localhost:8554/live", 1, digest);
    let mut player = player(&cloud, &asked).await;
    let mut camera = Conversation::accept(&mut device).await;
    assert_eq!(camera.request().await, asked);
    camera.say(b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Digest realm=\"c\", nonce=\"m\"\r\n\r\n");
    assert!(head(&mut player).await.contains("\r\nWWW-Authenticate: Digest realm=\"c\", nonce=\"m\"\r\n"));
}

#[tokio::test]
async fn a_device_that_is_away_or_refuses_is_said_in_the_terms_of_rtsp() {
    let cloud = listening(|_| {});
    let describe = request("DESCRIBE", "rtsp://gw/camera-1/live", 9, "");
    let unknown = whole(player(&cloud, &describe).await).await;
    assert!(
        unknown.starts_with("RTSP/1.0 404 no device \"camera-1\" has connected") && unknown.contains("\r\nCSeq: 9\r\n"),
        "{unknown}"
    );
    let mut device = Device::connect(&cloud, "camera-1").await;
    let refused = player(&cloud, &describe).await;
    let answer = Response::builder().status(409).body(()).expect("answer");
    let mut send = device.next().await.1.send_response(answer, false).expect("sent");
    send.send_data(Bytes::from_static(b"this camera speaks no RTSP\nmore"), true).expect("sent");
    let refused = whole(refused).await;
    assert!(refused.starts_with("RTSP/1.0 502 this camera speaks no RTSP\r\n"), "{refused}");
    device._task.abort();
    timeout(PATIENCE, async { while !devices(&cloud).await.is_empty() {} }).await.expect("left");
    let offline = whole(player(&cloud, &describe).await).await;
    assert!(offline.starts_with("RTSP/1.0 503 the device camera-1 is not connected now"), "{offline}");
}

#[tokio::test]
async fn a_player_that_vanishes_ends_its_streams_and_a_device_that_resets_its_player() {
    let cloud = listening(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let describe = request("DESCRIBE", "rtsp://gw/camera-1/live", 1, "");
    let first = player(&cloud, &describe).await;
    let mut camera = Conversation::accept(&mut device).await;
    camera.request().await;
    socket2::SockRef::from(&first).set_linger(Some(Duration::ZERO)).expect("set");
    drop(first);
    assert_eq!(camera.given_up().await, h2::Reason::CANCEL);

    let mut second = player(&cloud, &describe).await;
    let mut camera = Conversation::accept(&mut device).await;
    camera.request().await;
    camera.reset();
    assert!(timeout(PATIENCE, second.read_u8()).await.expect("in time").is_err());

    let third = player(&cloud, &describe).await;
    let mut camera = Conversation::accept(&mut device).await;
    camera.request().await;
    drop(third);
    assert!(camera.player_left().await, "an end in good order is passed on");
}

#[tokio::test]
async fn what_is_not_rtsp_gets_nothing_from_either_side() {
    let cloud = listening(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    for garbage in ["POST / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "$\0\0\x01x"] {
        let mut player = player(&cloud, garbage).await;
        assert!(
            !matches!(timeout(PATIENCE, player.read(&mut [0])).await.expect("closed"), Ok(read) if read > 0),
            "{garbage}"
        );
    }
    assert!(device.asked.try_recv().is_err());
    let mut player = player(&cloud, &request("OPTIONS", "rtsp://gw/camera-1/live", 1, "")).await;
    let mut camera = Conversation::accept(&mut device).await;
    camera.say(b"HTTP/1.1 200 OK\r\n\r\n");
    assert!(timeout(PATIENCE, player.read_u8()).await.expect("in time").is_err());
    assert_eq!(camera.given_up().await, h2::Reason::CANCEL);
}

#[tokio::test]
async fn the_token_is_asked_for_as_a_password_and_taken_from_the_query_too() {
    let dir = tempfile::tempdir().expect("directory");
    let cloud = listening(|options| options.front_token_file = Some(with_token(&dir)));
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut by_password = player(&cloud, &request("OPTIONS", "rtsp://gw/camera-1/live", 1, "")).await;
    let refused = head(&mut by_password).await;
    assert!(
        refused.starts_with("RTSP/1.0 401 ") && refused.contains("\r\nWWW-Authenticate: Basic realm="),
        "{refused}"
    );
    let pair = BASE64_STANDARD.encode(format!("anybody:{TOKEN}"));
    let fields = format!("Authorization: Basic {pair}\r\n");
    by_password.write_all(request("OPTIONS", "rtsp://gw/camera-1/live", 2, &fields).as_bytes()).await.expect("open");
    assert_eq!(Conversation::accept(&mut device).await.request().await, request("OPTIONS", "rtsp://gw/live", 2, ""));

    let by_query = request("OPTIONS", &format!("rtsp://gw/camera-1/live?token={TOKEN}"), 1, "");
    let mut by_query = player(&cloud, &by_query).await;
    let mut camera = Conversation::accept(&mut device).await;
    assert_eq!(camera.get.uri().path_and_query().expect("path").as_str(), "/live");
    assert_eq!(camera.request().await, request("OPTIONS", "rtsp://gw/live", 1, ""));
    let digest = "Authorization: Digest username=\"admin\"\r\n";
    by_query
        .write_all(request("OPTIONS", &format!("rtsp://gw/camera-1/live?token={TOKEN}"), 2, digest).as_bytes())
        .await
        .expect("open");
    assert_eq!(camera.request().await, request("OPTIONS", "rtsp://gw/live", 2, digest));
}

#[tokio::test]
async fn a_listener_for_everybody_needs_a_token_or_a_word() {
    let cloud = cloud(|_| {});
    let mut open = options(&cloud.dir, &cloud.authority);
    open.rtsp = Some("0.0.0.0:0".parse().expect("address"));
    let refused = Gateway::build(open).err().expect("refused").to_string();
    assert!(refused.contains("--rtsp") && refused.contains("--front-token-file"), "{refused}");
}

#[tokio::test]
async fn a_drain_closes_players_without_a_device_and_lets_the_others_play() {
    let cloud = listening(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut idle = player(&cloud, "OPTIONS rtsp://gw").await;
    let playing = player(&cloud, &request("PLAY", "rtsp://gw/camera-1/live", 1, "")).await;
    let mut camera = Conversation::accept(&mut device).await;
    camera.request().await;
    cloud.switch.start(Duration::from_secs(60));
    assert!(!matches!(timeout(PATIENCE, idle.read(&mut [0])).await.expect("closed"), Ok(read) if read > 0));
    camera.say(b"$\0\0\x01x");
    camera.end();
    assert_eq!(whole(playing).await, "$\0\0\x01x");
    timeout(PATIENCE, cloud.run).await.expect("long before the deadline").expect("joined").expect("in good order");
}

#[tokio::test]
async fn the_list_of_devices_shows_where_players_go() {
    let cloud = listening(|_| {});
    let _device = Device::connect(&cloud, "camera-1").await;
    let address = format!("rtsp://localhost:{}/camera-1/", cloud.rtsp.expect("a listener").port());
    assert!(get(&cloud, "/devices", "Accept: text/html\r\n").await.contains(&format!("<td>{address}")));
    assert!(get(&cloud, "/devices", "").await.contains(&format!("\"rtsp\": \"{address}\"")));
}
