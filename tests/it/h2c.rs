//! Requests to a device that speaks HTTP/2 with prior knowledge (`http: h2c://…`): trailers, streams both ways, what is sent
//! again, what is said of a device that speaks something else.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http::{HeaderMap, HeaderValue, Request, Response};
use onvif_uplink::forward::Limits;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use crate::support::{
    answer::get,
    connect::{Opened, device, extended, open, plain, session_to},
    h2_peer::{Session, collect},
    http::PATIENCE,
    raw_device::accept,
    remote::answer,
};

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A device and a session to it.
async fn scene(limits: Limits) -> (TcpListener, Session) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let device = device("h2c", listener.local_addr().expect("bound"), &[]);
    (listener, session_to(&device, limits).await)
}

/// One connection of the device, whose requests go to the test. The task gives the connection back when it is told to.
struct Serving {
    asked: mpsc::Receiver<Asked>,
    goaway: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

async fn serve(listener: &TcpListener, builder: server::Builder) -> Serving {
    let stream = timeout(PATIENCE, listener.accept()).await.expect("in time").expect("accepted").0;
    let (send, asked) = mpsc::channel(16);
    let (goaway, mut told) = mpsc::channel(1);
    let task = tokio::spawn(async move {
        let mut connection = builder.handshake::<_, Bytes>(stream).await.expect("a preface");
        loop {
            tokio::select! {
                Some(()) = told.recv() => connection.graceful_shutdown(),
                next = connection.accept() => match next {
                    Some(Ok(asked)) => if send.send(asked).await.is_err() { return },
                    _ => return,
                },
            }
        }
    });
    Serving { asked, goaway, task }
}

impl Serving {
    async fn next(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("in time").expect("a request")
    }
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
}

fn grpc(path: &str) -> Request<()> {
    let request = Request::post(format!("https://cloud.example{path}")).version(http::Version::HTTP_2);
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).expect("valid")
}

/// Answers with a short text.
fn say(mut respond: SendResponse<Bytes>, text: &'static str) {
    let mut stream = respond.send_response(Response::new(()), false).expect("open");
    stream.send_data(Bytes::from_static(text.as_bytes()), true).expect("open");
}

async fn ask(session: &Session, path: &str) -> (u16, Bytes) {
    let mut remote = session.remote.clone().ready().await.expect("the session stands");
    let (response, _) = remote.send_request(get(path), true).expect("sent");
    let (head, body) = answer(response).await;
    (head.status.as_u16(), body)
}

#[tokio::test]
async fn a_grpc_call_passes_both_ways_with_its_trailers() {
    let (listener, session) = scene(Limits::default()).await;
    let address = listener.local_addr().expect("bound");
    let device = async {
        let mut serving = serve(&listener, server::Builder::new()).await;
        let (request, mut respond) = serving.next().await;
        let (head, body) = request.into_parts();
        let (sent, trailers) = collect(body).await.expect("whole");
        let mut stream = respond.send_response(Response::new(()), false).expect("open");
        stream.send_data(sent, false).expect("open");
        stream.send_trailers(fields(&[("grpc-status", "0"), ("host", "elsewhere")])).expect("open");
        (head, trailers, serving)
    };
    let call = async {
        let mut remote = session.remote.clone().ready().await.expect("the session stands");
        let (response, mut upload) = remote.send_request(grpc("/echo.Echo/Say"), false).expect("sent");
        upload.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), false).expect("open");
        upload.send_trailers(fields(&[("x-checksum", "7")])).expect("open");
        let response = timeout(PATIENCE, response).await.expect("in time").expect("answered");
        collect(response.into_body()).await.expect("whole")
    };
    let ((head, sent_trailers, _serving), (body, trailers)) = tokio::join!(device, call);
    assert_eq!(head.uri.to_string(), format!("http://{address}/echo.Echo/Say"));
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["x-forwarded-host"], "cloud.example");
    assert!(!head.headers.contains_key("host") && !head.headers.contains_key("connection"));
    assert_eq!(sent_trailers.expect("trailers")["x-checksum"], "7");
    assert_eq!(body, "\0\0\0\0\u{2}hi");
    let trailers = trailers.expect("trailers");
    assert_eq!((&trailers["grpc-status"], trailers.contains_key("host")), (&HeaderValue::from_static("0"), false));
}

