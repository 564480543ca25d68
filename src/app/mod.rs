//! L6: the composition root of the sidecar: [`App::build`] names the concrete parts and binds, [`App::run`] works until it
//! is told to drain.
//!
//! It joins the siblings that do not know each other: documents of a source become desired sets for the supervisor, the
//! outcome goes to board, metric, log and readiness. A document that is wrong changes nothing: the last good set goes on;
//! before the first good one the process stays up and waits, because a sidecar that exits keeps the camera's pod from starting.

pub mod cluster;
mod follower;
mod lifecycle;
mod local;
pub mod probe;
mod reloads;
mod traced;
mod uplinks;
mod visible;

use std::{collections::BTreeMap, io, net::SocketAddr, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use self::{
    cluster::SecretsWork,
    follower::Follower,
    local::Local,
    reloads::Reloads,
    traced::Traced,
    uplinks::{Current, Uplinks},
    visible::VisibleWork,
};
pub use self::{
    cluster::{Cluster, Origin, SecretsOrigin},
    visible::Visible,
};
pub use crate::transport::proxy::choice::Proxies;
use crate::{
    admin::{
        Admin, AdminState, Readiness, StatusFn,
        lifecycle::{Asked, Lifecycle},
        status,
    },
    authz::{Authorizer, mtls::MutualTls, token::AccessTokens, unauthenticated::Unauthenticated},
    base::{
        drain::{Drain, drain},
        http::Handler,
        mediator::Mediators,
        network::NetworkWatch,
        shard::Shards,
        watch::FileWatcher,
    },
    config::{self, Secrets, Served, source::ConfigSource},
    device::Accounts,
    forward::{Routes, rtsp::probe::Ways},
    model::{address::Scheme, authorization::AuthorizationMode, status::StatusBoard, uplink::Uplink},
    onvif::{
        level::{Level, addresses::Directory},
        misplaced::Misplaced,
        rewrite::{Rewrite, conversation::Conversations as RtspAddresses, map::Map},
        uplink_service::{UplinkService, gate::UplinkGate},
    },
    reverse::Limits,
    telemetry::{logs::LevelHandle, metrics::Metrics},
    transport::{Transport, fetch::HttpsFetch, https::Https, reach::Reach, wss::Wss},
    uplink::{
        metrics::UplinkMetrics,
        supervisor::{MakeHandler, Parts, Supervisor},
    },
};

/// What a sidecar is started with (design.md §6).
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration comes from.
    pub config: Origin,
    /// Where the Secrets come from that it names.
    pub secrets: SecretsOrigin,
    /// How the API of Kubernetes is reached, if one of the two needs it.
    pub cluster: Cluster,
    /// Where the admin listener listens; port 0 takes a free one.
    pub admin: SocketAddr,
    /// Where the uplink configuration service listens for local tools, if it does; port 0 takes a free one.
    pub onvif: Option<SocketAddr>,
    /// How long open streams may go on when an uplink or the process ends.
    pub grace: Duration,
    /// Shards.
    pub threads: NonZeroUsize,
    /// End when the first document is unusable.
    pub exit_on_invalid: bool,
    /// Ready only while at least one uplink is Online.
    pub ready_requires_uplink: bool,
    /// Whether `/drain` is there.
    pub drain_endpoint: bool,
    /// What Kubernetes sees.
    pub visible: Visible,
    /// Whether the uplink configuration service may change the ConfigMap that the configuration comes from.
    pub write_back: bool,
    /// Whether requests get a span each: only when traces are exported.
    pub trace_requests: bool,
    /// The proxies of the process.
    pub proxies: Proxies,
    /// What `PUT /log-level` changes.
    pub level: LevelHandle,
}

/// How [`App::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Told to stop, and drained.
    Stopped,
    /// The first document is unusable, and `exit_on_invalid` was asked for.
    ConfigurationUnusable,
}

