//! The uplink configuration service in documents: right, wrong, and without authentication.

use std::path::Path;

use crate::{
    config::{ConfigError, Configuration, Served, read},
    model::{
        address::Scheme,
        authorization::{Authorization, AuthorizationMode},
        uplink_service::{OnlineWord, UplinkService},
    },
};

fn document(service: &str, uplink: &str) -> String {
    format!(
        "devices:\n  - name: camera-1\n    http: http://127.0.0.1:80\n{service}    uplinks:\n      - remoteAddress: https://a/\n        \
         userLevel: User\n{uplink}certificates: {{ c: {{ certFile: c.crt, keyFile: c.key }} }}\n"
    )
}

fn load(text: &str) -> Result<Configuration, Vec<ConfigError>> {
    let served = Served {
        schemes: vec![Scheme::Https],
        authorization_modes: vec![AuthorizationMode::Mtls],
        accounts: true,
        ..Served::default()
    };
    read(text, Path::new("/etc/uplink"), &served)
}

fn errors(text: &str) -> String {
    load(text).expect_err(text).iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn a_device_without_a_word_about_its_service_has_the_defaults() {
    let configuration = load(&document("", "        certificateID: c\n")).expect("good");
    assert_eq!(configuration.devices[0].service, UplinkService::default());
    assert_eq!(configuration.devices[0].uplinks, [("https://a/".to_owned(), None)]);
    assert!(configuration.certificates.contains("c"));
}

#[test]
fn the_settings_and_what_a_vendor_added_are_read() {
    let service = "    uplinkService: { maxUplinks: 2, onlineStatus: Online }\n";
    let uplink = "        certificateID: c\n        extensions: <Extensions a=\"1\"><b/></Extensions>\n";
    let configuration = load(&document(service, uplink)).expect("good");
    let service = configuration.devices[0].service;
    assert_eq!((service.max_uplinks, service.online_word), (2, OnlineWord::Online));
    assert_eq!(configuration.extensions("camera-1")["https://a/"].content(), "<b/>");
}

#[test]
fn an_uplink_without_authentication_is_an_error_unless_the_device_allows_it() {
    assert!(errors(&document("", "")).contains("authentication is missing"));
    let text = document("    uplinkService: { allowNoAuthentication: true }\n", "");
    let configuration = load(&text).expect("allowed");
    let modes: Vec<_> = configuration.desired.iter().map(|(_, uplink)| uplink.authorization.clone()).collect();
    assert_eq!(modes, [Authorization::Unauthenticated]);
}

#[test]
fn what_is_wrong_with_them_is_said() {
    let service = "    uplinkService: { maxUplinks: 0, onlineStatus: Up, allowNoAuthentication: 1 }\n";
    let told = errors(&document(service, "        certificateID: c\n        extensions: <Extensions>\n"));
    for part in ["from 1 to 1000", "write Connected or Online", "true or false", "one element `Extensions`"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn accounts_are_read_with_their_level() {
    let accounts = "accounts: [{ username: admin, level: Administrator, passwordFile: admin.txt }]\n";
    let text = format!("{}{accounts}", document("", "        certificateID: c\n"));
    let configuration = load(&text).expect("good");
    assert_eq!(configuration.accounts[0].password_file, Path::new("/etc/uplink/admin.txt"));
    let wrong = text.replace("Administrator", "Guards").replace("passwordFile: admin.txt", "x: y");
    assert!(errors(&wrong).contains("Administrator, Operator or User"));
}