#[tokio::test]
async fn a_call_streams_both_ways_at_once_and_all_share_one_connection() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut serving = serve(&listener, server::Builder::new()).await;
        let (request, mut respond) = serving.next().await;
        let mut upload = request.into_body();
        let mut stream = respond.send_response(Response::new(()), false).expect("open");
        while let Some(data) = upload.data().await {
            stream.send_data(data.expect("sound"), false).expect("open");
        }
        stream.send_trailers(fields(&[("grpc-status", "0")])).expect("open");
        let (_, respond) = serving.next().await;
        say(respond, "beside");
        serving
    };
    let remote = async {
        let mut call = open(&session, grpc("/chat")).await;
        for _ in 0..10 {
            call.say("message");
            assert_eq!(call.hear(7).await, "message");
        }
        call.end();
        assert_eq!(call.rest().await.expect("in good order"), "");
        let trailers = poll_fn(|cx| call.receive.poll_trailers(cx)).await.expect("sound").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        ask(&session, "/beside").await
    };
    let (_serving, beside) = tokio::join!(device, remote);
    assert_eq!(beside, (200, Bytes::from_static(b"beside")));
    assert!(timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "one connection is enough");
}

#[tokio::test]
async fn a_request_that_the_device_refused_is_sent_once_more_and_then_a_503() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut serving = serve(&listener, server::Builder::new()).await;
        let (_, mut refused) = serving.next().await;
        refused.send_reset(Reason::REFUSED_STREAM);
        let (request, respond) = serving.next().await;
        assert_eq!(request.method(), "POST");
        let (body, _) = collect(request.into_body()).await.expect("whole");
        say(respond, "at last");
        for _ in 0..2 {
            let (_, mut refused) = serving.next().await;
            refused.send_reset(Reason::REFUSED_STREAM);
        }
        (body, serving)
    };
    let remote = async {
        let mut remote = session.remote.clone().ready().await.expect("the session stands");
        // The body comes only after the refusal, so nothing of it is lost.
        let (response, mut upload) = remote.send_request(grpc("/"), false).expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
        upload.send_data(Bytes::from_static(b"whole"), true).expect("open");
        let (_, body) = answer(response).await;
        (body, ask(&session, "/again").await)
    };
    let ((sent, _serving), (body, (status, sentence))) = tokio::join!(device, remote);
    assert_eq!((sent, body), (Bytes::from_static(b"whole"), Bytes::from_static(b"at last")));
    assert_eq!(status, 503);
    assert!(String::from_utf8_lossy(&sentence).contains("did not process"), "{sentence:?}");
}

#[tokio::test]
async fn after_a_goaway_the_next_request_goes_over_a_new_connection_while_the_old_one_finishes() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut first = serve(&listener, server::Builder::new()).await;
        let (_, mut respond) = first.next().await;
        let mut open = respond.send_response(Response::new(()), false).expect("open");
        open.send_data(Bytes::from_static(b"begin"), false).expect("open");
        first.goaway.send(()).await.expect("serving");
        let mut serving = std::pin::pin!(serve(&listener, server::Builder::new()));
        let mut second = loop {
            tokio::select! {
                second = &mut serving => break second,
                // It came before the GOAWAY was seen: not processed, so it may be sent again.
                (_, mut respond) = first.next() => respond.send_reset(h2::Reason::REFUSED_STREAM),
            }
        };
        let (_, respond) = second.next().await;
        say(respond, "new");
        open.send_data(Bytes::from_static(b" end"), true).expect("still open");
        (first, second)
    };
    let remote = async {
        let mut old = open(&session, grpc("/old")).await;
        assert_eq!(old.hear(5).await, "begin");
        let new = async {
            loop {
                // Until the GOAWAY has come the old connection takes requests that it then does not process.
                let (status, body) = ask(&session, "/new").await;
                if status == 200 {
                    return body;
                }
            }
        };
        assert_eq!(timeout(PATIENCE, new).await.expect("in time"), "new");
        assert_eq!(old.rest().await.expect("in good order"), " end");
    };
    tokio::join!(device, remote);
}

