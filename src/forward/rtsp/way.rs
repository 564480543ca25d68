//! Which way RTSP takes to one device: its own RTSP over HTTP or WebSocket, or the bridge to its RTSP port.
//!
//! The configuration may say; else a probe does, once, and what requests meet afterwards. The specification's
//! StreamingOverUplink is true exactly when a way works, and stands on the status board.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::model::{
    device::{Device, DeviceScheme},
    status::StatusBoard,
    streaming::{RtspVia, Streaming, StreamingWay},
};

/// What is known of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// A probe has ended.
    pub looked: bool,
    /// Its web service answers.
    pub web: bool,
    /// Its web service carries RTSP over HTTP.
    pub http: bool,
    /// Its web service carries RTSP over WebSocket; `None` while nobody asked for it.
    pub websocket: Option<bool>,
    /// Its RTSP port speaks RTSP.
    pub bridge: bool,
}

/// Where a conversation of RTSP over HTTP goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairWay {
    /// To the web service, on raw connections.
    Device,
    /// To the RTSP port.
    Bridge(SocketAddr),
    /// As ordinary requests: the web service speaks HTTP/2, which needs no pair of raw connections.
    Requests,
}

/// Where a WebSocket that carries RTSP goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketWay {
    /// To the web service.
    Device,
    /// To the web service; to the RTSP port if that refuses.
    DeviceElseBridge(SocketAddr),
    /// To the RTSP port.
    Bridge(SocketAddr),
}

/// The ways to one device and what is known of them; shared by all its uplinks.
pub struct Way {
    name: String,
    /// Its web service.
    pub web: SocketAddr,
    /// Whether the web service speaks HTTP/1.1.
    pub raw: bool,
    /// Its RTSP port, if configured.
    pub bridge: Option<SocketAddr>,
    /// What the configuration wants.
    pub via: RtspVia,
    known: watch::Sender<Known>,
    doubted: Notify,
    /// The last failure that the log has; told again when it changed.
    told: Mutex<Option<&'static str>>,
    board: Arc<StatusBoard>,
}

impl Way {
    /// The ways to `device`, nothing known yet.
    pub fn new(device: &Device, board: Arc<StatusBoard>) -> Arc<Self> {
        Arc::new(Self {
            name: device.name.clone(),
            web: device.http.address(),
            raw: device.http.scheme() == DeviceScheme::Http,
            bridge: device.rtsp.map(|url| url.address()),
            via: device.rtsp_via,
            known: watch::Sender::new(Known::default()),
            doubted: Notify::new(),
            told: Mutex::default(),
            board,
        })
    }

    /// The same for a device that nobody probes; what its requests meet is noted all the same.
    pub fn unwatched(device: &Device) -> Arc<Self> {
        let way = Self::new(device, StatusBoard::new());
        way.known.send_modify(|known| known.looked = true);
        way
    }

    /// Where a conversation of RTSP over HTTP goes. Waits for a probe under way, at most `patience`.
    pub async fn of_pair(&self, patience: Duration) -> PairWay {
        let known = if self.is_open() { self.known(patience).await } else { *self.known.borrow() };
        match (self.via, self.bridge) {
            (RtspVia::Bridge, Some(address)) => PairWay::Bridge(address),
            (RtspVia::Auto, Some(address)) if !(self.raw && known.http) => PairWay::Bridge(address),
            _ if self.raw => PairWay::Device,
            _ => PairWay::Requests,
        }
    }

    /// Where a WebSocket goes; `named` says whether it names the subprotocol of RTSP.
    pub fn of_websocket(&self, named: bool) -> WebSocketWay {
        let refused = self.known.borrow().websocket == Some(false);
        match (self.via, self.bridge) {
            (RtspVia::Bridge, Some(address)) => WebSocketWay::Bridge(address),
            (RtspVia::Auto, Some(address)) if !named || refused || !self.raw => WebSocketWay::Bridge(address),
            (RtspVia::Auto, Some(address)) => WebSocketWay::DeviceElseBridge(address),
            _ => WebSocketWay::Device,
        }
    }

    /// Whether only a probe can tell.
    fn is_open(&self) -> bool {
        self.via == RtspVia::Auto && self.bridge.is_some() && self.raw
    }

    async fn known(&self, patience: Duration) -> Known {
        let mut known = self.known.subscribe();
        let waited = tokio::time::timeout(patience, known.wait_for(|known| known.looked)).await;
        waited.ok().and_then(|known| known.ok().map(|known| *known)).unwrap_or_default()
    }

    /// Notes what a probe found.
    pub fn found(&self, found: Known) {
        self.known.send_modify(|known| *known = Known { looked: true, websocket: known.websocket, ..found });
        self.publish();
    }

    /// Notes that the web service has carried RTSP over HTTP.
    pub fn http_works(&self) {
        self.note(|known| (known.web, known.http) = (true, true));
    }

    /// Notes whether the web service took a WebSocket of RTSP.
    pub fn websocket_works(&self, works: bool) {
        self.note(|known| known.websocket = Some(works));
    }

