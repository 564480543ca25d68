//! How RTSP through an uplink reaches the device: what the configuration wants, and what works (ONVIF Uplink, capability
//! StreamingOverUplink).

/// What the configuration wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RtspVia {
    /// The device's own service where it has one, else the bridge.
    #[default]
    Auto,
    /// The device's own RTSP over HTTP and WebSocket, always.
    Device,
    /// Its RTSP port, always.
    Bridge,
}

impl RtspVia {
    /// All of them with the words of the configuration.
    pub const WORDS: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("device", Self::Device), ("bridge", Self::Bridge)];
}

/// A way that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamingWay {
    /// RTSP over HTTP at the device's web service.
    Http,
    /// RTSP over WebSocket there.
    WebSocket,
    /// The device's RTSP port; tunnelled RTSP is unpacked by us.
    Bridge,
}

impl StreamingWay {
    /// The word of `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::Bridge => "bridge",
        }
    }
}

/// Whether RTSP can be carried, and how. StreamingOverUplink is true exactly when there is a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streaming {
    /// This way works.
    Way(StreamingWay),
    /// None does; a sentence with the mend.
    None(&'static str),
}

impl Streaming {
    /// The value of the capability StreamingOverUplink.
    pub fn over_uplink(&self) -> bool {
        matches!(self, Self::Way(_))
    }
}
