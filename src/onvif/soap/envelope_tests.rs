//! Envelopes that are one operation, envelopes that could be read in two ways, and octets of any kind.

use proptest::prelude::*;

use super::*;

const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";

fn soap(header: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<s:Envelope xmlns:s=\"{SOAP_12}\">{header}<s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn call() -> String {
    format!("<GetServices xmlns=\"{DEVICE}\"><IncludeCapability>false</IncludeCapability></GetServices>")
}

#[track_caller]
fn refused(message: impl AsRef<[u8]>) -> Malformed {
    let message = message.as_ref();
    match read(message, None) {
        Ok(envelope) => panic!("{:?} was read of {}", envelope.operation, String::from_utf8_lossy(message)),
        Err(malformed) => malformed,
    }
}

#[test]
fn an_operation_is_known_by_namespace_and_local_name_whatever_its_prefix() {
    for message in [
        soap("", &call()),
        soap("<s:Header/>", &call()),
        soap("", &format!("\n <a:GetServices xmlns:a='{DEVICE}'/>\n<!-- - -->")),
        soap(
            "",
            &format!(
                "<s:GetServices xmlns:s=\"{DEVICE}\"><s:x s:y='&#x41;&amp;'>&lt;<![CDATA[<s:Body>]]></s:x></s:GetServices>"
            ),
        ),
        format!("<Envelope xmlns='{SOAP_12}'><Body><GetServices xmlns='{DEVICE}'/></Body></Envelope>"),
        format!(
            "<e:Envelope xmlns:e=\"{SOAP_11}\" xmlns:t=\"{DEVICE}\"><e:Body><t:GetServices /></e:Body></e:Envelope >"
        ),
    ] {
        let envelope = read(message.as_bytes(), None).expect(&message);
        assert!(envelope.operation.is(DEVICE, "GetServices"), "{message}");
    }
}

#[test]
fn the_parts_are_where_the_ranges_say() {
    let block = "<w:Security xmlns:w=\"urn:w\" s:mustUnderstand=\"1\"><w:a>x</w:a></w:Security>";
    let header = format!(
        "<s:Header> {block}<a:Action xmlns:a=\"http://www.w3.org/2005/08/addressing\">urn:&#x61;ct</a:Action></s:Header>"
    );
    let message = format!("\u{feff}{}", soap(&header, &call()));
    let envelope = read(message.as_bytes(), Some("UTF-8")).expect("valid");
    let part = |range: &Range<usize>| &envelope.text[range.clone()];
    assert_eq!(part(&envelope.block("urn:w", "Security").expect("there").range), block);
    assert_eq!(part(envelope.header.as_ref().expect("there")), header);
    assert_eq!(part(&envelope.operation_range), call());
    assert_eq!(part(&envelope.body), format!("<s:Body>{}</s:Body>", call()));
    assert_eq!(part(&envelope.start), format!("<s:Envelope xmlns:s=\"{SOAP_12}\">"));
    assert_eq!(part(envelope.declaration.as_ref().expect("there")), "<?xml version=\"1.0\" encoding=\"utf-8\"?>");
    assert_eq!(envelope.action.as_deref(), Some("urn:act"));
}

#[test]
fn blocks_that_must_be_understood_are_told_unless_they_are_for_others() {
    let other = "<x xmlns=\"urn:x\" s:mustUnderstand=\"true\" s:role=\"urn:printer\"/><y xmlns=\"urn:y\" s:mustUnderstand=\"0\"/>";
    let header = format!("<s:Header><l xmlns=\"urn:l\" s:mustUnderstand=\" true \"/>{other}</s:Header>");
    let message = soap(&header, &call());
    let envelope = read(message.as_bytes(), None).expect("valid");
    let strange: Vec<_> = envelope.not_understood(&[]).iter().map(|name| name.namespace.clone()).collect();
    assert_eq!(strange, ["urn:l"]);
    assert!(envelope.not_understood(&["urn:l"]).is_empty());
}

