//! Certificates that are wrong in one way each: that uplink stays down with its cause in status and metric, another one on
//! the same sidecar stays up, and the mended file brings it back by itself (ONVIF Uplink §5.3).

use onvif_uplink::model::{failure::Cause, status::Status};
use rcgen::{CertificateParams, date_time_ymd};

use crate::support::{
    cloud::{Cloud, cloud},
    device::{RunningCamera, camera},
    pki::Authority,
    remote::{Remote, server_certificate, tls, write_anchor},
    sidecar::{Line, Sidecar, Site},
};

/// A sidecar with a good uplink `good` and a site in which `bad` can be made so.
struct Scene {
    site: Site,
    cloud: Cloud,
    device: RunningCamera,
}

impl Scene {
    async fn new() -> Self {
        let site = Site::new(&["good", "bad"]);
        let cloud = cloud(site.path(), &site.authority, &site.authority);
        Self { site, cloud, device: camera("good").await }
    }

    fn good(&self) -> Line {
        Line::new("good", self.device.address, self.cloud.remote("uplink"))
    }

    fn bad(&self) -> Line {
        Line::new("bad", self.device.address, self.cloud.remote("uplink"))
    }

    /// Starts with both, waits for the failure and checks that it is seen in status and metric and harms no other.
    async fn fails(&self, bad: &Line, cause: Cause) -> Sidecar {
        let sidecar = self.site.start_with(&[self.good(), bad.clone()]).await;
        let good = sidecar.online("good").await;
        sidecar.fails("bad", cause).await;
        let (_, status) = sidecar.page("/status").await;
        assert!(status.contains(&format!("\"cause\": \"{cause}\"")), "{status}");
        let failures = format!(
            "onvif_uplink_connection_failures_total{{device=\"bad\",remote=\"{}\",cause=\"{cause}\"}}",
            bad.remote
        );
        assert!(sidecar.metric(&failures).await >= 1.0, "{failures}");
        let now = sidecar.now("good");
        assert_eq!((now.status, now.since), (Status::Online, good.since));
        sidecar
    }
}

fn expired(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
}

fn future(params: &mut CertificateParams) {
    (params.not_before, params.not_after) = (date_time_ymd(2095, 1, 1), date_time_ymd(2096, 1, 1));
}

#[tokio::test]
async fn a_client_certificate_past_its_end_or_before_its_begin_is_not_shown_to_the_remote() {
    for (change, cause) in [
        (expired as fn(&mut CertificateParams), Cause::ClientCertificateExpired),
        (future, Cause::ClientCertificateNotYetValid),
    ] {
        let scene = Scene::new().await;
        scene.site.authority.issue("bad", &[], change).write(scene.site.path(), "bad");
        let sidecar = scene.fails(&scene.bad(), cause).await;
        scene.site.issue("bad");
        sidecar.online("bad").await;
    }
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_refused_by_the_remote() {
    let scene = Scene::new().await;
    Authority::new("strangers").issue("bad", &[], |_| {}).write(scene.site.path(), "bad");
    let sidecar = scene.fails(&scene.bad(), Cause::ClientCertificateRefused).await;
    scene.site.issue("bad");
    sidecar.online("bad").await;
}

#[tokio::test]
async fn a_key_of_another_certificate_is_named() {
    let scene = Scene::new().await;
    std::fs::copy(scene.site.path().join("good.key"), scene.site.path().join("bad.key")).expect("copied");
    let sidecar = scene.fails(&scene.bad(), Cause::KeyMismatch).await;
    scene.site.issue("bad");
    sidecar.online("bad").await;
}

#[tokio::test]
async fn a_missing_certificate_key_or_anchor_is_named_and_taken_when_it_comes() {
    for file in ["bad.crt", "bad.key", "bad-ca.crt"] {
        let scene = Scene::new().await;
        write_anchor(scene.site.path(), "bad-ca.crt", &scene.site.authority);
        let (path, away) = (scene.site.path().join(file), scene.site.path().join("away"));
        std::fs::rename(&path, &away).expect("moved");
        let bad = Line { anchor: "bad-ca.crt".to_owned(), ..scene.bad() };
        let sidecar = scene.fails(&bad, Cause::CredentialUnreadable).await;
        let message = sidecar.now("bad").error.expect("failed").message;
        assert!(message.contains(file), "{message}");
        std::fs::rename(away, path).expect("moved");
        sidecar.online("bad").await;
    }
}

#[tokio::test]
async fn a_mended_file_is_tried_at_once_and_not_after_the_interval() {
    let scene = Scene::new().await;
    let (path, away) = (scene.site.path().join("bad.key"), scene.site.path().join("away"));
    std::fs::rename(&path, &away).expect("moved");
    let sidecar = scene.fails(&scene.bad(), Cause::CredentialUnreadable).await;
    // Far enough that its own interval cannot be what brings it back.
    let due = sidecar
        .until("a long interval", |all| {
            let bad = crate::support::sidecar::of(all, "bad")?;
            (bad.attempt >= 3 && bad.status == Status::Offline).then_some(bad.next_attempt?)
        })
        .await;
    std::fs::rename(away, path).expect("moved");
    assert!(sidecar.online("bad").await.since < due);
}

#[tokio::test]
async fn a_server_certificate_that_is_wrong_is_named_and_recovers_when_mended() {
    let names: &[&str] = &["localhost", "127.0.0.1"];
    for (names, change, cause) in [
        (names, expired as fn(&mut CertificateParams), Cause::ServerCertificateExpired),
        (names, future, Cause::ServerCertificateNotYetValid),
        (&["cloud.example.com"], |_: &mut _| {}, Cause::ServerNameMismatch),
    ] {
        let scene = Scene::new().await;
        let authority = &scene.site.authority;
        let wrong = authority.issue("remote", names, change);
        let remote = Remote::with(tls(&wrong, None, false)).await;
        let bad = Line::new("bad", scene.device.address, remote.remote());
        let (sidecar, handshake) = tokio::join!(scene.fails(&bad, cause), remote.handshake());
        assert!(handshake.is_err(), "{cause}");
        remote.change(tls(&server_certificate(authority), None, false));
        let _session = remote.upgrade().await;
        sidecar.online("bad").await;
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_untrusted_until_the_anchor_is_mended() {
    let scene = Scene::new().await;
    let strangers = Authority::new("strangers");
    write_anchor(scene.site.path(), "bad-ca.crt", &scene.site.authority);
    let remote = Remote::with(tls(&server_certificate(&strangers), None, false)).await;
    let bad = Line { anchor: "bad-ca.crt".to_owned(), ..Line::new("bad", scene.device.address, remote.remote()) };
    let (sidecar, handshake) = tokio::join!(scene.fails(&bad, Cause::ServerUntrusted), remote.handshake());
    assert!(handshake.is_err());
    write_anchor(scene.site.path(), "bad-ca.crt", &strangers);
    let _session = remote.upgrade().await;
    sidecar.online("bad").await;
}
