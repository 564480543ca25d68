//! A scripted cloud for the tests of this room: fakes of authorizer and transport, and the far ends of their streams.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use h2::client::SendRequest;
use prometheus_client::registry::Registry;
use tokio::{
    io::DuplexStream,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    metrics::UplinkMetrics,
    supervisor::{Parts, Supervisor},
};
use crate::{
    authz::{Authorizer, Grant},
    base::{
        http::{Body, BoxFuture, Handler, Request, Response},
        io::Direct,
        shard::ShardHandle,
    },
    model::{
        access::Access,
        address::{RemoteAddress, Scheme},
        authorization::{Authorization, AuthorizationMode, Certificate, Trust},
        device::{Device, LoopbackUrl},
        failure::Failure,
        status::{Status, StatusBoard, TlsFacts, UplinkStatus},
        step::Witness,
        uplink::{Uplink, UplinkKey},
        user_level::UserLevel,
    },
    reverse::Limits,
    transport::{Connected, Transport},
};

/// Longer than any wait of the product: a test that gets here hangs.
pub const PATIENCE: Duration = Duration::from_secs(3600);

/// A device port whose runner panics when its session stands.
pub const PANICS: u16 = 1;

pub fn uplink(device: &str, port: u16) -> Uplink {
    Uplink {
        device: Device {
            name: device.to_owned(),
            http: LoopbackUrl::parse(&format!("http://127.0.0.1:{port}")).expect("valid"),
            rtsp: None,
            rtsp_via: Default::default(),
            connect_ports: Default::default(),
            addresses: Default::default(),
            credentials: BTreeMap::new(),
            pass_through: false,
        },
        remote: RemoteAddress::parse("https://cloud/").expect("valid"),
        authorization: Authorization::Mtls(Certificate { id: "c".into(), cert_file: "c".into(), key_file: "k".into() }),
        trust: Trust::SystemRoots,
        user_level: vec![UserLevel::User],
        access: Access::default(),
        network: Default::default(),
        tls: Default::default(),
        lab: Default::default(),
    }
}

/// Grants at once; its material changes when a test says so.
pub struct FakeAuthorizer {
    tls: Arc<rustls::ClientConfig>,
    pub material: watch::Sender<u64>,
}

impl Authorizer for FakeAuthorizer {
    fn mode(&self) -> AuthorizationMode {
        AuthorizationMode::Mtls
    }

    fn grant<'a>(&'a self, _: &'a Uplink, _: &'a dyn Witness) -> BoxFuture<'a, Result<Grant, Failure>> {
        let grant = Grant { tls: Arc::clone(&self.tls), token: None, certificate_expiry: Some(SystemTime::UNIX_EPOCH) };
        Box::pin(async { Ok(grant) })
    }

    fn changes(&self, _: &Uplink) -> watch::Receiver<u64> {
        self.material.subscribe()
    }
}

/// One attempt as the cloud sees it: when, for which device, and the far end of its stream.
pub struct Arrival {
    pub at: tokio::time::Instant,
    pub uplink: Uplink,
    pub stream: DuplexStream,
}

/// Fails as often as the script says, then connects.
pub struct FakeTransport {
    arrivals: mpsc::UnboundedSender<Arrival>,
    pub failures: Mutex<VecDeque<Failure>>,
    /// Our end of the connections that it makes.
    pub local: Mutex<Ipv4Addr>,
}

impl Transport for FakeTransport {
    fn scheme(&self) -> Scheme {
        Scheme::Https
    }

    fn connect<'a>(
        &'a self,
        uplink: &'a Uplink,
        _: Grant,
        _: &'a dyn Witness,
    ) -> BoxFuture<'a, Result<Connected, Failure>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let local = *self.local.lock().expect("one thread");
        let failure = self.failures.lock().expect("one thread").pop_front();
        let _ = self.arrivals.send(Arrival { at: tokio::time::Instant::now(), uplink: uplink.clone(), stream: far });
        Box::pin(async move {
            match failure {
                Some(failure) => Err(failure),
                None => Ok(Connected {
                    stream: Box::new(Direct(near)),
                    early: Bytes::new(),
                    peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 443)),
                    local: SocketAddr::from((local, 50_000)),
                    tls: TlsFacts::default(),
                }),
            }
        })
    }
}

