//! Documents that are right, documents that are wrong with the exact place of each error, and documents of any kind.

use std::{path::PathBuf, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::{
    file::FileSource,
    source::{ConfigSource, SourceError},
    *,
};
use crate::{
    base::watch::{FileWatcher, WatchOptions},
    model::{
        address::Scheme,
        authorization::{Authorization, AuthorizationMode, Trust},
        streaming::RtspVia,
        user_level::UserLevel,
    },
};

fn first_form() -> Served {
    Served { schemes: vec![Scheme::Https], authorization_modes: vec![AuthorizationMode::Mtls], ..Served::default() }
}

fn all() -> Served {
    Served {
        schemes: vec![Scheme::Https, Scheme::Wss],
        authorization_modes: vec![AuthorizationMode::Mtls, AuthorizationMode::AccessToken],
        rtsp: true,
        h2c: true,
        credentials: true,
        accounts: true,
        secrets_dir: PathBuf::from("/run/secrets"),
    }
}

fn read(text: &str, served: &Served) -> Result<DesiredSet, Vec<String>> {
    load(text, Path::new("/etc/uplink"), served).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// Each error of `text` must begin with its entry in `expected`, and there are no others.
fn refused(text: &str, served: &Served, expected: &[&str]) {
    let errors = read(text, served).expect_err(text);
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, begin) in errors.iter().zip(expected) {
        assert!(error.starts_with(begin), "{error}\nshould begin with\n{begin}");
    }
}

const GOOD: &str = "\
devices:
  - name: camera-1
    http: http://127.0.0.1:8080
    uplinks:
      - remoteAddress: https://cloud/u
        certificateID: c
        userLevel: Operator
certificates:
  c: { certFile: tls.crt, keyFile: /k/tls.key }
";

#[test]
fn the_example_is_valid_and_resolved() {
    let set = read(include_str!("../../docs/examples/uplinks.yaml"), &first_form()).expect("valid");
    let uplinks: Vec<_> = set.iter().map(|(_, uplink)| uplink).collect();
    assert_eq!(uplinks.len(), 3);
    assert!(matches!(&uplinks[0].trust, Trust::Policy(policy) if policy.id == "fleet-ca"));
    assert_eq!(uplinks[1].user_level, [UserLevel::User, UserLevel::Role("Guards".to_owned())]);
    let Authorization::Mtls(certificate) = &uplinks[2].authorization else { panic!("mTLS") };
    assert_eq!(certificate.cert_file, PathBuf::from("/etc/uplink/camera-2/tls.crt"));
}

#[test]
fn every_yaml_block_of_the_reference_is_valid() {
    let blocks = include_str!("../../docs/configuration.md").split("```yaml\n").skip(1);
    let mut count = 0;
    for block in blocks.map(|rest| rest.split("```").next().unwrap_or_default()) {
        read(block, &all()).unwrap_or_else(|errors| panic!("{errors:#?}\n{block}"));
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn no_device_is_a_valid_wish() {
    assert!(read("devices: []", &first_form()).expect("valid").is_empty());
}

#[test]
fn a_document_with_everything_is_valid_when_everything_is_served_and_refused_key_by_key_when_not() {
    let text = "\
devices:
  - name: camera-1
    http: h2c://127.0.0.1:8080
    rtsp: rtsp://127.0.0.1
    credentials:
      Administrator: { username: admin, passwordFile: admin }
    uplinks:
      - remoteAddress: wss://cloud/u
        authorizationServer: idp
        userLevel: Operator
accounts:
  - { username: root, level: Administrator, passwordFile: root }
authorizationServers:
  idp: { type: OAuthClientCredentials, serverUri: https://idp/, clientID: x, clientAuth: private_key_jwt, keyFile: k, keyID: '1', scopes: [a] }
";
    assert_eq!(read(text, &all()).expect("valid").len(), 1);
    let expected = [
        "3:11: devices[0].http: h2c:// is not served by this version; use http://",
        "4:11: devices[0].rtsp: RTSP is not served",
        "6:7: devices[0].credentials: credentials at the device are not served",
        "8:24: devices[0].uplinks[0].remoteAddress: wss:// is not served by this version; use https://",
        "9:30: devices[0].uplinks[0].authorizationServer: authorization by AccessToken is not served by this version; use mTLS",
        "12:3: accounts: accounts are not served",
    ];
    refused(text, &first_form(), &expected);
}

#[test]
fn the_ports_of_connect_are_a_list_of_ports_and_none_by_default() {
    let ports = |line: &str| {
        let text = GOOD.replace("    uplinks:", &format!("{line}    uplinks:"));
        let set = read(&text, &first_form())?;
        let (_, uplink) = set.iter().next().expect("one uplink");
        Ok::<_, Vec<String>>(uplink.device.connect_ports.iter().copied().collect::<Vec<u16>>())
    };
    assert_eq!(ports(""), Ok(Vec::new()));
    assert_eq!(ports("    connectPorts: [554, 22]\n"), Ok(vec![22, 554]));
    for (list, error) in [
        ("[0]", "4:20: devices[0].connectPorts[0]: expected a whole number from 1 to 65535"),
        ("[65536]", "4:20: devices[0].connectPorts[0]: expected a whole number from 1 to 65535"),
        ("[ssh]", "4:20: devices[0].connectPorts[0]: expected a whole number from 1 to 65535"),
        ("[22, 22]", "4:24: devices[0].connectPorts[1]: port 22 is named twice"),
        ("22", "4:19: devices[0].connectPorts: expected a list"),
    ] {
        let errors = ports(&format!("    connectPorts: {list}\n")).expect_err(list);
        assert!(errors.len() == 1 && errors[0].starts_with(error), "{list}: {errors:?}");
    }
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_document() {
    let text = "\
devices:
  - name: Camera 1
    http: http://192.0.2.1
    uplinks:
      - remoteAdress: https://cloud/u
        certificateID: d
        userLevel: 7
      - remoteAddress: http://cloud/
        certificateID: c
        authorizationServer: idp
        userLevel: []
  - name: two
    colour: red
certificates:
  c: { certFile: tls.crt }
";
    let expected = [
        "2:11: devices[0].name: a device name has lower-case letters",
        "3:11: devices[0].http: `192.0.2.1` is not a loopback address",
        "5:9: devices[0].uplinks[0].remoteAdress: unknown key; did you mean `remoteAddress`?",
        "6:24: devices[0].uplinks[0].certificateID: there is no `d` under certificates; did you mean `c`?",
        "7:20: devices[0].uplinks[0].userLevel: expected a text, but found a number; if it is meant, put it in quotes: \"7\"",
        "8:24: devices[0].uplinks[1].remoteAddress: the scheme `http` is not one of an uplink",
        "10:30: devices[0].uplinks[1].authorizationServer: authentication is ambiguous",
        "11:20: devices[0].uplinks[1].userLevel: names no level",
        "12:5: devices[1]: `http` is missing",
        "12:5: devices[1]: `uplinks` is missing",
        "13:5: devices[1].colour: unknown key; known here: name, http",
        "15:6: certificates.c: `keyFile` is missing",
    ];
    refused(text, &first_form(), &expected);
}

#[test]
fn a_whole_object_of_kubernetes_is_one_error_that_says_what_was_meant() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: uplinks }\ndata: { uplinks.yaml: 'devices: []' }\n";
    refused(
        text,
        &all(),
        &["1:1: this is a ConfigMap of Kubernetes and no configuration; write what is within its data"],
    );
    // One of the two keys alone is a typing error like others.
    refused("kind: x\ndevices: []\n", &all(), &["1:1: kind: unknown key"]);
}

#[test]
fn each_single_mistake_is_told_with_its_place() {
    for (from, to, expected) in [
        ("        certificateID: c\n", "", "5:9: devices[0].uplinks[0]: authentication is missing"),
        ("userLevel: Operator", "userLevel: Anonymous", "7:20: devices[0].uplinks[0].userLevel: an uplink cannot have"),
        (
            "userLevel: Operator",
            "userLevel: [User, User]",
            "7:27: devices[0].uplinks[0].userLevel[1]: `User` is named twice",
        ),
        ("userLevel: Operator", "userLevel:", "7:1"),
        ("name: camera-1", "name: true", "2:11: devices[0].name: expected a text, but found a boolean"),
        ("name: camera-1", "name: ''", "2:11: devices[0].name: is empty"),
        ("http: http:", "http: rtsp:", "3:11: devices[0].http: the scheme must be http:// or h2c://"),
        (
            "    uplinks:",
            "    rtspVia: tunnel\n    uplinks:",
            "4:14: devices[0].rtspVia: `tunnel` is no way for RTSP; write auto, device or bridge",
        ),
        ("    uplinks:", "    rtspVia: bridge\n    uplinks:", "4:14: devices[0].rtspVia: the bridge needs the address"),
        ("  c: {", "  '1c': {", "6:24: devices[0].uplinks[0].certificateID: there is no `c`"),
        ("devices:", "device:", "1:1: device: unknown key; did you mean `devices`?"),
        ("certFile: tls.crt, keyFile: /k/tls.key", "secretName: S", "9:20: certificates.c.secretName: `S` is no name"),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        let errors = read(&text, &first_form()).expect_err(&text);
        let begin = if expected == "7:1" { "7:" } else { expected };
        assert!(errors[0].starts_with(begin), "{errors:#?}\nshould begin with\n{begin}");
    }
    read(GOOD, &first_form()).expect("valid");
}

#[test]
fn the_same_name_or_remote_twice_is_told_at_the_second() {
    let device = GOOD.split("certificates").next().expect("a part").replace("devices:\n", "");
    let uplink = device.split("uplinks:\n").nth(1).expect("a part");
    let text = format!("devices:\n{device}{uplink}{device}certificates: {{ c: {{ certFile: a, keyFile: b }} }}\n");
    let expected = [
        "8:24: devices[0].uplinks[1].remoteAddress: this device has an uplink to it already, at line 5",
        "11:11: devices[1].name: the name `camera-1` is taken by the device at line 2",
    ];
    refused(&text, &first_form(), &expected);
}

#[test]
fn what_is_not_one_yaml_document_is_refused_with_its_place() {
    for (text, begin) in [
        ("", "1:1: the document is empty"),
        ("# nothing\n", "1:1: the document is empty"),
        ("devices: []\n---\ndevices: []\n", "3:1: a second document"),
        ("devices: []\ndevices: []\n", "2:1: the key `devices` is there twice"),
        ("devices:\n\t- name: x\n", "2:"),
        ("devices: [\n", "1:10: unclosed bracket"),
        ("- 1\n", "1:1: expected a map, but found a list"),
        ("devices: *nobody\n", "1:10: "),
    ] {
        let errors = read(text, &first_form()).expect_err(text);
        assert!(errors[0].starts_with(begin), "{text:?}: {errors:?}");
        assert!(!errors[0].contains('\n'), "{errors:?}");
    }
    let bomb: String =
        (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(","))).collect();
    assert!(read(&format!("a0: &a0 x\n{bomb}"), &first_form()).is_err());
    assert!(read(&"[".repeat(5_000), &first_form()).is_err());
    assert!(read(&" ".repeat(MAX_DOCUMENT_BYTES + 1), &first_form()).expect_err("large")[0].contains("larger than"));
}

fn quick_source(path: &Path) -> FileSource {
    let watcher = FileWatcher::start_with(WatchOptions {
        debounce: Duration::from_millis(20),
        backstop: Duration::from_millis(100),
        ..WatchOptions::default()
    });
    FileSource::new(path, Arc::clone(&watcher))
}

#[tokio::test]
async fn a_file_source_tells_each_state_of_the_file_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("uplinks.yaml");
    let mut source = quick_source(&path);
    assert!(matches!(source.next().await, Err(SourceError::Missing(_))));
    std::fs::write(&path, "devices: []").expect("written");
    let document = source.next().await.expect("there now");
    assert_eq!((document.text.as_str(), document.base_dir.as_path()), ("devices: []", dir.path()));
    // The same again, then something else: only the latter is told.
    std::fs::write(&path, "devices: []").expect("written");
    source.reload();
    std::fs::write(&path, b"a: b\n\xff").expect("written");
    assert!(matches!(source.next().await, Err(SourceError::NotUtf8 { line: 2, .. })));
    std::fs::write(&path, vec![b' '; MAX_DOCUMENT_BYTES + 1]).expect("written");
    assert!(matches!(source.next().await, Err(SourceError::TooLarge { .. })));
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(source.next().await, Err(SourceError::Missing(_))));
}

