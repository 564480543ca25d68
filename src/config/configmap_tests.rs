//! What a ConfigMap holds, or why there is no document in it; how it is followed is proven with an API server (tests/it/configmap.rs).

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::ByteString;

use super::*;

fn told(map: ConfigMap) -> Told {
    document(&ConfigMapKey::parse("cams/uplinks").expect("good"), Path::new("/work"), Ok(Some(map)))
}

fn texts(entries: &[(&str, &str)]) -> ConfigMap {
    let data = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    ConfigMap { data: Some(data), ..ConfigMap::default() }
}

#[test]
fn the_document_is_named_by_namespace_name_and_key() {
    let document = told(texts(&[("other", "x"), ("uplinks.yaml", "devices: []")])).expect("a document");
    assert_eq!(document.name, "cams/uplinks/uplinks.yaml");
    assert_eq!((document.text.as_str(), document.base_dir.as_path()), ("devices: []", Path::new("/work")));
}

#[test]
fn a_missing_key_is_told_with_those_that_are_there() {
    let sentence = |map| told(map).expect_err("no document").to_string();
    assert_eq!(
        sentence(texts(&[("config.yaml", ""), ("a", "")])),
        "cams/uplinks/uplinks.yaml: the ConfigMap has no key `uplinks.yaml`; it has a, config.yaml"
    );
    assert!(sentence(ConfigMap::default()).ends_with("it has no keys"));
    let many: Vec<String> = (0..40).map(|number| format!("k{number:02}")).collect();
    let many = sentence(texts(&many.iter().map(|key| (key.as_str(), "")).collect::<Vec<_>>()));
    assert!(many.ends_with("k09, …"), "{many}");
}

#[test]
fn a_key_under_binary_data_or_a_text_that_is_too_large_is_no_document() {
    let data = BTreeMap::from([("uplinks.yaml".to_owned(), ByteString(vec![0xff]))]);
    let error = told(ConfigMap { binary_data: Some(data), ..ConfigMap::default() }).expect_err("binary");
    assert!(matches!(error, SourceError::Binary(_)) && error.to_string().contains("binaryData"), "{error}");
    let large = "#".repeat(MAX_DOCUMENT_BYTES + 1);
    let error = told(texts(&[("uplinks.yaml", &large)])).expect_err("too large");
    assert!(matches!(error, SourceError::TooLarge { .. }), "{error}");
}

#[test]
fn what_keeps_the_object_away_names_the_mend() {
    let at = ConfigMapKey::parse("cams/uplinks").expect("good");
    let sentence = |seen| document(&at, Path::new("/"), seen).expect_err("no document").to_string();
    assert_eq!(sentence(Ok(None)), "cams/uplinks/uplinks.yaml: there is no such ConfigMap");
    let forbidden = sentence(Err(Trouble::Forbidden("cannot list".to_owned())));
    let rule = "{apiGroups: [\"\"], resources: [configmaps], resourceNames: [uplinks], verbs: [get, list, watch]}";
    assert!(forbidden.contains(rule) && forbidden.contains("cannot list"), "{forbidden}");
    assert!(sentence(Err(Trouble::Unauthorized)).contains("token"));
    assert!(sentence(Err(Trouble::Silent(std::time::Duration::from_secs(15)))).contains("did not answer within 15 s"));
}
