//! The operation of an envelope as a tree. The envelope was read strictly before, so what is here is well-formed and bounded.
//!
//! Elements that are kept must mean the same in another message: [`Element::alone`] gives their own text with the declarations that they
//! took from outside.

use std::ops::Range;

use quick_xml::{
    escape::{escape, unescape},
    events::{BytesStart, Event},
    name::{Namespace, PrefixDeclaration, ResolveResult},
    reader::NsReader,
};

use crate::onvif::soap::{
    Malformed,
    envelope::{Envelope, Name},
};

const BROKEN: Malformed = Malformed::WellFormed("the operation is not well-formed XML");

/// An element with what is in it.
#[derive(Clone, Debug)]
pub(super) struct Element<'t> {
    /// Its name.
    pub(super) name: Name,
    /// Its attributes without declarations: name and value.
    pub(super) attributes: Vec<(Name, String)>,
    /// Its text, that of its children not included.
    pub(super) text: String,
    /// The elements in it.
    pub(super) children: Vec<Element<'t>>,
    /// Where it stands in the text of the envelope, tags included.
    pub(super) range: Range<usize>,
    /// The same as it is written.
    pub(super) raw: &'t str,
    /// End of its name in `raw`.
    name_end: usize,
    /// Declarations that are in force where it stands and that it does not make itself; the default one has no prefix.
    outside: Vec<(String, String)>,
}

impl<'t> Element<'t> {
    /// The first child of this name.
    pub(super) fn child(&self, namespace: &str, local: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.is(namespace, local))
    }

    /// Where its end tag begins; `None` for an element without one (`<a/>`).
    pub(super) fn end_tag(&self) -> Option<usize> {
        if self.raw.ends_with("/>") && !self.raw.contains("</") {
            return None;
        }
        self.raw.rfind("</").map(|at| self.range.start + at)
    }

    /// The element as a text that can stand anywhere.
    pub(super) fn alone(&self) -> String {
        let (begin, rest) = self.raw.split_at(self.name_end);
        let mut text = begin.to_owned();
        for (prefix, namespace) in &self.outside {
            let namespace = escape(namespace);
            if prefix.is_empty() {
                text.push_str(&format!(" xmlns=\"{namespace}\""));
            } else if mentions(self.raw, prefix) {
                text.push_str(&format!(" xmlns:{prefix}=\"{namespace}\""));
            }
        }
        text.push_str(rest);
        text
    }
}

/// Whether a text has this prefix somewhere: in a name, or in a value that is a name.
fn mentions(text: &str, prefix: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    let found = format!("{prefix}:");
    text.match_indices(&found).any(|(at, _)| !text[..at].ends_with(is_name))
}

/// The operation of the envelope.
///
/// # Errors
/// [`Malformed`], for what the strict reader should not have let through.
pub(super) fn operation<'t>(envelope: &'t Envelope<'_>) -> Result<Element<'t>, Malformed> {
    let text: &'t str = &envelope.text;
    let mut reader = NsReader::from_str(text);
    let position = |reader: &NsReader<&[u8]>| usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
    let Range { start, end } = envelope.operation_range;
    let mut open: Vec<(Element<'t>, usize)> = Vec::new();
    loop {
        let from = position(&reader);
        let event = reader.read_event().map_err(|_| BROKEN)?;
        let to = position(&reader);
        if from < start {
            continue;
        }
        let ended = match event {
            Event::Start(tag) => {
                open.push((element(&tag, &reader)?, from));
                false
            }
            Event::Empty(tag) => {
                open.push((element(&tag, &reader)?, from));
                true
            }
            Event::End(_) => true,
            Event::Text(text) => append(&mut open, &text),
            Event::CData(text) => append(&mut open, &text),
            Event::GeneralRef(reference) => {
                append(&mut open, &unescape(&format!("&{};", &*reference)).map_err(|_| BROKEN)?)
            }
            Event::Eof => return Err(BROKEN),
            _ => false,
        };
        if !ended {
            continue;
        }
        let (mut closed, began) = open.pop().ok_or(BROKEN)?;
        closed.range = began..to;
        closed.raw = text.get(began..to).ok_or(BROKEN)?;
        match open.last_mut() {
            Some((parent, _)) => parent.children.push(closed),
            None if to == end => return Ok(closed),
            None => return Err(BROKEN),
        }
    }
}

fn append(open: &mut [(Element<'_>, usize)], text: &str) -> bool {
    if let Some((element, _)) = open.last_mut() {
        element.text.push_str(text);
    }
    false
}

fn element(tag: &BytesStart<'_>, reader: &NsReader<&[u8]>) -> Result<Element<'static>, Malformed> {
    let resolver = reader.resolver();
    let bound = |found: ResolveResult<'_>| match found {
        ResolveResult::Bound(Namespace(namespace)) => namespace.to_owned(),
        _ => String::new(),
    };
    let (mut attributes, mut own) = (Vec::new(), Vec::new());
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|_| BROKEN)?;
        match attribute.key.as_namespace_binding() {
            Some(PrefixDeclaration::Default) => own.push(String::new()),
            Some(PrefixDeclaration::Named(prefix)) => own.push(prefix.to_owned()),
            None => {
                let (namespace, local) = resolver.resolve_attribute(attribute.key);
                let name = Name { namespace: bound(namespace), local: local.into_inner().to_owned() };
                attributes.push((name, unescape(&attribute.value).map_err(|_| BROKEN)?.into_owned()));
            }
        }
    }
    let mut outside = Vec::new();
    for (prefix, Namespace(namespace)) in resolver.bindings() {
        let prefix = match prefix {
            PrefixDeclaration::Default => "",
            PrefixDeclaration::Named(prefix) => prefix,
        };
        if prefix != "xml" && prefix != "xmlns" && !own.iter().any(|own| own == prefix) {
            outside.push((prefix.to_owned(), namespace.to_owned()));
        }
    }
    let (namespace, local) = resolver.resolve_element(tag.name());
    let name = Name { namespace: bound(namespace), local: local.into_inner().to_owned() };
    let name_end = 1 + tag.name().0.len();
    Ok(Element { name, attributes, text: String::new(), children: Vec::new(), range: 0..0, raw: "", name_end, outside })
}
