//! Tokens signed by us and verified by us, by every kind of key; and the vectors of RFC 7515.

use std::collections::BTreeMap;

use jsonwebtoken::{Header, Validation, decode, encode, jwk::Jwk};

use super::*;

type Claims = BTreeMap<String, String>;

fn claims() -> Claims {
    Claims::from([("sub".to_owned(), "camera-1".to_owned())])
}

fn lenient(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation
}

#[test]
fn a_p256_key_signs_what_its_public_half_verifies() {
    install();
    install();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let der = PrivateKeyDer::try_from(pair.serialize_der()).expect("PKCS#8");
    let (algorithm, key) = signing_key(&der).expect("P-256");
    assert_eq!(algorithm, Algorithm::ES256);
    let public = DecodingKey::from_ec_der(pair.public_key_raw());
    for _ in 0..50 {
        let token = encode(&Header::new(algorithm), &claims(), &key).expect("signed");
        let read = decode::<Claims>(&token, &public, &lenient(Algorithm::ES256)).expect("verified");
        assert_eq!(read.claims, claims());
        let (rest, last) = token.split_at(token.len() - 2);
        let forged = format!("{rest}{}", if last == "AA" { "BB" } else { "AA" });
        assert!(decode::<Claims>(&forged, &public, &lenient(Algorithm::ES256)).is_err());
    }
}

/// RFC 7515 Appendix A.1: HS256.
#[test]
fn the_hmac_vector_of_rfc_7515_is_met() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    install();
    let secret = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .expect("base64");
    let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signed = jsonwebtoken::crypto::sign(input.as_bytes(), &EncodingKey::from_secret(&secret), Algorithm::HS256);
    assert_eq!(signed.expect("signed"), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

/// RFC 7515 Appendix A.3: ES256, verified by the key as a JWK.
#[test]
fn the_ecdsa_vector_of_rfc_7515_is_verified() {
    install();
    let jwk: Jwk = serde_json::from_str(
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
    )
    .expect("a key");
    let key = DecodingKey::from_jwk(&jwk).expect("a key");
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    decode::<serde_json::Value>(token, &key, &lenient(Algorithm::ES256)).expect("verified");
}

#[test]
fn an_algorithm_that_is_not_that_of_the_key_is_refused() {
    install();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let public = DecodingKey::from_ec_der(pair.public_key_raw());
    // The classic confusion: the public key as the secret of an HMAC.
    let secret = EncodingKey::from_secret(pair.public_key_raw());
    let forged = encode(&Header::new(Algorithm::HS256), &claims(), &secret).expect("signed");
    assert!(decode::<Claims>(&forged, &public, &lenient(Algorithm::ES256)).is_err());
    assert!(decode::<Claims>(&forged, &public, &lenient(Algorithm::HS256)).is_err());
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
    assert!(signing_key(&PrivateKeyDer::try_from(p384.serialize_der()).expect("PKCS#8")).is_err());
}
