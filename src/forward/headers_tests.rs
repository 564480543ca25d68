//! Tests of the header rules, the published desync cases among them.

use super::*;

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn forwarded(fields: &[(&'static str, &'static str)], remote: &str) -> Result<(HeaderMap, RequestFraming), Refusal> {
    let mut headers = map(fields);
    let own = HeaderValue::from_static("127.0.0.1:8080");
    let framing = to_device(&mut headers, &own, Some("0.0.0.0:443"), remote.parse().ok())?;
    Ok((headers, framing))
}

#[test]
fn the_host_is_always_the_neighbours() {
    let (headers, _) = forwarded(&[("host", "cloud.example")], "192.0.2.1:9").expect("valid");
    assert_eq!(headers.get_all(HOST).iter().collect::<Vec<_>>(), ["127.0.0.1:8080"]);
    assert_eq!(headers["x-forwarded-host"], "0.0.0.0:443");
}

#[test]
fn connection_fields_and_what_they_name_are_dropped_but_never_the_length() {
    let fields = [
        ("connection", "x-secret, content-length"),
        ("x-secret", "1"),
        ("content-length", "3"),
        ("keep-alive", "5"),
        ("proxy-authorization", "x"),
        ("proxy-connection", "x"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("te", "gzip"),
        ("transfer_encoding", "chunked"),
        ("x-kept", "1"),
    ];
    let (headers, framing) = forwarded(&fields, "").expect("valid");
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "forwarded", "host", "x-forwarded-host", "x-forwarded-proto", "x-kept"]);
    assert_eq!(framing.length, Some(3));
}

#[test]
fn forwarded_is_appended_with_ipv6_in_quotes() {
    let fields = [("forwarded", "for=a"), ("x-forwarded-for", "198.51.100.7")];
    let (headers, _) = forwarded(&fields, "[2001:db8::1]:9").expect("valid");
    assert_eq!(headers[FORWARDED], "for=a, for=\"[2001:db8::1]\";host=\"0.0.0.0:443\";proto=https");
    assert_eq!(headers["x-forwarded-for"], "198.51.100.7, 2001:db8::1");
    assert_eq!(headers["x-forwarded-proto"], "https");
}

#[test]
fn cookie_crumbs_are_joined_and_te_trailers_is_kept() {
    let (headers, _) = forwarded(&[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")], "").expect("valid");
    assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(
        (&headers[TE], &headers[CONNECTION]),
        (&HeaderValue::from_static("trailers"), &HeaderValue::from_static("TE"))
    );
}

#[test]
fn a_request_whose_length_is_in_doubt_is_refused() {
    for value in ["+3", "-1", "3, 3", "0x3", "", " 3x", "3 3", "99999999999999999999"] {
        assert_eq!(forwarded(&[("content-length", value)], "").expect_err(value).status, 400);
    }
    for second in ["3", "4"] {
        assert!(forwarded(&[("content-length", "3"), ("content-length", second)], "").is_err());
    }
    assert!(forwarded(&[("transfer-encoding", "chunked")], "").is_err());
    assert_eq!(forwarded(&[("expect", "200-ok")], "").expect_err("unknown").status, 417);
}

#[test]
fn the_header_types_hold_no_line_end_nul_colon_or_space_in_names() {
    for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b"] {
        assert!(HeaderValue::from_str(value).is_err(), "{value:?}");
    }
    for name in [":path", "a b", "a:b", "a\r\nb", "transfer-encoding ", ""] {
        assert!(HeaderName::from_bytes(name.as_bytes()).is_err(), "{name:?}");
    }
}

#[test]
fn an_answer_whose_length_is_in_doubt_is_refused() {
    for fields in [
        &[("content-length", "3"), ("content-length", "4")][..],
        &[("content-length", "3"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "identity")],
        &[("transfer-encoding", "xchunked")],
        &[("transfer-encoding", "chunked, identity")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        &[("content-length", "+3")],
    ] {
        assert!(to_remote(&mut map(fields), StatusCode::OK, false).is_err(), "{fields:?}");
    }
}

#[test]
fn equal_lengths_become_one_and_a_204_has_none() {
    let mut headers = map(&[("content-length", "3"), ("content-length", "3")]);
    assert_eq!(to_remote(&mut headers, StatusCode::OK, false), Ok(Some(3)));
    assert_eq!(headers.get_all(CONTENT_LENGTH).iter().count(), 1);
    assert_eq!(to_remote(&mut headers, StatusCode::NO_CONTENT, true), Ok(Some(0)));
    assert!(headers.is_empty());
}
