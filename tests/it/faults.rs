//! Uplinks over a bad network in one process (support/fault.rs); over kernels that believe in it: tests/real/test_networks.py.

use std::time::Duration;

use onvif_uplink::model::{
    failure::{Cause, Phase},
    status::Status,
};

use crate::support::{
    device::camera,
    fault::{Fault, FaultProxy},
    remote::{Remote, server_certificate, tls},
    sidecar::{Line, Site, of},
};

/// A remote that asks for no certificate, so that a handshake ends where it seems to end.
async fn remote(site: &Site) -> Remote {
    Remote::with(tls(&server_certificate(&site.authority), None, false)).await
}

fn get(path: &str) -> http::Request<()> {
    let uri = format!("https://c{path}");
    http::Request::get(uri).version(http::Version::HTTP_2).body(()).expect("valid")
}

#[tokio::test]
async fn a_reset_at_any_byte_of_the_way_up_has_a_cause_of_that_way_and_the_next_attempt_comes_up() {
    let site = Site::new(&["camera-1"]);
    let (remote, device) = (remote(&site).await, camera("camera-1").await);
    let proxy = FaultProxy::start(remote.address).await;
    let line = || Line::new("camera-1", device.address, format!("https://{}/uplink", proxy.address));
    // How much the device sends until it is Online, seen once; then a reset at places all over it.
    let sidecar = site.start_with(&[line()]).await;
    let session = remote.upgrade().await;
    sidecar.online("camera-1").await;
    let whole = proxy.take_sent();
    drop((sidecar, session));
    for at in [0, whole / 3, whole * 2 / 3] {
        proxy.set(Fault { reset_after: Some(at), ..Fault::default() });
        let sidecar = site.start_with(&[line()]).await;
        let answering = async {
            loop {
                if let Ok(mut stream) = remote.handshake().await {
                    let head = crate::support::remote::read_head(&mut stream);
                    let _ = tokio::time::timeout(Duration::from_millis(100), head).await;
                }
            }
        };
        let failing = sidecar.until("a failure", |all| of(all, "camera-1")?.error.clone());
        let failure = tokio::select! { failure = failing => failure, () = answering => unreachable!() };
        assert!(
            matches!(failure.phase(), Phase::Tls | Phase::Upgrade | Phase::Preface),
            "reset after {at} of {whole}: {failure}"
        );
        proxy.set(Fault::default());
        let _session = remote.upgrade().await;
        sidecar.online("camera-1").await;
    }
}

#[tokio::test]
async fn a_slow_link_of_small_pieces_carries_everything_whole() {
    let site = Site::new(&["camera-1"]);
    let (remote, device) = (remote(&site).await, camera("camera-1").await);
    let proxy = FaultProxy::start(remote.address).await;
    proxy.set(Fault { delay: Duration::from_millis(1), piece: 600, ..Fault::default() });
    let line = Line::new("camera-1", device.address, format!("https://{}/uplink", proxy.address));
    let sidecar = site.start_with(&[line]).await;
    let session = remote.upgrade().await;
    sidecar.online("camera-1").await;
    let (head, body) = session.get(get("/snapshot.jpg")).await;
    assert_eq!(head.status, 200);
    assert!(body.starts_with(&[0xff, 0xd8]) && body.ends_with(&[0xff, 0xd9]), "a whole JPEG of {} bytes", body.len());
}

#[tokio::test]
async fn a_link_that_swallows_everything_is_no_affair_of_other_uplinks() {
    let site = Site::new(&["camera-1", "camera-2"]);
    let (swallowed, other) = (remote(&site).await, remote(&site).await);
    let (first, second) = (camera("camera-1").await, camera("camera-2").await);
    let proxy = FaultProxy::start(swallowed.address).await;
    let lines = [
        Line::new("camera-1", first.address, format!("https://{}/uplink", proxy.address)),
        Line::new("camera-2", second.address, other.remote()),
    ];
    let sidecar = site.start_with(&lines).await;
    let (hung, session) = tokio::join!(swallowed.upgrade(), other.upgrade());
    sidecar.online("camera-1").await;
    sidecar.online("camera-2").await;
    proxy.set(Fault { hole: true, ..Fault::default() });
    let lost = hung.get(get("/snapshot.jpg"));
    let served = async {
        for _ in 0..20 {
            assert_eq!(session.get(get("/snapshot.jpg")).await.0.status, 200);
        }
    };
    tokio::select! { biased; () = served => {}, _ = lost => panic!("nothing passes the hole") }
    // Nobody can know yet; and what waited in the hole is served when it closes.
    assert_eq!(sidecar.now("camera-1").status, Status::Online);
    proxy.set(Fault::default());
    assert_eq!(hung.get(get("/snapshot.jpg")).await.0.status, 200);
}

#[tokio::test]
async fn a_session_that_is_reset_is_named_so_and_comes_back() {
    let site = Site::new(&["camera-1"]);
    let (remote, device) = (remote(&site).await, camera("camera-1").await);
    let proxy = FaultProxy::start(remote.address).await;
    let line = Line::new("camera-1", device.address, format!("https://{}/uplink", proxy.address));
    let sidecar = site.start_with(&[line]).await;
    let _session = remote.upgrade().await;
    sidecar.online("camera-1").await;
    proxy.set(Fault { reset_after: Some(0), ..Fault::default() });
    let cause = sidecar.until("a cause", |all| Some(of(all, "camera-1")?.error.as_ref()?.cause)).await;
    assert_eq!(cause, Cause::ConnectionReset);
    proxy.set(Fault::default());
    let _session = remote.upgrade().await;
    sidecar.online("camera-1").await;
}
