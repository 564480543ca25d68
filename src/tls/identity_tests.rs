//! Tests of the forms in which a key may be stored: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017 A.1.2), SEC 1 (RFC 5915).

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// A throw-away RSA key of these tests, made for this file and used nowhere: rcgen with ring cannot make one.
const THROW_AWAY_RSA: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC8Atw6eveTMVrI
A0ebAemzvpa9ejY25ZuTFb8gpwpSergJNHBjODd1nAmN/OtNBkJB8L0nvXCVys3g
dGSSbgvtqiCZ5xGCzFa1Hf6MSAmyVy2+mpL2J5cY82I8vQizDLxaSDMaswacW2Sr
ZY6F/u+DQs8PGt/ttrc4rsCx8/qT556qmvC7DQolMO4S0rfIX1UGaw2z+vnaZfhc
HF2J0vs07/IGRqRFnbUp6mDH7g4Z841C7pytPhld3ardxI3SU/4VByPbYkwXF5Wr
iNQ0xTF8eQye7HKZJFsuNNMO0EswuKiy7fIiP8T8OkTTZA1nVRpHDadKZqP2c/xK
DyQVJF05AgMBAAECggEABwaQVjscH0r72neM6HT017uqhGAZwIlp++AXKVA0qYpe
cDGedYa3Q9TV4pFt9Y3jUfV+DAsfNunCMb4HuBUWqwXte/LPi7S5FMGPLozOl/R8
CCBcl4g5NDx8Ekr6FT7HlxQVnMzN1W/w3hrIbaduKdiIRkc50Pc/94VIPB4i4f34
YWSs3gYsy7OgD6JSNZCTYB61s15AnWthPH/CWD1YAiWnX317zzNhhHTLy84MiMhZ
AQT9n6mrCOaFg9hd2spxe8RZcPDsmr0W9ytv5sP82PRahMONx507c9pmzIwI7BEc
HSJl+Mw/TjDG5fQQ7iEPcw9JW8gGlqU9i/Eub4chUQKBgQDbt7HmQIIn3SIvY3Cp
BHYsU3oDLyQfgMx9T+8hJavufALHz3gxOjV4EkTtKiVxVeerPRszpiCYIZLF2fOQ
liMwNdhATsBIs6IAlpaFg44Exc9OWyv1DMWU4HmtqyX4Fre3fpz1z8lERXsRGkfk
8sQs7AzumyLoMFUXC2zh71gxbQKBgQDbDtCNmAQpEBa20Wuw6DS+AM8w+ow38NvK
S7ugHYVqpU9EOkVgQv+hkKmAg/r2KJ51sFGeRWLXalVN7VqwmKu0qFIy9rHzHd9m
bugpChRn4ouxZRcXTEpiQdRf7tC+V1xjpFJVXP9t9O9h2Z+RR+6HHDTW4y1TK9lB
vJ+1yntHfQKBgQCNKdZYcrWs2vxtqdvmG4G5NOC9TvpMazn2gPbIOyXdkTtQGNHF
/vn/bO1v2pY33NN9R0NEycVDOL7N8xvzlyKAhPetSWtsykyZSCbpHP6Pvm9UjmsN
g+kln5tNoxo/7IiYkfZST++lt2Y8NMBgLkEwA3DDlFS3DOZ+ac7I0je9eQKBgBtR
fKa714D7dam08jYsry8m0K/t/wCW9AIFcc+k/tdu6DS9A5venxyZ+tmBHBIIvMI2
i+cuBgaRRzQhrpapY3hzKVUbuNN13T9cA23iyOqvsPYdgkSwifI4/XA9SyEBqg7v
Fil5II2o5xWP2zt1+gQ1e011JVji9gQhrtUv/DHNAoGBAJMVwFZNBNrZwaPCPzsM
r1OFuAN2XFEzdjrzp3o03JzIw7A6UCjM+zhxAH8RlD0HPpOV/ShUaGa0IogdlCYc
KSwzFvj8lINMbaLplM+VLGAO96GAhaxam7nP1AJnYlSjv+1wXDi9u3AMrv1DCFKk
cr5Ir2MLdlVUpgtEOTpgzWlG
-----END PRIVATE KEY-----
";

