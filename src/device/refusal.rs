//! What the remote reads when the device cannot be used with our credentials: never a challenge, never a name.
//!
//! SOAP 1.2 part 1 §5.4 and ONVIF Core, SOAP Fault Message, for SOAP messages; a plain sentence for other requests.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};

use crate::base::http::{Body, Response, text_response};

/// The device does not take our credentials.
pub const REFUSED: &str = "the device does not accept the credentials by which it is used here";
/// The device demands something that we cannot give.
pub const UNKNOWN: &str = "the device asks for credentials in a way that is not known here";
/// A file is not there.
pub const UNREADABLE: &str = "the credentials by which the device is used here cannot be read";
/// Every nonce is too old.
pub const ALWAYS_STALE: &str = "the device takes each of its own nonces for too old";
/// The body has gone by.
pub const SEND_AGAIN: &str = "the device asked for credentials when the body had been sent; send the request again";
/// A body that must be held is too long.
pub const TOO_LARGE: &str = "a message to this device may have 262144 bytes at most";
/// A body that must be held does not come.
pub const TOO_SLOW: &str = "the rest of the message did not come in time";

/// An answer of this program: a fault for a SOAP message, else a sentence.
pub fn refusal(soap: bool, status: StatusCode, sentence: &str, retry_after: Option<Duration>) -> Response {
    let mut response = if soap {
        let code =
            if status.is_client_error() { ("env:Sender", "ter:InvalidArgs") } else { ("env:Receiver", "ter:Action") };
        fault(status, code, sentence)
    } else {
        text_response(status, sentence)
    };
    if let Some(delay) = retry_after {
        // Whole seconds, and never too early.
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs() + 1));
    }
    response
}

/// The message is none that can be read.
pub fn malformed(sentence: &str) -> Response {
    fault(StatusCode::BAD_REQUEST, ("env:Sender", "ter:WellFormed"), sentence)
}

/// `sentence` is ours and needs no escaping.
fn fault(status: StatusCode, (code, subcode): (&str, &str), sentence: &str) -> Response {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<env:Envelope xmlns:env=\"http://www.w3.org/2003/05/soap-envelope\" \
         xmlns:ter=\"http://www.onvif.org/ver10/error\"><env:Body><env:Fault><env:Code><env:Value>{code}</env:Value>\
         <env:Subcode><env:Value>{subcode}</env:Value></env:Subcode></env:Code><env:Reason><env:Text xml:lang=\"en\">\
         {sentence}</env:Text></env:Reason></env:Fault></env:Body></env:Envelope>\n"
    );
    let length = xml.len();
    let mut response = Response::new(Body::full(xml));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/soap+xml; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_soap_message_gets_a_fault_and_another_request_a_sentence() {
        let soap = refusal(true, StatusCode::BAD_GATEWAY, REFUSED, Some(Duration::from_millis(29_500)));
        assert_eq!(soap.headers()[header::RETRY_AFTER], "30");
        let announced = soap.headers()[header::CONTENT_LENGTH].clone();
        let body = soap.into_body().collect().await.expect("whole").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        assert_eq!(announced, text.len().to_string());
        assert!(text.contains("<env:Value>env:Receiver</env:Value><env:Subcode><env:Value>ter:Action<"), "{text}");
        let plain = refusal(false, StatusCode::BAD_GATEWAY, REFUSED, None);
        assert!(plain.headers()[header::CONTENT_TYPE].to_str().expect("text").starts_with("text/plain"));
        assert_eq!(plain.status(), 502);
    }
}
