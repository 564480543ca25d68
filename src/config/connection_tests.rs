//! The maps `network`, `tls` and `lab` of an uplink, `tokenIn`, and what policies and authorization servers have besides.

use std::path::Path;

use crate::{
    config::{Served, load},
    model::{
        address::Scheme,
        authorization::{Authorization, AuthorizationMode, SpkiPin, TokenPlacement, Trust},
        lab::{Handshake, Lab},
        network::{Network, ProxyChoice, SendQueue, Source},
        tls_choices::{TlsChoices, TlsVersion},
        uplink::Uplink,
    },
};

/// One uplink with these lines; `@` is the remote.
fn document(remote: &str, authorization: &str, lines: &str) -> String {
    format!(
        "devices:\n  - name: camera-1\n    http: http://127.0.0.1:8080\n    uplinks:\n      - remoteAddress: {remote}\n        \
         {authorization}\n        userLevel: User\n        certPathValidationPolicyID: p\n{lines}certificates:\n  c: {{ certFile: c.crt, \
         keyFile: c.key }}\ncertPathValidationPolicies:\n  p: {{ trustAnchorFiles: [ca.crt], crlFiles: [/x/ca.crl], pins: \
         [sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=] }}\nauthorizationServers:\n  idp: {{ type: OAuthClientCredentials, \
         serverUri: https://idp/, clientID: x, clientAuth: client_secret_basic, secretFile: s, audience: https://a/ }}\n"
    )
}

fn read(text: &str) -> Result<Uplink, Vec<String>> {
    let served = Served {
        schemes: vec![Scheme::Https, Scheme::Wss],
        authorization_modes: vec![AuthorizationMode::Mtls, AuthorizationMode::AccessToken],
        ..Served::default()
    };
    let set = load(text, Path::new("/etc/uplink"), &served);
    let set = set.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok(set.iter().next().expect("one uplink").1.clone())
}

#[test]
fn without_any_of_it_the_defaults_hold() {
    let uplink = read(&document("https://cloud/", "certificateID: c", "")).expect("valid");
    assert_eq!((uplink.network, uplink.tls, uplink.lab), (Network::default(), TlsChoices::default(), Lab::default()));
    assert!(TlsChoices::default().post_quantum);
    let Trust::Policy(policy) = uplink.trust else { panic!("a policy") };
    assert_eq!(policy.crl_files, [Path::new("/x/ca.crl")]);
    assert_eq!(policy.pins, [SpkiPin([0; 32])]);
}

#[test]
fn every_key_is_read() {
    let lines = "        network: { proxy: 'socks5://p:1', proxyCredentialsFile: pw, sourceInterface: wwan0, congestionControl: bbr, \
                 maxKilobitsPerSecond: 8000, sendQueueBytes: 0 }\n        tls: { minimumVersion: 1.3, postQuantum: false }\n        \
                 lab: { path: '/xxx', host: cloud, handshake: none, skipServerVerification: true, plainTcp: true }\n";
    let uplink = read(&document("https://127.0.0.1/", "certificateID: c", lines)).expect("valid");
    let Network { proxy: ProxyChoice::Via(proxy), .. } = &uplink.network else { panic!("a proxy") };
    assert_eq!(proxy.to_string(), "socks5://p:1");
    assert_eq!(uplink.network.proxy_credentials_file.as_deref(), Some(Path::new("/etc/uplink/pw")));
    assert_eq!(uplink.network.source, Some(Source::Interface("wwan0".to_owned())));
    assert_eq!(uplink.network.congestion_control.as_deref(), Some("bbr"));
    assert_eq!(uplink.network.rate_limit.map(u64::from), Some(8_000_000));
    assert_eq!(uplink.network.send_queue, SendQueue::Kernel);
    assert_eq!(uplink.tls, TlsChoices { minimum_version: TlsVersion::Tls13, post_quantum: false });
    assert_eq!(uplink.lab.handshake, Handshake::None);
    assert_eq!(uplink.lab.warnings().len(), 5);
}

#[test]
fn a_token_goes_where_the_uplink_wants_it() {
    let uplink =
        read(&document("wss://cloud/", "authorizationServer: idp", "        tokenIn: query\n")).expect("valid");
    let Authorization::AccessToken(token) = uplink.authorization else { panic!("a token") };
    assert_eq!(token.placement, TokenPlacement::Query);
    assert_eq!(token.server.audience.as_deref(), Some("https://a/"));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_mend() {
    for (remote, authorization, line, expected) in [
        ("https://cloud/", "certificateID: c", "network: { proxy: 'ftp://p' }", "network.proxy: the scheme `ftp`"),
        ("https://cloud/", "certificateID: c", "network: { proxyCredentialsFile: f }", "--proxy-credentials-file"),
        ("https://cloud/", "certificateID: c", "network: { sourceAddress: eth0 }", "is not an IP address"),
        ("https://cloud/", "certificateID: c", "network: { sourceAddress: 1.2.3.4, sourceInterface: a }", "ambiguous"),
        ("https://cloud/", "certificateID: c", "network: { sourceInterface: a-name-that-is-too-long }", "15 bytes"),
        ("https://cloud/", "certificateID: c", "network: { congestionControl: 'b b' }", "congestion control"),
        ("https://cloud/", "certificateID: c", "network: { maxKilobitsPerSecond: 1 }", "from 64 to"),
        ("https://cloud/", "certificateID: c", "network: { sendQueueBytes: many }", "a whole number from 0"),
        ("https://cloud/", "certificateID: c", "tls: { minimumVersion: 1.1 }", "`1.1` is not a version"),
        ("https://cloud/", "certificateID: c", "tls: { postQuantum: maybe }", "expected true or false"),
        ("https://cloud/", "certificateID: c", "lab: { path: xxx }", "begins with `/`"),
        ("https://cloud/", "certificateID: c", "lab: { host: 'a b' }", "a host is a name"),
        ("https://cloud/", "certificateID: c", "lab: { handshake: maybe }", "write upgrade or none"),
        ("wss://cloud/", "certificateID: c", "lab: { handshake: none }", "needs its handshake"),
        ("https://cloud/", "certificateID: c", "lab: { plainTcp: true }", "loopback addresses only"),
        ("https://cloud/", "certificateID: c", "tokenIn: header", "no meaning with certificateID"),
        ("https://cloud/", "authorizationServer: idp", "tokenIn: query", "only with wss://"),
        ("wss://cloud/", "authorizationServer: idp", "tokenIn: body", "write header or query"),
    ] {
        let errors = read(&document(remote, authorization, &format!("        {line}\n"))).expect_err(line);
        assert_eq!(errors.len(), 1, "{errors:#?}");
        assert!(errors[0].starts_with("9:") && errors[0].contains(expected), "{line}: {}", errors[0]);
    }
}

#[test]
fn a_pin_that_is_none_is_refused() {
    let text = document("https://cloud/", "certificateID: c", "").replace("[sha256/AAAA", "[sha1/AAAA");
    let errors = read(&text).expect_err("no pin");
    assert!(errors[0].contains("certPathValidationPolicies.p.pins[0]: is not a pin"), "{errors:?}");
}
