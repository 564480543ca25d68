//! Faults that this program answers with itself (ONVIF Core, SOAP Fault Message, Generic faults and HTTP errors; SOAP 1.2 part 1
//! §5.4, part 2 §7.5.2.2).

use http::{HeaderName, HeaderValue, Response as HttpResponse, StatusCode, header};
use quick_xml::escape::escape;

use super::{Malformed, SOAP_11, SOAP_12, Version, envelope::Name};
use crate::base::http::{Body, Response};

/// ONVIF's fault codes.
const ERROR: &str = "http://www.onvif.org/ver10/error";

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Who sent the message.
    Sender,
    /// Who answers it.
    Receiver,
    /// The envelope is of a version that is not spoken.
    VersionMismatch,
    /// A block of the header must be understood and is not.
    MustUnderstand,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    code: Code,
    subcodes: Vec<&'static str>,
    reason: String,
    strange: Vec<Name>,
    status: Option<StatusCode>,
}

impl Fault {
    /// env:Sender. `subcodes` are local names of ONVIF's error namespace, the outer one first (`["InvalidArgVal", "Address"]`);
    /// `reason` is a sentence for the person who reads it.
    pub fn sender(subcodes: &[&'static str], reason: impl Into<String>) -> Self {
        Self::new(Code::Sender, subcodes, reason)
    }

    /// env:Receiver, with the same arguments.
    pub fn receiver(subcodes: &[&'static str], reason: impl Into<String>) -> Self {
        Self::new(Code::Receiver, subcodes, reason)
    }

    /// env:MustUnderstand: these blocks of the header are not understood.
    pub fn must_understand(blocks: &[&Name]) -> Self {
        let strange = blocks.iter().map(|name| (*name).clone()).collect();
        Self { strange, ..Self::new(Code::MustUnderstand, &[], "a header block that must be understood is not") }
    }

    fn new(code: Code, subcodes: &[&'static str], reason: impl Into<String>) -> Self {
        Self { code, subcodes: subcodes.to_vec(), reason: reason.into(), strange: Vec::new(), status: None }
    }

    /// The same fault with another HTTP status than that of its code.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// The HTTP status: 400 when the sender is to blame, else 500, unless another was set.
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or(match self.code {
            Code::Sender => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        })
    }

    /// The answer, with its length, in the version of the request.
    pub fn response(&self, version: Version) -> Response {
        let (text, kind) = match version {
            Version::Soap12 => (self.soap_12(), "application/soap+xml; charset=utf-8"),
            Version::Soap11 => (self.soap_11(), "text/xml; charset=utf-8"),
        };
        let length = text.len();
        let mut response = HttpResponse::new(Body::full(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if self.status() == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if self.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            headers.insert(ACCEPT_POST, HeaderValue::from_static("application/soap+xml"));
        }
        response
    }

    fn soap_12(&self) -> String {
        let code = match self.code {
            Code::Sender => "Sender",
            Code::Receiver => "Receiver",
            Code::VersionMismatch => "VersionMismatch",
            Code::MustUnderstand => "MustUnderstand",
        };
        let subcodes = self.subcodes.iter().rev().fold(String::new(), |inner, subcode| {
            format!("<env:Subcode><env:Value>ter:{subcode}</env:Value>{inner}</env:Subcode>")
        });
        let blocks = match self.code {
            Code::VersionMismatch => {
                "<env:Upgrade><env:SupportedEnvelope qname=\"env:Envelope\"/></env:Upgrade>".to_owned()
            }
            _ => self.strange.iter().map(not_understood).collect(),
        };
        let header = if blocks.is_empty() { blocks } else { format!("<env:Header>{blocks}</env:Header>") };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<env:Envelope xmlns:env=\"{SOAP_12}\" xmlns:ter=\"{ERROR}\">{header}\
             <env:Body><env:Fault><env:Code><env:Value>env:{code}</env:Value>{subcodes}</env:Code><env:Reason>\
             <env:Text xml:lang=\"en\">{}</env:Text></env:Reason></env:Fault></env:Body></env:Envelope>\n",
            escape(&self.reason)
        )
    }

    fn soap_11(&self) -> String {
        let code = match self.code {
            Code::Sender => "Client",
            Code::Receiver => "Server",
            Code::VersionMismatch => "VersionMismatch",
            Code::MustUnderstand => "MustUnderstand",
        };
        let subcodes: String = self.subcodes.iter().map(|subcode| format!(" ter:{subcode}")).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<env:Envelope xmlns:env=\"{SOAP_11}\"><env:Body><env:Fault>\
             <faultcode>env:{code}</faultcode><faultstring xml:lang=\"en\">{}{}</faultstring></env:Fault></env:Body>\
             </env:Envelope>\n",
            escape(&self.reason),
            if subcodes.is_empty() { String::new() } else { format!(" ({})", subcodes.trim_start()) }
        )
    }
}

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// Nobody has this password; a client that tries learns from the second 401 that it cannot mend it.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Digest realm=\"onvif-uplink user level\", qop=\"auth\", algorithm=MD5, nonce=\"none\"");

/// SOAP 1.2 part 1 §5.4.8.
fn not_understood(name: &Name) -> String {
    let local = escape(&name.local);
    if name.namespace.is_empty() {
        return format!("<env:NotUnderstood qname=\"{local}\"/>");
    }
    format!("<env:NotUnderstood xmlns:ns=\"{}\" qname=\"ns:{local}\"/>", escape(&name.namespace))
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        let reason = malformed.to_string();
        match malformed {
            Malformed::WellFormed(_) => Self::sender(&["WellFormed"], reason),
            Malformed::Arguments(_) => Self::sender(&["InvalidArgs"], reason),
            Malformed::Version => Self::new(Code::VersionMismatch, &[], reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::onvif::soap::envelope::read;

    async fn text(fault: Fault, version: Version) -> (u16, String) {
        let response = fault.response(version);
        let status = response.status().as_u16();
        let length = response.headers()[header::CONTENT_LENGTH].to_str().expect("digits").to_owned();
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(length, body.len().to_string());
        let envelope = read(&body, Some("utf-8")).expect("what we write we can read");
        assert!(envelope.operation.local == "Fault" && envelope.version == version);
        (status, String::from_utf8(body.to_vec()).expect("UTF-8"))
    }

    #[tokio::test]
    async fn a_fault_has_its_codes_its_reason_and_the_status_of_its_code() {
        let fault = Fault::sender(&["InvalidArgVal", "CertificateID"], "there is no <x> & \"y\"");
        let (status, body) = text(fault, Version::Soap12).await;
        assert_eq!(status, 400);
        let codes = "<env:Value>env:Sender</env:Value><env:Subcode><env:Value>ter:InvalidArgVal</env:Value>\
                     <env:Subcode><env:Value>ter:CertificateID</env:Value></env:Subcode></env:Subcode>";
        assert!(body.contains(codes) && body.contains("there is no &lt;x&gt; &amp;"), "{body}");
        assert_eq!(text(Fault::receiver(&["Action"], "x"), Version::Soap12).await.0, 500);
    }

    #[tokio::test]
    async fn a_message_of_soap_1_1_gets_a_fault_of_soap_1_1() {
        let (_, body) = text(Fault::sender(&["NotAuthorized"], "no"), Version::Soap11).await;
        assert!(
            body.contains("<faultcode>env:Client</faultcode>") && body.contains("no (ter:NotAuthorized)"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn another_version_and_a_strange_header_are_answered_as_soap_1_2_says() {
        let (status, body) = text(Malformed::Version.into(), Version::Soap12).await;
        assert!(status == 500 && body.contains("env:VersionMismatch") && body.contains("SupportedEnvelope"), "{body}");
        let name = Name { namespace: "urn:locks".into(), local: "Lock".into() };
        let (_, body) = text(Fault::must_understand(&[&name]), Version::Soap12).await;
        assert!(body.contains("<env:NotUnderstood xmlns:ns=\"urn:locks\" qname=\"ns:Lock\"/>"), "{body}");
    }

    #[test]
    fn statuses_that_need_a_field_have_it() {
        let of = |status| Fault::sender(&["NotAuthorized"], "x").with_status(status).response(Version::Soap12);
        assert!(of(StatusCode::UNAUTHORIZED).headers().contains_key(header::WWW_AUTHENTICATE));
        assert!(!of(StatusCode::FORBIDDEN).headers().contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(of(StatusCode::METHOD_NOT_ALLOWED).headers()[header::ALLOW], "POST");
    }
}
