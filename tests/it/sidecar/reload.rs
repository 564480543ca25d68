//! Changes of the document at run time (ONVIF Uplink §5.1: each uplink for itself).

use onvif_uplink::model::status::Status;

use crate::support::{
    cloud::cloud,
    device::{camera, nobody},
    http::ask,
    sidecar::{Line, Sidecar, Site, document, of},
};

/// Far more than all buffers between device and client hold together: windows of 4 MiB and some socket buffers.
const LONG: u64 = 64 << 20;
const STEP: usize = 256 << 10;

#[tokio::test]
async fn a_long_download_survives_ten_reloads_of_other_uplinks_and_one_bad_edit() {
    let site = Site::new(&["steady", "other"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let (device, second) = (camera("steady").await, camera("second").await);
    let steady = Line::new("steady", device.address, cloud.remote("steady"));
    let other = |name: &str, level: &str, path: &str| Line {
        level: level.to_owned(),
        certificate: "other".to_owned(),
        ..Line::new(name, second.address, cloud.remote(path))
    };
    let sidecar = site.start_with(std::slice::from_ref(&steady)).await;
    let before = sidecar.online("steady").await;
    cloud.knows("steady").await;

    let mut download = ask(cloud.front, "GET", &format!("/steady/download/{LONG}")).await;
    assert_eq!(download.status, 200);
    let mut offset = 0;
    for reload in 1..=10u64 {
        download.check_pattern(offset, STEP).await;
        offset += STEP as u64;
        let lines = match reload % 4 {
            1 => vec![steady.clone(), other("other", "User", "a")],
            2 => vec![steady.clone(), other("other", "Operator", "a")],
            3 => vec![other("other", "Operator", "b"), steady.clone()],
            _ => vec![steady.clone()],
        };
        let was = sidecar.board.snapshot();
        site.write(&document(&lines));
        sidecar.generation(reload + 1).await;
        sidecar
            .until("the effect of the reload", |all| {
                let session = |all| of(all, "other").and_then(|uplink| Some(uplink.session.as_ref()?.since));
                match reload % 4 {
                    0 => of(all, "other").is_none().then_some(()),
                    // Added, changed or at another address: a session that was not there before.
                    _ => session(all).filter(|since| session(&was) != Some(*since)).map(|_| ()),
                }
            })
            .await;
    }
    site.write("devices: [ { name: steady, htp: x } ]\n");
    sidecar.until("the bad edit is seen", |all| (!all.config.errors.is_empty()).then_some(())).await;

    let after = sidecar.now("steady");
    assert_eq!(after.status, Status::Online);
    assert_eq!(after.since, before.since);
    let since =
        |status: &onvif_uplink::model::status::UplinkStatus| status.session.as_ref().map(|session| session.since);
    assert_eq!(since(&after), since(&before));
    while offset < LONG {
        download.check_pattern(offset, STEP).await;
        offset += STEP as u64;
    }
    assert!(download.at_end().await);
    assert_eq!(sidecar.metric(r#"onvif_uplink_config_reloads_total{result="applied"}"#).await, 11.0);
}

#[tokio::test]
async fn a_mounted_configmap_is_followed_when_its_data_link_is_swapped() {
    let site = Site::new(&["camera-1"]);
    let device = camera("camera-1").await;
    let mount = site.path().join("mount");
    let version = |name: &str, level: &str| {
        let dir = mount.join(name);
        std::fs::create_dir_all(&dir).expect("made");
        let line = Line {
            level: level.to_owned(),
            certificate: site.path().join("camera-1").display().to_string(),
            anchor: site.path().join("ca.crt").display().to_string(),
            ..Line::new("camera-1", device.address, "https://127.0.0.1:1/")
        };
        std::fs::write(dir.join("uplinks.yaml"), document(&[line])).expect("written");
        let new = mount.join("..data_tmp");
        std::os::unix::fs::symlink(name, &new).expect("linked");
        std::fs::rename(new, mount.join("..data")).expect("swapped");
    };
    version("..2026_01", "User");
    std::os::unix::fs::symlink("..data/uplinks.yaml", mount.join("uplinks.yaml")).expect("linked");
    let sidecar = Sidecar::start(mount.join("uplinks.yaml"), |_| {}).await;
    sidecar.generation(1).await;
    version("..2026_02", "Operator");
    std::fs::remove_dir_all(mount.join("..2026_01")).expect("removed, as kubelet does");
    sidecar.generation(2).await;
    assert_eq!(sidecar.page("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_bad_edit_is_said_everywhere_while_the_last_good_set_goes_on() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    let line = Line::new("camera-1", device.address, cloud.remote("uplink"));
    let sidecar = site.start_with(std::slice::from_ref(&line)).await;
    let before = sidecar.online("camera-1").await;
    site.write(&document(std::slice::from_ref(&line)).replace("userLevel: Administrator", "userLevel: Anonymous"));
    sidecar.until("the bad edit is seen", |all| (!all.config.errors.is_empty()).then_some(())).await;
    let (_, status) = sidecar.page("/status").await;
    assert!(status.contains("uplinks.yaml:7:20: devices[0].uplinks[0].userLevel"), "{status}");
    assert!(status.contains("\"generation\": 1"), "{status}");
    assert_eq!(sidecar.page("/readyz").await.0, 200);
    assert_eq!(sidecar.metric(r#"onvif_uplink_config_reloads_total{result="refused"}"#).await, 1.0);
    assert_eq!(sidecar.metric("onvif_uplink_config_last_reload_successful").await, 0.0);
    assert_eq!(sidecar.now("camera-1").since, before.since);

    std::fs::remove_file(site.config()).expect("removed");
    sidecar
        .until("the file is missed", |all| all.config.errors.iter().any(|e| !e.contains("userLevel")).then_some(()))
        .await;
    assert_eq!(sidecar.now("camera-1").since, before.since);
}

#[tokio::test]
async fn changed_settings_make_the_new_session_before_the_old_one_drains() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let (first, second) = (camera("first").await, camera("second").await);
    let line = Line::new("camera-1", first.address, cloud.remote("uplink"));
    let sidecar = site.start_with(std::slice::from_ref(&line)).await;
    let before = sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let mut download = ask(cloud.front, "GET", &format!("/camera-1/download/{LONG}")).await;
    download.check_pattern(0, STEP).await;

    let changed = Line { http: second.address, ..line };
    site.write(&document(&[changed]));
    let session = |uplink: &onvif_uplink::model::status::UplinkStatus| uplink.session.as_ref().map(|s| s.since);
    sidecar
        .until("the new session", |all| {
            let now = of(all, "camera-1")?;
            assert_eq!(now.status, Status::Online, "it was never down");
            (session(now) != session(&before)).then_some(())
        })
        .await;
    // The gateway lets the newer session take what is new; it enters it when it has spoken.
    let moved = async {
        while !crate::support::http::get(cloud.front, "/camera-1/").await.1.contains("<h1>second</h1>") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::http::PATIENCE, moved).await.expect("new requests go to the new port");
    let mut offset = STEP as u64;
    while offset < LONG {
        download.check_pattern(offset, STEP).await;
        offset += STEP as u64;
    }
    assert!(download.at_end().await, "the old session finished its stream");
}

#[tokio::test]
async fn two_shards_carry_three_devices_that_do_not_wait_for_each_other() {
    let names = ["camera-1", "camera-2", "camera-3"];
    let site = Site::new(&names);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let (mut cameras, mut lines) = (Vec::new(), Vec::new());
    for name in names {
        let device = camera(name).await;
        lines.push(Line::new(name, device.address, cloud.remote("uplink")));
        cameras.push(device);
    }
    site.write(&document(&lines));
    let two = std::num::NonZeroUsize::new(2).expect("not zero");
    let sidecar = Sidecar::start(site.config(), |options| options.threads = two).await;
    let mut downloads = Vec::new();
    for name in names {
        sidecar.online(name).await;
        cloud.knows(name).await;
        let mut download = ask(cloud.front, "GET", &format!("/{name}/download/{LONG}")).await;
        download.check_pattern(0, STEP).await;
        downloads.push(download);
    }
    // All three are under way and nobody reads; each device still answers.
    for name in names {
        let (status, page) = crate::support::http::get(cloud.front, &format!("/{name}/")).await;
        assert_eq!(status, 200);
        assert!(page.contains(&format!("<h1>{name}</h1>")), "{page}");
        assert_eq!(sidecar.now(name).session.expect("online").activity.streams_open(), 1);
    }
}

#[tokio::test]
async fn a_device_that_is_down_is_answered_for_through_the_gateway() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let sidecar = site.start_with(&[Line::new("camera-1", nobody().await, cloud.remote("uplink"))]).await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let answer = ask(cloud.front, "DELETE", "/camera-1/recording/1").await;
    assert!(matches!(answer.status, 502 | 503), "{}", answer.head);
    assert!(answer.head.to_ascii_lowercase().contains("\r\nretry-after: "), "{}", answer.head);
    let body = String::from_utf8(answer.rest().await).expect("text");
    assert!(body.contains("the device does not accept connections"), "{body}");
}
