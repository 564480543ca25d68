//! The first document: missing, bad, mended (design.md §6: the sidecar never exits because of it, unless asked to).

use onvif_uplink::app::Outcome;
use tokio::time::timeout;

use crate::support::{
    device::camera,
    http::PATIENCE,
    sidecar::{Line, Sidecar, Site, document},
};

const BAD: &str = "devices:\n  - name: camera-1\n    http: http://192.0.2.1:80\n    uplinks: []\n";

#[tokio::test]
async fn a_bad_document_at_start_is_said_everywhere_and_the_mended_one_taken() {
    let site = Site::new(&["camera-1"]);
    site.write(BAD);
    let sidecar = site.start().await;
    sidecar.until("the document is refused", |all| (!all.config.errors.is_empty()).then_some(())).await;
    assert_eq!(sidecar.page("/livez").await.0, 200);
    let (ready, why) = sidecar.page("/readyz").await;
    assert_eq!(ready, 503);
    assert!(why.contains("configuration") && why.contains("uplinks.yaml:3:11: devices[0].http: "), "{why}");
    let (_, status) = sidecar.page("/status").await;
    assert!(status.contains("uplinks.yaml:3:11: devices[0].http: "), "{status}");
    assert!(status.contains("\"generation\": 0"), "{status}");
    assert_eq!(sidecar.metric(r#"onvif_uplink_config_reloads_total{result="refused"}"#).await, 1.0);
    assert!(!sidecar.run.is_finished());

    site.write("devices: []\n");
    sidecar.generation(1).await;
    assert_eq!(sidecar.page("/readyz").await.0, 200);
    assert_eq!(sidecar.board.snapshot().config.errors, Vec::<String>::new());
    assert_eq!(sidecar.metric("onvif_uplink_config_last_reload_successful").await, 1.0);
}

#[tokio::test]
async fn a_document_that_does_not_exist_yet_is_waited_for() {
    let site = Site::new(&["camera-1"]);
    let sidecar = Sidecar::start(site.path().join("later/uplinks.yaml"), |_| {}).await;
    sidecar.until("the file is missed", |all| (!all.config.errors.is_empty()).then_some(())).await;
    assert_eq!(sidecar.page("/readyz").await.0, 503);
    let device = camera("camera-1").await;
    std::fs::create_dir(site.path().join("later")).expect("made");
    let text = document(&[Line::new("camera-1", device.address, "https://127.0.0.1:1/")]);
    std::fs::write(site.path().join("later/uplinks.yaml"), text).expect("written");
    sidecar.generation(1).await;
    assert_eq!(sidecar.board.snapshot().uplinks.len(), 1);
    assert_eq!(sidecar.page("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_bad_first_document_ends_a_sidecar_that_was_asked_to_exit() {
    let site = Site::new(&[]);
    site.write(BAD);
    let sidecar = Sidecar::start(site.config(), |options| options.exit_on_invalid = true).await;
    let outcome = timeout(PATIENCE, sidecar.run).await.expect("in time").expect("no panic");
    assert_eq!(outcome, Outcome::ConfigurationUnusable);
}

#[tokio::test]
async fn a_bad_edit_does_not_end_a_sidecar_that_was_asked_to_exit() {
    let site = Site::new(&[]);
    site.write("devices: []\n");
    let sidecar = Sidecar::start(site.config(), |options| options.exit_on_invalid = true).await;
    sidecar.generation(1).await;
    site.write(BAD);
    sidecar.until("the bad edit is seen", |all| (!all.config.errors.is_empty()).then_some(())).await;
    site.write("devices: [] # mended\n");
    sidecar.generation(2).await;
}
