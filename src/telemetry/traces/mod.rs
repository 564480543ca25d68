//! Traces by OpenTelemetry: spans of `tracing` go to a collector by OTLP over gRPC, and the W3C Trace Context
//! (`traceparent`, `tracestate`) continues from the remote through us to the device.
//!
//! Export happens only if the environment names a collector: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
//! `OTEL_EXPORTER_OTLP_ENDPOINT`. The other `OTEL_*` variables (sampler, headers, batch sizes, timeout) are read by the SDK.
//! Without export, or in a build without the feature `otlp`, nothing is made up: an incoming `traceparent` goes on as it is.

#[cfg(feature = "otlp")]
mod otlp;
mod settings;

use http::HeaderMap;
use tracing::{Span, Subscriber};
use tracing_subscriber::{Layer, registry::LookupSpan};

pub use self::settings::{Env, FLUSH_MAX};

/// The export of traces, or none.
#[derive(Debug, Default)]
pub struct Traces {
    #[cfg(feature = "otlp")]
    export: Option<otlp::Export>,
}

impl Traces {
    /// No export.
    pub fn none() -> Self {
        Self::default()
    }

    /// Export as the environment asks. Must run within the runtime that shall drive it; dials nothing before the first span.
    ///
    /// # Errors
    /// A sentence when a collector is named that this build cannot reach, or the variables make no sense.
    pub fn from_env(env: Env<'_>) -> Result<Self, String> {
        let Some(endpoint) = wanted_endpoint(env) else { return Ok(Self::none()) };
        #[cfg(feature = "otlp")]
        return Ok(Self { export: Some(otlp::Export::start(&endpoint, env)?) });
        #[cfg(not(feature = "otlp"))]
        return Err(format!(
            "traces to {endpoint} are asked for, but this build has no OTLP; build with the feature `otlp` or unset the variable"
        ));
    }

    /// Whether there is an export.
    pub fn exports(&self) -> bool {
        #[cfg(feature = "otlp")]
        return self.export.is_some();
        #[cfg(not(feature = "otlp"))]
        return false;
    }

    /// The layer that turns spans into traces; none without export.
    pub fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        #[cfg(feature = "otlp")]
        return self.export.as_ref().map(otlp::Export::layer);
        #[cfg(not(feature = "otlp"))]
        return None;
    }

    /// Sends what is still held, for [`FLUSH_MAX`] at most. Not cancel safe: dropped early, the last spans are lost.
    pub async fn shutdown(self) {
        #[cfg(feature = "otlp")]
        if let Some(export) = self.export {
            export.shutdown().await;
        }
    }
}

/// Makes `span` a child of the trace that `headers` carry. Call it before the span is entered for the first time. Does
/// nothing without export or without a valid `traceparent`.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    #[cfg(feature = "otlp")]
    otlp::continue_from(span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, headers);
}

/// Writes the context of `span` into `headers`. Without export the headers stay as they are, so that a `traceparent` of the
/// remote reaches the device unchanged.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    #[cfg(feature = "otlp")]
    otlp::inject(span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, headers);
}

/// The collector, if export is wanted. `OTEL_SDK_DISABLED` and `OTEL_TRACES_EXPORTER` are in the OpenTelemetry
/// specification but not in the Rust SDK.
fn wanted_endpoint(env: Env<'_>) -> Option<String> {
    let set = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let other_exporter =
        set("OTEL_TRACES_EXPORTER").is_some_and(|list| !list.split(',').any(|one| one.trim() == "otlp"));
    if disabled || other_exporter {
        return None;
    }
    set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    fn endpoint(variables: &[(&str, &str)]) -> Option<String> {
        wanted_endpoint(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn export_needs_an_endpoint_and_the_one_for_traces_wins() {
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[(ANY, "")]), None);
        assert_eq!(endpoint(&[(ANY, "http://a:4317")]).as_deref(), Some("http://a:4317"));
        assert_eq!(endpoint(&[(ANY, "http://a:4317"), (OWN, "http://b:4317")]).as_deref(), Some("http://b:4317"));
    }

    #[test]
    fn export_can_be_switched_off_by_the_variables_of_opentelemetry() {
        let on = (ANY, "http://a:4317");
        assert_eq!(endpoint(&[on, ("OTEL_SDK_DISABLED", "True")]), None);
        assert_eq!(endpoint(&[on, ("OTEL_TRACES_EXPORTER", "none")]), None);
        assert_eq!(endpoint(&[on, ("OTEL_TRACES_EXPORTER", "console")]), None);
        assert!(endpoint(&[on, ("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "console, otlp")]).is_some());
    }

    #[test]
    fn without_export_a_traceparent_goes_on_as_it_is() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "traceparent",
            http::HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        );
        let before = headers.clone();
        let span = tracing::info_span!("request");
        continue_from(&span, &headers);
        inject(&span, &mut headers);
        assert_eq!(headers, before);
    }
}
