//! A scripted API server for tests in virtual time: it answers each request by the next act, and tells what it was asked.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tower::service_fn;

/// What the server does with one request; with those after the last act it does nothing.
pub enum Act {
    /// Answers.
    Answer(u16, Value),
    /// Never answers.
    Silence,
    /// Cannot be reached.
    Refuse,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Since the start.
    pub at: Duration,
    /// Method, path and query.
    pub line: String,
    /// The body; null if there was none.
    pub body: Value,
}

/// The server.
pub struct ScriptedApi {
    acts: Mutex<VecDeque<Act>>,
    asked: watch::Sender<Vec<Asked>>,
    start: Instant,
}

impl ScriptedApi {
    /// A server with these acts, and its client.
    pub fn start(acts: impl IntoIterator<Item = Act>) -> (Arc<Self>, Client) {
        let acts = Mutex::new(acts.into_iter().collect());
        let server = Arc::new(Self { acts, asked: watch::Sender::default(), start: Instant::now() });
        let of_service = Arc::clone(&server);
        let service = service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&of_service);
            async move { server.answer(request).await }
        });
        (server, Client::new(service, "cams"))
    }

    async fn answer(&self, request: Request<Body>) -> io::Result<Response<Full<Bytes>>> {
        let line = format!("{} {}", request.method(), request.uri());
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let act = self.acts.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(Act::Silence);
        self.asked.send_modify(|asked| asked.push(Asked { at: self.start.elapsed(), line, body }));
        match act {
            Act::Answer(status, value) => {
                let body = Full::new(Bytes::from(value.to_string()));
                Ok(Response::builder().status(status).body(body).expect("a response"))
            }
            Act::Silence => std::future::pending().await,
            Act::Refuse => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
        }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// All requests as soon as there are `count`.
    pub async fn until(&self, count: usize) -> Vec<Asked> {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| asked.len() >= count).await.expect("the server lives").clone()
    }
}

/// A refusal as the API server says it.
pub fn refusal(code: u16, reason: &str) -> Act {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason,
        "metadata": {},
    });
    Act::Answer(code, status)
}