/// A sidecar that listens on its admin address and has not read its configuration yet.
pub struct App {
    admin: Admin,
    local: Option<Local>,
    readiness: Readiness,
    board: Arc<StatusBoard>,
    reloads: Reloads,
    source: Box<dyn ConfigSource>,
    served: Served,
    /// How RTSP reaches the devices; probed here, used by the uplinks.
    ways: Arc<Ways>,
    supervisor: Supervisor,
    current: watch::Sender<Arc<Current>>,
    secrets: SecretsWork,
    visible: VisibleWork,
    /// Ends with the app, after the uplinks that it wakes.
    _network: NetworkWatch,
    exit_on_invalid: bool,
    ready_requires_uplink: bool,
    lifecycle: Lifecycle,
    reload_now: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

impl App {
    /// Binds the admin address, starts the shards and the file watcher, and makes the client of Kubernetes' API if one is
    /// needed. Must run within the runtime that `run` runs in.
    ///
    /// # Errors
    /// A sentence of the operating system: the address is taken, or no thread can be started; or why the API cannot be used at all.
    pub async fn build(options: Options) -> io::Result<Self> {
        let board = StatusBoard::new();
        let readiness = lifecycle::latches();
        let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let reloads = Reloads::register(metrics.product(), Arc::clone(&board));
        let uplink_metrics = UplinkMetrics::register(metrics.product(), Arc::clone(&board));
        let cluster = options.cluster.counted(metrics.product());
        let (shown, lifecycle) = (Arc::clone(&board), Lifecycle::new(options.drain_endpoint));
        let document: StatusFn = Arc::new(move || status::document(&shown.snapshot()));
        let state = AdminState {
            readiness: readiness.clone(),
            metrics: Arc::new(metrics),
            status: Arc::clone(&document),
            level: options.level,
            lifecycle: Some(lifecycle.clone()),
        };
        let admin = Admin::bind(options.admin, Arc::new(state)).await?;

        let (watcher, network) = (FileWatcher::start(), NetworkWatch::start());
        let reach = Reach::new(options.proxies);
        let authorizers = authorizers(&watcher, &reach);
        let accounts = Accounts::new(Arc::clone(&watcher), Arc::clone(&board));
        let served = served(&options.secrets.dir);
        let (visible, cluster) = VisibleWork::start(options.visible, cluster, document).await;
        let from = (&options.config, options.write_back, &options.secrets, cluster);
        let cluster::Parts { source, store, secrets } = cluster::parts(from, &served, watcher, &board).await?;
        let (current, reload_now) = (watch::Sender::default(), mpsc::channel(1));
        let uplinks = Arc::new(Uplinks {
            current: current.subscribe(),
            board: Arc::clone(&board),
            store,
            reload: reload_now.0.clone(),
            served: served.clone(),
        });
        let local = match options.onvif {
            Some(address) => Some(Local::bind(address, Arc::clone(&uplinks)).await?),
            None => None,
        };
        let ways = Ways::new(Arc::clone(&board));
        let parts = Parts {
            authorizers,
            transports: transports(reach),
            handler: handler((accounts, Arc::clone(&ways), uplinks), options.trace_requests),
            board: Arc::clone(&board),
            network: network.subscribe(),
            metrics: uplink_metrics,
            limits: Limits::default(),
            grace: options.grace,
        };
        let shards = Shards::start("uplink", options.threads)?;
        let supervisor = Supervisor::new(parts, Box::new(move |key| shards.pick(key)));
        Ok(Self {
            admin,
            local,
            readiness,
            board,
            reloads,
            source,
            served,
            ways,
            supervisor,
            current,
            secrets,
            visible,
            _network: network,
            exit_on_invalid: options.exit_on_invalid,
            ready_requires_uplink: options.ready_requires_uplink,
            lifecycle,
            reload_now,
        })
    }

    /// Where the admin listener listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Where the uplink configuration service listens for local tools.
    pub fn onvif_addr(&self) -> Option<SocketAddr> {
        self.local.as_ref().map(Local::address)
    }

    /// What becomes of the uplinks.
    pub fn board(&self) -> Arc<StatusBoard> {
        Arc::clone(&self.board)
    }

    /// Makes the source look at once, for SIGHUP. A full channel means that it is about to look anyway.
    pub fn reload_now(&self) -> mpsc::Sender<()> {
        self.reload_now.0.clone()
    }

    /// Works until `stop` starts, then drains all uplinks. No task outlives it. Cancel safe: dropping the future ends
    /// everything without grace.
    pub async fn run(mut self, mut stop: Drain) -> Outcome {
        let (admin_switch, admin_drain) = drain();
        let mut asked = self.lifecycle.watch();
        let local = self.local.map(|local| local.run(admin_drain.clone()));
        let admin = async {
            tokio::join!(self.admin.run(admin_drain), async {
                if let Some(local) = local {
                    local.await;
                }
            })
        };
        let named = watch::Sender::new(Secrets::new());
        let work = async {
            let outcome = Self::follow(
                &mut *self.source,
                &mut self.reload_now.1,
                (&mut stop, &mut asked),
                &mut Follower {
                    supervisor: &mut self.supervisor,
                    board: &self.board,
                    readiness: &self.readiness,
                    reloads: &self.reloads,
                    served: &self.served,
                    current: &self.current,
                    secrets: &named,
                    files: &self.secrets,
                    ways: &self.ways,
                    exit_on_invalid: self.exit_on_invalid,
                },
            )
            .await;
            self.readiness.set(lifecycle::DRAIN, "the process is about to stop");
            lifecycle::drained(&mut self.supervisor, &mut stop, &mut asked).await;
            lifecycle::shut_down(self.supervisor, stop).await;
            self.secrets.remove().await;
            // Last, so that the drain itself can be watched.
            admin_switch.start(Duration::from_secs(1));
            outcome
        };
        let work = async { tokio::join!(work, admin).0 };
        let readiness = async {
            if self.ready_requires_uplink {
                lifecycle::follow_uplinks(&self.board, &self.readiness).await;
            }
            std::future::pending().await
        };
        let secrets = self.secrets.follow(named.subscribe());
        tokio::select! {
            outcome = work => outcome,
            never = secrets => match never {},
            never = self.visible.follow(&self.board) => match never {},
            never = readiness => never,
        }
    }

