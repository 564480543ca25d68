//! Reads addresses out of the device's answers as they pass; nothing of an answer is changed, held or delayed.
//!
//! An answer that says that it is SOAP is remembered up to a bound, chunk by chunk without a copy, and read before its last
//! chunk goes on: whoever has the whole answer may use the address at once.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use quick_xml::{
    escape::unescape,
    events::{BytesStart, Event},
    reader::Reader,
};

use super::addresses::{Addresses, Grant, Use};
use crate::{
    base::http::{Body, BodyError, Response},
    model::access::{AccessClass, operations::Operation},
    onvif::soap::envelope,
};

/// Longest answer in bytes that is read; those with addresses are a few kilobytes.
const ANSWER_MAX: usize = 64 * 1024;

/// What an answer's operation gives: prefix and name of the operation, the element or attribute with the address, how that is
/// used, and the operation whose class it has.
const GIVES: [(&str, &str, Use, &str); 17] = [
    ("tds:GetServices", "XAddr", Use::Service, "tds:GetServices"),
    ("tds:GetServices", "RTSPWebSocketUri", Use::Stream, "tr2:GetStreamUri"),
    ("tds:GetCapabilities", "XAddr", Use::Service, "tds:GetCapabilities"),
    ("tev:CreatePullPointSubscription", "Address", Use::Service, "tev:CreatePullPointSubscription"),
    ("wsnt:Subscribe", "Address", Use::Service, "wsnt:Subscribe"),
    ("trt:GetSnapshotUri", "Uri", Use::Read, "trt:GetSnapshotUri"),
    ("tr2:GetSnapshotUri", "Uri", Use::Read, "tr2:GetSnapshotUri"),
    ("trt:GetStreamUri", "Uri", Use::Stream, "trt:GetStreamUri"),
    ("tr2:GetStreamUri", "Uri", Use::Stream, "tr2:GetStreamUri"),
    ("trp:GetReplayUri", "Uri", Use::Stream, "trp:GetReplayUri"),
    ("tr2:GetServiceCapabilities", "RTSPWebSocketUri", Use::Stream, "tr2:GetStreamUri"),
    ("trp:GetServiceCapabilities", "RTSPWebSocketUri", Use::Stream, "trp:GetReplayUri"),
    // GetSystemUris itself is READ_SYSTEM; what lies there is what these operations answer with.
    ("tds:GetSystemUris", "Uri", Use::Read, "tds:GetSystemLog"),
    ("tds:GetSystemUris", "SupportInfoUri", Use::Read, "tds:GetSystemSupportInformation"),
    ("tds:GetSystemUris", "SystemBackupUri", Use::Read, "tds:GetSystemBackup"),
    ("tds:StartFirmwareUpgrade", "UploadUri", Use::Upload, "tds:StartFirmwareUpgrade"),
    ("tds:StartSystemRestore", "UploadUri", Use::Upload, "tds:StartSystemRestore"),
];

/// Lets an answer pass and learns from it if it is SOAP of bounded length.
pub(super) fn learning(response: Response, addresses: &Arc<Addresses>) -> Response {
    let announced = response.body().size_hint();
    if !is_xml(response.headers()) || announced.lower() > ANSWER_MAX as u64 {
        return response;
    }
    let length = announced.exact();
    response.map(|body| {
        Body::new(Learning { body, chunks: Vec::new(), length, seen: 0, addresses: Some(Arc::clone(addresses)) })
    })
}

fn is_xml(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    super::classify::media(kind).is_soap && !headers.contains_key(header::CONTENT_ENCODING)
}

/// A body that is read when the last of it passes.
struct Learning {
    body: Body,
    chunks: Vec<Bytes>,
    length: Option<u64>,
    seen: usize,
    /// `None` once there is nothing more to learn.
    addresses: Option<Arc<Addresses>>,
}

impl Learning {
    fn note(&mut self, chunk: &Bytes) {
        self.seen += chunk.len();
        if self.seen > ANSWER_MAX {
            self.addresses = None;
            self.chunks.clear();
        }
        if self.addresses.is_some() {
            self.chunks.push(chunk.clone());
        }
        if self.length == Some(self.seen as u64) {
            self.learn();
        }
    }

    fn learn(&mut self) {
        let Some(addresses) = self.addresses.take() else { return };
        let answer = match &self.chunks[..] {
            [one] => one.clone(),
            several => several.concat().into(),
        };
        self.chunks.clear();
        read(&answer, &addresses);
    }
}

impl HttpBody for Learning {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(chunk) = frame.data_ref() {
                    self.note(chunk);
                }
            }
            Some(Err(_)) => self.addresses = None,
            None => self.learn(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // With something left to learn the end itself must be polled, unless its length told it already.
        self.body.is_end_stream() && self.addresses.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Learns what a whole answer gives. What is not understood gives nothing.
pub fn read(answer: &[u8], addresses: &Addresses) {
    let Ok(envelope) = envelope::read(answer, None) else { return };
    let Some(name) = envelope.operation.local.strip_suffix("Response") else { return };
    let Some(operation) = Operation::find(&envelope.operation.namespace, name) else { return };
    let function = operation.to_string();
    let gives: Vec<_> = GIVES.iter().filter(|(gives, ..)| *gives == function).collect();
    if gives.is_empty() {
        return;
    }
    // The envelope is well-formed; within the operation local names suffice.
    let found = |local: &str, uri: &str| {
        for (_, element, used, stands_for) in &gives {
            if *element == local
                && let Some(grant) = grant(*used, stands_for)
            {
                addresses.learn(uri, grant);
            }
        }
    };
    walk(&envelope.text[envelope.operation_range.clone()], found);
}

fn grant(used: Use, function: &str) -> Option<Grant> {
    let operation = Operation::by_function(function).ok()?;
    // Subscribe has no class of its own; messages to what it gave have the classes of their operations.
    let class = operation.class().unwrap_or(AccessClass::ReadMedia);
    Some(Grant { used, operation, class, port: None })
}

/// Calls `found` with the local name and the text of each element that holds text only, and of each attribute.
fn walk(operation: &str, found: impl Fn(&str, &str)) {
    let mut reader = Reader::from_str(operation);
    let (mut open, mut text) = (String::new(), String::new());
    let attributes = |tag: &BytesStart<'_>| {
        for attribute in tag.attributes().flatten() {
            if let Ok(value) = unescape(&attribute.value) {
                found(attribute.key.local_name().into_inner(), &value);
            }
        }
    };
    loop {
        match reader.read_event() {
            Ok(Event::Start(tag)) => {
                attributes(&tag);
                text.clear();
                tag.local_name().into_inner().clone_into(&mut open);
            }
            Ok(Event::Empty(tag)) => attributes(&tag),
            Ok(Event::Text(part)) => text.push_str(&part),
            Ok(Event::CData(part)) => text.push_str(&part),
            Ok(Event::GeneralRef(reference)) => {
                if let Ok(part) = unescape(&format!("&{};", &*reference)) {
                    text.push_str(&part);
                }
            }
            Ok(Event::End(_)) => {
                if !open.is_empty() {
                    found(&open, &text);
                }
                open.clear();
                text.clear();
            }
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "learn_tests.rs"]
mod tests;
