//! The operator's end of a CONNECT: a TCP port of a device on the operator's machine, through gateway and uplink
//! (RFC 9110 §9.3.6).
//!
//! Each connection is one CONNECT on a connection of
//! its own, on standard input and output (`ssh -o ProxyCommand`) or for each connection to a local port.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, copy_bidirectional, join, split},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use url::Url;

use super::operator::{HEAD_MAX, Operator, Stream, own, refused, standard_output};
use crate::{
    base::{drain::Drain, tasks::Tasks},
    transport::proxy::choice::Proxies,
};

/// From the request to the head of the answer: the gateway waits 10 s for a stream and the sidecar for the port.
const ANSWER: Duration = Duration::from_secs(30);
/// Connections to the local port at once.
const CONNECTIONS_MAX: usize = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to, and by which gateway.
#[derive(Debug)]
pub struct Options {
    /// The device by its name at the gateway.
    pub device: String,
    /// Its port.
    pub port: u16,
    /// The front: scheme http or https, host and port.
    pub gateway: Url,
    /// Authorities that an https gateway is trusted by, PEM; the system's by default.
    pub gateway_ca: Option<PathBuf>,
    /// File with the token of the front.
    pub token_file: Option<PathBuf>,
    /// The proxies of the process; an http gateway is reached without.
    pub proxies: Proxies,
}

/// The way to one port of one device.
pub struct Way {
    /// `<device>:<port>`.
    target: String,
    uri: Uri,
    front: Operator,
}

impl Way {
    /// Checks the options and reads the files that they name. Blocks while it reads.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn new(options: Options) -> Result<Self, String> {
        let Options { device, port, gateway, gateway_ca, token_file, proxies } = options;
        let target = format!("{device}:{port}");
        let uri = Uri::builder().authority(target.as_str()).build().ok();
        // What an authority cannot hold would be cut or refused on the way.
        let uri = uri.filter(|uri| !device.is_empty() && uri.host() == Some(device.as_str()));
        let uri = uri.ok_or_else(|| {
            format!("the name {device:?} cannot stand in a CONNECT: only names that could be hosts can")
        })?;
        if gateway.path() != "/" || gateway.query().is_some() {
            return Err("--gateway must be http://HOST:PORT or https://HOST[:PORT], nothing behind it".to_owned());
        }
        let front = Operator::new(&gateway, gateway_ca, token_file, proxies)
            .map_err(|sentence| format!("--gateway {gateway}: {sentence}"))?;
        Ok(Self { target, uri, front })
    }

    /// `<device>:<port>`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Joins standard input and output with the device, until the device closes or the drain starts. Cancel safe.
    ///
    /// # Errors
    /// A sentence when there is no way to the device, or it broke.
    pub async fn stdio(&self, mut drain: Drain) -> Result<(), String> {
        let work = async {
            let (reader, writer) = split(self.open().await?);
            let broken = |error: io::Error| format!("the way to {} broke: {error}", self.target);
            let (input, output) = (own(&io::stdin()).map_err(broken)?, standard_output().map_err(broken)?);
            between(input, output, reader, writer).await.map_err(broken)
        };
        tokio::select! {
            ended = work => ended,
            _ = drain.started() => Ok(()),
        }
    }

    /// Takes the local port.
    ///
    /// # Errors
    /// A sentence.
    pub async fn bind(&self, address: SocketAddr) -> Result<TcpListener, String> {
        TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address} (--listen): {error}"))
    }

    /// Joins each connection to the local port with one to the device, until the drain starts. Cancel safe: dropping the
    /// future closes all. What goes wrong with one is logged and ends that one.
    pub async fn listen(self, listener: TcpListener, mut drain: Drain) {
        let way = Arc::new(self);
        let mut tasks = Tasks::new();
        loop {
            let accepted = tokio::select! {
                _ = drain.started() => return,
                () = std::future::poll_fn(|cx| tasks.poll_reap(cx)), if !tasks.is_empty() => continue,
                accepted = listener.accept(), if tasks.len() < CONNECTIONS_MAX => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let way = Arc::clone(&way);
                    tasks.spawn("connection", async move { way.carry(stream).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn carry(&self, mut near: TcpStream) {
        let _ = near.set_nodelay(true);
        match self.open().await {
            Ok(mut far) => {
                if let Err(error) = copy_bidirectional(&mut near, &mut far).await {
                    tracing::info!(target = self.target, %error, "a connection broke");
                }
            }
            Err(sentence) => {
                tracing::warn!("{sentence}");
                // A reset, not an end: nothing of the device came.
                let _ = socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO));
            }
        }
    }

    /// One CONNECT. Cancel safe.
    ///
    /// # Errors
    /// A sentence.
    async fn open(&self) -> Result<Stream, String> {
        let stream = self.front.dial().await?;
        match timeout(ANSWER, self.ask(stream)).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("the gateway {} gave no answer within {} s", self.front.origin(), ANSWER.as_secs())),
        }
    }

    async fn ask(&self, stream: Stream) -> Result<Stream, String> {
        let invalid =
            |error: hyper::Error| format!("{} does not answer as a gateway does: {error}", self.front.origin());
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MAX);
        let (mut sender, connection) =
            builder.handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(invalid)?;
        let mut request = Request::connect(self.uri.clone()).header(header::HOST, self.target.as_str());
        if let Some(authorization) = self.front.authorization() {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let conversation = async {
            let response = sender.send_request(request).await.map_err(invalid)?;
            if !response.status().is_success() {
                let what = format!("{} by {}", self.target, self.front.origin());
                return Err(refused(
                    &what,
                    response,
                    "the sidecar opens the ports that connectPorts lists for the device",
                )
                .await);
            }
            hyper::upgrade::on(response).await.map_err(invalid)
        };
        let (mut driver, mut conversation) = (std::pin::pin!(connection.with_upgrades()), std::pin::pin!(conversation));
        let upgraded = tokio::select! {
            // What the gateway said is looked at before how its connection ended.
            biased;
            upgraded = &mut conversation => upgraded?,
            _ = &mut driver => conversation.await?,
        };
        let parts = upgraded.downcast::<TokioIo<Stream>>().map_err(|_| "the connection was lost".to_owned())?;
        let (reader, writer) = split(parts.io.into_inner());
        Ok(Box::new(join(io::Cursor::new(parts.read_buf).chain(reader), writer)))
    }
}

