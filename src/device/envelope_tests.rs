//! Which bytes change when credentials are cut out and put in, and what is refused.

use proptest::prelude::*;

use super::*;

const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
const BLOCK: &str = "<b/>";

fn with(message: &str, block: Option<&str>) -> String {
    Envelope::read(message.as_bytes()).expect(message).with(block)
}

fn envelope(inside: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<s:Envelope xmlns:s=\"{SOAP}\">{inside}</s:Envelope>\n<!-- end -->")
}

#[test]
fn a_message_without_credentials_is_not_changed() {
    for inside in [
        "<s:Body><x/></s:Body>",
        "<s:Header/><s:Body/>",
        "<s:Header>\r\n<a>&amp;</a></s:Header><s:Body><Security/></s:Body>",
    ] {
        let message = envelope(inside);
        assert_eq!(with(&message, None), message);
        assert!(!Envelope::read(message.as_bytes()).expect("whole").has_security());
    }
}

#[test]
fn credentials_of_the_sender_are_cut_out_wherever_they_stand_in_the_header() {
    let own = "<w:Security xmlns:w=\"urn:w\" s:mustUnderstand=\"1\"><w:UsernameToken><Security/></w:UsernameToken></w:Security>";
    let message = envelope(&format!("<s:Header><a/>{own} <c/><Security/></s:Header><s:Body><x/></s:Body>"));
    let cleaned = envelope("<s:Header><a/> <c/></s:Header><s:Body><x/></s:Body>");
    assert_eq!(with(&message, None), cleaned);
    assert_eq!(with(&message, Some(BLOCK)), cleaned.replace("<s:Header>", "<s:Header><b/>"));
    assert!(Envelope::read(message.as_bytes()).expect("whole").has_security());
}

#[test]
fn a_block_finds_its_place_in_every_kind_of_header() {
    for (inside, expected) in [
        ("<s:Header><a/></s:Header><s:Body/>", "<s:Header><b/><a/></s:Header><s:Body/>"),
        ("<s:Header x=\"1\"  /><s:Body/>", "<s:Header x=\"1\"  ><b/></s:Header><s:Body/>"),
        ("<s:Header></s:Header><s:Body/>", "<s:Header><b/></s:Header><s:Body/>"),
        ("<s:Body><x/></s:Body>", "<s:Header><b/></s:Header><s:Body><x/></s:Body>"),
    ] {
        assert_eq!(with(&envelope(inside), Some(BLOCK)), envelope(expected));
    }
    let plain = format!("<Envelope xmlns=\"{SOAP}\"><Body/></Envelope>");
    assert_eq!(
        with(&plain, Some(BLOCK)),
        format!("<Envelope xmlns=\"{SOAP}\"><Header><b/></Header><Body/></Envelope>")
    );
}

#[test]
fn utf_16_and_byte_order_marks_are_read() {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?><s:Envelope xmlns:s=\"{SOAP}\"><s:Body>\u{e4}</s:Body></s:Envelope>"
    );
    let expected = text.split_once("?>").expect("declared").1;
    let little: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    assert_eq!(Envelope::read(&little).expect("read").with(None), expected);
    assert_eq!(Envelope::read(&big).expect("read").with(None), expected);
    let marked = format!("\u{feff}{}", envelope("<s:Body/>"));
    assert_eq!(with(&marked, None), envelope("<s:Body/>"));
}

#[test]
fn what_is_no_plain_envelope_is_refused() {
    let body = "<s:Body/>";
    for message in [
        String::new(),
        "text".to_owned(),
        "<a/>".to_owned(),
        envelope(""),
        envelope("<s:Header/>"),
        envelope(&format!("{body}<s:Header/>")),
        envelope(&format!("<s:Header/><s:Header/>{body}")),
        envelope(&format!("{body}{body}")),
        envelope(&format!("<Header/>{body}")),
        envelope(&format!("{body}<x/>")),
        envelope(body).replace(SOAP, "urn:other"),
        format!("<!DOCTYPE x>{}", envelope(body).replace("<?xml version=\"1.0\"?>", "")),
        format!("{0}{0}", format!("<s:Envelope xmlns:s=\"{SOAP}\">{body}</s:Envelope>")),
        envelope(body).replace("</s:Envelope>", ""),
        envelope(&format!("<s:Body>{}{}</s:Body>", "<a>".repeat(100), "</a>".repeat(100))),
    ] {
        assert!(Envelope::read(message.as_bytes()).is_err(), "{message}");
    }
    assert!(Envelope::read(&[0xff, 0xfe, 0x00]).is_err());
    assert!(Envelope::read(&[0xc3, 0x28]).is_err());
}

#[test]
fn faults_about_credentials_are_told_from_others() {
    let fault = |sub: &str| {
        format!(
            "<e:Envelope xmlns:e=\"{SOAP}\"><e:Body><e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>\n{sub} \
             </e:Value></e:Subcode></e:Code><e:Reason><e:Text>NotAuthorized</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>"
        )
    };
    for (sub, expected) in
        [("ter:NotAuthorized", true), ("wsse:FailedAuthentication", true), ("ter:InvalidArgVal", false), ("", false)]
    {
        assert_eq!(is_not_authorized(fault(sub).as_bytes()), expected, "{sub}");
    }
    let old = format!(
        "<e:Envelope xmlns:e=\"{}\"><e:Body><e:Fault><faultcode>ter:NotAuthorized</faultcode></e:Fault></e:Body></e:Envelope>",
        ENVELOPES[1]
    );
    assert!(is_not_authorized(old.as_bytes()));
    assert!(!is_not_authorized(b"<Value>ter:NotAuthorized</Value>"));
    assert!(!is_not_authorized(b"<html>NotAuthorized"));
}

proptest! {
    #[test]
    fn no_message_is_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..200) {
        let good = envelope("<s:Header><w:Security xmlns:w=\"urn:w\"><x/></w:Security></s:Header><s:Body/>");
        for message in [&bytes[..], &good.as_bytes()[..cut.min(good.len())]] {
            if let Ok(envelope) = Envelope::read(message) {
                envelope.with(Some(BLOCK));
            }
            is_not_authorized(message);
        }
    }

    #[test]
    fn cutting_and_putting_in_leaves_a_whole_message_with_nothing_of_the_sender(
        parts in prop::collection::vec(prop::sample::select(vec![
            "<a/>", "text", "<Security/>", "<w:Security xmlns:w=\"urn:w\">own</w:Security>", "<!-- c -->", "<b><Security/></b>",
        ]), 0..6),
    ) {
        let message = envelope(&format!("<s:Header>{}</s:Header><s:Body><own/></s:Body>", parts.concat()));
        let edited = with(&message, Some("<Security>ours</Security>"));
        let again = Envelope::read(edited.as_bytes()).expect("still an envelope");
        prop_assert_eq!(again.security.len(), 1);
        prop_assert!(!edited.contains(">own<") && edited.contains("<own/>"));
        prop_assert_eq!(again.with(None), with(&message, None));
    }
}