#[test]
fn utf_16_is_read_and_what_it_declares_must_be_true() {
    let octets = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let message = soap("", &call()).replace("encoding=\"utf-8\"", "encoding=\"UTF-16\"");
    let read_as = octets(&format!("\u{feff}{message}"));
    let envelope = read(&read_as, Some("utf-16")).expect("valid");
    assert!(envelope.operation.is(DEVICE, "GetServices") && envelope.encoding == Encoding::Utf16Le);
    refused(octets(&soap("", &call())));
    refused(message);
}

#[test]
fn more_or_less_than_one_operation_is_none() {
    let one = call();
    for message in [
        soap("", &format!("{one}{one}")),
        soap("", &format!("{one}<SystemReboot xmlns=\"{DEVICE}\"/>")),
        soap("", ""),
        soap("", "text"),
        soap("", &format!("{one}&#32;")),
        soap("", &format!("{one}<![CDATA[ ]]>")),
        soap("", &one).replace("</s:Envelope>", &format!("<s:Body>{one}</s:Body></s:Envelope>")),
        soap("", &one).replace("</s:Envelope>", "<x/></s:Envelope>"),
        soap("<s:Header/><s:Header/>", &one),
        soap("<s:Body/>", &one),
        soap("", &one).replace("</s:Envelope>", "<s:Header/></s:Envelope>"),
        soap("", &one).replace("</s:Envelope>", "</s:Envelope><s:Envelope/>"),
        soap("", &one).replace("</s:Envelope>", "</s:Envelope>x"),
        format!("<s:Envelope xmlns:s=\"{SOAP_12}\"/>"),
        one.clone(),
        String::new(),
        "  ".to_owned(),
    ] {
        refused(message);
    }
}

#[test]
fn namespace_tricks_are_seen_through() {
    let other = "urn:other";
    let message = soap("", &format!("<GetServices xmlns=\"{other}\"/>"));
    assert!(read(message.as_bytes(), None).expect("well-formed").operation.is(other, "GetServices"));
    let rebound = format!("<t:a xmlns:t=\"{DEVICE}\"><t:b xmlns:t=\"{other}\"/></t:a>");
    assert!(read(soap("", &rebound).as_bytes(), None).expect("well-formed").operation.is(DEVICE, "a"));
    let unprefixed = soap("", "<GetServices/>");
    assert!(read(unprefixed.as_bytes(), None).expect("well-formed").operation.is("", "GetServices"));
    for message in [
        soap("", "<t:GetServices/>"),
        soap("", &format!("<t:GetServices xmlns:u=\"{DEVICE}\"/>")),
        soap("", &format!("<GetServices xmlns=\"{}\"/>", DEVICE.replace("device", "&#100;evice"))),
        soap("", &format!("<GetServices xmlns=\"{DEVICE}\" xmlns=\"{other}\"/>")),
        soap("", &format!("<GetServices xmlns=\"{DEVICE}\" t:a=\"\"/>")),
        soap("", &format!("<GetServices xmlns=\"{DEVICE}\" xmlns:a=\"urn:a\" xmlns:b=\"urn:a\" a:x=\"\" b:x=\"\"/>")),
        soap("", &call()).replace("<s:Body>", &format!("<s:Body xmlns:s=\"{other}\">")),
        soap("", &call()).replace("<s:Envelope", "<s:Envelope xmlns:xml=\"urn:x\""),
        soap("", &call()).replace(SOAP_12, other),
    ] {
        refused(message);
    }
    assert_eq!(refused(soap("", &call()).replace(SOAP_12, "urn:soap")), Malformed::Version);
}

