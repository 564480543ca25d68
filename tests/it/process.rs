//! The real binary: exit codes, signals, logs (design.md §6). What it does inside is tested without a process.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    http::PATIENCE,
    sidecar::{Line, Site, document},
};

const GOOD: &str = "devices: []\n";
const BAD: &str = "devices:\n  - name: camera-1\n    http: http://192.0.2.1:80\n    uplinks: []\n    htp: x\n";

/// The program without any of its variables from the environment of the test.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onvif-uplink"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("ONVIF_UPLINK_") || text.starts_with("OTEL_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn site(document: &str) -> Site {
    let site = Site::new(&["camera-1"]);
    site.write(document);
    site
}

fn name(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A running process whose log can be waited for.
struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    _reader: JoinHandle<()>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (send, lines) = channel();
        let reader = std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).take_while(|line| send.send(line.clone()).is_ok()).for_each(drop);
        });
        Self { child, lines, seen: Vec::new(), _reader: reader }
    }

    /// `run` on the configuration of this site, on a free admin port.
    fn sidecar(site: &Site, more: &[&str]) -> Self {
        let config = site.config();
        Self::start(program().args(["run", "--config", name(&config), "--admin", "127.0.0.1:0"]).args(more))
    }

    /// Waits for a log line that holds `words`.
    fn until(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(end) => panic!("`{words}` was not logged ({end}): {:#?}", self.seen),
            }
        }
    }

    /// Waits for the start; returns the admin address.
    fn started(&mut self) -> String {
        let line: Value = serde_json::from_str(&self.until("sidecar started")).expect("JSON");
        find(&line, "admin").expect("the admin address is logged")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.expect("sh").success());
    }

    /// Waits for the end; returns the code and all that was logged.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Standard error is closed by the end of the process.
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end: {:#?}", self.seen),
            }
        }
        let status: ExitStatus = self.child.wait().expect("it ended");
        (status.code(), self.seen.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone after a good test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a field, at whatever depth the log puts it.
fn find(value: &Value, field: &str) -> Option<String> {
    match value {
        Value::Object(map) => match map.get(field) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => map.values().find_map(|inner| find(inner, field)),
        },
        _ => None,
    }
}

