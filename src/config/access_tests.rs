//! Roles, path rules and what an uplink says about access: read, and refused with the place and the mend.

use std::path::Path;

use crate::{
    config::{Served, load},
    model::{
        access::{AccessClass, Refusal, operations::Operation},
        address::Scheme,
        authorization::AuthorizationMode,
        uplink::Uplink,
    },
};

fn document(device: &str, uplink: &str, root: &str) -> String {
    format!(
        "devices:\n  - name: camera-1\n    http: http://127.0.0.1\n{device}    uplinks:\n      - remoteAddress: https://cloud/\n        \
         certificateID: c\n{uplink}certificates:\n  c: {{ certFile: c, keyFile: k }}\n{root}"
    )
}

fn read(text: &str) -> Result<Uplink, Vec<String>> {
    let served = Served {
        schemes: vec![Scheme::Https],
        authorization_modes: vec![AuthorizationMode::Mtls],
        ..Served::default()
    };
    let set = load(text, Path::new("/"), &served);
    let set = set.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok(set.iter().next().expect("one uplink").1.clone())
}

fn refused(text: &str, begin: &str) {
    let errors = read(text).expect_err(text);
    assert!(errors.len() == 1 && errors[0].starts_with(begin), "{errors:#?}\nshould begin with\n{begin}");
}

#[test]
fn roles_paths_and_access_are_read() {
    let text = document(
        "    paths:\n      - { path: /snapshot.jpg, class: READ_MEDIA }\n      - { path: /cgi/*, class: ACTUATE, methods: [POST] }\n",
        "        userLevel: [User, Movers]\n        access: { refusal: 403, subscribe: false }\n",
        "roles:\n  Movers: { functions: [tptz:ContinuousMove, tptz:Stop] }\n  Unused: { functions: [] }\n",
    );
    let access = read(&text).expect("valid").access;
    assert_eq!((access.refusal, access.subscribe), (Refusal::Forbidden, false));
    assert_eq!(access.roles.keys().collect::<Vec<_>>(), ["Movers"], "only what is named");
    assert!(access.roles["Movers"].functions.contains(&Operation::by_function("tptz:Stop").expect("known")));
    assert_eq!(
        access.paths.iter().map(|rule| rule.class()).collect::<Vec<_>>(),
        [AccessClass::ReadMedia, AccessClass::Actuate]
    );
    assert!(access.paths[1].matches("POST", "/cgi/x", None) && !access.paths[1].matches("GET", "/cgi/x", None));
}

#[test]
fn without_the_keys_the_defaults_are_those_of_the_specification() {
    let access = read(&document("", "        userLevel: User\n", "")).expect("valid").access;
    assert_eq!(access, crate::model::access::Access::default());
    assert_eq!((access.refusal, access.subscribe), (Refusal::BadRequest, true));
}

#[test]
fn a_role_that_is_nowhere_is_an_error_at_its_name() {
    let text = document("", "        userLevel: [User, Guards]\n", "");
    refused(&text, "7:27: devices[0].uplinks[0].userLevel[1]: there is no `Guards` under roles");
}

#[test]
fn built_in_levels_and_functions_that_are_none_are_refused_in_roles() {
    let of = |roles: &str| document("", "        userLevel: User\n", &format!("roles:\n  {roles}\n"));
    refused(&of("Operator: { functions: [] }"), "11:3: roles.Operator: `Operator` is built in");
    refused(&of("onvif:Root: { functions: [] }"), "11:3: roles.onvif:Root: `onvif:Root` is none of");
    refused(&of("R: { functions: [tds:Reboot] }"), "11:20: roles.R.functions[0]: there is no operation `Reboot`");
    refused(&of("R: { functions: [GetUsers] }"), "11:20: roles.R.functions[0]: `GetUsers` has no prefix");
    refused(&of("R: {}"), "11:6: roles.R: `functions` is missing");
}

#[test]
fn rules_that_cannot_work_are_refused() {
    let of = |rule: &str| document(&format!("    paths:\n      - {rule}\n"), "        userLevel: User\n", "");
    refused(&of("{ path: snapshot.jpg, class: READ_MEDIA }"), "5:17: devices[0].paths[0].path: this is no path");
    refused(
        &of("{ path: //a, class: READ_MEDIA }"),
        "5:17: devices[0].paths[0].path: write it in its canonical form: /a",
    );
    refused(&of("{ path: /a, class: MEDIA }"), "5:28: devices[0].paths[0].class: `MEDIA` is no access class");
    refused(
        &of("{ path: /a, class: ACTUATE, methods: [get] }"),
        "5:47: devices[0].paths[0].methods[0]: `get` is no method",
    );
    refused(&of("{ path: /a }"), "5:9: devices[0].paths[0]: `class` is missing");
}

#[test]
fn another_status_for_refusals_is_refused() {
    let text = document("", "        userLevel: User\n        access: { refusal: 404 }\n", "");
    refused(&text, "8:28: devices[0].uplinks[0].access.refusal: `404` is no status for a refusal");
}