    async fn follow(
        source: &mut dyn ConfigSource,
        reload_now: &mut mpsc::Receiver<()>,
        (stop, asked): (&mut Drain, &mut watch::Receiver<Asked>),
        follower: &mut Follower<'_>,
    ) -> Outcome {
        loop {
            let told = tokio::select! {
                biased;
                _ = stop.started() => return Outcome::Stopped,
                () = lifecycle::asked_for(asked, Asked::Drain) => return Outcome::Stopped,
                told = source.next() => told,
                Some(()) = reload_now.recv() => {
                    source.reload();
                    continue;
                }
            };
            let read = tokio::select! {
                biased;
                _ = stop.started() => return Outcome::Stopped,
                read = follower.read(told) => read,
            };
            if !follower.take(read) && follower.exit_on_invalid {
                return Outcome::ConfigurationUnusable;
            }
        }
    }
}

/// Reads `file` as a sidecar would, with its Secrets in `secrets_dir`, and returns how many uplinks it asks for. Blocks while it reads.
///
/// # Errors
/// All that is wrong, one line each: `FILE:LINE:COLUMN: path: sentence`.
pub fn check(file: &Path, secrets_dir: &Path) -> Result<usize, Vec<String>> {
    let document = config::file::read(file).map_err(|error| vec![error.to_string()])?;
    let desired = config::load(&document.text, &document.base_dir, &served(secrets_dir));
    let named =
        |errors: Vec<config::ConfigError>| errors.iter().map(|error| format!("{}:{error}", document.name)).collect();
    desired.map(|desired| desired.len()).map_err(named)
}

/// The JSON Schema (draft 2020-12) of the configuration.
pub fn schema() -> serde_json::Value {
    config::schema()
}

/// What the parts registered below serve.
fn served(secrets_dir: &Path) -> Served {
    Served {
        schemes: vec![Https::SCHEME, Wss::SCHEME],
        authorization_modes: vec![MutualTls::MODE, AccessTokens::MODE],
        h2c: true,
        accounts: true,
        rtsp: true,
        credentials: true,
        secrets_dir: secrets_dir.to_owned(),
    }
}

/// A new way to show the remote who we are is registered here.
fn authorizers(watcher: &Arc<FileWatcher>, reach: &Reach) -> BTreeMap<AuthorizationMode, Arc<dyn Authorizer>> {
    let fetch = Arc::new(HttpsFetch::new(reach.clone()));
    let all: [Arc<dyn Authorizer>; 3] = [
        Arc::new(MutualTls::new(Arc::clone(watcher))),
        Arc::new(AccessTokens::new(Arc::clone(watcher), fetch)),
        Arc::new(Unauthenticated::new(Arc::clone(watcher))),
    ];
    all.into_iter().map(|one| (one.mode(), one)).collect()
}

/// A new way to carry an uplink is registered here.
fn transports(reach: Reach) -> BTreeMap<Scheme, Arc<dyn Transport>> {
    let all: [Arc<dyn Transport>; 2] = [Arc::new(Https::new(reach.clone())), Arc::new(Wss::new(reach))];
    all.into_iter().map(|one| (one.scheme(), one)).collect()
}

/// What answers the requests of an uplink; a new handler is put into this chain.
fn handler((accounts, ways, uplinks): (Accounts, Arc<Ways>, Arc<Uplinks>), trace_requests: bool) -> MakeHandler {
    let directory = Directory::default();
    Arc::new(move |uplink: &Uplink| {
        let map = Arc::new(Map::new(&uplink.device.addresses, uplink.device.http.address().port()));
        let in_rtsp = accounts.mediate_rtsp(uplink);
        let in_rtsp = if map.is_on() {
            Some(Arc::new(RtspAddresses::new(in_rtsp, Arc::clone(&map))) as Arc<dyn Mediators>)
        } else {
            in_rtsp
        };
        let way = ways.of(&uplink.device);
        let forward: Arc<dyn Handler> = Arc::new(Routes::with_way(&uplink.device, way, in_rtsp));
        let placed: Arc<dyn Handler> = Arc::new(Misplaced::new(accounts.mediate(uplink, forward)));
        let allowed: Arc<dyn Handler> = Arc::new(Level::new(placed, uplink, &directory));
        let store = uplinks.of(&uplink.device.name);
        let service: Arc<dyn Handler> = Arc::new(UplinkService::new(allowed, store, Arc::new(UplinkGate::new(uplink))));
        let named: Arc<dyn Handler> = Arc::new(Rewrite::new(service, map, &uplink.remote.authority()));
        if trace_requests { Arc::new(Traced::new(named, &uplink.device.name)) } else { named }
    })
}