#[test]
fn what_parsers_read_in_two_ways_is_refused() {
    let with = |content: &str| soap("", &format!("<a xmlns=\"{DEVICE}\">{content}</a>"));
    for message in [
        soap("", &call()).replace("?>", "?><!DOCTYPE s:Envelope [<!ENTITY x \"y\">]>"),
        soap("", &call()).replace("?>", "?><!DOCTYPE x>"),
        soap("", &call()).replace("?>", "?><?xml-stylesheet href=\"x\"?>"),
        format!(" {}", soap("", &call())),
        soap("", &call()).replace("version=\"1.0\"", "version=\"1.1\""),
        soap("", &call()).replace("utf-8", "utf-7"),
        with("<?pi?>"),
        with("&x;"),
        with("&"),
        with("&#0;"),
        with("&#xFFFE;"),
        with("&#xD800;"),
        with("]]>"),
        with("<b"),
        with("<b/ >"),
        with("<1/>"),
        with("<b:c:d/>"),
        with("<b<c/>"),
        with("<b x=y/>"),
        with("<b x/>"),
        with("<b x=\"1\"y=\"2\"/>"),
        with("<b x='<'/>"),
        with("<b x='&y;'/>"),
        with("<b x='' x=''/>"),
        with("</b>"),
        with("<b></c>"),
        with("<!-- -- -->"),
        with("<![CDATA[ "),
        with("<![cdata[ ]]>"),
        with("\u{0}"),
        soap("", &call()).replace("</s:Body>", ""),
        soap("<s:Header>x</s:Header>", &call()),
    ] {
        refused(message);
    }
    refused(b"\xff\xfe\0\0<\0\0\0");
}

#[test]
fn depth_attributes_and_declarations_are_bounded() {
    let nested =
        |depth: usize| soap("", &format!("<a xmlns=\"{DEVICE}\">{}{}</a>", "<b>".repeat(depth), "</b>".repeat(depth)));
    assert!(read(nested(DEPTH_MAX - 3).as_bytes(), None).is_ok());
    refused(nested(DEPTH_MAX - 2));
    refused(nested(30_000));
    let attributes = |count: usize| {
        let list: String = (0..count).map(|n| format!(" a{n}=\"\"")).collect();
        soap("", &format!("<a xmlns=\"{DEVICE}\"{list}/>"))
    };
    assert!(read(attributes(63).as_bytes(), None).is_ok());
    refused(attributes(64));
    let declared: String = (0..BINDINGS_MAX).map(|n| format!("<a{n} xmlns:p{n}=\"urn:{n}\">")).collect();
    refused(soap("", &declared));
    refused(soap("", &format!("<{}/>", "a".repeat(300))));
}

proptest! {
    #[test]
    fn octets_of_any_kind_are_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&message, None);
    }

    #[test]
    fn whatever_is_changed_in_a_message_what_is_read_stands_in_it(at in 0usize..400, octet in any::<u8>(), header in any::<bool>()) {
        let header = if header { "<s:Header><a:Action xmlns:a=\"http://www.w3.org/2005/08/addressing\">x</a:Action></s:Header>" } else { "" };
        let mut message = soap(header, &call()).into_bytes();
        let at = at % message.len();
        message[at] = octet;
        if let Ok(envelope) = read(&message, None) {
            let operation = &envelope.text[envelope.operation_range.clone()];
            prop_assert!(operation.starts_with('<') && operation.ends_with('>') && operation.contains(&envelope.operation.local));
            prop_assert!(envelope.text[envelope.body.clone()].contains(operation));
            prop_assert_eq!(envelope.text.as_bytes(), &message[..]);
        }
    }

    #[test]
    fn markup_put_anywhere_never_changes_the_operation_unseen(
        at in 0usize..400,
        markup in "(<[a-z/!?]{0,3}|>|&#?[a-z0-9]{0,3};?|\"|'|xmlns(:s)?=|<!\\[CDATA\\[|\\]\\]>|<!--|-->|<s:Body>|</s:Body>|/>){1,3}",
    ) {
        let original = soap("", &call());
        let at = at % original.len();
        let message = format!("{}{markup}{}", &original[..at], &original[at..]);
        if let Ok(envelope) = read(message.as_bytes(), None) {
            // One body, and the element that is its child.
            prop_assert_eq!(message.matches("<s:Body>").count() + message.matches("<s:Body ").count(), original.matches("<s:Body>").count()
                + markup.matches("<s:Body>").count());
            prop_assert!(envelope.operation_range.start > envelope.body.start && envelope.operation_range.end < envelope.body.end);
        }
    }
}
