//! The metrics of the configuration: which generation runs, how reloads went, how many Secrets cannot be used.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::SystemTime,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use crate::model::status::StatusBoard;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Counts what became of the documents.
#[derive(Debug)]
pub(super) struct Reloads {
    reloads: Family<Labels, Counter>,
    generation: Gauge,
    last_successful: Gauge,
    last_success: Gauge<f64, AtomicU64>,
}

impl Reloads {
    pub(super) fn register(registry: &mut Registry, board: Arc<StatusBoard>) -> Self {
        registry.register_collector(Box::new(SecretsUnusable(board)));
        let reloads = Family::<Labels, Counter>::default();
        for result in ["applied", "refused"] {
            // Both series start at zero, so that an alert on an increase sees the first one.
            drop(reloads.get_or_create(&Labels { result }));
        }
        let one = Self {
            reloads,
            generation: Gauge::default(),
            last_successful: Gauge::default(),
            last_success: Gauge::default(),
        };
        registry.register("config_reloads", "Configuration documents, by what became of them", one.reloads.clone());
        registry.register(
            "config_generation",
            "Accepted configuration documents since the start",
            one.generation.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "Whether the newest configuration document is in force",
            one.last_successful.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was applied",
            one.last_success.clone(),
        );
        one
    }

    pub(super) fn applied(&self, generation: u64) {
        self.reloads.get_or_create(&Labels { result: "applied" }).inc();
        self.generation.set(generation as i64);
        self.last_successful.set(1);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(now.as_secs_f64());
    }

    pub(super) fn refused(&self) {
        self.reloads.get_or_create(&Labels { result: "refused" }).inc();
        self.last_successful.set(0);
    }
}

/// Counts what the board says of Secrets, at the scrape.
#[derive(Debug)]
struct SecretsUnusable(Arc<StatusBoard>);

impl Collector for SecretsUnusable {
    fn encode(&self, mut out: DescriptorEncoder) -> fmt::Result {
        let gauge = ConstGauge::new(self.0.snapshot().config.secrets.len() as i64);
        let help = "Secrets followed over the API that cannot be used as they are";
        gauge.encode(out.encode_descriptor("config_secrets_unusable", help, None, gauge.metric_type())?)
    }
}
