//! Tests of the server over an in-memory connection: players in virtual time.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, advance, timeout},
};

use super::*;
use crate::{
    base::{
        drain::{DrainSwitch, drain},
        rtsp::{Frame, Kind, Message, Splitter, Unit},
        tasks::Tasks,
    },
    demo::camera::feed,
};

const STREAM: &str = "rtsp://camera/stream";
const SETUP: &[(&str, &str)] = &[("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")];
/// What the in-memory connection holds in each direction: less than a picture, as a slow network would.
const PIPE: usize = 8 * 1024;

/// A camera with its clockwork.
struct Studio {
    station: Arc<Station>,
    drain: Drain,
    switch: DrainSwitch,
    tasks: Tasks,
}

impl Studio {
    fn new() -> Self {
        let (feed, clockwork) = feed::feed("camera-1");
        let options = Options { listen: ([127, 0, 0, 1], 0).into(), tunnel: true, credentials: None };
        let (switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("clockwork", clockwork.run(drain.clone()));
        Self { station: Arc::new(Station::new(feed, "camera-1", &options)), drain, switch, tasks }
    }

    fn connect(&mut self) -> Player {
        let (near, far) = duplex(PIPE);
        self.tasks.spawn("connection", serve(far, Arc::clone(&self.station), self.drain.clone()));
        Player { stream: near, splitter: Splitter::new(), number: 0, session: None }
    }
}

/// The other end of a connection.
struct Player {
    stream: DuplexStream,
    splitter: Splitter,
    number: u32,
    session: Option<String>,
}

impl Player {
    /// The next thing that the camera says; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Unit> {
        loop {
            if let Some(unit) = self.splitter.next_unit().expect("the camera speaks RTSP") {
                return Some(unit);
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).await.expect("in memory");
            if read == 0 {
                return None;
            }
            self.splitter.push(&bytes[..read]);
        }
    }

    fn request(&mut self, method: &str, fields: &[(&str, &str)]) -> Message {
        self.number += 1;
        let mut request = Message::request(method, STREAM);
        request.set_field("CSeq", &self.number.to_string());
        if let Some(session) = &self.session {
            request.set_field("Session", session);
        }
        fields.iter().for_each(|(name, value)| request.add_field(name, value));
        request
    }

    async fn response(&mut self) -> Message {
        loop {
            match self.next().await.expect("a response") {
                Unit::Message(message) => return message,
                Unit::Frame(_) => {}
            }
        }
    }

    async fn ask(&mut self, method: &str, fields: &[(&str, &str)]) -> u16 {
        let request = self.request(method, fields);
        self.stream.write_all(&request.to_bytes()).await.expect("in memory");
        let response = self.response().await;
        assert_eq!(response.field("CSeq"), Some(self.number.to_string().as_str()));
        if method == "SETUP" {
            self.session = response.field("Session").and_then(|value| value.split(';').next()).map(str::to_owned);
        }
        status(&response)
    }

    async fn play(&mut self) {
        assert_eq!(self.ask("SETUP", SETUP).await, 200);
        assert_eq!(self.ask("PLAY", &[]).await, 200);
    }

    /// The packets of the next whole picture.
    async fn picture(&mut self) -> Vec<Frame> {
        let mut packets = Vec::new();
        loop {
            let Some(Unit::Frame(frame)) = self.next().await else { panic!("a packet") };
            if frame.channel() == 0 {
                let last = frame.payload()[1] & 0x80 != 0;
                packets.push(frame);
                if last {
                    return packets;
                }
            }
        }
    }
}

fn status(response: &Message) -> u16 {
    let Kind::Response { status } = response.kind() else { panic!("{response:?}") };
    status
}

fn timestamp(packets: &[Frame]) -> u32 {
    u32::from_be_bytes(packets[0].payload()[4..8].try_into().expect("four bytes"))
}

fn sequence(packet: &Frame) -> u16 {
    u16::from_be_bytes([packet.payload()[2], packet.payload()[3]])
}