fn get(admin: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).expect("the admin listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn check_says_good_with_0_and_all_that_is_bad_with_78() {
    let site = site(GOOD);
    let good = output(&["check", name(&site.config())]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    site.write(BAD);
    let bad = output(&["check", name(&site.config())]);
    assert_eq!(bad.status.code(), Some(78));
    let (stderr, file) = (text(&bad.stderr), site.config().display().to_string());
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].starts_with(&format!("{file}:3:11: devices[0].http: ")), "{stderr}");
    assert!(lines[1].starts_with(&format!("{file}:5:5: devices[0].htp: ")), "{stderr}");
    let missing = output(&["check", "/nowhere/uplinks.yaml"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(text(&missing.stderr).contains("/nowhere/uplinks.yaml"));
}

#[test]
fn check_connect_says_what_is_in_the_way_with_69_and_as_json_if_asked() {
    let site = site(GOOD);
    site.write(
        "devices:\n  - name: camera-1\n    http: http://127.0.0.1:9\n    uplinks:\n      - { remoteAddress: 'https://127.0.0.1:9', \
         certificateID: c, userLevel: User, certPathValidationPolicyID: p }\ncertificates:\n  c: { certFile: no.crt, keyFile: \
         no.key }\ncertPathValidationPolicies:\n  p: { trustAnchorFiles: [no.crt] }\n",
    );
    let tried = output(&["check", "--connect", name(&site.config())]);
    assert_eq!(tried.status.code(), Some(69), "{}", text(&tried.stderr));
    let table = text(&tried.stdout);
    assert!(
        table.contains("DOES NOT COME UP") && table.contains("\n  why:  ") && table.contains("\n  do:   "),
        "{table}"
    );
    let json = output(&["check", "--connect", "--json", name(&site.config())]);
    assert_eq!(json.status.code(), Some(69));
    let walks: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(walks[0]["online"], false);
    assert_eq!(walks[0]["rows"].as_array().expect("rows").len(), 7);
    site.write(BAD);
    assert_eq!(output(&["check", "--connect", name(&site.config())]).status.code(), Some(78));
    assert_eq!(output(&["check", "--json", name(&site.config())]).status.code(), Some(64), "--json needs --connect");
}

#[test]
fn the_printed_schema_is_a_json_schema_of_the_document() {
    let printed = output(&["check", "--print-schema"]);
    assert_eq!(printed.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    assert!(schema["$schema"].as_str().expect("a dialect").starts_with("https://json-schema.org/"));
    assert_eq!(schema["additionalProperties"], false);
    for key in ["devices", "certificates", "certPathValidationPolicies", "authorizationServers", "accounts"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn wrong_arguments_end_with_64() {
    for arguments in [
        &["run"][..],
        &["run", "--config", "x", "--wrong"],
        &["run", "--config", "x", "--admin", "nowhere"],
        &["run", "--config", "x", "--log-level", "onvif_uplink=loudest"],
        &["fly"],
        &[],
    ] {
        let ended = output(arguments);
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {}", text(&ended.stderr));
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(output(&["--help"]).status.code(), Some(0));
}

#[test]
fn an_unusable_configuration_ends_with_78_when_asked_by_flag_or_environment() {
    let site = site(BAD);
    for (by, sidecar) in [
        ("flag", Running::sidecar(&site, &["--exit-on-invalid"])),
        (
            "environment",
            Running::start(
                program()
                    .args(["run", "--admin", "127.0.0.1:0"])
                    .env("ONVIF_UPLINK_CONFIG", site.config())
                    .env("ONVIF_UPLINK_EXIT_ON_INVALID", "yes"),
            ),
        ),
    ] {
        let (code, log) = sidecar.end();
        assert_eq!(code, Some(78), "{by}: {log}");
        assert!(log.contains("uplinks.yaml:3:11: devices[0].http: "), "{log}");
    }
}

#[test]
fn sigterm_drains_and_ends_with_0() {
    let site = site(GOOD);
    let mut sidecar = Running::sidecar(&site, &[]);
    let admin = sidecar.started();
    sidecar.until("configuration applied");
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 "));
    sidecar.signal("TERM");
    let (code, log) = sidecar.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("sidecar stopped"), "{log}");
}

#[tokio::test]
async fn a_second_sigterm_ends_at_once_what_the_first_lets_finish() {
    use crate::support::{cloud::cloud, device::FakeDevice, http::ask};
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = FakeDevice::start().await;
    site.write(&document(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]));
    let mut sidecar = Running::sidecar(&site, &["--grace-period", "10m"]);
    let admin = sidecar.started();
    cloud.knows("camera-1").await;
    let request = tokio::spawn(ask(cloud.front, "GET", "/camera-1/never"));
    let _held = device.asked().await;
    let ended = tokio::task::spawn_blocking(move || {
        sidecar.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        while !get(&admin, "/readyz").starts_with("HTTP/1.1 503 ") {
            assert!(Instant::now() < deadline, "the drain begins");
        }
        sidecar.signal("TERM");
        (Instant::now(), sidecar.end())
    });
    let (signalled, (code, log)) = ended.await.expect("no panic");
    assert_eq!(code, Some(0), "{log}");
    assert!(signalled.elapsed() < Duration::from_secs(4), "{:?}", signalled.elapsed());
    assert_eq!(request.await.expect("no panic").status, 502);
}

#[test]
fn sighup_makes_it_look_at_once_and_never_ends_it() {
    let begin = Instant::now();
    let site = site(GOOD);
    // Written by another name in another directory the file changes without a sign; it would be seen by the look every 30 s.
    let elsewhere = site.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("made");
    std::fs::hard_link(site.config(), elsewhere.join("document")).expect("linked");
    let mut sidecar = Running::sidecar(&site, &[]);
    sidecar.started();
    sidecar.until("configuration applied");
    std::fs::write(elsewhere.join("document"), "devices: [] # another\n").expect("written");
    sidecar.signal("HUP");
    let applied = sidecar.until("configuration applied");
    assert!(applied.contains("\"generation\":2"), "{applied}");
    assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    sidecar.signal("INT");
    assert_eq!(sidecar.end().0, Some(0));
}

#[test]
fn an_admin_address_in_use_ends_with_70_and_a_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let site = site(GOOD);
    let ended = output(&["run", "--config", name(&site.config()), "--admin", &address]);
    assert_eq!(ended.status.code(), Some(70));
    let stderr = text(&ended.stderr);
    assert!(stderr.lines().any(|line| line.starts_with("onvif-uplink: ") && line.contains(&address)), "{stderr}");
}

#[test]
fn a_status_that_nobody_answers_ends_with_70() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let ended = output(&["status", "--admin", &free.to_string()]);
    assert_eq!(ended.status.code(), Some(70));
    assert!(text(&ended.stderr).contains(&free.to_string()));
}

#[test]
fn logs_are_json_without_a_terminal_and_hold_no_secret() {
    let site = Site::new(&["camera-1"]);
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let remote = format!("https://{nobody}/uplink?access_token=s3cr3t-in-a-query");
    site.write(&document(&[Line::new("camera-1", nobody, remote)]));
    let mut sidecar = Running::sidecar(&site, &["--log-level", "trace"]);
    let admin = sidecar.started();
    sidecar.until("connection-refused");
    let shown = get(&admin, "/status") + &get(&admin, "/metrics");
    let table = output(&["status", "--admin", &admin]);
    assert_eq!(table.status.code(), Some(0), "{}", text(&table.stderr));
    assert!(text(&table.stdout).contains("camera-1"));
    site.write("devices:\n  - name: camera-1\n    http: http://127.0.0.1:1\n    uplinks:\n      - remoteAddress: ftp://h/?t=s3cr3t-too\n");
    sidecar.until("configuration refused");
    sidecar.signal("TERM");
    let (code, log) = sidecar.end();
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(parsed["timestamp"].is_string() && parsed["level"].is_string(), "{line}");
    }
    let key = std::fs::read_to_string(site.path().join("camera-1.key")).expect("readable");
    let key = key.lines().nth(1).expect("PEM");
    for (place, said) in [("log", log), ("admin listener", shown), ("table", text(&table.stdout))] {
        assert!(!said.contains("s3cr3t"), "the {place} shows a token: {said}");
        assert!(!said.contains(key), "the {place} shows a key");
    }
}

