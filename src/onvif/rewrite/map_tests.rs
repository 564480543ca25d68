//! Addresses outward and back.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
    list.iter().map(|(name, value)| (name.parse().expect("name"), HeaderValue::from_static(value))).collect()
}

fn outside(uri: &'static str, list: &[(&'static str, &'static str)]) -> Outside {
    Outside::of(&Uri::from_static(uri), &headers(list), "fallback:8443")
}

fn mapping(rewrite: Rewrite, http: u16, ports: &[u16]) -> Map {
    Map::new(&Addresses { rewrite, ports: ports.iter().copied().collect() }, http)
}

fn map() -> Map {
    mapping(Rewrite::Authority, 8080, &[8081])
}

/// As our own gateway asks.
fn gateway() -> Outside {
    outside(
        "http://gw:8800/x",
        &[
            ("x-forwarded-host", "gw:8800"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-prefix", "/camera-1"),
            ("onvif-uplink-rtsp", "rtsp://gw:8554/camera-1"),
        ],
    )
}

#[test]
fn the_authority_of_the_request_takes_the_place_of_the_cameras_own() {
    let cloud = outside("https://cloud.example/onvif", &[]);
    let out = |inner: &str| map().outward(inner, &cloud);
    assert_eq!(
        out("http://192.168.1.10/onvif/device_service").as_deref(),
        Some("https://cloud.example/onvif/device_service")
    );
    assert_eq!(out("HTTP://camera.local:8080/a?b=%20&c").as_deref(), Some("https://cloud.example/a?b=%20&c"));
    assert_eq!(out("rtsp://192.168.1.10:554/cam/1?x=y").as_deref(), Some("rtsp://cloud.example/cam/1?x=y"));
    assert_eq!(out("ws://192.168.1.10/ws").as_deref(), Some("wss://cloud.example/ws"));
    assert_eq!(out("ws:/ws").as_deref(), Some("ws:/ws"));
    assert_eq!(out("http://[fe80::1]:80/x").as_deref(), Some("https://cloud.example/x"));
    assert_eq!(out("http://192.168.1.10").as_deref(), Some("https://cloud.example"));
}

#[test]
fn what_stands_before_the_devices_paths_is_kept_and_rtsp_has_its_own_listener() {
    let out = |inner: &str| map().outward(inner, &gateway());
    assert_eq!(out("http://10.0.0.9/snap.jpg").as_deref(), Some("http://gw:8800/camera-1/snap.jpg"));
    assert_eq!(out("rtsp://10.0.0.9/live").as_deref(), Some("rtsp://gw:8554/camera-1/live"));
    assert_eq!(out("ws:/stream").as_deref(), Some("ws:/camera-1/stream"));
}

#[test]
fn an_allowed_port_has_a_path_of_its_own_and_another_is_the_web_service() {
    let cloud = outside("https://cloud/", &[]);
    let out = |inner: &str| map().outward(inner, &cloud);
    assert_eq!(
        out("http://10.0.0.9:8081/snap.jpg?1").as_deref(),
        Some("https://cloud/onvif-uplink-port/8081/snap.jpg?1")
    );
    assert_eq!(out("http://10.0.0.9:9999/snap.jpg").as_deref(), Some("https://cloud/snap.jpg"));
    assert_eq!(split_port("/onvif-uplink-port/8081/snap.jpg?1"), Some((8081, "/snap.jpg?1")));
    for path in [
        "/onvif-uplink-port/",
        "/onvif-uplink-port/x/y",
        "/onvif-uplink-port/99999/",
        "/onvif-uplink-port/+80/",
        "/other/80/",
    ] {
        assert_eq!(split_port(path), None, "{path}");
    }
}

#[test]
fn a_password_in_an_address_does_not_leave() {
    let cloud = outside("https://cloud/", &[]);
    assert_eq!(map().outward("rtsp://admin:secret@10.0.0.9/live", &cloud).as_deref(), Some("rtsp://cloud/live"));
}

#[test]
fn what_is_no_address_of_a_device_is_left_alone() {
    let cloud = outside("https://cloud/", &[]);
    for text in
        ["", "urn:uuid:1", "mailto:x@y", "ftp://10.0.0.9/x", "no address", "http:///x", "http://a b/", "ssh://10.0.0.9"]
    {
        assert_eq!(map().outward(text, &cloud), None, "{text}");
    }
}

#[test]
fn an_address_on_its_way_back_is_the_cameras_own_again() {
    let (map, outside) = (map(), gateway());
    let there = map.outward("http://192.168.1.10/onvif/Subscription?Idx=5", &outside).expect("mapped");
    assert_eq!(map.inward(&there, &outside).as_deref(), Some("http://192.168.1.10/onvif/Subscription?Idx=5"));
    let there = map.outward("http://192.168.1.10:8081/events", &outside).expect("mapped");
    assert_eq!(map.inward(&there, &outside).as_deref(), Some("http://192.168.1.10:8081/events"));
    let there = map.outward("rtsp://192.168.1.10:554/live", &outside).expect("mapped");
    assert_eq!(map.inward(&there, &outside).as_deref(), Some("rtsp://192.168.1.10:554/live"));
}

#[test]
fn before_anything_was_seen_the_camera_is_on_loopback() {
    assert_eq!(map().inward("http://GW:8800/camera-1/x", &gateway()).as_deref(), Some("http://127.0.0.1:8080/x"));
}

#[test]
fn foreign_addresses_do_not_come_back_as_ours() {
    for text in [
        "http://other/camera-1/x",
        "http://gw:8800/camera-10/x",
        "http://gw:88001/camera-1/x",
        "urn:x",
        "http://gw:8800",
    ] {
        assert_eq!(map().inward(text, &gateway()), None, "{text}");
    }
}

#[test]
fn a_request_without_an_authority_falls_back_to_the_remotes() {
    assert_eq!(map().outward("http://10.0.0.9/x", &outside("/x", &[])).as_deref(), Some("https://fallback:8443/x"));
    let host = outside("/x", &[("host", "0.0.0.0:7555")]);
    assert_eq!(map().outward("http://10.0.0.9/x", &host).as_deref(), Some("https://0.0.0.0:7555/x"));
}

#[test]
fn a_fixed_address_is_the_same_for_everybody() {
    let map = mapping(Rewrite::Fixed("https://cams.example.com/gate".to_owned()), 80, &[]);
    let outside = map.outside(&Uri::from_static("http://else/"), &HeaderMap::new(), "f");
    assert_eq!(map.outward("http://10.0.0.9/x", &outside).as_deref(), Some("https://cams.example.com/gate/x"));
    assert_eq!(map.inward("https://cams.example.com/gate/x", &outside).as_deref(), Some("http://10.0.0.9/x"));
}

#[test]
fn fields_that_could_smuggle_something_are_passed_over() {
    let odd = outside(
        "https://cloud/",
        &[("x-forwarded-prefix", "/a/"), ("x-forwarded-host", "u@evil"), ("onvif-uplink-rtsp", "http://evil/x")],
    );
    assert_eq!(map().outward("http://10.0.0.9/x", &odd).as_deref(), Some("https://cloud/x"));
    assert_eq!(map().outward("rtsp://10.0.0.9/x", &odd).as_deref(), Some("rtsp://cloud/x"));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "\\PC{0,60}") {
        let (map, outside) = (map(), gateway());
        let _ = map.outward(&text, &outside);
        let _ = map.inward(&text, &outside);
        let _ = split_port(&text);
    }

    #[test]
    fn there_and_back_is_the_same(path in "(/[a-zA-Z0-9%._~?=&-]{0,12}){0,3}") {
        let (map, outside) = (map(), gateway());
        let inner = format!("http://192.0.2.1:8080{path}");
        let outer = map.outward(&inner, &outside).expect("mapped");
        prop_assert_eq!(map.inward(&outer, &outside), Some(inner));
    }
}
