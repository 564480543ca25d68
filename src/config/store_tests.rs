//! Each reason against a change, with the one change that has it.

use std::path::Path;

use super::*;
use crate::{
    config::read,
    model::{address::Scheme, authorization::AuthorizationMode},
};

fn served() -> Served {
    Served {
        schemes: vec![Scheme::Https, Scheme::Wss],
        authorization_modes: vec![AuthorizationMode::Mtls, AuthorizationMode::AccessToken],
        ..Served::default()
    }
}

fn checked(service: &str, edit: &Edit) -> Result<(), StoreError> {
    let text = format!(
        "devices:\n  - name: camera-1\n    http: http://127.0.0.1:80\n    uplinkService: {{ {service} }}\n    uplinks:\n      \
         - {{ remoteAddress: https://a/, certificateID: c, userLevel: User }}\ncertificates: {{ c: {{ certFile: a, keyFile: b }} }}\n"
    );
    let configuration = read(&text, Path::new("/"), &served()).expect("good");
    check(&configuration, "camera-1", edit, &served())
}

fn set(change: impl FnOnce(&mut Entry)) -> Edit {
    let mut entry = Entry {
        remote_address: "https://b/".to_owned(),
        certificate_id: Some("c".to_owned()),
        user_level: vec!["User".to_owned()],
        ..Entry::default()
    };
    change(&mut entry);
    Edit::Set(entry)
}

#[test]
fn what_refers_to_what_is_there_may_be_set() {
    assert_eq!(checked("maxUplinks: 2", &set(|_| {})), Ok(()));
    assert_eq!(checked("maxUplinks: 2", &set(|entry| entry.remote_address = "192.0.2.1:8443".to_owned())), Ok(()));
    assert_eq!(checked("maxUplinks: 1", &Edit::Delete("https://a/".to_owned())), Ok(()));
}

#[test]
fn each_reference_to_nothing_has_its_own_error() {
    let nothing = || Some("nothing".to_owned());
    let of = |edit| checked("maxUplinks: 2", &edit).expect_err("refused");
    assert_eq!(of(set(|entry| entry.certificate_id = nothing())), StoreError::Certificate("nothing".to_owned()));
    assert_eq!(
        of(set(|entry| entry.cert_path_validation_policy_id = nothing())),
        StoreError::Policy("nothing".to_owned())
    );
    let server = set(|entry| (entry.certificate_id, entry.authorization_server) = (None, nothing()));
    assert_eq!(of(server), StoreError::AuthorizationServer("nothing".to_owned()));
    assert_eq!(of(Edit::Delete("https://b/".to_owned())), StoreError::Address);
}

#[test]
fn authentication_is_exactly_one() {
    let of = |service, edit| checked(service, &edit);
    let none = || set(|entry| entry.certificate_id = None);
    assert_eq!(of("maxUplinks: 2", none()), Err(StoreError::MissingAuthentication));
    assert_eq!(of("allowNoAuthentication: true", none()), Ok(()));
    let both = set(|entry| entry.authorization_server = Some("idp".to_owned()));
    assert_eq!(of("allowNoAuthentication: true", both), Err(StoreError::AmbiguousAuthentication));
}

#[test]
fn a_scheme_without_a_transport_and_an_address_that_is_none_are_told_apart() {
    let of = |address: &str| checked("maxUplinks: 2", &set(|entry| entry.remote_address = address.to_owned()));
    for address in ["http://a/", "ftp://a/", "WS://a/"] {
        assert_eq!(of(address), Err(StoreError::Protocol("https wss".to_owned())), "{address}");
    }
    for address in ["https://", "https://user@a/", "https://a/#b", ""] {
        assert!(matches!(of(address), Err(StoreError::Value(_))), "{address}");
    }
}

#[test]
fn beyond_the_most_uplinks_none_is_added_but_each_may_be_changed() {
    assert_eq!(checked("maxUplinks: 1", &set(|_| {})), Err(StoreError::MaxUplinks(1)));
    assert_eq!(checked("maxUplinks: 1", &set(|entry| entry.remote_address = "https://a/".to_owned())), Ok(()));
}