#[tokio::test]
async fn a_cancelled_wait_loses_no_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("uplinks.yaml");
    let mut source = quick_source(&path);
    assert!(source.next().await.is_err());
    std::fs::write(&path, "devices: []").expect("written");
    // Cancelled at each of its steps, the reading of the file included.
    source.changes.changed().await.expect("the watcher lives");
    source.changes.mark_changed();
    let mut told = None;
    for _ in 0..3 {
        told = told.or_else(|| futures_util::FutureExt::now_or_never(source.next()));
    }
    let told = match told {
        Some(told) => told,
        None => tokio::time::timeout(Duration::from_secs(20), source.next()).await.expect("told in time"),
    };
    assert_eq!(told.expect("there").text, "devices: []");
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = read(&text, &all());
    }

    #[test]
    fn no_damage_to_a_document_panics(at in 0usize..GOOD.len(), with in "[ \t\n:{}&*!'\"a-]{0,3}") {
        let mut text = GOOD.to_owned();
        text.replace_range(at..=at, &with);
        if let Err(errors) = load(&text, Path::new("/"), &all()) {
            prop_assert!(!errors.is_empty() && errors.iter().all(|error| error.line >= 1 && error.column >= 1));
        }
    }

    #[test]
    fn as_many_uplinks_are_read_as_were_written(devices in 0usize..4, remotes in 0usize..4) {
        let uplink = |n| format!("{{remoteAddress: 'https://cloud-{n}/', certificateID: c, userLevel: User}}");
        let uplinks: Vec<_> = (0..remotes).map(uplink).collect();
        let device = |n| format!("{{name: camera-{n}, http: 'http://127.0.0.1', uplinks: [{}]}}", uplinks.join(", "));
        let list: Vec<_> = (0..devices).map(device).collect();
        let text = format!("devices: [{}]\ncertificates: {{c: {{certFile: a, keyFile: b}}}}\n", list.join(", "));
        prop_assert_eq!(read(&text, &first_form()).map(|set| set.len()), Ok(devices * remotes));
    }
}

#[test]
fn the_way_of_rtsp_is_automatic_unless_it_is_said() {
    let via = |more: &str| {
        let text = GOOD.replace("    uplinks:", &format!("{more}    uplinks:"));
        let set = read(&text, &all()).expect("valid");
        set.devices().map(|device| device.rtsp_via).next().expect("one device")
    };
    assert_eq!(via(""), RtspVia::Auto);
    assert_eq!(via("    rtspVia: device\n"), RtspVia::Device);
    assert_eq!(via("    rtsp: rtsp://127.0.0.1\n    rtspVia: bridge\n"), RtspVia::Bridge);
}
