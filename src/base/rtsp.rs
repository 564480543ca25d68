//! RTSP 1.0 as it stands in a byte stream: messages and interleaved frames (RFC 2326 §4, §10.12; ONVIF Streaming).
//!
//! Gateway, bridge, credentials mediation and emulator all meet such streams and change one field or one address at most; so a
//! [`Message`] is byte-faithful: order and spelling of what is not changed stay, because cameras and players insist on both.
//! [`Splitter`] cuts a stream into [`Unit`]s without looking into the payload of frames. Heads are parsed by `httparse`, whose
//! rules for fields RTSP shares (RFC 2326 §4.2).

use bytes::{Buf, Bytes, BytesMut};

/// Largest head of a message, bytes. ONVIF devices stay under 2 KiB, Digest and long tokens included.
pub const HEAD_MAX: usize = 16 * 1024;
/// Largest body of a message, bytes: an SDP with many tracks has 8 KiB.
pub const BODY_MAX: usize = 64 * 1024;
/// Most fields of a head.
const FIELDS_MAX: usize = 100;
/// `$`, channel and length (RFC 2326 §10.12).
const FRAME_HEAD: usize = 4;
/// Longest method: SET_PARAMETER, and room for what vendors invent.
const METHOD_MAX: usize = 32;

/// Why a stream is not RTSP. There is no way to find the next message after one of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtspError {
    /// Neither a frame nor a message begins here.
    #[error("what came is not RTSP: {0}")]
    NotRtsp(&'static str),
    /// The head does not end within [`HEAD_MAX`].
    #[error("the head of an RTSP message is longer than {HEAD_MAX} bytes")]
    HeadTooLarge,
    /// The announced body exceeds [`BODY_MAX`].
    #[error("an RTSP message announces a body of {0} bytes; {BODY_MAX} are the most")]
    BodyTooLarge(u64),
    /// Content-Length is no number, or there are two that differ.
    #[error("the Content-Length of an RTSP message is not one number")]
    BadLength,
}

/// One thing in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A request or a response.
    Message(Message),
    /// A packet of RTP or RTCP.
    Frame(Frame),
}

/// An interleaved packet with its 4-byte head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    /// A frame around `payload`.
    ///
    /// # Errors
    /// When the payload exceeds the 65 535 bytes that a frame can hold.
    pub fn new(channel: u8, payload: &[u8]) -> Result<Self, RtspError> {
        let length = u16::try_from(payload.len()).map_err(|_| RtspError::BodyTooLarge(payload.len() as u64))?;
        let mut bytes = BytesMut::with_capacity(FRAME_HEAD + payload.len());
        bytes.extend_from_slice(&[b'$', channel]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(payload);
        Ok(Self(bytes.freeze()))
    }

    /// The channel: even ones carry RTP and odd ones RTCP by custom.
    pub fn channel(&self) -> u8 {
        self.0[1]
    }

    /// The packet.
    pub fn payload(&self) -> &[u8] {
        &self.0[FRAME_HEAD..]
    }

    /// The whole frame as it stands in the stream.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A request.
    Request {
        /// For example `DESCRIBE`; case counts (RFC 2326 §6.1).
        method: &'a str,
        /// Absolute, or `*`.
        uri: &'a str,
    },
    /// A response.
    Response {
        /// Three digits.
        status: u16,
    },
}

/// A request or a response. What is not changed is written back as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Without the line's end.
    start: String,
    /// Each line as it came, without its end, with the length of the field's name.
    fields: Vec<(usize, String)>,
    body: Bytes,
}

impl Message {
    /// A request without fields.
    pub fn request(method: &str, uri: &str) -> Self {
        Self { start: format!("{method} {uri} RTSP/1.0"), fields: Vec::new(), body: Bytes::new() }
    }

    /// A response without fields.
    pub fn response(status: u16, reason: &str) -> Self {
        Self { start: format!("RTSP/1.0 {status} {reason}"), fields: Vec::new(), body: Bytes::new() }
    }

