//! One span per request, with OpenTelemetry's HTTP semantic conventions, and `traceparent` on to the device (W3C Trace
//! Context). In front of the other handlers only when traces are exported. The query is never recorded: it may hold secrets.

use std::sync::Arc;

use tracing::{Instrument, field::Empty};

use crate::{
    base::http::{BoxFuture, Handler, Request, Response},
    telemetry::traces,
};

pub(super) struct Traced {
    inner: Arc<dyn Handler>,
    device: String,
}

impl Traced {
    pub(super) fn new(inner: Arc<dyn Handler>, device: &str) -> Self {
        Self { inner, device: device.to_owned() }
    }
}

impl Handler for Traced {
    fn handle(&self, mut request: Request) -> BoxFuture<'static, Response> {
        let span = tracing::info_span!(
            "request",
            otel.name = request.method().as_str(),
            otel.kind = "server",
            device = self.device,
            http.request.method = request.method().as_str(),
            url.path = request.uri().path(),
            network.protocol.version = "2",
            http.response.status_code = Empty,
            error.type = Empty,
        );
        traces::continue_from(&span, request.headers());
        traces::inject(&span, request.headers_mut());
        let answer = self.inner.handle(request);
        let recorded = span.clone();
        Box::pin(
            async move {
                let response = answer.await;
                let status = response.status();
                recorded.record("http.response.status_code", status.as_u16());
                if status.is_server_error() {
                    recorded.record("error.type", status.as_str());
                }
                response
            }
            .instrument(span),
        )
    }
}
