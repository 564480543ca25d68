//! Whether a changed network matters to an uplink: asked of the kernel, a moment after the change.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    base::{
        http::BoxFuture,
        network::{Way, way},
    },
    model::uplink::UplinkKey,
};

/// The looks of all uplinks at a changed network are spread over this.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// A way that is gone is looked for once more after this.
const CONFIRM: Duration = Duration::from_millis(300);

/// Looks at the way between the `ends` of the session, or, without one, says that everything may be another. It waits first: a
/// thousand uplinks must not look and dial at once, and routes that are replaced are away for a moment.
pub(super) fn look(key: &UplinkKey, ends: Option<(IpAddr, SocketAddr)>) -> BoxFuture<'static, Way> {
    let pause = settle(key);
    Box::pin(async move {
        sleep(pause).await;
        let Some((local, peer)) = ends else { return Way::Other };
        match way(local, peer) {
            Way::Gone => {
                sleep(CONFIRM).await;
                way(local, peer)
            }
            other => other,
        }
    })
}

/// When an uplink looks at a changed network: spread over a second by its key.
fn settle(key: &UplinkKey) -> Duration {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    Duration::from_millis(hasher.finish() % SETTLE_MAX.as_millis() as u64)
}
