//! Asks a device, once and without side effects, which ways it has for RTSP: OPTIONS at its RTSP port, and a GET of RTSP over
//! HTTP at its web service that is closed after its head.
//!
//! Once a way works, or the web service has answered and is all there is, nothing is asked again until a request met a failure.
//! Else it is asked again in growing pauses: a camera may take minutes to start.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, sync::Mutex, sync::PoisonError, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_util::task::AbortOnDropHandle;

use super::{
    limits::Times,
    request::{SESSION_COOKIE, TUNNELLED, is_tunnelled},
    way::{Known, Way},
};
use crate::{
    base::{
        backoff::Backoff,
        rtsp::{Kind, Message, Splitter, Unit},
    },
    forward::{dial::dial, head, limits::Limits},
    model::{device::Device, status::StatusBoard, streaming::RtspVia},
};

/// After a failure the device gets this long to come back before it is asked.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The ways to all devices of the desired set, each with the task that probes it.
pub struct Ways {
    board: Arc<StatusBoard>,
    devices: Mutex<BTreeMap<String, Watched>>,
}

struct Watched {
    device: Device,
    way: Arc<Way>,
    _probe: AbortOnDropHandle<()>,
}

impl Ways {
    /// No devices yet. What is found goes to `board`.
    pub fn new(board: Arc<StatusBoard>) -> Arc<Self> {
        Arc::new(Self { board, devices: Mutex::default() })
    }

    /// Makes `devices` those that are watched. A device that has not changed is not asked again. Must be called within a
    /// tokio runtime, which then runs the probes.
    pub fn follow<'d>(&self, devices: impl IntoIterator<Item = &'d Device>) {
        let wanted: BTreeMap<&str, &Device> =
            devices.into_iter().map(|device| (device.name.as_str(), device)).collect();
        self.board.set_devices(wanted.keys().copied());
        let mut watched = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        watched
            .retain(|name, watched| wanted.get(name.as_str()).is_some_and(|device| same_ways(device, &watched.device)));
        for (name, device) in wanted {
            watched.entry(name.to_owned()).or_insert_with(|| {
                let way = Way::new(device, Arc::clone(&self.board));
                let probe = AbortOnDropHandle::new(tokio::spawn(watch(Arc::clone(&way))));
                Watched { device: device.clone(), way, _probe: probe }
            });
        }
    }

    /// The ways to `device`; unprobed ones if it is not among those watched any more.
    pub fn of(&self, device: &Device) -> Arc<Way> {
        let watched = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.get(&device.name) {
            Some(watched) if same_ways(device, &watched.device) => Arc::clone(&watched.way),
            _ => Way::unwatched(device),
        }
    }
}

fn same_ways(one: &Device, other: &Device) -> bool {
    (one.http, one.rtsp, one.rtsp_via) == (other.http, other.rtsp, other.rtsp_via)
}

/// Probes until a way works, and again after a failure.
async fn watch(way: Arc<Way>) {
    let mut pauses = Backoff::new(&way.web);
    loop {
        way.found(look(&way, &Times::default(), &Limits::default()).await);
        if way.is_settled() {
            pauses.reset();
            way.doubted().await;
            tokio::time::sleep(AFTER_FAILURE).await;
        } else {
            tokio::time::sleep(pauses.next_delay(None)).await;
        }
    }
}

/// One probe of each way that may be taken.
pub async fn look(way: &Way, times: &Times, limits: &Limits) -> Known {
    let http = async {
        if way.raw && way.via != RtspVia::Bridge {
            timeout(times.answer, ask_web(way.web, limits)).await.unwrap_or_default()
        } else {
            (way.via == RtspVia::Device, false)
        }
    };
    let bridge = async {
        match way.bridge {
            Some(address) if way.via != RtspVia::Device => {
                timeout(times.answer, speaks_rtsp(address, limits)).await.unwrap_or(false)
            }
            _ => false,
        }
    };
    let ((web, http), bridge) = tokio::join!(http, bridge);
    Known { looked: true, web, http, websocket: None, bridge }
}

/// Whether HTTP is answered at all, and whether RTSP over HTTP is.
async fn ask_web(address: SocketAddr, limits: &Limits) -> (bool, bool) {
    let Ok(mut stream) = dial(address, limits).await else { return (false, false) };
    let value = |text: &str| HeaderValue::from_str(text).expect("an address or base64 is ASCII");
    let headers: HeaderMap = [
        (header::HOST, value(&address.to_string())),
        (SESSION_COOKIE, value(&generate_key())),
        (header::ACCEPT, HeaderValue::from_static(TUNNELLED)),
    ]
    .into_iter()
    .collect();
    let head = head::request("GET", "/", Version::HTTP_11, &headers);
    if stream.write_all(&head).await.is_err() {
        return (false, false);
    }
    match head::read_answer(&mut stream).await {
        Ok(answer) => (true, answer.status == StatusCode::OK && is_tunnelled(&answer.headers)),
        Err(_) => (false, false),
    }
}

/// Whether OPTIONS is answered, with whatever status.
async fn speaks_rtsp(address: SocketAddr, limits: &Limits) -> bool {
    let Ok(mut stream) = dial(address, limits).await else { return false };
    let mut options = Message::request("OPTIONS", "*");
    options.add_field("CSeq", "1");
    options.add_field("User-Agent", concat!("onvif-uplink/", env!("CARGO_PKG_VERSION")));
    if stream.write_all(&options.to_bytes()).await.is_err() {
        return false;
    }
    let (mut splitter, mut buffer) = (Splitter::new(), [0; 1024]);
    loop {
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => splitter.push(&buffer[..count]),
            _ => return false,
        }
        match splitter.next_unit() {
            Ok(Some(Unit::Message(message))) => return matches!(message.kind(), Kind::Response { .. }),
            Ok(Some(Unit::Frame(_)) | None) => {}
            Err(_) => return false,
        }
    }
}