    /// What it is. A message of a [`Splitter`] is always one of both.
    pub fn kind(&self) -> Kind<'_> {
        read_start(&self.start).unwrap_or(Kind::Request { method: "", uri: "" })
    }

    /// Gives a request another URI; a response stays as it is.
    pub fn set_uri(&mut self, uri: &str) {
        if let Kind::Request { method, .. } = self.kind() {
            let version = self.start.rsplit(' ').next().unwrap_or("RTSP/1.0");
            self.start = format!("{method} {uri} {version}");
        }
    }

    /// The first field of this name; case does not count.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (length, line) = self.fields.iter().find(|(length, line)| line[..*length].eq_ignore_ascii_case(name))?;
        Some(line[length + 1..].trim())
    }

    /// All fields of this name in their order.
    pub fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.fields.iter().filter(move |(length, line)| line[..*length].eq_ignore_ascii_case(name));
        named.map(|(length, line)| line[length + 1..].trim())
    }

    /// The names of all fields as they are spelled.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(length, line)| &line[..*length])
    }

    /// Puts `value` in the place of the first field of this name and drops the others; adds it if there is none.
    ///
    /// `name` and `value` must not contain line ends; they are cut off there, so that nothing can be smuggled in.
    pub fn set_field(&mut self, name: &str, value: &str) {
        let new = field_line(name, value);
        let is_named = |(length, line): &(usize, String)| line[..*length].eq_ignore_ascii_case(name);
        let Some(place) = self.fields.iter().position(is_named) else { return self.fields.push(new) };
        let others = self.fields.split_off(place + 1);
        self.fields[place] = new;
        self.fields.extend(others.into_iter().filter(|field| !is_named(field)));
    }

    /// Adds a field at the end; the same rule for line ends as for [`Self::set_field`].
    pub fn add_field(&mut self, name: &str, value: &str) {
        self.fields.push(field_line(name, value));
    }

    /// Removes all fields of this name; whether there was one.
    pub fn remove_field(&mut self, name: &str) -> bool {
        let before = self.fields.len();
        self.fields.retain(|(length, line)| !line[..*length].eq_ignore_ascii_case(name));
        self.fields.len() != before
    }

    /// The body; empty when there is none.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Gives it another body and keeps Content-Length right.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        self.body = body.into();
        if self.body.is_empty() && self.field("Content-Length").is_none() {
            return;
        }
        self.set_field("Content-Length", &self.body.len().to_string());
    }

    /// Bytes of the message as it stands in a stream.
    pub fn length(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(_, line)| line.len() + 2).sum();
        self.start.len() + fields + self.body.len() + 4
    }

    /// The message as it stands in a stream.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.length());
        bytes.extend_from_slice(self.start.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        for (_, line) in &self.fields {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }

    /// From a head without its last empty line.
    fn parse(head: &[u8]) -> Result<Self, RtspError> {
        let end = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
        let (start, rest) = head.split_at(end);
        let start = start.strip_suffix(b"\r").unwrap_or(start);
        let start = std::str::from_utf8(start).map_err(|_| RtspError::NotRtsp("the first line is not text"))?;
        read_start(start)?;
        let mut block = rest.strip_prefix(b"\n").unwrap_or(rest).to_vec();
        block.extend_from_slice(b"\r\n\r\n");
        let mut parsed = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let parsed = match httparse::parse_headers(&block, &mut parsed) {
            Ok(httparse::Status::Complete((_, fields))) => fields,
            Ok(httparse::Status::Partial) => return Err(RtspError::NotRtsp("a field does not end")),
            Err(httparse::Error::TooManyHeaders) => return Err(RtspError::HeadTooLarge),
            Err(_) => return Err(RtspError::NotRtsp("a line of the head is no field")),
        };
        let mut fields = Vec::with_capacity(parsed.len());
        for field in parsed {
            let value = std::str::from_utf8(field.value).map_err(|_| RtspError::NotRtsp("a field is not text"))?;
            // The line as it came, when it is a plain one; what stands between name and value is of one space otherwise.
            fields.push((field.name.len(), format!("{}:{}{value}", field.name, gap(&block, field))));
        }
        Ok(Self { start: start.to_owned(), fields, body: Bytes::new() })
    }

    /// The announced length of the body.
    fn announced(&self) -> Result<usize, RtspError> {
        let mut announced = None;
        for value in self.fields("Content-Length") {
            let this: u64 = value.parse().map_err(|_| RtspError::BadLength)?;
            if announced.is_some_and(|before| before != this) {
                return Err(RtspError::BadLength);
            }
            announced = Some(this);
        }
        let length = announced.unwrap_or(0);
        usize::try_from(length).ok().filter(|length| *length <= BODY_MAX).ok_or(RtspError::BodyTooLarge(length))
    }
}

/// What stood between the colon and the value.
fn gap<'b>(block: &'b [u8], field: &httparse::Header<'_>) -> &'b str {
    let offset = |part: &[u8]| (part.as_ptr() as usize).checked_sub(block.as_ptr() as usize);
    let name_end = offset(field.name.as_bytes()).map(|start| start + field.name.len() + 1);
    let gap = name_end.zip(offset(field.value)).and_then(|(from, to)| block.get(from..to));
    gap.and_then(|gap| std::str::from_utf8(gap).ok()).unwrap_or(" ")
}