#[test]
fn a_gateway_ends_with_0_on_sigterm_and_with_70_when_its_files_are_unusable() {
    let site = Site::new(&[]);
    let (cert, key) = site.authority.issue("gateway", &["localhost"], |_| {}).write(site.path(), "gateway");
    let ca = site.path().join("ca.crt");
    let gateway = |cert: &Path| {
        let mut command = program();
        command.args(["gateway", "--listen", "127.0.0.1:0", "--front", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.arg("--cert").arg(cert).arg("--key").arg(&key).arg("--client-ca").arg(&ca);
        command
    };
    let mut running = Running::start(&mut gateway(&cert));
    let line: Value = serde_json::from_str(&running.until("gateway started")).expect("JSON");
    let front = find(&line, "front").expect("the front is logged");
    assert!(get(&front, "/devices").starts_with("HTTP/1.1 200 "));
    assert!(get(&find(&line, "admin").expect("the admin address is logged"), "/livez").starts_with("HTTP/1.1 200 "));
    running.signal("TERM");
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");

    let wrong = gateway(&site.path().join("missing.crt")).output().expect("it starts");
    assert_eq!(wrong.status.code(), Some(70));
    assert!(text(&wrong.stderr).contains("missing.crt"), "{}", text(&wrong.stderr));
}

#[test]
fn a_camera_answers_alone_and_ends_with_0() {
    let mut camera = Running::start(program().args(["camera", "--http", "127.0.0.1:0"]));
    let line: Value = serde_json::from_str(&camera.until("camera emulator started")).expect("JSON");
    let address = find(&line, "http").expect("the address is logged");
    assert!(get(&address, "/").starts_with("HTTP/1.1 200 "));
    camera.signal("INT");
    let (code, log) = camera.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn healthcheck_tells_alive_ready_and_gone_by_its_exit_code() {
    let site = site(BAD);
    let mut sidecar = Running::sidecar(&site, &[]);
    let admin = sidecar.started();
    let alive = output(&["healthcheck", "--admin", &admin]);
    assert_eq!((alive.status.code(), text(&alive.stdout).as_str()), (Some(0), "alive\n"));
    sidecar.until("waiting for a usable configuration");
    let waiting = output(&["healthcheck", "--ready", "--admin", &admin]);
    assert_eq!(waiting.status.code(), Some(69));
    assert!(text(&waiting.stderr).contains("not ready: configuration"), "{}", text(&waiting.stderr));
    site.write(GOOD);
    sidecar.until("configuration applied");
    assert_eq!(output(&["healthcheck", "--ready", "--admin", &admin]).status.code(), Some(0));
    sidecar.signal("TERM");
    assert_eq!(sidecar.end().0, Some(0));
    let gone = output(&["healthcheck", "--admin", &admin]);
    assert_eq!(gone.status.code(), Some(70));
    assert!(text(&gone.stderr).contains("--admin"), "{}", text(&gone.stderr));
}

#[test]
fn the_pods_grace_period_is_taken_from_the_environment_and_a_wrong_one_is_refused() {
    let run = |seconds: &str| {
        let site = site(GOOD);
        let mut command = program();
        command.env("TERMINATION_GRACE_PERIOD_SECONDS", seconds);
        let config = site.config();
        let mut sidecar = Running::start(command.args(["run", "--config", name(&config), "--admin", "127.0.0.1:0"]));
        sidecar.started();
        sidecar.signal("TERM");
        let line = sidecar.until("told to stop");
        assert_eq!(sidecar.end().0, Some(0));
        line
    };
    assert!(run("60").contains("\"grace_seconds\":55.0"));
    assert!(run("8").contains("\"grace_seconds\":8.0"));
    let mut command = program();
    let wrong = command.env("TERMINATION_GRACE_PERIOD_SECONDS", "30s").args(["run", "--config", "u"]).output();
    let wrong = wrong.expect("it starts");
    assert_eq!(wrong.status.code(), Some(64));
    assert!(text(&wrong.stderr).contains("30s"), "{}", text(&wrong.stderr));
}
