//! L0: how the process tells what it does: logs, traces and the metrics registry (design.md §6). External crates only.
//!
//! Started once, by main, within the runtime that then carries the export of traces. Parts use `tracing` and register
//! their metrics; none of them knows where it all goes.

pub mod logs;
pub mod metrics;
mod process;
pub mod traces;

use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use self::{
    logs::{LevelHandle, LogOptions},
    traces::Traces,
};

/// Logs and traces of this process. Keep it until the end and call [`Telemetry::shutdown`] then.
#[derive(Debug)]
pub struct Telemetry {
    level: LevelHandle,
    traces: Traces,
}

impl Telemetry {
    /// Installs the subscriber of the process: logs to standard error, traces if the environment asks for them. Must run
    /// within the runtime that outlives the others: the export of traces is driven by it.
    ///
    /// A mistake in what only concerns traces or `RUST_LOG` is logged and the process goes on: a sidecar that exits for it
    /// would keep the camera's pod from starting.
    ///
    /// # Errors
    /// A sentence when `--log-level` makes no sense or a subscriber is installed already.
    pub fn start(options: &LogOptions) -> Result<Self, String> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let logs = logs::Logs::new(options, env("RUST_LOG").as_deref())?;
        let (traces, complaint) = match Traces::from_env(&env) {
            Ok(traces) => (traces, None),
            Err(sentence) => (Traces::none(), Some(sentence)),
        };
        let ansi = logs::ansi_wanted(&env);
        let mut layers = vec![logs.layer(ansi, std::io::stderr).boxed()];
        layers.extend(traces.layer());
        tracing_subscriber::registry()
            .with(layers)
            .try_init()
            .map_err(|error| format!("the log cannot be started: {error}"))?;
        for sentence in logs.complaint().into_iter().chain(complaint.as_deref()) {
            tracing::warn!("{sentence}");
        }
        Ok(Self { level: logs.level(), traces })
    }

    /// Changes the log level at run time; for the admin listener.
    pub fn level(&self) -> LevelHandle {
        self.level.clone()
    }

    /// Whether traces are exported; spans that nobody exports need not be made.
    pub fn exports_traces(&self) -> bool {
        self.traces.exports()
    }

    /// Sends the traces that are still held, within [`traces::FLUSH_MAX`]. Call it in the runtime that `start` ran in.
    /// Not cancel safe: dropped early, the last spans are lost.
    pub async fn shutdown(self) {
        self.traces.shutdown().await;
    }
}
