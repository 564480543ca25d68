//! What can go wrong between us and the device, as the answer that the remote reads and the line that the log gets.

use std::sync::{Mutex, PoisonError};

use http::{HeaderValue, StatusCode, header};

use super::limits::{RETRY_AFTER_BUSY, RETRY_AFTER_DOWN};
use crate::base::http::{BodyError, Response, text_response};

/// Why there is no answer of the device.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Nothing listens, since the start.
    #[error("the device does not accept connections yet")]
    Starting,
    /// Nothing listens, or another error of the dial.
    #[error("the device does not accept connections ({0})")]
    Down(std::io::ErrorKind),
    /// No answer to the TCP handshake.
    #[error("the device did not accept the connection in time")]
    ConnectTimeout,
    /// All connections are in use.
    #[error("the device is busy: all connections to it are in use")]
    Busy,
    /// All connections that may carry endless answers are in use.
    #[error("the device is busy: as many endless streams as it may have are open")]
    StreamsBusy,
    /// No response head in time.
    #[error("the device did not answer in time")]
    HeadTimeout,
    /// The connection ended before an answer.
    #[error("the device closed the connection without an answer")]
    Closed,
    /// What came is not HTTP/1.1, or cannot be trusted.
    #[error("the device's answer cannot be forwarded: {0}")]
    Malformed(String),
    /// The answer to the upgrade to WebSocket is not one, or breaks RFC 6455 §4.1.
    #[error("the device's answer to the WebSocket upgrade is wrong: {0}")]
    Upgrade(String),
    /// The device does not speak HTTP/2 from the first byte on, as `h2c://` says.
    #[error(
        "the device does not speak HTTP/2 with prior knowledge ({0}); if it speaks HTTP/1.1, configure it as http://"
    )]
    NotHttp2(String),
    /// The device refused the stream without processing it (RFC 9113 §8.7), twice or with a part of the body gone.
    #[error("the device did not process the request; it may be sent again")]
    Unprocessed,
    /// The device reset the stream.
    #[error("the device gave the request up ({0})")]
    StreamReset(h2::Reason),
    /// The device takes no extended CONNECT (RFC 8441 §3).
    #[error("the device speaks HTTP/2 and does not announce that it takes WebSockets (RFC 8441)")]
    NoExtendedConnect,
    /// The request's own body has another length than it announced.
    #[error("the request's body broke: {0}")]
    Upload(&'static str),
    /// The remote stopped within its upload.
    #[error("the rest of the request's body did not come in time")]
    UploadTimeout,
    /// The remote reset its request or its session broke: nobody reads the answer.
    #[error("the request was given up by its sender")]
    Abandoned,
}

impl Fault {
    /// From the HTTP/1.1 side.
    pub fn from_hyper(error: &hyper::Error) -> Self {
        if error.is_user() {
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                match inner.downcast_ref::<BodyError>() {
                    Some(BodyError::Length(why)) => return Self::Upload(why),
                    Some(BodyError::Reset(_) | BodyError::Transport(_)) => return Self::Abandoned,
                    None => cause = inner.source(),
                }
            }
            return Self::Upload("it ended early");
        }
        if error.is_parse_too_large() {
            return Self::Malformed("its head is too large".to_owned());
        }
        if error.is_parse() {
            return Self::Malformed(error.to_string());
        }
        Self::Closed
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoExtendedConnect => StatusCode::NOT_IMPLEMENTED,
            Self::Starting | Self::Busy | Self::StreamsBusy | Self::Unprocessed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Down(_)
            | Self::Closed
            | Self::Malformed(_)
            | Self::Upgrade(_)
            | Self::NotHttp2(_)
            | Self::StreamReset(_) => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::HeadTimeout => StatusCode::GATEWAY_TIMEOUT,
            // Nobody reads the answer to an abandoned request; it is the sender's doing all the same.
            Self::Upload(_) | Self::Abandoned => StatusCode::BAD_REQUEST,
            Self::UploadTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The answer to the remote, with `Retry-After` where coming back helps.
    pub fn response(&self) -> Response {
        let mut response = text_response(self.status(), &self.to_string());
        let retry = match self {
            Self::Starting | Self::Down(_) | Self::ConnectTimeout => RETRY_AFTER_DOWN,
            Self::Busy | Self::StreamsBusy | Self::Unprocessed => RETRY_AFTER_BUSY,
            _ => return response,
        };
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry));
        response
    }
}

/// Says once per change what is wrong with the device, not once per request.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<String>>);

impl Health {
    /// Notes a fault of the device; the remote's own faults are no news about it.
    pub fn failed(&self, device: &str, fault: &Fault) {
        if matches!(fault, Fault::Upload(_) | Fault::UploadTimeout | Fault::Abandoned | Fault::NoExtendedConnect) {
            return;
        }
        let sentence = fault.to_string();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&sentence) {
            tracing::warn!(device, "{sentence}");
            *last = Some(sentence);
        }
    }

    /// Notes an answer.
    pub fn answered(&self, device: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.take().is_some() {
            tracing::info!(device, "the device answers again");
        }
    }
}
