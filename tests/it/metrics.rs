//! Every metric that a running sidecar or gateway exports is explained in docs/operations.md, and the other way round.

use std::collections::BTreeSet;

use onvif_uplink::model::failure::Cause;

use crate::support::{
    cloud::cloud,
    device::{camera, nobody},
    http::{ask, get},
    sidecar::{Line, Site},
};

const MANUAL: &str = include_str!("../../docs/operations.md");

/// The names of the families as a query would write them.
fn exported(scrape: &str) -> BTreeSet<String> {
    let family = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        Some(format!("{name}{suffix}"))
    };
    scrape.lines().filter_map(family).collect()
}

/// The names in the first column of the manual's metrics table.
fn documented() -> BTreeSet<String> {
    let (_, section) = MANUAL.split_once("## Metrics\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = cells.flat_map(|cell| cell.split('`')).map(|name| name.split('{').next().unwrap_or_default());
    names.filter(|name| name.contains('_')).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_exported_metric_is_in_the_manual_and_every_one_there_is_exported() {
    let site = Site::new(&["camera-1", "camera-2"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    let lost = Line::new("camera-2", device.address, format!("https://{}/", nobody().await));
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink")), lost]).await;
    sidecar.online("camera-1").await;
    sidecar.fails("camera-2", Cause::ConnectionRefused).await;
    cloud.knows("camera-1").await;
    assert_eq!(get(cloud.front, "/camera-1/").await.0, 200);
    assert_eq!(ask(cloud.front, "GET", "/nobody/").await.status, 404);

    let (_, sidecar) = sidecar.page("/metrics").await;
    let all = &exported(&sidecar) | &exported(&cloud.metrics.encode());
    let documented = documented();
    let missing: Vec<_> = all.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/operations.md does not explain {missing:#?}");
    let gone: Vec<_> = documented.difference(&all).collect();
    assert!(gone.is_empty(), "docs/operations.md explains what nobody exports: {gone:#?}");
}

#[tokio::test]
async fn a_request_through_the_gateway_is_counted_at_both_ends() {
    let site = Site::new(&["camera-1"]);
    let cloud = cloud(site.path(), &site.authority, &site.authority);
    let device = camera("camera-1").await;
    let sidecar = site.start_with(&[Line::new("camera-1", device.address, cloud.remote("uplink"))]).await;
    sidecar.online("camera-1").await;
    cloud.knows("camera-1").await;
    let labels = format!("device=\"camera-1\",remote=\"{}\"", cloud.remote("uplink"));
    assert_eq!(sidecar.metric(&format!("onvif_uplink_state{{{labels}}}")).await, 2.0);
    assert_eq!(get(cloud.front, "/camera-1/").await.0, 200);
    assert_eq!(get(cloud.front, "/camera-1/nothing-there").await.0, 404);
    let requests = |class: &str| format!("onvif_uplink_requests_total{{{labels},code=\"{class}\"}}");
    assert_eq!(sidecar.metric(&requests("2xx")).await, 1.0);
    assert_eq!(sidecar.metric(&requests("4xx")).await, 1.0);
    let counted = cloud.metrics.encode();
    assert!(counted.contains("onvif_uplink_gateway_requests_total{code=\"4xx\"} 1\n"), "{counted}");
    assert!(counted.contains("onvif_uplink_gateway_sessions 1\n"), "{counted}");
}
