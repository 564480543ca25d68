//! One HTTP exchange with an authorization server: by the same way out as uplinks have, over TLS, bounded and never redirected.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;
use url::Url;

use super::{
    reach::{Destination, Reach, Reached},
    secure::handshake,
};
use crate::{
    authz::Fetch,
    base::http::BoxFuture,
    model::{
        failure::{Cause, Failure},
        network::Network,
    },
    tls::client::server_name,
};

/// From the request to the last byte of the answer, the connection already standing.
const EXCHANGE: Duration = Duration::from_secs(15);
/// Longest response head in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Longest body in bytes: metadata and key sets have some kilobytes, tokens some more.
const BODY_MAX: usize = 256 * 1024;

/// [`Fetch`] over `reach`; each exchange has a connection of its own, because there is one in an hour.
#[derive(Clone, Debug)]
pub struct HttpsFetch {
    reach: Reach,
}

impl HttpsFetch {
    /// Fetches by `reach`.
    pub fn new(reach: Reach) -> Self {
        Self { reach }
    }

    /// Sends `request`, whose URI must be absolute and https, and returns the whole answer.
    ///
    /// # Errors
    /// A cause of the phase that failed; [`Cause::AuthorizationServerUnreachable`] for the exchange itself.
    pub async fn exchange(
        &self,
        mut request: Request<Bytes>,
        tls: Arc<ClientConfig>,
        network: &Network,
    ) -> Result<Response<Bytes>, Failure> {
        let broken = |problem: String| Failure::new(Cause::AuthorizationServerUnreachable, problem);
        let uri = request.uri().to_string();
        let url = Url::parse(&uri).map_err(|error| broken(format!("`{uri}` is no address: {error}")))?;
        let (host, port) = match (url.scheme(), url.host()) {
            ("https", Some(host)) => (host.to_owned(), url.port().unwrap_or(443)),
            _ => return Err(broken("only https addresses are asked".to_owned())),
        };
        let who = url.origin().ascii_serialization();
        let name = server_name(&host)?;
        let Reached { socket, peer, .. } = self.reach.open(Destination { host: &host, port }, network, &()).await?;
        let stream = handshake(socket, &who, peer, tls, name, &()).await?;
        let authority = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        let authority = HeaderValue::try_from(authority).map_err(|error| broken(format!("{who}: {error}")))?;
        request.headers_mut().insert(header::HOST, authority);
        let target = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        *request.uri_mut() = target.parse().map_err(|error| broken(format!("{who}: {error}")))?;
        let answered = timeout(EXCHANGE, answer(stream, request)).await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(problem)) => Err(broken(format!("{who} gave no usable answer: {problem}"))),
            Err(_) => Err(broken(format!("{who} gave no complete answer within {} s", EXCHANGE.as_secs()))),
        }
    }
}

impl Fetch for HttpsFetch {
    fn fetch<'a>(
        &'a self,
        request: Request<Bytes>,
        tls: Arc<ClientConfig>,
        network: &'a Network,
    ) -> BoxFuture<'a, Result<Response<Bytes>, Failure>> {
        Box::pin(self.exchange(request, tls, network))
    }
}

async fn answer<S>(stream: S, request: Request<Bytes>) -> Result<Response<Bytes>, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let conversation = async {
        let response = sender.send_request(request.map(Full::new)).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    let (mut connection, mut conversation) = (std::pin::pin!(connection), std::pin::pin!(conversation));
    tokio::select! {
        biased;
        answered = &mut conversation => answered,
        _ = &mut connection => conversation.await,
    }
}