#[tokio::test]
async fn a_connection_that_ended_is_dialed_anew() {
    let (listener, session) = scene(Limits::default()).await;
    for text in ["one", "two"] {
        let device = async {
            let mut serving = serve(&listener, server::Builder::new()).await;
            let (_, respond) = serving.next().await;
            say(respond, text);
            serving
        };
        let (serving, (status, body)) = tokio::join!(device, ask(&session, "/"));
        assert_eq!((status, &body[..]), (200, text.as_bytes()));
        serving.task.abort();
    }
}

#[tokio::test]
async fn a_remote_that_gives_up_resets_the_stream_at_the_device_and_the_other_way_round() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut serving = serve(&listener, server::Builder::new()).await;
        let (_request, mut respond) = serving.next().await;
        let mut stream = respond.send_response(Response::new(()), false).expect("open");
        let reset = timeout(PATIENCE, poll_fn(|cx| stream.poll_reset(cx))).await.expect("in time").expect("a reset");
        assert_eq!(reset, Reason::CANCEL);
        let (mut request, mut respond) = serving.next().await;
        let mut stream = respond.send_response(Response::new(()), false).expect("open");
        // The remote has the head by then.
        request.body_mut().data().await.expect("a frame").expect("sound");
        stream.send_reset(Reason::ENHANCE_YOUR_CALM);
        let (_, mut respond) = serving.next().await;
        respond.send_reset(Reason::INTERNAL_ERROR);
        serving
    };
    let remote = async {
        let mut call: Opened = open(&session, grpc("/1")).await;
        call.send.send_reset(Reason::CANCEL);
        let mut call = open(&session, grpc("/2")).await;
        call.say("go on");
        assert_eq!(call.reset().await, Reason::ENHANCE_YOUR_CALM);
        ask(&session, "/3").await
    };
    let (_serving, (status, sentence)) = tokio::join!(device, remote);
    assert_eq!(status, 502);
    assert!(String::from_utf8_lossy(&sentence).contains("gave the request up"), "{sentence:?}");
}

#[tokio::test]
async fn early_hints_pass_and_an_answer_before_the_end_of_the_upload_too() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut serving = serve(&listener, server::Builder::new()).await;
        let (_request, mut respond) = serving.next().await;
        let mut hints = Response::new(());
        *hints.status_mut() = http::StatusCode::EARLY_HINTS;
        respond.send_informational(hints).expect("open");
        let mut refused = Response::new(());
        *refused.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
        respond.send_response(refused, true).expect("open");
        serving
    };
    let remote = async {
        let mut remote = session.remote.clone().ready().await.expect("the session stands");
        let (mut response, mut upload) = remote.send_request(grpc("/"), false).expect("sent");
        upload.send_data(Bytes::from_static(b"much"), false).expect("open");
        let hints = timeout(PATIENCE, poll_fn(|cx| response.poll_informational(cx))).await.expect("in time");
        assert_eq!(hints.expect("one").expect("sound").status(), 103);
        timeout(PATIENCE, response).await.expect("in time").expect("answered").status()
    };
    assert_eq!(tokio::join!(device, remote).1, 413);
}

#[tokio::test]
async fn a_websocket_passes_when_the_device_announces_it_and_is_a_501_when_not() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut builder = server::Builder::new();
        builder.enable_connect_protocol();
        let mut serving = serve(&listener, builder).await;
        let (request, mut respond) = serving.next().await;
        assert_eq!(request.extensions().get::<h2::ext::Protocol>().map(|it| it.as_str()), Some("websocket"));
        assert_eq!(request.uri().path(), "/ws");
        let mut stream = respond.send_response(Response::new(()), false).expect("open");
        let mut upload = request.into_body();
        let frame = upload.data().await.expect("a frame").expect("sound");
        stream.send_data(frame, true).expect("open");
        // The remote's direction goes on after the device's end.
        let last = upload.data().await.expect("a frame").expect("sound");
        (last, serving)
    };
    let remote = async {
        let mut opened = open(&session, extended("websocket", "/ws", &[])).await;
        assert_eq!(opened.head.status, 200);
        opened.say("frame");
        assert_eq!(opened.rest().await.expect("in good order"), "frame");
        opened.say("afterwards");
        opened.end();
        opened
    };
    let ((last, _serving), _opened) = tokio::join!(device, remote);
    assert_eq!(last, "afterwards");

    let (listener, session) = scene(Limits::default()).await;
    let (serving, opened) =
        tokio::join!(serve(&listener, server::Builder::new()), open(&session, extended("websocket", "/", &[])));
    assert_eq!(opened.head.status, 501);
    drop(serving);
    assert_eq!(open(&session, plain("localhost:1")).await.head.status, 403, "CONNECT is the sidecar's own");
}

