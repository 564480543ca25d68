//! The front as an operator's commands reach it (`onvif-uplink connect`, `onvif-uplink fetch`): address, trust, token, and what a
//! refusal means.
//!
//! They are clients of the front and know nothing of the gateway's inside.

use std::{fs::File, io, os::fd::AsFd, path::PathBuf, sync::Arc};

use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use url::{Host, Url};

use crate::{
    base::secret::Secret,
    model::{
        authorization::Trust,
        failure::Failure,
        network::{Network, ProxyChoice},
    },
    tls::{client::ClientConfigs, trust::Anchors},
    transport::{
        proxy::choice::Proxies,
        reach::{Destination, Reach, Reached},
    },
};

/// Longest response head in bytes.
pub(super) const HEAD_MAX: usize = 16 * 1024;
/// What is read of a refusal, bytes.
const REFUSAL_MAX: usize = 4 * 1024;
/// A longer file is no token.
const TOKEN_MAX: u64 = 4096;

/// A byte stream to the front.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}
pub(super) type Stream = Box<dyn Duplex>;

/// Somebody who may use the front.
pub(super) struct Operator {
    host: Host<String>,
    port: u16,
    /// Scheme, host and port, for sentences.
    origin: String,
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<HeaderValue>,
    reach: Reach,
}

impl Operator {
    /// Reaches the origin of `url`: by https over the proxies of the process, by http without one. Reads the files; blocks while it reads.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub(super) fn new(
        url: &Url,
        gateway_ca: Option<PathBuf>,
        token_file: Option<PathBuf>,
        proxies: Proxies,
    ) -> Result<Self, String> {
        let invalid = || "write http://HOST:PORT or https://HOST[:PORT], without a user".to_owned();
        let host = url.host().ok_or_else(invalid)?.to_owned();
        let port = url.port_or_known_default().ok_or_else(invalid)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid());
        }
        let tls = match url.scheme() {
            "http" if gateway_ca.is_some() => return Err("--gateway-ca is for an https gateway".to_owned()),
            "http" => None,
            "https" => {
                let anchors = match gateway_ca {
                    Some(file) => Anchors::from_files(&[file]),
                    None => Anchors::load(&Trust::SystemRoots),
                };
                Some(ClientConfigs::new().get(None, &anchors.map_err(|failure| failure.message)?))
            }
            _ => return Err(invalid()),
        };
        let authorization = token_file.map(read_token).transpose()?;
        let origin = url.origin().ascii_serialization();
        Ok(Self { host, port, origin, tls, authorization, reach: Reach::new(proxies) })
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The header that the front wants, if there is a token.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// A new connection. Cancel safe.
    ///
    /// # Errors
    /// A sentence; dialing and TLS have deadlines of their own.
    pub(super) async fn dial(&self) -> Result<Stream, String> {
        let proxy = if self.tls.is_some() { ProxyChoice::Environment } else { ProxyChoice::Direct };
        let network = Network { proxy, ..Network::default() };
        let destination = Destination { host: &self.host, port: self.port };
        let missed = |failure: Failure| format!("the gateway {} was not reached: {failure}", self.origin);
        match &self.tls {
            None => {
                let Reached { socket, .. } = self.reach.open(destination, &network, &()).await.map_err(missed)?;
                Ok(Box::new(socket))
            }
            Some(tls) => {
                let secured = self.reach.open_secured(destination, &self.origin, &network, Arc::clone(tls)).await;
                Ok(Box::new(secured.map_err(missed)?))
            }
        }
    }
}

/// Standard output as a file of its own, which asynchronous writes suit.
pub(super) fn standard_output() -> io::Result<tokio::fs::File> {
    own(&io::stdout())
}

/// The same of any descriptor of the process.
pub(super) fn own(descriptor: &impl AsFd) -> io::Result<tokio::fs::File> {
    Ok(tokio::fs::File::from_std(File::from(descriptor.as_fd().try_clone_to_owned()?)))
}

/// What the gateway or the device said to `what`, and what helps: `forbidden` if it was a 403.
pub(super) async fn refused(what: &str, response: Response<Incoming>, forbidden: &str) -> String {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_MAX).collect().await;
    let text = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    let said = if text.is_empty() { String::new() } else { format!(": {text}") };
    let help = match status {
        StatusCode::UNAUTHORIZED => "; give the token of the gateway's front with --token-file".to_owned(),
        StatusCode::FORBIDDEN => format!("; {forbidden}"),
        _ => String::new(),
    };
    format!("{what}: {status}{said}{help}")
}

/// The token as `Authorization`.
fn read_token(file: PathBuf) -> Result<HeaderValue, String> {
    use std::io::Read;
    let broken = |problem: &dyn std::fmt::Display| format!("the token file {} is unusable: {problem}", file.display());
    let mut text = String::new();
    let opened = File::open(&file).map_err(|error| broken(&error))?;
    opened.take(TOKEN_MAX + 1).read_to_string(&mut text).map_err(|error| broken(&error))?;
    let token = Secret::new(text.trim());
    if token.expose().is_empty() || text.len() as u64 > TOKEN_MAX {
        return Err(broken(&format_args!("it must hold one line of at most {TOKEN_MAX} characters")));
    }
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| broken(&"its line has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_must_hold_a_token() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("token");
        assert!(read_token(file.clone()).expect_err("missing").contains("token"));
        for text in ["", " \n", "a\u{1}b", &"a".repeat(5000)] {
            std::fs::write(&file, text).expect("written");
            assert!(read_token(file.clone()).is_err(), "{text:?}");
        }
        std::fs::write(&file, "secret\n").expect("written");
        let value = read_token(file).expect("a token");
        assert!(value.is_sensitive() && value == "Bearer secret");
    }

    #[test]
    fn only_http_and_https_without_a_user_lead_to_a_front() {
        let operator = |url: &str, ca: Option<&str>| {
            Operator::new(&url.parse().expect("URL"), ca.map(Into::into), None, Proxies::default())
        };
        assert_eq!(operator("http://gw:8800/camera-1/", None).map(|one| one.origin), Ok("http://gw:8800".to_owned()));
        for url in ["ftp://gw/", "http://user@gw/", "http://:word@gw/", "data:x"] {
            assert!(operator(url, None).is_err_and(|sentence| sentence.contains("http://HOST:PORT")), "{url}");
        }
        assert!(operator("http://gw/", Some("ca.crt")).is_err_and(|sentence| sentence.contains("https")));
        assert!(operator("https://gw/", Some("/nowhere/ca.crt")).is_err_and(|sentence| sentence.contains("ca.crt")));
    }
}
