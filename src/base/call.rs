//! Single calls of the Kubernetes API, each within a deadline, and how they went, for the metric.

use std::{future::Future, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::time::timeout;

use super::trouble::Trouble;

/// A call is answered within this, or given up.
pub const CALL_MAX: Duration = Duration::from_secs(10);

/// Waits for the answer of one call, at most [`CALL_MAX`]. Dropped, it leaves the call undecided.
///
/// # Errors
/// What is in the way.
pub async fn bounded<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match timeout(CALL_MAX, call).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::Silent(CALL_MAX)),
    }
}

/// What a write is for; the words are those of the metric, stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An Event on the pod.
    Event,
    /// The status in a ConfigMap or an annotation.
    Status,
    /// A change of the configuration by the uplink configuration service.
    WriteBack,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Status => "status",
            Self::WriteBack => "write_back",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    purpose: &'static str,
    outcome: &'static str,
}

/// Counts writes. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Writes(Family<Labels, Counter>);

impl Writes {
    /// The metric `onvif_uplink_kubernetes_writes_total`. The good outcomes start at zero, the others begin with the first of them.
    pub fn register(registry: &mut Registry) -> Self {
        let writes = Self::default();
        for purpose in [Purpose::Event, Purpose::Status, Purpose::WriteBack] {
            writes.count(purpose, "done", 0);
        }
        registry.register("kubernetes_writes", "Writes to the API of Kubernetes, by outcome", writes.0.clone());
        writes
    }

    /// Counts one that was tried.
    pub fn tried<T>(&self, purpose: Purpose, result: &Result<T, Trouble>) {
        self.count(purpose, result.as_ref().err().map_or("done", Trouble::outcome), 1);
    }

    /// Counts so many that were never tried, because there were too many.
    pub fn dropped(&self, purpose: Purpose, number: u64) {
        self.count(purpose, "dropped", number);
    }

    fn count(&self, purpose: Purpose, outcome: &'static str, number: u64) {
        self.0.get_or_create(&Labels { purpose: purpose.as_str(), outcome }).inc_by(number);
    }

    /// How many of this purpose had this outcome.
    #[cfg(test)]
    pub fn counted(&self, purpose: Purpose, outcome: &'static str) -> u64 {
        self.0.get(&Labels { purpose: purpose.as_str(), outcome }).map_or(0, |counter| counter.get())
    }
}