    /// Notes that a way failed: it is looked at again. `sentence` goes to the log once.
    pub fn failed(&self, sentence: &'static str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != Some(sentence) {
            tracing::warn!(device = self.name, "{sentence}");
            *told = Some(sentence);
        }
        self.doubted.notify_one();
    }

    /// Waits until a way failed.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Whether a further probe can find nothing new as long as nothing fails.
    pub fn is_settled(&self) -> bool {
        let known = *self.known.borrow();
        self.streaming().over_uplink() || (known.web && self.bridge.is_none())
    }

    /// Whether RTSP can be carried, as far as is known.
    pub fn streaming(&self) -> Streaming {
        let known = *self.known.borrow();
        let device = self.via != RtspVia::Bridge;
        // Who writes `device` knows the path at which the device carries RTSP; a probe does not.
        if device && (known.http || (self.via == RtspVia::Device && known.web)) {
            return Streaming::Way(StreamingWay::Http);
        }
        if device && known.websocket == Some(true) {
            return Streaming::Way(StreamingWay::WebSocket);
        }
        if self.via != RtspVia::Device && known.bridge {
            return Streaming::Way(StreamingWay::Bridge);
        }
        Streaming::None(match (known.looked, self.bridge, self.via) {
            (false, ..) => "the device has not been asked yet",
            (true, _, RtspVia::Device) => "the web service of the device does not answer",
            (true, Some(_), _) => "nothing speaks RTSP at the address of `rtsp`",
            (true, None, _) => {
                "the web service of the device carries no RTSP over HTTP at `/`; set `rtsp` of the device"
            }
        })
    }

    fn note(&self, change: impl FnOnce(&mut Known)) {
        let changed = self.known.send_if_modified(|known| {
            let before = *known;
            change(known);
            before != *known
        });
        if changed {
            self.publish();
        }
    }

    fn publish(&self) {
        let streaming = self.streaming();
        if streaming.over_uplink() {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.board.update_device(&self.name, |device| {
            if device.streaming.as_ref() != Some(&streaming) {
                tracing::info!(device = self.name, ?streaming, "RTSP through uplinks");
                device.streaming = Some(streaming);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::uplink::testing::uplink;

    const PORT: &str = "rtsp://127.0.0.1:554";
    const PATIENCE: Duration = Duration::from_secs(1);

    fn way(via: RtspVia, rtsp: Option<&str>) -> Arc<Way> {
        let mut device = uplink("https://cloud/").device;
        (device.rtsp_via, device.rtsp) = (via, rtsp.map(|url| url.parse_loopback()));
        Way::new(&device, StatusBoard::new())
    }

    trait ParseLoopback {
        fn parse_loopback(&self) -> crate::model::device::LoopbackUrl;
    }

    impl ParseLoopback for str {
        fn parse_loopback(&self) -> crate::model::device::LoopbackUrl {
            crate::model::device::LoopbackUrl::parse(self).expect("loopback")
        }
    }

    fn found(http: bool, bridge: bool) -> Known {
        Known { looked: true, web: true, http, websocket: None, bridge }
    }

    #[tokio::test(start_paused = true)]
    async fn the_devices_own_service_comes_first_and_the_bridge_where_it_has_none() {
        let way = way(RtspVia::Auto, Some(PORT));
        let bridge = way.bridge.expect("configured");
        way.found(found(true, true));
        assert_eq!(way.of_pair(PATIENCE).await, PairWay::Device);
        assert_eq!(way.streaming(), Streaming::Way(StreamingWay::Http));
        way.found(found(false, true));
        assert_eq!(way.of_pair(PATIENCE).await, PairWay::Bridge(bridge));
        assert_eq!(way.streaming(), Streaming::Way(StreamingWay::Bridge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_the_first_probe_and_not_longer_than_its_patience() {
        let way = way(RtspVia::Auto, Some(PORT));
        let (chosen, ()) = tokio::join!(way.of_pair(PATIENCE), async {
            tokio::time::sleep(PATIENCE / 2).await;
            way.found(found(true, true));
        });
        assert_eq!(chosen, PairWay::Device);
        let unknown = super::tests::way(RtspVia::Auto, Some(PORT));
        assert!(matches!(unknown.of_pair(PATIENCE).await, PairWay::Bridge(_)));
    }

    #[tokio::test]
    async fn the_configuration_overrules_what_is_known() {
        let bridged = way(RtspVia::Bridge, Some(PORT));
        bridged.found(found(true, false));
        assert!(matches!(bridged.of_pair(PATIENCE).await, PairWay::Bridge(_)));
        assert!(matches!(bridged.of_websocket(true), WebSocketWay::Bridge(_)));
        assert!(!bridged.streaming().over_uplink());
        let own = way(RtspVia::Device, Some(PORT));
        own.found(found(false, true));
        assert_eq!(own.of_pair(PATIENCE).await, PairWay::Device);
        assert_eq!(own.of_websocket(true), WebSocketWay::Device);
        assert_eq!(own.streaming(), Streaming::Way(StreamingWay::Http));
    }

    #[test]
    fn a_websocket_goes_to_the_device_until_it_refused_one() {
        let way = way(RtspVia::Auto, Some(PORT));
        let bridge = way.bridge.expect("configured");
        assert_eq!(way.of_websocket(true), WebSocketWay::DeviceElseBridge(bridge));
        assert_eq!(way.of_websocket(false), WebSocketWay::Bridge(bridge), "samples that name no subprotocol");
        way.websocket_works(false);
        assert_eq!(way.of_websocket(true), WebSocketWay::Bridge(bridge));
    }

    #[test]
    fn streaming_over_uplink_is_true_exactly_when_a_way_works() {
        let way = way(RtspVia::Auto, None);
        assert!(!way.streaming().over_uplink());
        way.found(found(false, false));
        assert!(matches!(way.streaming(), Streaming::None(why) if why.contains("set `rtsp`")));
        way.websocket_works(true);
        assert_eq!(way.streaming(), Streaming::Way(StreamingWay::WebSocket));
        way.http_works();
        assert_eq!(way.streaming(), Streaming::Way(StreamingWay::Http));
    }
}
