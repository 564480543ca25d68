//! Documents of people, edited: what they wrote beside the change is there afterwards, letter by letter.

use proptest::prelude::*;

use super::*;

const TEXT: &str = "\
# Uplinks of building 7
devices:
  - name: camera-1   # the gate
    http: http://127.0.0.1:80
    uplinks:
      # the cloud of the owner
      - remoteAddress: https://a/   # do not touch
        certificateID: c
        userLevel: User # viewer
        certPathValidationPolicyID: p
        network: { proxy: none }
      # the cloud of the installer
      - remoteAddress: 'https://b/'
        authorizationServer: idp
        tokenIn: header
        userLevel: [Operator, Guards]
  - name: camera-2
    http: http://127.0.0.1:81
    uplinks: []  # none yet

certificates:
  c: { certFile: a, keyFile: b } # in a Secret
";

fn entry(remote: &str) -> Entry {
    Entry {
        remote_address: remote.to_owned(),
        certificate_id: Some("c".to_owned()),
        user_level: vec!["Operator".to_owned()],
        ..Entry::default()
    }
}

fn lines<'t>(one: &'t str, other: &str) -> Vec<&'t str> {
    let other: Vec<_> = other.lines().collect();
    one.lines().filter(|line| !other.contains(line)).collect()
}

#[test]
fn a_new_uplink_is_added_and_nothing_else_changes() {
    let new = apply(TEXT, "camera-1", &Edit::Set(entry("https://new/?a=b#c"))).expect("edited");
    assert!(lines(TEXT, &new).is_empty(), "{new}");
    let added = ["      - remoteAddress: https://new/?a=b#c", "        userLevel: Operator"];
    assert_eq!(lines(&new, TEXT), added, "{new}");
}

#[test]
fn a_changed_uplink_keeps_its_comments_and_what_the_service_does_not_know() {
    let changed = Entry { cert_path_validation_policy_id: None, ..entry("https://a/") };
    let new = apply(TEXT, "camera-1", &Edit::Set(changed)).expect("edited");
    assert_eq!(lines(&new, TEXT), ["        userLevel: Operator # viewer"]);
    assert_eq!(lines(TEXT, &new), ["        userLevel: User # viewer", "        certPathValidationPolicyID: p"]);
}

#[test]
fn where_a_token_goes_is_forgotten_with_the_token() {
    let new = apply(TEXT, "camera-1", &Edit::Set(entry("https://b/"))).expect("edited");
    assert!(!new.contains("tokenIn") && !new.contains("idp") && new.contains("'https://b/'"), "{new}");
}

#[test]
fn a_deleted_uplink_leaves_the_others() {
    let new = apply(TEXT, "camera-1", &Edit::Delete("https://a/".to_owned())).expect("edited");
    assert!(new.contains("https://b/") && !new.contains("https://a/") && new.contains("# the gate"), "{new}");
    let none = apply(&new, "camera-1", &Edit::Delete("https://b/".to_owned())).expect("the last one too");
    assert!(none.contains("camera-2") && !none.contains("https://b/"), "{none}");
    let again = apply(&none, "camera-1", &Edit::Set(entry("https://c/"))).expect("and one again");
    assert!(again.contains("https://c/"), "{again}");
}

#[test]
fn a_list_in_one_line_is_edited_in_its_line() {
    let new = apply(TEXT, "camera-2", &Edit::Set(entry("https://a/"))).expect("edited");
    assert!(new.contains("# none yet") && lines(TEXT, &new).len() == 1, "{new}");
}

#[test]
fn what_cannot_be_edited_safely_is_refused() {
    let aliased = TEXT.replace("uplinks: []", "uplinks: *l").replace("    uplinks:\n", "    uplinks: &l\n");
    assert!(apply(&aliased, "camera-2", &Edit::Set(entry("https://n/"))).expect_err("an alias").contains("alias"));
    assert!(apply(&aliased, "camera-1", &Edit::Set(entry("https://n/"))).is_err(), "camera-2 would have it too");
    assert!(apply(TEXT, "camera-9", &Edit::Delete("https://a/".to_owned())).is_err());
    assert!(apply(TEXT, "camera-1", &Edit::Delete("https://z/".to_owned())).is_err());
}

proptest! {
    #[test]
    fn any_text_that_a_client_sends_is_read_again_as_it_was(
        remote in "https://[a-z]{1,5}/[!-~é]{0,20}",
        id in "[ -~\n\té]{1,30}",
        levels in prop::collection::vec("[!-~]{1,8}", 1..4),
    ) {
        let set = Entry {
            remote_address: remote,
            certificate_id: Some(id.clone()),
            user_level: levels,
            extensions: Some(format!("<Extensions>\n  <a b='{id}'/>\n</Extensions>")),
            ..Entry::default()
        };
        for device in ["camera-1", "camera-2"] {
            // Refused is allowed, damage is not: `apply` compares with what must be.
            let edited = apply(TEXT, device, &Edit::Set(set.clone()));
            prop_assert!(edited.is_ok() || set.user_level.len() != 1 || id.trim() != id, "{edited:?}");
        }
    }
}
