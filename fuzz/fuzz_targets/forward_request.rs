//! The target and the header of a request on its way to the device, and of an answer on its way back
//! (`onvif_uplink::forward::target`, `onvif_uplink::forward::headers`).
//!
//! The input is lines: method, target, then one field each (`name: value`).
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use libfuzzer_sys::fuzz_target;
use onvif_uplink::forward::{
    headers::{clean_trailers, to_device, to_remote},
    target::target,
};

/// As many fields as a request can have within the bound of HTTP/2's header list.
const FIELDS_MAX: usize = 512;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|octet| *octet == b'\n');
    let method = lines.next().and_then(|method| Method::from_bytes(method).ok()).unwrap_or_default();
    if let Some(uri) = lines.next().and_then(|uri| Uri::try_from(uri).ok())
        && let Ok(to) = target(&method, &uri)
    {
        assert!(to.authority().is_none(), "the device never gets an authority of the remote");
        assert!(to.to_string().bytes().all(|octet| octet > b' ' && octet != 0x7f), "one word of the request line");
    }
    let fields = fields(lines);
    let own = HeaderValue::from_static("127.0.0.1");
    let mut request = fields.clone();
    if to_device(&mut request, &own, None, None).is_ok() {
        assert_eq!(request.get_all(header::HOST).iter().collect::<Vec<_>>(), [&own]);
        assert!(!request.contains_key(header::TRANSFER_ENCODING) && !request.contains_key(header::UPGRADE));
        assert!(request.get_all(header::CONTENT_LENGTH).iter().count() <= 1, "one length at most");
    }
    let mut answer = fields.clone();
    if to_remote(&mut answer, StatusCode::OK, method == Method::HEAD).is_ok() {
        assert!(!answer.contains_key(header::CONNECTION) && !answer.contains_key(header::TRANSFER_ENCODING));
    }
    let mut trailers = fields;
    clean_trailers(&mut trailers);
    assert!(!trailers.contains_key(header::CONTENT_LENGTH) && !trailers.contains_key(header::HOST));
});

/// The fields that the `http` crate can hold; the others cannot come out of HTTP/2 either.
fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.take(FIELDS_MAX) {
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}
