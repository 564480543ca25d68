//! One GET through the gateway's front, for images without curl and for tests of a deployment (RFC 9110 §9.3.1).
//!
//! Until the first byte of a good answer it is asked again, as long as [`Options::wait`] allows: an uplink may be about to come up.
//! What comes is passed on as it comes and never held whole.

use std::{
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};
use url::{Position, Url};

use super::operator::{HEAD_MAX, Operator, refused, standard_output};
use crate::{base::random::random, transport::proxy::choice::Proxies};

/// Pause before it is asked again, and as much more at most by chance.
const PAUSE: Duration = Duration::from_millis(700);

/// What to fetch.
#[derive(Debug)]
pub struct Options {
    /// The address at the front, as a browser would use it.
    pub url: Url,
    /// Authorities that an https gateway is trusted by, PEM; the system's by default.
    pub gateway_ca: Option<PathBuf>,
    /// File with the token of the front.
    pub token_file: Option<PathBuf>,
    /// The proxies of the process; an http gateway is reached without.
    pub proxies: Proxies,
    /// Where the body goes; `-` is standard output, nothing only counts it.
    pub output: Option<PathBuf>,
    /// How long it is asked again while there is no good answer.
    pub wait: Duration,
    /// How long one attempt may take, its last byte included.
    pub timeout: Duration,
}

/// Where the body goes.
type Output = Pin<Box<dyn AsyncWrite + Send>>;

/// A request that can be made.
pub struct Fetch {
    url: Url,
    front: Operator,
    output: Option<PathBuf>,
    wait: Duration,
    timeout: Duration,
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    status: StatusCode,
    kind: String,
    bytes: u64,
    /// Whether the body went to standard output.
    pub is_on_standard_output: bool,
    took: Duration,
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, kind, bytes, took, .. } = self;
        write!(f, "{status}: {kind}, {bytes} bytes in {:.3} s", took.as_secs_f64())
    }
}

/// Why there is no good answer.
struct Missed {
    sentence: String,
    /// A little later there may be one.
    may_pass: bool,
}

impl Fetch {
    /// Checks the options and reads the files that they name. Blocks while it reads.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn new(options: Options) -> Result<Self, String> {
        let Options { url, gateway_ca, token_file, proxies, output, wait, timeout } = options;
        let front =
            Operator::new(&url, gateway_ca, token_file, proxies).map_err(|sentence| format!("{url}: {sentence}"))?;
        Ok(Self { url, front, output, wait, timeout })
    }

    /// Fetches. A file is made when a good answer has begun; after that nothing is asked again. Cancel safe: dropped, the request is
    /// canceled.
    ///
    /// # Errors
    /// A sentence: no good answer until the end of the wait, or one that broke or took too long.
    pub async fn run(&self) -> Result<Fetched, String> {
        let (give_up, mut begun) = (Instant::now() + self.wait, false);
        loop {
            let missed = match timeout(self.timeout, self.attempt(&mut begun)).await {
                Ok(Ok(fetched)) => return Ok(fetched),
                Ok(Err(missed)) => missed,
                Err(_) => {
                    let sentence =
                        format!("GET {}: no complete answer within {} s", self.url, self.timeout.as_secs_f64());
                    Missed { sentence, may_pass: true }
                }
            };
            let pause = PAUSE + PAUSE.mul_f64(f64::from(u32::from_le_bytes(random())) / f64::from(u32::MAX));
            if !missed.may_pass || begun || Instant::now() + pause > give_up {
                return Err(missed.sentence);
            }
            sleep(pause).await;
        }
    }

    async fn attempt(&self, begun: &mut bool) -> Result<Fetched, Missed> {
        let started = Instant::now();
        let stream = self.front.dial().await.map_err(Missed::for_now)?;
        let broken = |error: hyper::Error| Missed::for_now(format!("GET {}: {error}", self.url));
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MAX);
        let (mut sender, driver) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let conversation = async {
            let response = sender.send_request(self.request()?).await.map_err(broken)?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            *begun = true;
            let output = self.open().await.map_err(Missed::for_good)?;
            self.save(response, output, started).await.map_err(Missed::for_good)
        };
        let (mut driver, mut conversation) = (std::pin::pin!(driver), std::pin::pin!(conversation));
        tokio::select! {
            // What the gateway said is looked at before how its connection ended.
            biased;
            fetched = &mut conversation => fetched,
            _ = &mut driver => conversation.await,
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Missed> {
        let mut request = Request::get(&self.url[Position::BeforePath..Position::AfterQuery])
            .header(header::HOST, &self.url[Position::BeforeHost..Position::AfterPort]);
        if let Some(authorization) = self.front.authorization() {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        request.body(Empty::new()).map_err(|error| Missed::for_good(format!("GET {}: {error}", self.url)))
    }

    /// A device that is not there yet, or cannot be reached now, may be there later; a refusal stays one.
    async fn refusal(&self, response: Response<Incoming>) -> Missed {
        let status = response.status();
        let may_pass = status.is_server_error()
            || matches!(status, StatusCode::NOT_FOUND | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let sentence =
            refused(&format!("GET {}", self.url), response, "the user level of the uplink may not ask for it").await;
        Missed { sentence, may_pass }
    }

    async fn open(&self) -> Result<Output, String> {
        match &self.output {
            None => Ok(Box::pin(tokio::io::sink())),
            Some(_) if self.is_on_standard_output() => {
                let opened = standard_output().map_err(|error| format!("standard output: {error}"))?;
                Ok(Box::pin(opened))
            }
            Some(file) => {
                let created = tokio::fs::File::create(file).await;
                Ok(Box::pin(created.map_err(|error| format!("{}: {error}", file.display()))?))
            }
        }
    }

    fn is_on_standard_output(&self) -> bool {
        self.output.as_deref() == Some(Path::new("-"))
    }

    async fn save(
        &self,
        response: Response<Incoming>,
        mut output: Output,
        started: Instant,
    ) -> Result<Fetched, String> {
        let (head, mut body) = response.into_parts();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| format!("GET {}: the answer broke after {bytes} bytes: {error}", self.url))?;
            if let Ok(data) = frame.into_data() {
                output.write_all(&data).await.map_err(|error| format!("the output cannot be written: {error}"))?;
                bytes += data.len() as u64;
            }
        }
        output.flush().await.map_err(|error| format!("the output cannot be written: {error}"))?;
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no type");
        Ok(Fetched {
            status: head.status,
            kind: kind.to_owned(),
            bytes,
            is_on_standard_output: self.is_on_standard_output(),
            took: started.elapsed(),
        })
    }
}

impl Missed {
    fn for_now(sentence: String) -> Self {
        Self { sentence, may_pass: true }
    }

    fn for_good(sentence: String) -> Self {
        Self { sentence, may_pass: false }
    }
}
