//! The camera emulator: an unmodified HTTP camera as the sidecar meets it, without the hardware.
//!
//! An index page, a JPEG snapshot, an endless Motion JPEG stream of a moving, time-stamped test picture, ONVIF services whose
//! PTZ and imaging are seen in it, and a source and a sink of bulk data; by choice an RTSP server with the same picture. It stands beside the sidecar
//! in the demo, alone as `onvif-uplink camera` in a pod, and as the device in tests. It knows nothing of uplinks. Who may use
//! it is asked by choice only, as it listens on loopback beside the sidecar.
//!
//! `canvas` draws shapes, `picture` a whole frame from number and time, `barcode` the machine-readable strip in it, `encode`
//! makes the JPEG, `optics` is where it looks and how the image is set, `feed` is the frame clock and shares each picture
//! among viewers, `http` maps paths, `onvif` answers messages, `bulk` gives and takes large bodies, `rtsp` streams,
//! `guard` and `credentials` know who may.

pub mod barcode;
pub mod bulk;
pub mod canvas;
mod clock;
pub mod credentials;
pub mod encode;
pub mod feed;
pub mod guard;
pub mod http;
pub mod onvif;
pub mod optics;
pub mod picture;
pub mod rtsp;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ::http::uri::Authority;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout_at,
};

use crate::base::{drain::Drain, tasks::Tasks};

/// Connections at once: far more than a sidecar's pool and some browsers need; with the buffer of each, at most 64 MiB.
const MAX_CONNECTIONS: usize = 512;
/// RTSP connections at once, two for a player that wraps them in HTTP; with the buffers of each, some 20 MiB.
const MAX_PLAYERS: usize = 64;
/// A peer that acknowledges nothing for so long is gone, also in the middle of a video stream.
const PEER_GONE: Duration = Duration::from_secs(60);
/// Pause after a failed accept, which is nearly always a lack of file descriptors: time for some to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound camera that does not answer yet.
#[derive(Debug)]
pub struct Camera {
    listener: TcpListener,
    http_addr: SocketAddr,
    rtsp: Option<Rtsp>,
    advertise: Option<Authority>,
    guard: Option<guard::Options>,
    clock_skew: i64,
    name: Arc<str>,
}

/// The bound RTSP server.
#[derive(Debug)]
struct Rtsp {
    listener: TcpListener,
    address: SocketAddr,
    options: rtsp::Options,
}

impl Camera {
    /// Binds the web server; port 0 takes any free one. Its name is `camera-1` unless [`Camera::named`] says otherwise.
    ///
    /// # Errors
    /// Those of the operating system: the address is in use or not of this machine.
    pub async fn bind(http: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(http).await?;
        let http_addr = listener.local_addr()?;
        let name = Arc::from("camera-1");
        Ok(Self { listener, http_addr, rtsp: None, advertise: None, guard: None, clock_skew: 0, name })
    }

