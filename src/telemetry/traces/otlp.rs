//! The export itself: OpenTelemetry's SDK with its batch processor (bounded queue, own thread) and the gRPC exporter.
//!
//! Only this product's spans are exported: the exporter speaks HTTP/2 itself, and its own spans would feed it for ever.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use super::settings::{Env, FLUSH_MAX};

const SERVICE: &str = "onvif-uplink";
/// The crate's name as `tracing` has it in targets.
const OWN_TARGET: &str = "onvif_uplink";
const TRACESTATE: &str = "tracestate";
/// The blocking thread is given this much more than the flush itself, then left alone.
const FLUSH_MARGIN: Duration = Duration::from_millis(500);

/// What Kubernetes' downward API gives to the pod, and what OpenTelemetry calls it.
const POD_ATTRIBUTES: [(&str, &str); 5] = [
    ("POD_NAME", "k8s.pod.name"),
    ("POD_NAMESPACE", "k8s.namespace.name"),
    ("POD_UID", "k8s.pod.uid"),
    ("POD_UID", "service.instance.id"),
    ("NODE_NAME", "k8s.node.name"),
];

/// A running export.
#[derive(Debug)]
pub(super) struct Export {
    provider: SdkTracerProvider,
}

impl Export {
    pub(super) fn start(endpoint: &str, env: Env<'_>) -> Result<Self, String> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().map_err(|error| {
            format!(
                "traces cannot be sent to the collector {endpoint}: {error}; name a gRPC endpoint as http://HOST:4317, \
                 for https put a collector beside the sidecar"
            )
        })?;
        let provider = SdkTracerProvider::builder()
            .with_resource(Resource::builder().with_attributes(own_attributes(env)).build())
            .with_batch_exporter(exporter)
            .build();
        Ok(Self { provider })
    }

    pub(super) fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_filter(Targets::new().with_target(OWN_TARGET, tracing::Level::INFO))
            .boxed()
    }

    pub(super) async fn shutdown(self) {
        // The SDK waits for its own thread, so this must not hold the runtime that drives the export.
        let flush = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_MAX));
        match tokio::time::timeout(FLUSH_MAX + FLUSH_MARGIN, flush).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last traces could not be sent"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last traces were not sent in time"),
        }
    }
}

/// Attributes that the environment has not set itself: what the operator says wins.
fn own_attributes(env: Env<'_>) -> Vec<KeyValue> {
    let operator = env("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_set =
        |key: &str| operator.split(',').any(|pair| pair.split('=').next().is_some_and(|name| name.trim() == key));
    let mut attributes = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    if env("OTEL_SERVICE_NAME").is_none() {
        attributes.push(KeyValue::new("service.name", SERVICE));
    }
    for (variable, key) in POD_ATTRIBUTES {
        attributes.extend(env(variable).filter(|value| !value.is_empty()).map(|value| KeyValue::new(key, value)));
    }
    attributes.retain(|attribute| !is_set(attribute.key.as_str()));
    attributes
}

pub(super) fn continue_from(span: &Span, headers: &HeaderMap) {
    let remote = TraceContextPropagator::new().extract_with_context(&Context::new(), &Carried(headers));
    if remote.span().span_context().is_valid() {
        // Without export there is no layer to take it, and nothing to do about that.
        let _ = span.set_parent(remote);
    }
}

pub(super) fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return;
    }
    // The state belongs to the parent of our span; an empty one must not go on as an empty field.
    headers.remove(TRACESTATE);
    TraceContextPropagator::new().inject_context(&context, &mut Carrying(headers));
}

struct Carried<'a>(&'a HeaderMap);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Carrying<'a>(&'a mut HeaderMap);

impl Injector for Carrying<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use tokio::{net::TcpListener, sync::mpsc};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::traces::Traces;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// A collector of one connection on raw h2: says the path and the body of each call, answers with an empty message.
    async fn collect(listener: TcpListener, calls: mpsc::Sender<(String, Bytes)>) {
        let (stream, _) = listener.accept().await.expect("accepts");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let calls = calls.clone();
            // The body arrives while the connection is polled, so the call has a task of its own; it ends with the runtime.
            drop(tokio::spawn(async move {
                let path = request.uri().path().to_owned();
                let mut body = request.into_body();
                let mut bytes = Vec::new();
                while let Some(Ok(chunk)) = body.data().await {
                    let _ = body.flow_control().release_capacity(chunk.len());
                    bytes.extend_from_slice(&chunk);
                }
                let response = http::Response::builder().header("content-type", "application/grpc");
                let mut answer = respond.send_response(response.body(()).expect("valid"), false).expect("open");
                answer.send_data(Bytes::from_static(&[0; 5]), false).expect("open");
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                answer.send_trailers(trailers).expect("open");
                let _ = calls.send((path, bytes.into())).await;
            }));
        }
    }

    fn holds(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[tokio::test]
    async fn a_span_reaches_the_collector_within_the_trace_of_the_remote() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let (sender, mut calls) = mpsc::channel(4);
        let collector = tokio::spawn(collect(listener, sender));

        let traces = Traces::from_env(&|name| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| endpoint.clone()))
            .expect("set up");
        let layers: Vec<_> = traces.layer().into_iter().collect();
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(PARENT));
        headers.insert(TRACESTATE, HeaderValue::from_static("cloud=7"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layers), || {
            let span = tracing::info_span!("request", device = "camera-1");
            continue_from(&span, &headers);
            inject(&span, &mut headers);
            span.in_scope(|| tracing::info_span!(target: "h2", "noise").in_scope(|| {}));
        });
        let forwarded = headers["traceparent"].to_str().expect("ASCII");
        assert!(forwarded.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && forwarded != PARENT, "{forwarded}");
        assert_eq!(headers[TRACESTATE], "cloud=7");

        traces.shutdown().await;
        let (path, body) = calls.recv().await.expect("one export");
        assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        for part in [&b"request"[..], b"camera-1", b"onvif-uplink", &[0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd]] {
            assert!(holds(&body, part), "{part:?} is not in the export");
        }
        assert!(!holds(&body, b"noise"));
        collector.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_this_build_cannot_reach_is_a_sentence_with_the_mend() {
        let env = |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "https://collector:4317".to_owned());
        let error = Traces::from_env(&env).expect_err("no TLS in the exporter");
        assert!(error.contains("https://collector:4317") && error.contains("http://HOST:4317"), "{error}");
    }

    #[test]
    fn the_pod_is_named_and_the_operator_wins() {
        let attributes = |variables: &[(&str, &str)]| -> BTreeMap<String, String> {
            let env = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            own_attributes(&env).into_iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
        };
        let own = attributes(&[("POD_NAME", "camera-7"), ("POD_UID", "u-1"), ("NODE_NAME", "")]);
        assert_eq!(own["service.name"], "onvif-uplink");
        assert_eq!((own["k8s.pod.name"].as_str(), own["service.instance.id"].as_str()), ("camera-7", "u-1"));
        assert!(!own.contains_key("k8s.node.name"));
        let theirs = attributes(&[
            ("OTEL_SERVICE_NAME", "yard"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=x, service.version=2"),
            ("POD_NAME", "camera-7"),
        ]);
        assert!(theirs.is_empty(), "{theirs:?}");
    }
}
