//! What Kubernetes sees of a sidecar by choice: it is tried where it was asked for, and an API that refuses it costs no uplink.

use onvif_uplink::{
    app::{Cluster, Visible},
    model::pod::{Pod, StatusTarget},
};
use tokio::time::timeout;

use crate::support::{
    api_server::{ApiServer, NAMESPACE},
    cloud::cloud,
    device::camera,
    http::PATIENCE,
    sidecar::{Line, Sidecar, Site, document},
};

async fn until_asked(api: &ApiServer, path: &str) {
    let asked = async {
        while !api.asked().iter().any(|target| target.starts_with(path)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{path} was not asked: {:?}", api.asked()));
}

#[tokio::test]
async fn events_and_status_that_the_api_refuses_cost_no_uplink() {
    let (site, device, api) = (Site::new(&["camera-1"]), camera("camera-1").await, ApiServer::start().await);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    site.write(&document(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]));
    let pod = Pod { namespace: NAMESPACE.to_owned(), name: "nvr-0".to_owned(), uid: "u-1".to_owned() };
    let target = StatusTarget::ConfigMap { namespace: NAMESPACE.to_owned(), name: "status".to_owned() };
    let sidecar = Sidecar::start(site.config(), |options| {
        options.cluster = Cluster::with_client(api.client());
        options.visible = Visible { events: Some(pod.clone()), status: vec![target, StatusTarget::Annotation(pod)] };
    })
    .await;
    sidecar.online("camera-1").await;
    for path in [
        "/apis/events.k8s.io/v1/namespaces/cams/events",
        "/api/v1/namespaces/cams/configmaps/status",
        "/api/v1/namespaces/cams/pods/nvr-0",
    ] {
        until_asked(&api, path).await;
    }
    api.stop();
    assert_eq!(sidecar.page("/readyz").await.0, 200);
    sidecar.online("camera-1").await;
}

#[tokio::test]
async fn nothing_asks_the_api_unless_it_was_asked_for() {
    let (site, api) = (Site::new(&["camera-1"]), ApiServer::start().await);
    site.write("devices: []\n");
    let sidecar = Sidecar::start(site.config(), |options| options.cluster = Cluster::with_client(api.client())).await;
    sidecar.generation(1).await;
    assert_eq!(api.asked(), Vec::<String>::new());
}
