//! CONNECT: one HTTP/1.1 exchange with the proxy, then the bytes of the remote (RFC 9110 §9.3.6).

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use url::Host;

use super::{ANSWER, Credentials, Proxy};
use crate::{
    model::failure::{Cause, Failure},
    transport::socket::Socket,
};

/// Longest response head of a proxy in bytes.
const HEAD_MAX: usize = 16 * 1024;

/// Asks `proxy` on `socket` for the way to `host` and `port`. Cancel safe: dropping the future closes the socket.
///
/// # Errors
/// A cause of the phase proxy.
pub(in crate::transport) async fn open(
    proxy: &Proxy,
    socket: Socket,
    host: &Host<String>,
    port: u16,
) -> Result<Socket, Failure> {
    match timeout(ANSWER, exchange(proxy, socket, host, port)).await {
        Ok(opened) => opened,
        Err(_) => Err(proxy.failure(
            Cause::ProxyTimeout,
            format_args!("took the connection and did not answer within {} s", ANSWER.as_secs()),
        )),
    }
}

async fn exchange(proxy: &Proxy, socket: Socket, host: &Host<String>, port: u16) -> Result<Socket, Failure> {
    let invalid = |error: &dyn std::fmt::Display| {
        let sentence = format!("does not answer as an HTTP proxy does ({error}); check scheme and port");
        proxy.failure(Cause::ProxyInvalid, sentence)
    };
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX);
    let handshake = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(|error| invalid(&error))?;
    let request = request(proxy.credentials.as_ref(), host, port).map_err(|error| invalid(&error))?;
    let conversation = async {
        let response = sender.send_request(request).await.map_err(|error| invalid(&cause_of(&error)))?;
        if !response.status().is_success() {
            return Err(refused(proxy, host, &response));
        }
        hyper::upgrade::on(response).await.map_err(|error| invalid(&error))
    };
    let mut driver = std::pin::pin!(connection.with_upgrades());
    let mut conversation = std::pin::pin!(conversation);
    let upgraded = tokio::select! {
        // What the proxy said is looked at before how its connection ended.
        biased;
        upgraded = &mut conversation => upgraded?,
        _ = &mut driver => conversation.await?,
    };
    let parts = upgraded.downcast::<TokioIo<Socket>>().map_err(|_| invalid(&"the connection was lost"))?;
    if !parts.read_buf.is_empty() {
        // TLS begins with us: whoever speaks before is not the remote.
        return Err(invalid(&"it sent bytes behind its answer"));
    }
    Ok(parts.io.into_inner())
}

/// hyper's own sentence hides what was wrong.
fn cause_of(error: &hyper::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn request(
    credentials: Option<&Credentials>,
    host: &Host<String>,
    port: u16,
) -> Result<Request<Empty<Bytes>>, http::Error> {
    let authority = format!("{host}:{port}");
    let uri = Uri::builder().authority(authority.as_str()).build()?;
    let mut request = Request::connect(uri).header(header::HOST, authority);
    if let Some(Credentials { user, password }) = credentials {
        let encoded = STANDARD.encode(format!("{user}:{}", password.expose()));
        let mut value = HeaderValue::try_from(format!("Basic {encoded}"))?;
        value.set_sensitive(true);
        request = request.header(header::PROXY_AUTHORIZATION, value);
    }
    request.body(Empty::new())
}

fn refused(proxy: &Proxy, host: &Host<String>, response: &Response<Incoming>) -> Failure {
    let status = response.status();
    match status {
        // tinyproxy answers wrong credentials with 401, and missing ones with 407.
        StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => {
            let headers = response.headers();
            let schemes = headers.get_all(header::PROXY_AUTHENTICATE).iter();
            let schemes = schemes.chain(headers.get_all(header::WWW_AUTHENTICATE).iter());
            let code = status.as_u16();
            let basic = schemes
                .filter_map(|value| value.to_str().ok())
                .any(|value| value.to_ascii_lowercase().starts_with("basic"));
            let sentence = match (&proxy.credentials, basic) {
                (None, _) => "it wants credentials; name a file with USER:PASSWORD in proxyCredentialsFile",
                (Some(_), true) => {
                    "it does not accept these credentials; correct the file that proxyCredentialsFile names"
                }
                (Some(_), false) => "it offers no Basic authentication, the only one that is spoken here",
            };
            proxy.failure(Cause::ProxyAuthentication, format_args!("answered {code}, {sentence}"))
        }
        StatusCode::FORBIDDEN => proxy.failure(
            Cause::ProxyRefused,
            format_args!("answered 403, its rules forbid the way to {host}; ask whoever runs it"),
        ),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => proxy.failure(
            Cause::ProxyRefused,
            format_args!("answered {status}, it cannot reach {host}; check remoteAddress"),
        ),
        _ => proxy
            .failure(Cause::ProxyRefused, format_args!("answered {status} to CONNECT to {host}; its log may say why")),
    }
}
