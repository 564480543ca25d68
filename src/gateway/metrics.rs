//! What the gateway counts (design.md §6: `onvif_uplink_<noun>_<unit>[_total]`, labels are enums).

use std::sync::Arc;

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use super::directory::Directory;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

/// What is carried as a byte stream through one or two streams of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A WebSocket, or another extended CONNECT.
    WebSocket,
    /// A plain CONNECT.
    Connect,
    /// One half of RTSP over HTTP of a player at the front.
    RtspHttp,
    /// A player at the RTSP listener.
    Rtsp,
}

impl Kind {
    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Connect => "connect",
            Self::RtspHttp => "rtsp-http",
            Self::Rtsp => "rtsp",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Opening {
    kind: &'static str,
    outcome: &'static str,
}

/// The counters; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    accepts: Family<Outcome, Counter>,
    requests: Family<Code, Counter>,
    tunnels: Family<Opening, Counter>,
    open: Family<OfKind, Gauge>,
}

/// A tunnel that is counted as open until this is dropped.
#[derive(Debug)]
pub struct OpenTunnel(Gauge);

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Puts them, and what is read from the directory, on the registry.
    pub fn register(&self, registry: &mut Registry, directory: &Arc<Directory>) {
        registry.register("gateway_accepts", "Connections of devices by outcome", self.accepts.clone());
        registry.register("gateway_requests", "Requests at the front by class of status", self.requests.clone());
        registry.register(
            "gateway_tunnels",
            "WebSockets, CONNECTs and RTSP of clients by outcome",
            self.tunnels.clone(),
        );
        registry.register("gateway_tunnels_open", "WebSockets, CONNECTs and RTSP of clients", self.open.clone());
        registry.register_collector(Box::new(Sums(Arc::clone(directory))));
    }

    /// Notes what became of a device's connection.
    pub fn accepted(&self, outcome: &'static str) {
        self.accepts.get_or_create(&Outcome { outcome }).inc();
    }

    /// Notes that a tunnel stands.
    pub fn opened(&self, kind: Kind) -> OpenTunnel {
        self.tunnels.get_or_create(&Opening { kind: kind.label(), outcome: "opened" }).inc();
        let gauge = self.open.get_or_create_owned(&OfKind { kind: kind.label() });
        gauge.inc();
        OpenTunnel(gauge)
    }

    /// Notes that a tunnel was refused, by the gateway or by the device.
    pub fn refused(&self, kind: Kind) {
        self.tunnels.get_or_create(&Opening { kind: kind.label(), outcome: "refused" }).inc();
    }

    /// Notes an answer at the front.
    pub fn answered(&self, status: StatusCode) {
        let code = match status.as_u16() {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Code { code }).inc();
    }
}

#[derive(Debug)]
struct Sums(Arc<Directory>);

impl Collector for Sums {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let sums = self.0.totals();
        for (name, help, value) in [
            ("gateway_sessions", "Sessions of devices that stand", sums.sessions),
            ("gateway_streams_open", "Streams open to devices", sums.streams),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                prometheus_client::metrics::MetricType::Gauge,
            )?)?;
        }
        for (name, help, value) in [
            ("gateway_received_bytes", "Bytes received from devices", sums.received),
            ("gateway_sent_bytes", "Bytes sent to devices", sums.sent),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                prometheus_client::metrics::MetricType::Counter,
            )?)?;
        }
        Ok(())
    }
}
