//! The schema and the keys that are read are the same.

use std::collections::BTreeSet;

use crate::config::{keys, schema};

#[test]
fn the_schema_has_the_keys_that_are_read_and_says_what_each_means() {
    let schema = schema();
    let expected = [
        ("", keys::DOCUMENT),
        ("Device", keys::DEVICE),
        ("DeviceAccount", keys::DEVICE_ACCOUNT),
        ("Uplink", keys::UPLINK),
        ("UplinkService", keys::UPLINK_SERVICE),
        ("PathRule", keys::PATH_RULE),
        ("Role", keys::ROLE),
        ("Access", keys::ACCESS),
        ("Network", keys::NETWORK),
        ("Tls", keys::TLS),
        ("Lab", keys::LAB),
        ("Certificate", keys::CERTIFICATE),
        ("CertPathValidationPolicy", keys::POLICY),
        ("AuthorizationServer", keys::AUTHORIZATION_SERVER),
        ("Account", keys::ACCOUNT),
    ];
    for (name, keys) in expected {
        let of = if name.is_empty() { &schema } else { &schema["$defs"][name] };
        let properties = of["properties"].as_object().expect(name);
        let found: BTreeSet<_> = properties.keys().map(String::as_str).collect();
        assert_eq!(found, keys.iter().copied().collect(), "{name}");
        assert_eq!(of["additionalProperties"], false, "{name}");
        assert!(properties.values().all(|property| property["description"].is_string()), "{name}");
    }
    assert_eq!(schema["title"], "onvif-uplink configuration");
    assert!(schema["$schema"].as_str().is_some_and(|draft| draft.contains("2020-12")));
}
