//! Which class a message has, whatever it says of itself; what is not understood has none.

use proptest::prelude::*;

use super::*;
use crate::{
    model::user_level::UserLevel,
    onvif::soap::{SOAP_11, SOAP_12},
};

const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
const EVENTS: &str = "http://www.onvif.org/ver10/events/wsdl";

fn message(header: &str, namespace: &str, operation: &str) -> String {
    format!(
        "<e:Envelope xmlns:e=\"{SOAP_12}\" xmlns:a=\"http://www.w3.org/2005/08/addressing\"><e:Header>{header}</e:Header><e:Body>\
         <o:{operation} xmlns:o=\"{namespace}\"/></e:Body></e:Envelope>"
    )
}

fn of(message: &str, access: &Access) -> Vec<(String, Option<AccessClass>)> {
    let (_, subjects) = subjects(message.as_bytes(), None, access).expect(message);
    subjects.into_iter().map(|subject| (subject.name, subject.class)).collect()
}

#[test]
fn a_message_has_the_class_of_the_operation_in_its_body() {
    let access = Access::default();
    let reboot = of(&message("", DEVICE, "SystemReboot"), &access);
    assert_eq!(reboot, [("tds:SystemReboot".to_owned(), Some(AccessClass::Unrecoverable))]);
    let old = message("", DEVICE, "GetServices").replace(SOAP_12, SOAP_11);
    assert_eq!(of(&old, &access), [("tds:GetServices".to_owned(), Some(AccessClass::PreAuth))]);
    for (namespace, operation) in
        [("urn:x", "GetServices"), (DEVICE, "getServices"), (DEVICE, "UpgradeSystemFirmware"), (EVENTS, "GetServices")]
    {
        assert_eq!(of(&message("", namespace, operation), &access)[0].1, None, "{namespace} {operation}");
    }
}

#[test]
fn an_action_that_agrees_adds_nothing_and_one_that_contradicts_must_be_allowed_too() {
    let access = Access::default();
    let with = |action: &str| of(&message(&format!("<a:Action>{action}</a:Action>"), EVENTS, "PullMessages"), &access);
    for action in [
        format!("{EVENTS}/PullPointSubscription/PullMessagesRequest"),
        format!(" {EVENTS}/PullMessages\n"),
        String::new(),
    ] {
        assert_eq!(with(&action).len(), 1, "{action}");
    }
    assert_eq!(with(&format!("{DEVICE}/SystemReboot"))[1].1, Some(AccessClass::Unrecoverable));
    assert_eq!(with(&format!("{DEVICE}/Device/SystemRebootRequest"))[1].1, Some(AccessClass::Unrecoverable));
    assert_eq!(with("urn:anything")[1].1, None);
}

#[test]
fn actions_of_the_specification_agree_with_their_operations() {
    for (action, local) in [
        ("http://www.onvif.org/ver10/media/wsdlGetProfile/", "GetProfile"),
        ("http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager/RenewRequest", "Renew"),
        ("http://www.onvif.org/ver10/search/wsdl/SearchImageByNL", "SearchImageByNLRequest"),
    ] {
        assert!(names(action, local), "{action}");
    }
    assert!(!names("http://www.onvif.org/ver10/device/wsdl/SystemReboot", "Reboot") && !names("urn:x", "GetUsers"));
    let renew = "<a:Action>http://docs.oasis-open.org/wsn/bw-2/SubscriptionManager/RenewRequest</a:Action>";
    let pull = of(&message(renew, EVENTS, "PullMessages"), &Access::default());
    assert_eq!(pull[1], ("wsnt:Renew".to_owned(), Some(AccessClass::ReadMedia)));
}

#[test]
fn subscribe_is_read_media_unless_it_is_switched_off() {
    let subscribe = message("", "http://docs.oasis-open.org/wsn/b-2", "Subscribe");
    assert_eq!(of(&subscribe, &Access::default())[0].1, Some(AccessClass::ReadMedia));
    assert_eq!(of(&subscribe, &Access { subscribe: false, ..Access::default() })[0].1, None);
}

#[test]
fn content_types_are_read_whatever_their_case_and_parameters() {
    let kind = media("Application/SOAP+XML; charset=\"UTF-8\"; action=\"urn:x/GetUsers\"");
    assert!(
        kind.is_soap && kind.charset.as_deref() == Some("UTF-8") && kind.action.as_deref() == Some("urn:x/GetUsers")
    );
    assert!(media("text/xml").is_soap && media("application/xml;charset=x").is_soap);
    assert!(media("multipart/related; type=\"application/xop+xml\"").is_multipart_soap);
    for other in ["", "application/json", "text/xmlx", "application/octet-stream", "multipart/form-data"] {
        assert!(!media(other).is_soap && !media(other).is_multipart_soap, "{other}");
    }
}

#[test]
fn rtsp_methods_have_the_classes_of_what_they_do() {
    for method in ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER"] {
        assert_eq!(rtsp_class(method, ""), Some(AccessClass::ReadMedia), "{method}");
    }
    for method in ["RECORD", "ANNOUNCE", "SET_PARAMETER"] {
        assert_eq!(rtsp_class(method, ""), Some(AccessClass::Actuate), "{method}");
    }
    assert_eq!(rtsp_class("SETUP", "www.onvif.org/ver20/backchannel"), Some(AccessClass::Actuate));
    assert_eq!(rtsp_class("REDIRECT", ""), None);
}

proptest! {
    #[test]
    fn what_is_not_in_the_table_is_for_administrators_only(namespace in "[a-z:/.0-9]{0,40}", operation in "[A-Za-z]{1,30}") {
        let message = message("", &namespace, &operation);
        prop_assume!(Operation::find(&namespace, &operation).is_none());
        if let Ok((_, subjects)) = subjects(message.as_bytes(), None, &Access::default()) {
            let operator = Rights::of(&[UserLevel::Operator, UserLevel::User, UserLevel::Role("x".into())], &Access::default());
            prop_assert!(!subjects[0].allowed(&operator));
            prop_assert!(subjects[0].allowed(&Rights::of(&[UserLevel::Administrator], &Access::default())));
        }
    }

    #[test]
    fn octets_of_any_kind_have_no_class_and_never_panic(message in proptest::collection::vec(any::<u8>(), 0..300), charset in "[a-z0-9-]{0,8}") {
        let _ = subjects(&message, Some(&charset), &Access::default());
    }

    #[test]
    fn a_changed_octet_never_gives_another_class_unseen(at in 0usize..300, octet in any::<u8>()) {
        let mut changed = message("", DEVICE, "SystemReboot").into_bytes();
        let at = at % changed.len();
        changed[at] = octet;
        if let Ok((envelope, subjects)) = subjects(&changed, None, &Access::default()) {
            let name = &envelope.operation;
            let unchanged = name.is(DEVICE, "SystemReboot");
            prop_assert_eq!(subjects[0].class, unchanged.then_some(AccessClass::Unrecoverable));
        }
    }
}
