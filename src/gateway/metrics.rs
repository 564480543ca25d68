//! What the gateway counts (design.md §6: `onvif_uplink_<noun>_<unit>[_total]`, labels are enums).

use std::sync::Arc;

use http::StatusCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
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

/// The counters; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    accepts: Family<Outcome, Counter>,
    requests: Family<Code, Counter>,
}

impl Metrics {
    /// Puts them, and what is read from the directory, on the registry.
    pub fn register(&self, registry: &mut Registry, directory: &Arc<Directory>) {
        registry.register("gateway_accepts", "Connections of devices by outcome", self.accepts.clone());
        registry.register("gateway_requests", "Requests at the front by class of status", self.requests.clone());
        registry.register_collector(Box::new(Sums(Arc::clone(directory))));
    }

    /// Notes what became of a device's connection.
    pub fn accepted(&self, outcome: &'static str) {
        self.accepts.get_or_create(&Outcome { outcome }).inc();
    }

    /// Notes an answer at the front.
    pub fn answered(&self, status: StatusCode) {
        let code = match status.as_u16() {
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
