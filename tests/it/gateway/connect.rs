//! CONNECT at the front, and `onvif-uplink connect` as its client.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use onvif_uplink::{
    app::Proxies,
    gateway::connect::{Options as ConnectOptions, Way},
};

use super::*;

fn way(cloud: &Cloud, device: &str, token_file: Option<PathBuf>) -> Way {
    Way::new(ConnectOptions {
        device: device.to_owned(),
        port: 22,
        gateway: format!("http://{}", cloud.front).parse().expect("URL"),
        gateway_ca: None,
        token_file,
        proxies: Proxies::default(),
    })
    .expect("good options")
}

/// A connection to the local port of a running `connect`.
async fn local(way: Way) -> (TcpStream, DrainSwitch, JoinHandle<()>) {
    let listener = way.bind("127.0.0.1:0".parse().expect("address")).await.expect("bound");
    let address = listener.local_addr().expect("address");
    let (switch, part) = drain();
    let task = tokio::spawn(way.listen(listener, part));
    (TcpStream::connect(address).await.expect("connected"), switch, task)
}

#[tokio::test]
async fn a_connect_names_the_device_and_the_port_of_it() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client = raw(&cloud, "CONNECT camera-1:554 HTTP/1.1\r\nHost: camera-1:554\r\n\r\nearly").await;
    let (mut request, mut respond) = device.next().await;
    assert_eq!((request.method(), request.uri().to_string().as_str()), (&http::Method::CONNECT, "localhost:554"));
    let mut send = respond.send_response(Response::new(()), false).expect("sent");
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("transfer-encoding"), "{answer}");
    assert_eq!(data(request.body_mut()).await.as_deref(), Some(&b"early"[..]));
    send.send_data(Bytes::from_static(b"SSH-2.0"), true).expect("sent");
    assert_eq!(text(&mut client, 7).await, "SSH-2.0");
    assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
    client.write_all(b"bye").await.expect("this way is open");
    assert_eq!(data(request.body_mut()).await.as_deref(), Some(&b"bye"[..]));
    drop(client);
    assert_eq!(data(request.body_mut()).await, None);
}

#[tokio::test]
async fn what_the_device_says_to_a_connect_is_passed_on() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let mut client = raw(&cloud, "CONNECT camera-1:23 HTTP/1.1\r\nHost: camera-1:23\r\n\r\n").await;
    let mut respond = device.next().await.1;
    let answer = Response::builder().status(403).header("content-length", "8").body(()).expect("answer");
    respond.send_response(answer, false).expect("sent").send_data(Bytes::from_static(b"not this"), true).expect("sent");
    assert!(head(&mut client).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(text(&mut client, 8).await, "not this");
    for (target, status) in [("camera-2:22", "404"), ("camera-1:0", "400"), ("camera-1", "400")] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let answer = head(&mut raw(&cloud, &request).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
    }
}

#[tokio::test]
async fn a_local_port_leads_to_the_device_and_its_end_is_an_end() {
    let dir = tempfile::tempdir().expect("directory");
    let file = with_token(&dir);
    let cloud = cloud(|options| options.front_token_file = Some(file.clone()));
    let mut device = Device::connect(&cloud, "camera-1").await;
    let (mut client, switch, task) = local(way(&cloud, "camera-1", Some(file))).await;
    let (mut request, mut respond) = device.next().await;
    assert!(!request.headers().contains_key("authorization"));
    let mut send = respond.send_response(Response::new(()), false).expect("sent");
    client.write_all(b"question").await.expect("open");
    assert_eq!(data(request.body_mut()).await.as_deref(), Some(&b"question"[..]));
    client.shutdown().await.expect("open");
    assert_eq!(data(request.body_mut()).await, None);
    send.send_data(Bytes::from_static(b"answer"), true).expect("sent");
    assert_eq!(whole(client).await, "answer");
    switch.start(Duration::ZERO);
    timeout(PATIENCE, task).await.expect("stops as asked").expect("no panic");
}

#[tokio::test]
async fn a_refused_connection_is_reset_and_the_local_port_goes_on() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let way = way(&cloud, "camera-1", None);
    let listener = way.bind("127.0.0.1:0".parse().expect("address")).await.expect("bound");
    let address = listener.local_addr().expect("address");
    let (_switch, part) = drain();
    let _task = tokio::spawn(way.listen(listener, part));
    let mut refused = TcpStream::connect(address).await.expect("connected");
    let answer = Response::builder().status(403).body(()).expect("answer");
    device.next().await.1.send_response(answer, true).expect("sent");
    assert!(timeout(PATIENCE, refused.read_u8()).await.expect("in time").is_err());
    let mut opened = TcpStream::connect(address).await.expect("connected");
    let mut send = device.next().await.1.send_response(Response::new(()), false).expect("sent");
    send.send_data(Bytes::from_static(b"x"), false).expect("sent");
    assert_eq!(text(&mut opened, 1).await, "x");
}

#[tokio::test]
async fn why_there_is_no_way_to_the_device_is_said() {
    let dir = tempfile::tempdir().expect("directory");
    let cloud = cloud(|options| options.front_token_file = Some(with_token(&dir)));
    let (_switch, part) = drain();
    let refused = way(&cloud, "camera-1", None).stdio(part.clone()).await.expect_err("no token");
    assert!(refused.contains("401") && refused.contains("--token-file"), "{refused}");
    let unknown = way(&cloud, "camera-1", Some(with_token(&dir))).stdio(part.clone()).await.expect_err("no device");
    assert!(unknown.contains("404") && unknown.contains("no device \"camera-1\""), "{unknown}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    let mut nobody = cloud;
    nobody.front = closed;
    let unreached = way(&nobody, "camera-1", None).stdio(part).await.expect_err("nobody listens");
    assert!(unreached.contains("was not reached"), "{unreached}");
}

/// The program itself with `input`; its code and what it printed.
async fn program(front: SocketAddr, device: &str, input: &'static [u8]) -> (Option<i32>, String, String) {
    let arguments = ["connect", device, "22", "--gateway", &format!("http://{front}")].map(str::to_owned);
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onvif-uplink"));
        let piped = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("it starts");
        // One that ends at once reads nothing.
        let _ = child.stdin.take().expect("piped").write_all(input);
        child.wait_with_output().expect("it ends")
    });
    let output = timeout(PATIENCE, run).await.expect("in time").expect("no panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn standard_input_and_output_of_the_program_are_a_port_of_the_device() {
    let cloud = cloud(|_| {});
    let mut device = Device::connect(&cloud, "camera-1").await;
    let (ended, ()) = tokio::join!(program(cloud.front, "camera-1", b"question"), async {
        let (mut request, mut respond) = device.next().await;
        let mut send = respond.send_response(Response::new(()), false).expect("sent");
        let mut asked = Vec::new();
        while let Some(piece) = data(request.body_mut()).await {
            asked.extend_from_slice(&piece);
        }
        assert_eq!(asked, b"question");
        send.send_data(Bytes::from_static(b"answer"), true).expect("sent");
    });
    assert_eq!((ended.0, ended.1.as_str()), (Some(0), "answer"), "{}", ended.2);
}

#[tokio::test]
async fn without_a_way_to_the_device_the_program_ends_with_69() {
    let cloud = cloud(|_| {});
    let (code, stdout, stderr) = program(cloud.front, "camera-9", b"").await;
    assert_eq!((code, stdout.as_str()), (Some(69), ""));
    assert!(stderr.contains("no device \"camera-9\" has connected"), "{stderr}");
}
