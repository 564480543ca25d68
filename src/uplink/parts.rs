//! What the uplinks are made of: the root puts it together, runners use it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::metrics::UplinkMetrics;
use crate::{
    authz::Authorizer,
    base::http::Handler,
    model::{address::Scheme, authorization::AuthorizationMode, status::StatusBoard, uplink::Uplink},
    reverse::Limits,
    transport::Transport,
};

/// Makes the handler of an uplink; called on the uplink's shard.
pub type MakeHandler = Arc<dyn Fn(&Uplink) -> Arc<dyn Handler> + Send + Sync>;

/// What the root puts together for the uplinks.
pub struct Parts {
    /// Who we are to the remote, per mode.
    pub authorizers: BTreeMap<AuthorizationMode, Arc<dyn Authorizer>>,
    /// How we connect, per scheme.
    pub transports: BTreeMap<Scheme, Arc<dyn Transport>>,
    /// What answers the requests of an uplink.
    pub handler: MakeHandler,
    /// Where runners write what became of them.
    pub board: Arc<StatusBoard>,
    /// Wakes when the network of this host changed.
    pub network: watch::Receiver<u64>,
    /// Where they count.
    pub metrics: Arc<UplinkMetrics>,
    /// What a remote may use of us.
    pub limits: Limits,
    /// How long a drain may take.
    pub grace: Duration,
}
