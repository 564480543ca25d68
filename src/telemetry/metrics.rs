//! The metrics registry: what parts register comes out under the prefix `onvif_uplink_`, what every process has under
//! Prometheus' own names (`process_…`), as OpenMetrics 1.0.
//!
//! The library writes `_total` behind counters, the unit behind the name and a full stop behind the help text by itself:
//! register `config_reloads`, unit as [`Unit`](prometheus_client::registry::Unit), help without a full stop.

use prometheus_client::{encoding::text, metrics::info::Info, registry::Registry};

use super::process::ProcessCollector;

/// Begins every name of this product.
pub const PREFIX: &str = "onvif_uplink";

/// What [`Metrics::encode`] makes; for the `content-type` header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of the process. Filled while the parts are put together, then only read.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry with the process collector and `onvif_uplink_build_info{version}`.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        let mut metrics = Self { registry };
        metrics.product().register("build", "Version of this program", Info::new(vec![("version", version)]));
        metrics
    }

    /// Where the parts register; names come out as `onvif_uplink_<name>[_<unit>][_total]`.
    pub fn product(&mut self) -> &mut Registry {
        self.registry.sub_registry_with_prefix(PREFIX)
    }

    /// All metrics now, in the format of [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(fmt_error) => {
                // Half a document would be read as metrics that vanished; an empty one is a failed scrape.
                tracing::error!(error = %fmt_error, "the metrics could not be written; this is a defect of onvif-uplink");
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        metrics::{counter::Counter, family::Family, gauge::Gauge},
        registry::Unit,
    };

    use super::*;

    #[test]
    fn names_come_out_as_promised() {
        let mut metrics = Metrics::new("1.2.3");
        let reloads = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
        let generation = Gauge::<i64>::default();
        let expiry = Gauge::<i64>::default();
        metrics.product().register("config_reloads", "Configuration documents read", reloads.clone());
        metrics.product().register("config_generation", "Accepted documents", generation.clone());
        metrics.product().register_with_unit("expiry_timestamp", "End", Unit::Seconds, expiry);
        reloads.get_or_create(&vec![("result", "accepted")]).inc();
        generation.set(3);
        let text = metrics.encode();
        for line in [
            "onvif_uplink_build_info{version=\"1.2.3\"} 1",
            "# HELP onvif_uplink_build Version of this program.",
            "onvif_uplink_config_reloads_total{result=\"accepted\"} 1",
            "onvif_uplink_config_generation 3",
            "onvif_uplink_expiry_timestamp_seconds 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_process_has_the_names_that_every_dashboard_knows() {
        let text = Metrics::new("1.2.3").encode();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
            "process_threads",
        ] {
            let value: f64 = text
                .lines()
                .find_map(|line| line.strip_prefix(name).and_then(|rest| rest.trim().parse().ok()))
                .unwrap_or_else(|| panic!("{name} has no number in\n{text}"));
            assert!(value > 0.0 || name == "process_cpu_seconds_total", "{name} {value}");
        }
    }
}