#[tokio::test(start_paused = true)]
async fn a_player_gets_25_whole_pictures_a_second_without_a_gap() {
    let mut studio = Studio::new();
    let mut player = studio.connect();
    player.play().await;
    let first = player.picture().await;
    let (began, mut expected) = (Instant::now(), sequence(&first[0]));
    let mut packets = first.clone();
    for count in 1..=25u32 {
        let picture = player.picture().await;
        assert_eq!(timestamp(&picture), timestamp(&first).wrapping_add(count * 3600));
        packets.extend(picture);
    }
    assert!(began.elapsed().abs_diff(Duration::from_secs(1)) <= Duration::from_millis(2));
    for packet in &packets {
        assert_eq!(sequence(packet), expected);
        expected = expected.wrapping_add(1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_player_misses_whole_pictures_and_delays_nobody() {
    let mut studio = Studio::new();
    let (mut slow, mut fast) = (studio.connect(), studio.connect());
    slow.play().await;
    fast.play().await;
    let before = slow.picture().await;
    let began = Instant::now();
    for _ in 0..50 {
        fast.picture().await;
    }
    assert!(began.elapsed() <= Duration::from_millis(2_100), "{:?}", began.elapsed());
    // One picture waited half sent; then comes the newest, and the sequence has no hole: what was skipped was never sent.
    let waited = slow.picture().await;
    let newest = slow.picture().await;
    assert!(timestamp(&newest).wrapping_sub(timestamp(&before)) >= 48 * 3600);
    assert_eq!(sequence(&waited[0]), sequence(before.last().expect("a packet")).wrapping_add(1));
    assert_eq!(sequence(&newest[0]), sequence(waited.last().expect("a packet")).wrapping_add(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_in_the_middle_of_video_is_answered_between_two_pictures() {
    let mut studio = Studio::new();
    let mut player = studio.connect();
    player.play().await;
    player.picture().await;
    assert_eq!(player.ask("GET_PARAMETER", &[]).await, 200);
    assert_eq!(player.ask("PAUSE", &[]).await, 200);
    assert!(timeout(Duration::from_secs(10), player.next()).await.is_err(), "nothing comes in a pause");
    assert_eq!(player.ask("PLAY", &[]).await, 200);
    player.picture().await;
    assert_eq!(player.ask("TEARDOWN", &[]).await, 200);
    assert!(timeout(Duration::from_secs(10), player.next()).await.is_err(), "nothing comes after the end");
}

#[tokio::test(start_paused = true)]
async fn a_session_in_which_nothing_is_asked_ends_after_60_seconds_and_the_connection_after_60_more() {
    let mut studio = Studio::new();
    let mut player = studio.connect();
    // It does not play: the machine would draw a minute of pictures for nothing.
    assert_eq!(player.ask("SETUP", SETUP).await, 200);
    let began = Instant::now();
    let Some(Unit::Frame(goodbye)) = player.next().await else { panic!("a goodbye") };
    assert_eq!((goodbye.channel(), goodbye.payload()[1]), (1, 201));
    assert!(began.elapsed().abs_diff(SESSION_TIMEOUT) <= Duration::from_millis(2), "{:?}", began.elapsed());
    assert_eq!(player.ask("GET_PARAMETER", &[]).await, 454);
    // Also a refused request is one; a player may want to set up anew.
    let asked = Instant::now();
    assert!(player.next().await.is_none());
    assert!(asked.elapsed().abs_diff(SESSION_TIMEOUT) <= Duration::from_millis(2), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_and_a_receiver_report_keep_a_session_alive() {
    let report = Frame::new(1, &[0x80, 201, 0, 1, 0, 0, 0, 0]).expect("short");
    let mut studio = Studio::new();
    for by_report in [true, false] {
        let mut player = studio.connect();
        assert_eq!(player.ask("SETUP", SETUP).await, 200);
        for _ in 0..3 {
            advance(Duration::from_secs(50)).await;
            if by_report {
                player.stream.write_all(report.bytes()).await.expect("in memory");
                // Read before the clock goes on.
                tokio::task::yield_now().await;
            } else {
                assert_eq!(player.ask("OPTIONS", &[]).await, 200);
            }
        }
        assert_eq!(player.ask("PLAY", &[]).await, 200, "by report: {by_report}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_rtsp_is_told_so_and_ends_only_its_connection() {
    let mut studio = Studio::new();
    let mut other = studio.connect();
    other.play().await;
    for garbage in [&b"\x16\x03\x01\x02\x00\x01"[..], b"$\x00\x00\x02abGARBAGE\x00", b"SETUP rtsp://c/stream\r\n\r\n"] {
        let mut player = studio.connect();
        player.stream.write_all(garbage).await.expect("in memory");
        assert_eq!(status(&player.response().await), 400);
        assert!(player.next().await.is_none());
    }
    other.picture().await;
}

#[tokio::test(start_paused = true)]
async fn the_drain_says_goodbye_and_ends_the_connection() {
    let mut studio = Studio::new();
    let mut player = studio.connect();
    player.play().await;
    player.picture().await;
    studio.switch.start(Duration::from_secs(5));
    let mut last = None;
    while let Some(unit) = player.next().await {
        last = Some(unit);
    }
    let Some(Unit::Frame(frame)) = last else { panic!("{last:?}") };
    assert_eq!((frame.channel(), frame.payload()[1]), (1, 201));
}

const GET: &str = "GET /stream HTTP/1.0\r\nx-sessioncookie: c00k\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n";
const POST: &str = "POST /stream HTTP/1.0\r\nx-sessioncookie: c00k\r\nContent-Type: application/x-rtsp-tunnelled\r\n\
                    Content-Length: 32767\r\n\r\n";

/// Sends a head and reads what comes until the end of the answer's head.
async fn answer_head(player: &mut Player, head: &str) -> String {
    player.stream.write_all(head.as_bytes()).await.expect("in memory");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(player.stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8(answer).expect("text")
}

async fn post(player: &mut Player, request: &Message) {
    player.stream.write_all(STANDARD.encode(request.to_bytes()).as_bytes()).await.expect("in memory");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_wrapped_in_http_plays_and_survives_a_new_post() {
    let mut studio = Studio::new();
    let (mut get, mut first) = (studio.connect(), studio.connect());
    let head = answer_head(&mut get, GET).await;
    assert!(
        head.starts_with("HTTP/1.0 200 OK\r\n") && head.contains("\r\nContent-Type: application/x-rtsp-tunnelled\r\n")
    );
    first.stream.write_all(POST.as_bytes()).await.expect("in memory");
    let setup = get.request("SETUP", SETUP);
    post(&mut first, &setup).await;
    let response = get.response().await;
    get.session = response.field("Session").and_then(|value| value.split(';').next()).map(str::to_owned);
    drop(first);
    let mut second = studio.connect();
    second.stream.write_all(POST.as_bytes()).await.expect("in memory");
    let play = get.request("PLAY", &[]);
    post(&mut second, &play).await;
    assert_eq!(status(&get.response().await), 200);
    assert!(get.picture().await.len() > 5);
    // The end of the GET is that of the POST.
    drop(get);
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), second.stream.read_to_end(&mut rest)).await.expect("ends").expect("in memory");
    assert!(rest.is_empty(), "a POST is never answered");
}

#[tokio::test(start_paused = true)]
async fn receiver_reports_in_the_connection_of_the_get_are_passed_over() {
    let report = Frame::new(1, &[0x80, 201, 0, 1, 0, 0, 0, 0]).expect("short");
    let mut studio = Studio::new();
    let (mut get, mut posting) = (studio.connect(), studio.connect());
    answer_head(&mut get, GET).await;
    for _ in 0..3 {
        get.stream.write_all(report.bytes()).await.expect("in memory");
    }
    posting.stream.write_all(POST.as_bytes()).await.expect("in memory");
    let options = get.request("OPTIONS", &[]);
    post(&mut posting, &options).await;
    assert_eq!(status(&get.response().await), 200);
}

#[tokio::test(start_paused = true)]
async fn a_post_without_its_get_is_given_up_after_ten_seconds() {
    let mut studio = Studio::new();
    let (began, mut post) = (Instant::now(), studio.connect());
    let head = answer_head(&mut post, POST).await;
    assert!(head.starts_with("HTTP/1.0 408 "), "{head}");
    assert!(began.elapsed().abs_diff(Duration::from_secs(10)) < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_second_get_with_the_same_cookie_is_refused_and_the_first_goes_on() {
    let mut studio = Studio::new();
    let (mut first, mut second, mut posting) = (studio.connect(), studio.connect(), studio.connect());
    answer_head(&mut first, GET).await;
    assert!(answer_head(&mut second, GET).await.starts_with("HTTP/1.0 409 "));
    posting.stream.write_all(POST.as_bytes()).await.expect("in memory");
    let options = first.request("OPTIONS", &[]);
    post(&mut posting, &options).await;
    assert_eq!(status(&first.response().await), 200);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_is_not_base64_ends_its_conversation() {
    let mut studio = Studio::new();
    let (mut get, mut post) = (studio.connect(), studio.connect());
    answer_head(&mut get, GET).await;
    let head = answer_head(&mut post, &format!("{POST}T1BU****")).await;
    assert!(head.starts_with("HTTP/1.0 400 "), "{head}");
    assert!(get.next().await.is_none());
}
