//! The client of the API server: from what kubelet puts into each pod, else from a kubeconfig, always with deadlines.
//!
//! Its token is read from the file again each minute and the CA bundle when it changes, so rotated ones need nothing here.

use std::{env, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::KubeConfigOptions,
};
use rustls::crypto::CryptoProvider;
use tower::{BoxError, Service, timeout::TimeoutLayer};

use crate::base::trouble::ANSWER_MAX;

/// TCP and TLS to the API server; it is near.
pub const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest silence on a connection. A watch brings a bookmark each minute even when nothing changes (API concepts, watch bookmarks).
pub const READ_MAX: Duration = Duration::from_secs(90);
/// What kubelet sets in each container.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";

/// Why the API cannot be used at all; what goes wrong later is told where it is used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// In a pod, but without the files of a service account.
    #[error(
        "the API of Kubernetes cannot be used: {0}; the pod needs a service account's token and CA bundle \
         (automountServiceAccountToken, or a projected volume at /var/run/secrets/kubernetes.io/serviceaccount)"
    )]
    InCluster(String),
    /// Not in a pod, and no usable kubeconfig.
    #[error("the API of Kubernetes cannot be used: not in a pod ({IN_CLUSTER} is not set), and the kubeconfig: {0}")]
    Kubeconfig(String),
    /// The files are there and cannot be used.
    #[error("the API of Kubernetes cannot be used: {0}")]
    Unusable(String),
}

/// A client of the cluster around this process: in a pod by its service account, elsewhere by `KUBECONFIG`, else
/// `~/.kube/config`. Its default namespace is that of the pod or of the kubeconfig's context. Nothing is dialed yet. Calls are
/// not repeated behind the caller's back; each caller bounds the whole of its call.
///
/// # Errors
/// What is missing and how to mend it.
pub async fn connect(provider: Arc<CryptoProvider>) -> Result<Client, ClientError> {
    let config = if env::var_os(IN_CLUSTER).is_some() {
        Config::incluster().map_err(|error| ClientError::InCluster(chain(&error)))?
    } else {
        let options = KubeConfigOptions::default();
        Config::from_kubeconfig(&options).await.map_err(|error| ClientError::Kubeconfig(chain(&error)))?
    };
    with_config(config, provider)
}

/// The same for a known API server; what [`connect`] found is given the deadlines here.
///
/// # Errors
/// Certificates or keys in it that cannot be used.
pub fn with_config(mut config: Config, provider: Arc<CryptoProvider>) -> Result<Client, ClientError> {
    // kube takes the provider of the process. Where another one stands already, that one serves as well.
    let _ = CryptoProvider::install_default(Arc::unwrap_or_clone(provider));
    config.connect_timeout = Some(CONNECT_MAX);
    config.read_timeout = Some(READ_MAX);
    config.reset_reader_on_write = true;
    // Up to 15 repetitions with minutes in between would hide an outage from whoever must tell it.
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(|error| ClientError::Unusable(chain(&error)))?;
    Ok(answered_in_time(builder))
}

/// The client whose answers begin within [`ANSWER_MAX`]. The beginning of a watch has no other deadline; an idle one has begun already.
fn answered_in_time<S, B>(builder: ClientBuilder<S>) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    builder.with_layer(&TimeoutLayer::new(ANSWER_MAX)).build()
}

/// The error with its causes, as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, api::WatchParams};
    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;
    use crate::base::trouble::Trouble;

    #[tokio::test(start_paused = true)]
    async fn the_beginning_of_a_watch_that_never_comes_is_given_up() {
        let silent = service_fn(|_| std::future::pending::<Result<Response<Full<Bytes>>, BoxError>>());
        let api = Api::<ConfigMap>::namespaced(answered_in_time(ClientBuilder::new(silent, "cams")), "cams");
        let start = Instant::now();
        let error = api.watch(&WatchParams::default(), "1").await.err().expect("silence");
        assert_eq!((Trouble::of(&error), start.elapsed()), (Trouble::Silent(ANSWER_MAX), ANSWER_MAX));
    }
}