fn field_line(name: &str, value: &str) -> (usize, String) {
    let one_line = |text: &str| text.split(['\r', '\n']).next().unwrap_or_default().to_owned();
    let name = one_line(name);
    (name.len(), format!("{name}: {}", one_line(value)))
}

fn read_start(line: &str) -> Result<Kind<'_>, RtspError> {
    let bad = RtspError::NotRtsp("the first line is neither that of a request nor of a response");
    if let Some(rest) = line.strip_prefix("RTSP/") {
        let mut words = rest.split(' ').skip(1);
        let status = words.next().filter(|word| word.len() == 3).and_then(|word| word.parse().ok());
        return status.map(|status| Kind::Response { status }).ok_or(bad);
    }
    let mut words = line.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(uri), Some(version), None)
            if is_method(method.as_bytes()) && !uri.is_empty() && version.starts_with("RTSP/") =>
        {
            Ok(Kind::Request { method, uri })
        }
        _ => Err(bad),
    }
}

fn is_method(word: &[u8]) -> bool {
    !word.is_empty()
        && word.len() <= METHOD_MAX
        && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
}

/// Cuts a stream into units. Holds one incomplete unit at most, beside what one `push` brought.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of a head.
    searched: usize,
}

impl Splitter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what came next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their unit.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// What stands behind the units that were taken; the splitter is then at the beginning of a stream. For readers that
    /// pass frames on without it and need it for messages only.
    pub fn take_rest(&mut self) -> Bytes {
        self.searched = 0;
        self.buffer.split().freeze()
    }

    /// The next complete unit; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`RtspError`]: the stream is of no use from here on.
    pub fn next_unit(&mut self) -> Result<Option<Unit>, RtspError> {
        // Some players end a message with a line too many (RFC 2326 §4.1 lets a receiver pass them over).
        let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if self.searched == 0 && blank > 0 {
            self.buffer.advance(blank);
        }
        match self.buffer.first() {
            None => Ok(None),
            Some(b'$') => Ok(self.next_frame().map(Unit::Frame)),
            Some(_) => Ok(self.next_message()?.map(Unit::Message)),
        }
    }

    fn next_frame(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..FRAME_HEAD)?;
        let length = FRAME_HEAD + usize::from(u16::from_be_bytes([head[2], head[3]]));
        (self.buffer.len() >= length).then(|| Frame(self.buffer.split_to(length).freeze()))
    }

    fn next_message(&mut self) -> Result<Option<Message>, RtspError> {
        let Some((head, whole)) = self.find_head()? else { return Ok(None) };
        let mut message = Message::parse(&self.buffer[..head])?;
        let body = message.announced()?;
        if self.buffer.len() < whole + body {
            return Ok(None);
        }
        self.buffer.advance(whole);
        message.body = self.buffer.split_to(body).freeze();
        self.searched = 0;
        Ok(Some(message))
    }

    /// The length of the head without and with its empty line.
    fn find_head(&mut self) -> Result<Option<(usize, usize)>, RtspError> {
        self.looks_like_rtsp()?;
        let from = self.searched.saturating_sub(3);
        let window = &self.buffer[from..self.buffer.len().min(HEAD_MAX)];
        for (index, _) in window.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let after = &window[index + 1..];
            let blank = if after.starts_with(b"\r\n") { 2 } else { usize::from(after.starts_with(b"\n")) };
            if blank > 0 {
                let line = from + index;
                let head = if self.buffer[..line].ends_with(b"\r") { line - 1 } else { line };
                return Ok(Some((head, line + 1 + blank)));
            }
        }
        if self.buffer.len() >= HEAD_MAX {
            return Err(RtspError::HeadTooLarge);
        }
        self.searched = self.buffer.len();
        Ok(None)
    }

    /// Refuses early what cannot become a message, so that a stream of something else is not gathered first.
    fn looks_like_rtsp(&self) -> Result<(), RtspError> {
        let start = &self.buffer[..self.buffer.len().min(METHOD_MAX + 1)];
        let word = start.iter().position(|byte| *byte == b' ').map_or(start, |end| &start[..end]);
        let ended = word.len() < start.len();
        let version = b"RTSP/";
        let response = word.starts_with(version) || version.starts_with(word);
        let fits = response || (is_method(word) && (ended || word.len() <= METHOD_MAX));
        if fits { Ok(()) } else { Err(RtspError::NotRtsp("neither a method, a status line nor `$` begins here")) }
    }
}

#[cfg(test)]
#[path = "rtsp_tests.rs"]
mod tests;
