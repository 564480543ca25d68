//! `onvif-uplink fetch`: one GET through the front, asked again while an uplink may come up.

use std::process::{Command, Stdio};

use onvif_uplink::{
    app::Proxies,
    gateway::fetch::{Fetch, Fetched, Options as FetchOptions},
};
use tokio::net::TcpListener;

use super::*;

fn options(front: SocketAddr, path: &str) -> FetchOptions {
    FetchOptions {
        url: format!("http://{front}{path}").parse().expect("URL"),
        gateway_ca: None,
        token_file: None,
        proxies: Proxies::default(),
        output: None,
        wait: Duration::ZERO,
        timeout: PATIENCE,
    }
}

async fn fetched(options: FetchOptions) -> Result<Fetched, String> {
    timeout(PATIENCE, Fetch::new(options).expect("good options").run()).await.expect("in time")
}

/// A front that gives each connection the next answer and closes; how often it was asked is what the task returns when it is told to end.
async fn front(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let task = tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            assert!(head(&mut stream).await.starts_with("GET /camera-1/snapshot.jpg?x=1 HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.expect("open");
        }
        answers.len()
    });
    (address, task)
}

const NOT_YET: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nnot yet";
const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-type: image/jpeg\r\ncontent-length: 7\r\n\r\npicture";

#[tokio::test]
async fn a_picture_comes_through_gateway_and_uplink_with_the_token_of_the_front() {
    let dir = tempfile::tempdir().expect("directory");
    let cloud = cloud(|options| options.front_token_file = Some(with_token(&dir)));
    let mut device = Device::connect(&cloud, "camera-1").await;
    let file = dir.path().join("picture.jpg");
    let options = FetchOptions {
        token_file: Some(with_token(&dir)),
        output: Some(file.clone()),
        ..options(cloud.front, "/camera-1/snapshot.jpg?x=1")
    };
    let (answer, ()) = tokio::join!(fetched(options), async {
        let (request, mut respond) = device.next().await;
        assert_eq!(request.uri().path_and_query().expect("a path"), "/snapshot.jpg?x=1");
        let answer = Response::builder().header("content-type", "image/jpeg").body(()).expect("answer");
        let mut send = respond.send_response(answer, false).expect("sent");
        send.send_data(Bytes::from_static(b"picture"), true).expect("sent");
    });
    let sentence = answer.expect("a good answer").to_string();
    assert!(sentence.starts_with("200 OK: image/jpeg, 7 bytes in "), "{sentence}");
    assert_eq!(std::fs::read(file).expect("written"), b"picture");
}

#[tokio::test]
async fn a_device_that_is_not_there_yet_is_asked_for_again_within_the_wait() {
    let (address, task) = front(&[NOT_YET, NOT_YET, GOOD]).await;
    let options = FetchOptions { wait: PATIENCE, ..options(address, "/camera-1/snapshot.jpg?x=1") };
    fetched(options).await.expect("a good answer");
    assert_eq!(task.await.expect("no panic"), 3);
}

#[tokio::test]
async fn without_a_wait_the_first_answer_counts() {
    let (address, task) = front(&[NOT_YET]).await;
    let error = fetched(options(address, "/camera-1/snapshot.jpg?x=1")).await.expect_err("404");
    assert!(error.contains("404") && error.ends_with("not yet"), "{error}");
    assert_eq!(task.await.expect("no panic"), 1);
}

#[tokio::test]
async fn a_refusal_ends_it_at_once_and_names_the_mend() {
    let dir = tempfile::tempdir().expect("directory");
    let cloud = cloud(|options| options.front_token_file = Some(with_token(&dir)));
    let options = FetchOptions { wait: Duration::from_secs(3600), ..options(cloud.front, "/camera-1/") };
    let error = fetched(options).await.expect_err("no token");
    assert!(error.contains("401") && error.contains("--token-file"), "{error}");
}

#[tokio::test]
async fn an_answer_that_breaks_is_no_good_one_and_not_asked_for_twice() {
    let (address, task) = front(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"]).await;
    let options = FetchOptions { wait: Duration::from_secs(3600), ..options(address, "/camera-1/snapshot.jpg?x=1") };
    let error = fetched(options).await.expect_err("broken");
    assert!(error.contains("broke after 4 bytes"), "{error}");
    assert_eq!(task.await.expect("no panic"), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up_at_the_timeout() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let options = FetchOptions { timeout: Duration::from_millis(200), ..options(cloud.front, "/camera-1/stream") };
    let (answer, mut send) = tokio::join!(fetched(options), async {
        let mut respond = device.next().await.1;
        respond.send_response(Response::new(()), false).expect("sent")
    });
    assert!(answer.expect_err("endless").contains("no complete answer within 0.2 s"));
    assert_eq!(reset_of(&mut send).await, h2::Reason::CANCEL, "the device is told");
}

/// The program itself; its code and what it printed.
async fn program(arguments: Vec<String>) -> (Option<i32>, String, String) {
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onvif-uplink"));
        command.arg("fetch").args(arguments).stdin(Stdio::null()).output().expect("it runs")
    });
    let output = timeout(PATIENCE, run).await.expect("in time").expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_program_prints_the_body_if_it_is_asked_to_and_else_a_line_about_it() {
    let (address, _task) = front(&[GOOD, GOOD]).await;
    let url = format!("http://{address}/camera-1/snapshot.jpg?x=1");
    let (code, stdout, stderr) = program(vec!["--output".to_owned(), "-".to_owned(), url.clone()]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), "picture"), "{stderr}");
    assert!(stderr.starts_with("200 OK: image/jpeg, 7 bytes"), "{stderr}");
    let (code, stdout, stderr) = program(vec![url]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("200 OK: image/jpeg, 7 bytes"), "{stdout}");
}

#[tokio::test]
async fn without_a_good_answer_the_program_ends_with_69_and_with_64_for_what_is_no_address() {
    let (address, _task) = front(&[NOT_YET]).await;
    let (code, stdout, stderr) = program(vec![format!("http://{address}/camera-1/snapshot.jpg?x=1")]).await;
    assert_eq!((code, stdout.as_str()), (Some(69), ""));
    assert!(stderr.contains("404"), "{stderr}");
    let (code, _, stderr) = program(vec!["ftp://gateway/".to_owned()]).await;
    assert_eq!(code, Some(64));
    assert!(stderr.contains("http://HOST:PORT"), "{stderr}");
}
