//! From the name of a device to its answer: the session that takes the request, one more try by a newer session, and the
//! sentence of the gateway when the device gives no answer.
//!
//! What has to go by one and the same session (the two halves of RTSP over HTTP) looks the session up once and uses
//! [`once`]; everything else uses [`deliver`].

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};

use super::{
    directory::{Directory, Lookup},
    exchange::{ExchangeError, Retry, broken_sentence, exchange},
    page,
    session::Session,
};
use crate::base::http::{Body, Response, text_response};

/// What a client is told to wait for an offline device: devices come back within 30 s (ONVIF Uplink §5.2).
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// Why the gateway answers for the device.
#[derive(Debug)]
pub struct NoAnswer {
    /// The status of HTTP.
    pub status: StatusCode,
    /// What is wrong, for people.
    pub sentence: String,
}

impl NoAnswer {
    fn offline(device: &str) -> Self {
        let sentence = format!("the device {device} is not connected now; try again soon");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, sentence }
    }

    /// A page for a browser, plain text for all else.
    pub fn response(&self, html: bool) -> Response {
        let mut response =
            if html { page::sentence(self.status, &self.sentence) } else { text_response(self.status, &self.sentence) };
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if matches!(self.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// Why one session gave no answer.
#[derive(Debug)]
pub enum Failed {
    /// It never processed the request and takes no more; another session may.
    Again(Box<Retry>),
    /// Nobody should be asked again.
    Final(NoAnswer),
}

/// The session that takes the requests of a device now.
///
/// # Errors
/// The answer for the client: 404 for a name that never connected, 503 for one that is away.
pub fn session(directory: &Directory, device: &str, any_case: bool) -> Result<Arc<Session>, NoAnswer> {
    match directory.find(device, any_case) {
        Lookup::Online(session) => Ok(session),
        Lookup::Offline => Err(NoAnswer::offline(device)),
        Lookup::Unknown => {
            let sentence = format!("no device {device:?} has connected to this gateway");
            Err(NoAnswer { status: StatusCode::NOT_FOUND, sentence })
        }
    }
}

/// Sends the request by `session`, which loses its place in the directory if it takes no more. Cancel safe: dropping the
/// future resets the stream.
///
/// # Errors
/// [`Failed`].
pub async fn once(
    directory: &Directory,
    session: &Session,
    head: http::Request<()>,
    body: Body,
) -> Result<Response, Failed> {
    let core = session.core();
    let no = |status, sentence| Err(Failed::Final(NoAnswer { status, sentence }));
    match exchange(session, head, body).await {
        Ok(response) => Ok(response),
        Err(ExchangeError::NotProcessed(retry)) => {
            // It said GOAWAY or is gone: nobody shall ask it again.
            directory.retire(core);
            Err(Failed::Again(Box::new(retry)))
        }
        Err(ExchangeError::NoSlot) => no(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the device {} has as many streams open as it allows", core.device),
        ),
        Err(ExchangeError::NoExtendedConnect) => no(
            StatusCode::NOT_IMPLEMENTED,
            format!(
                "the device {} takes no WebSocket through its uplink: it did not announce SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441)",
                core.device
            ),
        ),
        Err(ExchangeError::Broken(error)) => no(StatusCode::BAD_GATEWAY, broken_sentence(core, &error)),
    }
}

/// Sends the request by the device's session; once more by a newer one when the first never processed it. With `any_case`
/// the name came from a host. Cancel safe: dropping the future resets the stream.
///
/// # Errors
/// [`NoAnswer`].
pub async fn deliver(
    directory: &Directory,
    device: &str,
    any_case: bool,
    head: http::Request<()>,
    body: Body,
) -> Result<Response, NoAnswer> {
    let mut next = Retry { head, body };
    for _ in 0..2 {
        let session = session(directory, device, any_case)?;
        match once(directory, &session, next.head, next.body).await {
            Ok(response) => return Ok(response),
            Err(Failed::Again(retry)) => next = *retry,
            Err(Failed::Final(answer)) => return Err(answer),
        }
    }
    Err(NoAnswer::offline(device))
}