/// Answers after the time that the path names in seconds; the body is the port of the device's web service.
struct SlowDevice(u16);

impl Handler for SlowDevice {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let seconds = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
        let port = self.0;
        Box::pin(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            http::Response::new(Body::full(port.to_string()))
        })
    }
}

/// A supervisor whose cloud is the test.
pub struct World {
    pub supervisor: Supervisor,
    pub board: Arc<StatusBoard>,
    pub registry: Registry,
    pub authorizer: Arc<FakeAuthorizer>,
    pub transport: Arc<FakeTransport>,
    /// Tells that the network of the host changed.
    pub network: watch::Sender<u64>,
    pub arrivals: mpsc::UnboundedReceiver<Arrival>,
}

impl World {
    pub fn new() -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let authorizer = Arc::new(FakeAuthorizer { tls: Arc::new(tls), material: watch::Sender::new(0) });
        let network = watch::Sender::new(0);
        let (sender, arrivals) = mpsc::unbounded_channel();
        let transport = Arc::new(FakeTransport {
            arrivals: sender,
            failures: Mutex::default(),
            local: Mutex::new(Ipv4Addr::LOCALHOST),
        });
        let (board, mut registry) = (StatusBoard::new(), Registry::with_prefix("onvif_uplink"));
        let parts = Parts {
            authorizers: BTreeMap::from([(AuthorizationMode::Mtls, Arc::clone(&authorizer) as Arc<dyn Authorizer>)]),
            transports: BTreeMap::from([(Scheme::Https, Arc::clone(&transport) as Arc<dyn Transport>)]),
            handler: Arc::new(|uplink| {
                let port = uplink.device.http.address().port();
                assert_ne!(port, PANICS, "on purpose");
                Arc::new(SlowDevice(port))
            }),
            board: Arc::clone(&board),
            network: network.subscribe(),
            metrics: UplinkMetrics::register(&mut registry, Arc::clone(&board)),
            limits: Limits::default(),
            grace: Duration::from_secs(20),
        };
        let supervisor = Supervisor::new(parts, Box::new(|_| ShardHandle::current()));
        Self { supervisor, board, registry, authorizer, transport, network, arrivals }
    }

    pub fn fail_next(&self, failure: Failure) {
        self.transport.failures.lock().expect("one thread").push_back(failure);
    }

    pub async fn arrival(&mut self) -> Arrival {
        tokio::time::timeout(PATIENCE, self.arrivals.recv()).await.expect("an attempt").expect("the transport lives")
    }

    pub async fn cloud(&mut self) -> Cloud {
        Cloud::open(self.arrival().await.stream).await
    }

    /// Waits until the entry of `key` is as `wanted` says.
    pub async fn until(&self, key: &UplinkKey, wanted: impl Fn(Option<&UplinkStatus>) -> bool) {
        let mut watch = self.board.watch();
        let seen = async {
            while !wanted(self.board.snapshot().uplinks.get(key)) {
                watch.changed().await.expect("the board lives");
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.expect("the status comes");
    }

    pub async fn until_status(&self, key: &UplinkKey, status: Status) {
        self.until(key, |uplink| uplink.is_some_and(|uplink| uplink.status == status)).await;
    }
}

/// The cloud's end of a session.
pub struct Cloud {
    pub send: SendRequest<Bytes>,
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

impl Cloud {
    pub async fn open(stream: DuplexStream) -> Self {
        let (send, connection) = h2::client::Builder::new().enable_push(true).handshake(stream).await.expect("open");
        Self { send, connection: tokio::spawn(connection) }
    }

    /// The body of the answer to `/seconds`.
    pub async fn get(&self, seconds: u64) -> Result<String, h2::Error> {
        let request = http::Request::get(format!("http://camera/{seconds}")).body(()).expect("valid");
        let (response, _) = self.send.clone().ready().await?.send_request(request, true)?;
        let mut body = response.await?.into_body();
        let mut text = Vec::new();
        while let Some(chunk) = body.data().await {
            text.extend_from_slice(&chunk?);
        }
        Ok(String::from_utf8(text).expect("digits"))
    }
}