/// As `nc` does: ends with what comes from the device, whether or not the operator's side has ended.
async fn between(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut down = std::pin::pin!(async {
        copy(&mut reader, &mut output).await?;
        output.flush().await
    });
    let up = async {
        copy(&mut input, &mut writer).await?;
        writer.shutdown().await
    };
    tokio::select! {
        ended = &mut down => return ended,
        // A device that takes no more may still have something to say.
        _ = up => {}
    }
    down.await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(device: &str, gateway: &str) -> Options {
        Options {
            device: device.to_owned(),
            port: 22,
            gateway: gateway.parse().expect("URL"),
            gateway_ca: None,
            token_file: None,
            proxies: Proxies::default(),
        }
    }

    #[test]
    fn names_and_addresses_that_cannot_work_are_refused_before_anything_is_dialed() {
        assert_eq!(Way::new(options("camera-1", "http://gw:8800")).expect("good").target(), "camera-1:22");
        for (device, gateway, word) in [
            ("cam 1", "http://gw:8800", "cam 1"),
            ("a@b", "http://gw:8800", "a@b"),
            ("", "http://gw:8800", "CONNECT"),
            ("cam", "http://gw:8800/camera-1/", "--gateway"),
            ("cam", "ftp://gw", "--gateway"),
            ("cam", "http://user@gw", "--gateway"),
        ] {
            let refused = Way::new(options(device, gateway)).err().expect(gateway);
            assert!(refused.contains(word), "{refused}");
        }
    }

    #[tokio::test]
    async fn standard_output_ends_with_the_device_and_standard_input_is_passed_to_its_end() {
        let (near, mut far) = tokio::io::duplex(64);
        let (reader, writer) = split(near);
        let (input, mut keyboard) = tokio::io::duplex(64);
        let (output, mut screen) = tokio::io::duplex(64);
        let joined = tokio::spawn(async move { between(input, output, reader, writer).await });
        keyboard.write_all(b"question").await.expect("open");
        drop(keyboard);
        let mut asked = String::new();
        far.read_to_string(&mut asked).await.expect("the end of input is passed on");
        assert_eq!(asked, "question");
        far.write_all(b"answer").await.expect("open");
        drop(far);
        joined.await.expect("no panic").expect("in good order");
        let mut shown = String::new();
        screen.read_to_string(&mut shown).await.expect("text");
        assert_eq!(shown, "answer");
    }
}