    /// Binds an RTSP server as well.
    ///
    /// # Errors
    /// Those of the operating system: the address is in use or not of this machine.
    pub async fn with_rtsp(self, options: rtsp::Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { rtsp: Some(Rtsp { listener, address, options }), ..self })
    }

    /// Asks for credentials at the web service.
    pub fn guarded(self, guard: guard::Options) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Sets its clock wrong by so many seconds; positive when it is ahead.
    pub fn with_clock_skew(self, seconds: i64) -> Self {
        Self { clock_skew: seconds, ..self }
    }

    /// Gives it another name: shown in the picture and on the page, and its serial number in ONVIF.
    pub fn named(self, name: &str) -> Self {
        Self { name: Arc::from(name), ..self }
    }

    /// Lets the addresses in its answers have this host and port, as those of a camera have one of its own network; without, they
    /// have the host by which it was asked.
    pub fn advertising(self, authority: Authority) -> Self {
        Self { advertise: Some(authority), ..self }
    }

    /// Where the web server listens, with the real port.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where the RTSP server listens, with the real port; `None` without one.
    pub fn rtsp_addr(&self) -> Option<SocketAddr> {
        self.rtsp.as_ref().map(|rtsp| rtsp.address)
    }

    /// Serves until the drain starts, then lets running requests finish until its deadline; video streams end at once.
    /// Returns when nothing of the camera is left. Aborting it ends everything at once.
    pub async fn run(self, drain: Drain) {
        let (feed, clockwork) = feed::feed(&self.name);
        let user = self.guard.as_ref().map_or("admin", |options| options.account.0.as_str());
        let facts = onvif::Facts { user: user.to_owned(), ..facts(&self.name) };
        let guard = self.guard.map(|options| guard::Guard::new(options, &self.name));
        let site = http::Site::new(feed.clone(), &self.name, facts, self.http_addr);
        let site = site.addressed(self.advertise, self.rtsp.as_ref().map(|rtsp| rtsp.address.port()));
        let site = site.guarded(guard, self.clock_skew);
        let mut tasks = Tasks::new();
        tasks.spawn("camera clockwork", clockwork.run(drain.clone()));
        if let Some(Rtsp { listener, options, .. }) = self.rtsp {
            let station = Arc::new(rtsp::Station::new(feed, &self.name, &options));
            let serve = move |stream, drain| rtsp::serve(stream, Arc::clone(&station), drain);
            tasks.spawn("camera RTSP", accept(listener, MAX_PLAYERS, drain.clone(), serve));
        }
        let serve = move |stream, drain| http::serve(stream, site.clone(), drain);
        accept(self.listener, MAX_CONNECTIONS, drain, serve).await;
        // All of them end with the drain, each within its deadline.
        tasks.finished().await;
    }
}

/// Serves what connects, `most` at once, until the drain starts; returns when the last one has ended or was aborted at the
/// drain's deadline.
async fn accept<F>(listener: TcpListener, most: usize, mut drain: Drain, serve: impl Fn(TcpStream, Drain) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let mut tasks = Tasks::new();
    let draining = loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        tokio::select! {
            (accepted, place) = accepted => match accepted {
                Ok((stream, _)) => {
                    prepare(&stream);
                    let served = serve(stream, drain.clone());
                    tasks.spawn("camera connection", async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the camera cannot accept a connection; it tries again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            // Reaps what has ended; disabled when nothing is left, or it would be ready again and again.
            () = tasks.finished(), if !tasks.is_empty() => {}
            draining = drain.started() => break draining,
        }
    };
    drop(listener);
    if timeout_at(draining.deadline, tasks.finished()).await.is_err() {
        tasks.abort().await;
    }
}

fn facts(name: &str) -> onvif::Facts {
    onvif::Facts {
        manufacturer: "onvif-uplink".to_owned(),
        model: "Camera emulator".to_owned(),
        firmware: env!("CARGO_PKG_VERSION").to_owned(),
        serial: name.to_owned(),
        hardware: std::env::consts::ARCH.to_owned(),
        user: "admin".to_owned(),
    }
}

/// Socket options; a camera without them still works, so a refusal is only noted.
fn prepare(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(PEER_GONE);
    let mut results = vec![stream.set_nodelay(true), socket.set_tcp_keepalive(&keepalive)];
    // Also ends a connection whose peer is alive but reads nothing: a zero window counts as no acknowledgement.
    #[cfg(target_os = "linux")]
    results.push(socket.set_tcp_user_timeout(Some(PEER_GONE)));
    for error in results.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a socket option of the camera was refused");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::base::drain::drain;

    #[tokio::test]
    async fn a_bound_camera_answers_on_its_port_and_ends_with_the_drain() {
        let camera = Camera::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap().named("porch");
        let address = camera.http_addr();
        let (switch, drain) = drain();
        let mut tasks = Tasks::new();
        tasks.spawn("camera", camera.run(drain));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("<h1>porch</h1>"), "{answer}");
        switch.start(Duration::from_secs(30));
        tasks.finished().await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
