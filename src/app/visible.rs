//! What Kubernetes sees of the sidecar by choice: Events and the status in an object. Nothing of it is ever fatal.

use std::convert::Infallible;
#[cfg(feature = "kubernetes")]
use std::sync::Arc;

use super::cluster::Cluster;
use crate::{
    admin::StatusFn,
    model::{
        pod::{Pod, StatusTarget},
        status::StatusBoard,
    },
};

/// What is to be seen; by default nothing, which needs no API.
#[derive(Clone, Debug, Default)]
pub struct Visible {
    /// The pod that Events go to.
    pub events: Option<Pod>,
    /// Where the status is written.
    pub status: Vec<StatusTarget>,
}

impl Visible {
    /// Whether the API is needed.
    pub(super) fn needs_api(&self) -> bool {
        self.events.is_some() || !self.status.is_empty()
    }
}

/// Writes it.
#[derive(Default)]
pub(super) struct VisibleWork {
    #[cfg(feature = "kubernetes")]
    events: Option<crate::cluster::events::Events>,
    #[cfg(feature = "kubernetes")]
    status: Vec<crate::cluster::status::StatusWriter>,
}

impl VisibleWork {
    /// Makes the parts, and gives back the way to the API, whose client is shared then. Where the API cannot be used at all that is
    /// logged, and there are none.
    pub(super) async fn start(visible: Visible, cluster: Cluster, document: StatusFn) -> (Self, Cluster) {
        if !visible.needs_api() {
            return (Self::default(), cluster);
        }
        let cluster = cluster.shared().await;
        (Self::parts(visible, cluster.clone(), document).await, cluster)
    }

    async fn parts(visible: Visible, cluster: Cluster, document: StatusFn) -> Self {
        #[cfg(not(feature = "kubernetes"))]
        {
            let _ = (visible, cluster, document);
            tracing::warn!("no Events and no status: this program was built without the feature `kubernetes`");
            Self::default()
        }
        #[cfg(feature = "kubernetes")]
        match cluster.clone().connect().await {
            Ok(client) => {
                use crate::cluster::{events::Events, status::StatusWriter};
                let writer =
                    |target| StatusWriter::new(client.clone(), target, Arc::clone(&document), cluster.writes.clone());
                Self {
                    events: visible.events.map(|pod| Events::new(client.clone(), pod, cluster.writes.clone())),
                    status: visible.status.into_iter().map(writer).collect(),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no Events and no status in Kubernetes; uplinks do not depend on it");
                Self::default()
            }
        }
    }

    /// Writes what becomes of the board. Never ends by itself.
    pub(super) async fn follow(self, board: &StatusBoard) -> Infallible {
        #[cfg(feature = "kubernetes")]
        {
            use futures_util::future::{join, join_all};
            let events = async {
                if let Some(events) = self.events {
                    events.follow(board).await;
                }
            };
            join(events, join_all(self.status.into_iter().map(|writer| writer.follow(board)))).await;
        }
        let _ = board;
        std::future::pending().await
    }
}
