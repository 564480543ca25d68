//! What the demo says: what to open and try at the start, one line for each change afterwards.

use std::{collections::BTreeMap, convert::Infallible, fmt::Write as _, net::SocketAddr, path::Path};

use crate::model::status::{Snapshot, StatusBoard, UplinkStatus};

/// Where things are.
pub(super) struct Places<'a> {
    pub(super) front: SocketAddr,
    pub(super) rtsp: Option<SocketAddr>,
    pub(super) camera: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) config: &'a Path,
    /// How this program was started, so that the commands can be copied.
    pub(super) program: &'a str,
}

pub(super) fn welcome(places: &Places<'_>) -> String {
    let Places { front, rtsp, camera, admin, config, program } = places;
    let config = config.display();
    let players = rtsp.map(players).unwrap_or_default();
    format!(
        "
A camera, its sidecar and a gateway run in this process, joined only by sockets:

  browser -> gateway {front} -> uplink (TLS, reversed HTTP/2) -> sidecar -> camera {camera}

Open in a browser
  http://camera-1.localhost:{port}/            the camera's own page, live
  http://{front}/devices                 what the gateway has
{players}
Try in a shell
  curl -o picture.jpg http://{front}/camera-1/snapshot.jpg
  curl -s http://{front}/camera-1/stream.mjpeg | head -c 100000 | strings | grep X-Timestamp
  curl -s -H 'Content-Type: application/soap+xml' http://{front}/camera-1/onvif/device_service -d '
    <e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body>
    <GetDeviceInformation xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/></e:Body></e:Envelope>'

Edit and save, and watch what happens here
  {config}
  (another userLevel, a wrong port, a second uplink, a typing error)

Watch the sidecar
  {program} status --admin {admin}
  curl http://{admin}/metrics

Ctrl-C ends it.
",
        port = front.port()
    )
}

fn players(rtsp: SocketAddr) -> String {
    let url = format!("rtsp://{rtsp}/camera-1/stream");
    format!(
        "
Play in a player
  {url}   in VLC: Media, Open Network Stream
  ffplay -rtsp_transport tcp {url}
"
    )
}

/// Tells each change of the board until it is dropped.
pub(super) async fn follow(board: &StatusBoard, mut tell: impl FnMut(&str)) -> Infallible {
    let mut changes = board.watch();
    let mut told = Told::default();
    loop {
        for line in told.lines(&board.snapshot()) {
            tell(&line);
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What was said last, so that only changes are said.
#[derive(Default)]
struct Told {
    generation: u64,
    errors: Vec<String>,
    uplinks: BTreeMap<String, String>,
}

impl Told {
    fn lines(&mut self, snapshot: &Snapshot) -> Vec<String> {
        let mut lines = Vec::new();
        if snapshot.config.generation != self.generation {
            self.generation = snapshot.config.generation;
            lines.push(format!("configuration {} is in force", self.generation));
        }
        if snapshot.config.errors != self.errors {
            self.errors.clone_from(&snapshot.config.errors);
            lines.extend(self.errors.iter().map(|error| format!("refused: {error}")));
            if !self.errors.is_empty() {
                lines.push(format!("configuration {} stays in force", self.generation));
            }
        }
        let mut uplinks = BTreeMap::new();
        for (key, status) in &snapshot.uplinks {
            let (name, state) = (key.to_string(), state(status));
            if self.uplinks.get(&name) != Some(&state) {
                lines.push(format!("{name}: {state}"));
            }
            uplinks.insert(name, state);
        }
        lines.extend(
            self.uplinks.keys().filter(|name| !uplinks.contains_key(*name)).map(|name| format!("{name}: gone")),
        );
        self.uplinks = uplinks;
        lines
    }
}

fn state(status: &UplinkStatus) -> String {
    let mut text = status.status.as_str().to_owned();
    // `write!` to a String cannot fail.
    if let Some(session) = &status.session {
        let _ = write!(text, " ({}, {})", session.tls.version, session.tls.group);
    }
    if let Some(error) = &status.error {
        let _ = write!(text, " after {}: {error}", error.cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        address::RemoteAddress,
        failure::{Cause, Failure},
        status::Status,
        uplink::UplinkKey,
    };

    #[test]
    fn each_change_is_told_once() {
        let board = StatusBoard::new();
        let key = UplinkKey {
            device: "camera-1".into(),
            remote: RemoteAddress::parse("https://127.0.0.1:1/").expect("valid"),
        };
        let mut told = Told::default();
        board.update(&key, |uplink| uplink.set(Status::Connecting));
        assert_eq!(told.lines(&board.snapshot()), ["camera-1 -> https://127.0.0.1:1/: Connecting"]);
        assert!(told.lines(&board.snapshot()).is_empty());
        board.update(&key, |uplink| {
            uplink.set(Status::Offline);
            uplink.error = Some(Failure::new(Cause::ConnectionRefused, "nothing listens there"));
        });
        let lines = told.lines(&board.snapshot());
        assert_eq!(
            lines,
            ["camera-1 -> https://127.0.0.1:1/: Offline after connection-refused: nothing listens there"]
        );
        board.remove(&key);
        assert_eq!(told.lines(&board.snapshot()), ["camera-1 -> https://127.0.0.1:1/: gone"]);
    }

    #[test]
    fn a_refused_document_is_told_with_what_stays_in_force() {
        let board = StatusBoard::new();
        board.update_config(|config| config.generation = 1);
        let mut told = Told::default();
        assert_eq!(told.lines(&board.snapshot()), ["configuration 1 is in force"]);
        board.update_config(|config| config.errors = vec!["uplinks.yaml:3:5: devices[0]: unknown key".into()]);
        let lines = told.lines(&board.snapshot());
        assert_eq!(lines, ["refused: uplinks.yaml:3:5: devices[0]: unknown key", "configuration 1 stays in force"]);
    }
}
