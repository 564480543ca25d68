//! As much of Kubernetes' API server as one object needs: list and watch of ConfigMaps and Secrets by name, over plain HTTP. It can
//! be edited, told to forbid, stopped and started again on its port.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use onvif_uplink::{cluster::client, tls::provider::provider};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The only namespace.
pub const NAMESPACE: &str = "cams";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A running server.
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<Shared>,
    run: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// By resource and name.
    objects: BTreeMap<(String, String), Value>,
    /// (version, resource, name, event).
    events: Vec<(u64, String, String, Value)>,
    forbidden: BTreeSet<String>,
    asked: Vec<String>,
}

impl ApiServer {
    /// Starts one without objects.
    pub async fn start() -> Self {
        let state = Arc::new(Shared { state: Mutex::default(), changed: watch::Sender::new(1) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self { address, run: tokio::spawn(serve(listener, Arc::clone(&state))), state }
    }

    /// A client with the product's deadlines.
    pub fn client(&self) -> Client {
        let mut config = Config::new(format!("http://{}/", self.address).parse().expect("an address"));
        // No TLS here, and so none of the machine's roots.
        config.root_cert = Some(Vec::new());
        client::with_config(config, provider()).expect("a client")
    }

    /// Creates or replaces a ConfigMap with this data.
    pub fn put_configmap(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        self.put("configmaps", name, json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data }));
    }

    /// Creates or replaces a Secret with this data.
    pub fn put_secret(&self, name: &str, data: &[(&str, &[u8])]) {
        let data: BTreeMap<_, _> = data.iter().map(|(key, value)| (*key, BASE64_STANDARD.encode(value))).collect();
        self.put("secrets", name, json!({ "apiVersion": "v1", "kind": "Secret", "data": data }));
    }

    fn put(&self, resource: &str, name: &str, mut object: Value) {
        self.change(resource, name, |version| {
            object["metadata"] =
                json!({ "name": name, "namespace": NAMESPACE, "resourceVersion": version.to_string() });
            Some(object)
        });
    }

    /// Deletes an object.
    pub fn delete(&self, resource: &str, name: &str) {
        self.change(resource, name, |_| None);
    }

    fn change(&self, resource: &str, name: &str, object: impl FnOnce(u64) -> Option<Value>) {
        let version = *self.state.changed.borrow() + 1;
        let mut state = self.state.lock();
        let key = (resource.to_owned(), name.to_owned());
        let (kind, object) = match object(version) {
            Some(object) => {
                let old = state.objects.insert(key, object.clone());
                (if old.is_some() { "MODIFIED" } else { "ADDED" }, object)
            }
            None => {
                let mut old = state.objects.remove(&key).expect("an object to delete");
                old["metadata"]["resourceVersion"] = json!(version.to_string());
                ("DELETED", old)
            }
        };
        let event = json!({ "type": kind, "object": object });
        state.events.push((version, resource.to_owned(), name.to_owned(), event));
        drop(state);
        self.state.changed.send_replace(version);
    }

    /// From now on a resource (`configmaps`) is refused with 403, or not any more; watches that stand are cut.
    pub async fn forbid(&mut self, resource: &str, forbidden: bool) {
        self.stop();
        {
            let mut state = self.state.lock();
            if forbidden {
                state.forbidden.insert(resource.to_owned())
            } else {
                state.forbidden.remove(resource)
            };
        }
        self.restart().await;
    }

    /// Cuts all connections and takes no more.
    pub fn stop(&self) {
        self.run.abort();
    }

    /// Serves again, on the same port, with the same objects.
    pub async fn restart(&mut self) {
        let _ = (&mut self.run).await;
        let listener = TcpListener::bind(self.address).await.expect("the same port");
        self.run = tokio::spawn(serve(listener, Arc::clone(&self.state)));
    }

    /// The targets of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.run.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the lock")
    }
}

async fn serve(listener: TcpListener, state: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&state, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // How a connection ends is the client's affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(shared: &Arc<Shared>, request: &Request<Incoming>) -> Answer {
    let mut state = shared.lock();
    state.asked.push(request.uri().to_string());
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let resource = request.uri().path().strip_prefix(&format!("/api/v1/namespaces/{NAMESPACE}/"));
    let name = query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
    let (Some(resource), Some(name)) = (resource, name) else {
        return refusal(404, "only one object by its name is served here");
    };
    if state.forbidden.contains(resource) {
        return refusal(403, &format!("cannot list resource \"{resource}\""));
    }
    let version = *shared.changed.borrow();
    if query.get("watch").is_none_or(|watch| watch != "true") {
        let items: Vec<_> = state.objects.get(&(resource.to_owned(), name.to_owned())).into_iter().collect();
        let metadata = json!({ "resourceVersion": version.to_string() });
        return whole(200, &json!({ "apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items }));
    }
    let since = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    watched(Arc::clone(shared), resource.to_owned(), name.to_owned(), since)
}

fn watched(shared: Arc<Shared>, resource: String, name: String, since: u64) -> Answer {
    let changes = shared.changed.subscribe();
    let events = stream::unfold((since, changes), move |(since, mut changes)| {
        let (shared, resource, name) = (Arc::clone(&shared), resource.clone(), name.clone());
        async move {
            loop {
                changes.borrow_and_update();
                let mine = |(version, of, named, _): &&(u64, String, String, Value)| {
                    *version > since && *of == resource && *named == name
                };
                let next = shared.lock().events.iter().find(mine).cloned();
                if let Some((version, _, _, event)) = next {
                    return Some((event, (version, changes)));
                }
                changes.changed().await.ok()?;
            }
        }
    });
    let frames = events.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn whole(status: u16, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    Response::builder().status(status).header("content-type", "application/json").body(body).expect("a response")
}

fn refusal(code: u16, message: &str) -> Answer {
    let reason = if code == 403 { "Forbidden" } else { "NotFound" };
    whole(
        code,
        &json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
            "metadata": {},
        }),
    )
}
