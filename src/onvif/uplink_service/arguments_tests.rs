//! What clients send: of several releases, with any prefix, wrong in one way each.

use proptest::prelude::*;

use super::*;
use crate::onvif::{soap::envelope::read, uplink_service::tree};

fn parsed(body: &str) -> Result<Entry, Fault> {
    let message = format!(
        "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:u=\"{UPLINK}\" xmlns:v=\"urn:vendor\"><s:Body>{body}</s:Body>\
         </s:Envelope>"
    );
    let envelope = read(message.as_bytes(), None).expect("sound");
    set_uplink(&tree::operation(&envelope).expect("sound"))
}

fn configuration(inner: &str) -> Result<Entry, Fault> {
    parsed(&format!("<u:SetUplink><u:Configuration>{inner}</u:Configuration></u:SetUplink>"))
}

#[track_caller]
fn fault(inner: &str) -> String {
    format!("{:?}", configuration(inner).expect_err(inner))
}

const SMALL: &str = "<u:RemoteAddress>https://a/?x=1&amp;y=2</u:RemoteAddress><u:UserLevel> User </u:UserLevel>";

#[test]
fn all_elements_of_26_06_are_read() {
    let inner = format!(
        "{SMALL}<u:CertificateID>c</u:CertificateID><u:Status>x</u:Status><u:CertPathValidationPolicyID>p</u:CertPathValidationPolicyID>\
         <u:AuthorizationServer><![CDATA[idp]]></u:AuthorizationServer><u:Error>y</u:Error>"
    );
    let expected = Entry {
        remote_address: "https://a/?x=1&y=2".to_owned(),
        certificate_id: Some("c".to_owned()),
        authorization_server: Some("idp".to_owned()),
        user_level: vec!["User".to_owned()],
        cert_path_validation_policy_id: Some("p".to_owned()),
        extensions: None,
    };
    assert_eq!(configuration(&inner).expect("good"), expected);
}

#[test]
fn a_client_of_18_12_sends_its_order_and_an_empty_certificate() {
    let body = format!(
        "<SetUplink xmlns=\"{UPLINK}\"><Configuration><CertificateID/><Status>Offline</Status><UserLevel>Operator</UserLevel>\
         <RemoteAddress>192.0.2.1:8443</RemoteAddress></Configuration></SetUplink>"
    );
    let entry = parsed(&body).expect("good");
    assert_eq!((entry.remote_address.as_str(), entry.certificate_id), ("192.0.2.1:8443", None));
}

#[test]
fn several_levels_are_a_list() {
    let entry = configuration("<u:RemoteAddress>a</u:RemoteAddress><u:UserLevel>onvif:User\n Guards</u:UserLevel>");
    assert_eq!(entry.expect("good").user_level, ["onvif:User", "Guards"]);
}

#[test]
fn what_a_vendor_adds_is_kept_with_its_namespaces() {
    let inner = format!("{SMALL}<v:Site a=\"xmlns: u:ref\"><v:No>7</v:No></v:Site><Plain xmlns=\"urn:p\"/>");
    let body = format!(
        "<u:SetUplink><u:Configuration v:mark=\"a&quot;b\" plain=\"2\">{inner}</u:Configuration></u:SetUplink>"
    );
    let kept = parsed(&body).expect("good").extensions.expect("kept");
    let read = Extensions::parse(&kept).expect("sound");
    assert_eq!(read.attributes(), "xmlns:v0=\"urn:vendor\" v0:mark=\"a&quot;b\" plain=\"2\"");
    assert_eq!(
        read.content(),
        format!(
            "<v:Site xmlns:u=\"{UPLINK}\" xmlns:v=\"urn:vendor\" a=\"xmlns: u:ref\"><v:No>7</v:No></v:Site><Plain xmlns=\"urn:p\"/>"
        )
    );
}

#[test]
fn what_is_missing_is_invalid_arguments() {
    for inner in [
        "<u:UserLevel>User</u:UserLevel>",
        "<u:RemoteAddress> </u:RemoteAddress><u:UserLevel>User</u:UserLevel>",
        "<u:RemoteAddress>https://a/</u:RemoteAddress>",
        "<RemoteAddress>https://a/</RemoteAddress><u:UserLevel>User</u:UserLevel>",
        "<u:RemoteAddress><u:a/></u:RemoteAddress><u:UserLevel>User</u:UserLevel>",
    ] {
        assert!(fault(inner).contains("\"InvalidArgs\""), "{inner}");
    }
    assert!(fault(&format!("{SMALL}<u:UserLevel>User</u:UserLevel>")).contains("twice"));
    assert!(parsed("<u:SetUplink/>").is_err());
}

#[test]
fn what_is_no_value_is_an_invalid_value() {
    assert!(
        fault("<u:RemoteAddress>https://a/</u:RemoteAddress><u:UserLevel>Anonymous</u:UserLevel>")
            .contains("InvalidArgVal")
    );
    let long = "x".repeat(3000);
    assert!(
        fault(&format!("<u:RemoteAddress>{long}</u:RemoteAddress><u:UserLevel>User</u:UserLevel>")).contains("longer")
    );
    let huge = format!("{SMALL}<v:a>{}</v:a>", "x".repeat(20_000));
    assert!(fault(&huge).contains("InvalidArgVal"));
}

proptest! {
    #[test]
    fn no_damage_to_a_message_panics_and_what_is_kept_is_sound(at in 0usize..400, with in "[ <>/&;:=\"'!\\[\\]a-z\u{0}-\u{1f}]{0,6}") {
        let mut message = format!(
            "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:u=\"{UPLINK}\"><s:Body><u:SetUplink><u:Configuration a=\"1\">\
             {SMALL}<v:x xmlns:v=\"urn:v\" v:b='2'>t&amp;<![CDATA[<]]></v:x></u:Configuration></u:SetUplink></s:Body></s:Envelope>"
        );
        let at = at.min(message.len() - 1);
        message.replace_range(at..=at, &with);
        if let Ok(envelope) = read(message.as_bytes(), None)
            && let Ok(operation) = tree::operation(&envelope)
            && let Ok(entry) = set_uplink(&operation)
        {
            prop_assert!(!entry.remote_address.is_empty() && !entry.user_level.is_empty());
            if let Some(kept) = entry.extensions {
                prop_assert!(Extensions::parse(&kept).is_ok(), "{kept}");
            }
        }
    }
}