#[tokio::test]
async fn a_device_that_does_not_speak_http2_is_a_502_that_says_what_to_configure() {
    let answers: [&[u8]; 2] = [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b""];
    for bytes in answers {
        let (listener, session) = scene(Limits::default()).await;
        let device = async {
            let mut socket: TcpStream = accept(&listener).await;
            socket.write_all(bytes).await.expect("written");
            socket.shutdown().await.expect("open");
            socket
        };
        let (_socket, (status, sentence)) = tokio::join!(device, ask(&session, "/"));
        assert_eq!(status, 502);
        assert!(String::from_utf8_lossy(&sentence).contains("configure it as http://"), "{sentence:?}");
    }
}

#[tokio::test]
async fn a_device_that_never_answers_is_a_504_but_a_grpc_call_waits() {
    let (listener, session) = scene(Limits { head: Duration::from_millis(200), ..Limits::default() }).await;
    let device = async {
        let mut serving = serve(&listener, server::Builder::new()).await;
        let silent = serving.next().await;
        let (_, respond) = serving.next().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        say(respond, "an event");
        (silent, serving)
    };
    let remote = async {
        let (status, _) = ask(&session, "/").await;
        let mut call = open(&session, grpc("/events")).await;
        (status, call.hear(8).await)
    };
    assert_eq!(tokio::join!(device, remote).1, (504, Bytes::from_static(b"an event")));
}

#[tokio::test]
async fn viewers_who_do_not_read_stop_no_other_request() {
    let (listener, session) = scene(Limits::default()).await;
    let device = async {
        let mut serving = serve(&listener, server::Builder::new()).await;
        let mut videos = Vec::new();
        for _ in 0..40 {
            let (_, mut respond) = serving.next().await;
            let mut stream = respond.send_response(Response::new(()), false).expect("open");
            stream.reserve_capacity(1 << 20);
            stream.send_data(Bytes::from_static(&[7; 1 << 20]), false).expect("open");
            videos.push(stream);
        }
        let (_, respond) = serving.next().await;
        say(respond, "still here");
        (videos, serving)
    };
    let remote = async {
        let mut stalled = Vec::new();
        for _ in 0..40 {
            stalled.push(open(&session, grpc("/video")).await);
        }
        (ask(&session, "/").await, stalled)
    };
    let (_device, (asked, _stalled)) = tokio::join!(device, remote);
    assert_eq!(asked, (200, Bytes::from_static(b"still here")));
}

#[tokio::test]
async fn a_request_waits_for_a_stream_of_the_device_and_is_a_503_when_none_comes() {
    let (listener, session) = scene(Limits { wait: Duration::from_millis(200), ..Limits::default() }).await;
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(1);
    let (release, released) = tokio::sync::oneshot::channel();
    let device = async {
        let mut serving = serve(&listener, builder).await;
        let (_, respond) = serving.next().await;
        released.await.expect("told");
        say(respond, "first");
        let (request, respond) = serving.next().await;
        assert_eq!(request.uri().path(), "/third", "the second was given up before it went out");
        say(respond, "third");
        serving
    };
    let remote = async {
        let mut remote = session.remote.clone().ready().await.expect("the session stands");
        let (first, _) = remote.send_request(get("/first"), true).expect("sent");
        let (status, sentence) = ask(&session, "/second").await;
        assert_eq!(status, 503, "{sentence:?}");
        release.send(()).expect("waiting");
        (answer(first).await.1, ask(&session, "/third").await)
    };
    let (_serving, (first, third)) = tokio::join!(device, remote);
    assert_eq!((first, third), (Bytes::from_static(b"first"), (200, Bytes::from_static(b"third"))));
}
