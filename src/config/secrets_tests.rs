//! Secrets in the place of files: where they lie, what may not stand beside them, which keys are needed.

use std::path::{Path, PathBuf};

use crate::{
    config::{Configuration, Served, read},
    model::{
        address::Scheme,
        authorization::{Authorization, AuthorizationMode, ClientAuth, Trust},
        user_level::UserLevel,
    },
};

const DOCUMENT: &str = "\
devices:
  - name: camera-1
    http: http://127.0.0.1:8080
    credentials:
      Administrator: { username: admin, secretName: camera-1-admin }
    uplinks:
      - { remoteAddress: https://a/, certificateID: c, userLevel: User, certPathValidationPolicyID: p }
      - { remoteAddress: https://b/, authorizationServer: basic, userLevel: User }
      - { remoteAddress: https://c/, authorizationServer: jwt, userLevel: User }
certificates:
  c: { secretName: camera-1-tls }
certPathValidationPolicies:
  p: { secretName: fleet-ca, secretKey: bundle.pem, crlFiles: [/crl.pem] }
authorizationServers:
  basic: { type: OAuthClientCredentials, serverUri: 'https://i/', clientID: i, clientAuth: client_secret_basic, secretName: idp }
  jwt: { type: OAuthClientCredentials, serverUri: 'https://i/', clientID: i, clientAuth: private_key_jwt, secretName: idp-key }
accounts:
  - { username: local, level: Administrator, secretName: local, secretKey: pass }
";

fn load(text: &str) -> Result<Configuration, Vec<String>> {
    let served = Served {
        schemes: vec![Scheme::Https],
        authorization_modes: vec![AuthorizationMode::Mtls, AuthorizationMode::AccessToken],
        credentials: true,
        accounts: true,
        secrets_dir: PathBuf::from("/run/secrets"),
        ..Served::default()
    };
    read(text, Path::new("/etc/uplink"), &served).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn a_secret_lies_below_the_directory_of_secrets_under_its_name_and_key() {
    let configuration = load(DOCUMENT).expect("good");
    let path = |name: &str| PathBuf::from("/run/secrets").join(name);
    let uplinks: Vec<_> = configuration.desired.iter().map(|(_, uplink)| uplink).collect();
    let Authorization::Mtls(certificate) = &uplinks[0].authorization else { panic!("mTLS") };
    assert_eq!(certificate.cert_file, path("camera-1-tls/tls.crt"));
    assert_eq!(certificate.key_file, path("camera-1-tls/tls.key"));
    let Trust::Policy(policy) = &uplinks[0].trust else { panic!("a policy") };
    assert_eq!(policy.trust_anchor_files, [path("fleet-ca/bundle.pem")]);
    assert_eq!(policy.crl_files, [PathBuf::from("/crl.pem")]);
    let auth = |index: usize| match &uplinks[index].authorization {
        Authorization::AccessToken(token) => token.server.client_auth.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(auth(1), ClientAuth::SecretBasic { secret_file: path("idp/client-secret") });
    assert_eq!(auth(2), ClientAuth::PrivateKeyJwt { key_file: path("idp-key/tls.key"), key_id: None });
    let account = &configuration.devices[0].device.credentials[&UserLevel::Administrator];
    assert_eq!(account.password_file, path("camera-1-admin/password"));
    assert_eq!(configuration.accounts[0].password_file, path("local/pass"));
}

#[test]
fn the_configuration_tells_the_secrets_that_it_names_with_their_keys() {
    let named = load(DOCUMENT).expect("good").secrets;
    let named: Vec<String> = named
        .iter()
        .map(|(name, keys)| format!("{name}: {}", keys.iter().map(String::as_str).collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(
        named,
        [
            "camera-1-admin: password",
            "camera-1-tls: tls.crt tls.key",
            "fleet-ca: bundle.pem",
            "idp: client-secret",
            "idp-key: tls.key",
            "local: pass"
        ]
    );
}

#[test]
fn a_secret_beside_a_file_and_names_that_lead_elsewhere_are_refused() {
    let tls = "c: { secretName: camera-1-tls }";
    for (from, to, says) in [
        (tls, "c: { secretName: s, keyFile: k }", "keyFile: stands beside secretName"),
        (tls, "c: { secretName: ../other }", "secretName: `../other` is no name"),
        (tls, "c: { secretName: Camera }", "secretName: `Camera` is no name"),
        (tls, "c: { secretName: s, secretKey: k }", "secretKey: unknown key"),
        (tls, "c: {}", "`certFile` is missing; or write secretName"),
        ("secretKey: bundle.pem", "trustAnchorFiles: [a]", "trustAnchorFiles: stands beside secretName"),
        ("secretKey: bundle.pem", "secretKey: ..data", "secretKey: `..data` is no key"),
        ("secretName: fleet-ca, ", "trustAnchorFiles: [a], ", "secretKey: has no meaning without secretName"),
        ("secretName: idp }", "secretFile: f, secretName: idp }", "secretFile: stands beside secretName"),
        ("private_key_jwt, ", "tls_client_auth, certificateID: c, ", "secretName: has no meaning with tls_client_auth"),
        (", secretKey: pass", ", passwordFile: p", "passwordFile: stands beside secretName"),
        ("admin, secretName: camera-1-admin", "admin", "`passwordFile` is missing; or write secretName"),
    ] {
        let text = DOCUMENT.replacen(from, to, 1);
        assert_ne!(text, DOCUMENT, "{from}");
        let errors = load(&text).expect_err(to);
        assert!(errors.iter().any(|error| error.contains(says)), "{to}: {errors:#?}");
    }
}