/// DER: the identifier of a named curve in an elliptic curve's private key, `[0] { prime256v1 }`.
const P256: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// The certificate of `pair` beside `key`, its private key in a section `label`.
fn load(pair: &KeyPair, label: &str, key: &[u8]) -> Result<Identity, Failure> {
    let directory = tempfile::tempdir().expect("writable");
    let (cert_file, key_file) = write(&directory, pair, label, key);
    Identity::load_files(&cert_file, &key_file)
}

fn write(directory: &TempDir, pair: &KeyPair, label: &str, key: &[u8]) -> (PathBuf, PathBuf) {
    let (cert_file, key_file) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    let cert = CertificateParams::default().self_signed(pair).expect("self-signed");
    std::fs::write(&cert_file, cert.pem()).expect("writable");
    let text = STANDARD.encode(key);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    std::fs::write(&key_file, pem).expect("writable");
    (cert_file, key_file)
}

/// The content of the first DER element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        long if long & 0x80 != 0 => {
            let end = 2 + usize::from(long & 0x7f);
            (der[2..end].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), end)
        }
        short => (usize::from(short), 2),
    };
    der[start..].split_at(length)
}

/// The private key of its own algorithm within a PKCS#8 document: version, algorithm, OCTET STRING.
fn inner(pkcs8: &[u8]) -> &[u8] {
    let (document, _) = element(pkcs8);
    let (_version, rest) = element(document);
    let (_algorithm, rest) = element(rest);
    element(rest).0
}

/// An ECPrivateKey with its curve named, which is how key generators write it: version, key, curve, public key.
fn with_curve(ec_private_key: &[u8]) -> Vec<u8> {
    let (content, _) = element(ec_private_key);
    let (_version, rest) = element(content);
    let (_key, public) = element(rest);
    let before = &content[..content.len() - public.len()];
    let named = [before, &P256, public].concat();
    let length = u8::try_from(named.len()).expect("a P-256 key is shorter than 128 octets");
    assert!(length < 0x80, "a length of one octet");
    [&[0x30, length][..], &named].concat()
}

#[test]
fn an_elliptic_curve_key_is_accepted_in_sec_1_with_and_without_its_curve() {
    let pair = KeyPair::generate().expect("ECDSA P-256");
    let pkcs8 = pair.serialize_der();
    load(&pair, "PRIVATE KEY", &pkcs8).expect("PKCS#8");
    let sec1 = inner(&pkcs8);
    load(&pair, "EC PRIVATE KEY", sec1).expect("SEC 1");
    load(&pair, "EC PRIVATE KEY", &with_curve(sec1)).expect("SEC 1 with its curve");
}

#[test]
fn an_rsa_key_is_accepted_in_pkcs_1() {
    let pair = KeyPair::from_pem(THROW_AWAY_RSA).expect("an RSA key");
    let pkcs8 = pair.serialize_der();
    load(&pair, "PRIVATE KEY", &pkcs8).expect("PKCS#8");
    load(&pair, "RSA PRIVATE KEY", inner(&pkcs8)).expect("PKCS#1");
}

#[test]
fn a_key_of_the_right_form_that_belongs_to_another_certificate_is_a_mismatch() {
    let (own, other) = (KeyPair::generate().expect("ECDSA P-256"), KeyPair::generate().expect("ECDSA P-256"));
    let failure = load(&own, "EC PRIVATE KEY", inner(&other.serialize_der())).expect_err("another key");
    assert_eq!(failure.cause, Cause::KeyMismatch, "{failure}");
}

#[test]
fn a_damaged_inner_key_is_refused_as_of_no_use() {
    let pair = KeyPair::generate().expect("ECDSA P-256");
    let pkcs8 = pair.serialize_der();
    for label in ["EC PRIVATE KEY", "RSA PRIVATE KEY"] {
        let failure = load(&pair, label, &inner(&pkcs8)[..20]).expect_err("cut off");
        assert_eq!(failure.cause, Cause::CredentialInvalid, "{failure}");
    }
}
