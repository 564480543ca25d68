//! What all ways to one device share: its name and address, the bounds, the connections, and what is known of its health.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::HeaderValue;
use tokio::time::Instant;

use super::{
    fault::{Fault, Health},
    limits::Limits,
    pool::{Permit, Pool},
};
use crate::{
    base::{http::Response, owned::Owned},
    model::device::LoopbackUrl,
};

/// One device beside us. It belongs to one runtime: its connections live where its futures are polled.
pub struct Neighbour {
    /// Its name, for logs.
    pub name: String,
    /// Where its web service listens; always loopback.
    pub address: SocketAddr,
    /// The `Host` that it is asked by: its own.
    pub own: HeaderValue,
    /// Its connections and the rights to use them.
    pub pool: Arc<Pool>,
    /// Its bounds.
    pub limits: Limits,
    /// Tasks that outlive the answer that they began with.
    pub tasks: Owned,
    started: Instant,
    health: Health,
}

impl Neighbour {
    /// The neighbour at `url`; `name` is the device's name in logs. Must be used within a tokio runtime.
    pub fn new(url: LoopbackUrl, name: impl Into<String>, limits: Limits) -> Arc<Self> {
        let address = url.address();
        let own = if address.port() == 80 { host(address.ip()) } else { address.to_string() };
        Arc::new(Self {
            name: name.into(),
            address,
            own: HeaderValue::from_str(&own).expect("a socket address is ASCII"),
            pool: Pool::new(address, limits),
            limits,
            tasks: Owned::default(),
            started: Instant::now(),
            health: Health::default(),
        })
    }

    /// Notes that the device answered.
    pub fn answered(&self) {
        self.health.answered(&self.name);
    }

    /// Notes what is wrong and gives the answer that says so. Soon after the start a device that refuses is still starting.
    pub fn fault(&self, fault: Fault) -> Response {
        let fault = match fault {
            Fault::Down(_) if self.started.elapsed() < self.limits.starting => Fault::Starting,
            fault => fault,
        };
        self.health.failed(&self.name, &fault);
        fault.response()
    }

    /// The rights that a connection without an end in sight needs.
    ///
    /// # Errors
    /// [`Fault::StreamsBusy`] at once, [`Fault::Busy`] after [`Limits::wait`].
    pub async fn endless_permits(&self) -> Result<Vec<Permit>, Fault> {
        let endless = self.pool.endless_permit()?;
        Ok(vec![endless, self.pool.permit().await?])
    }
}

/// The host without a port, IPv6 in brackets (RFC 3986 §3.2.2).
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
