//! Handlers made of functions, and requests of the remote.

use std::sync::Arc;

use http::Version;
use onvif_uplink::base::http::{BoxFuture, Handler, Request, Response};

/// Makes a handler of a function.
struct Answer<F>(F);

impl<F, A> Handler for Answer<F>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        Box::pin((self.0)(request))
    }
}

/// A handler that answers by `function`.
pub fn answer<F, A>(function: F) -> Arc<dyn Handler>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    Arc::new(Answer(function))
}

/// Answers with the request's own body and trailers.
pub fn echo() -> Arc<dyn Handler> {
    answer(|request| async move { Response::new(request.into_body()) })
}

/// A GET of the remote.
pub fn get(path: &str) -> http::Request<()> {
    http::Request::builder()
        .uri(format!("https://cloud.example{path}"))
        .version(Version::HTTP_2)
        .body(())
        .expect("valid")
}
