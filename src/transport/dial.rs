//! From the name of a remote to a TCP connection: resolved anew at each dial, every address tried, each step with its own
//! deadline (RFC 8305 §4 for the order of the addresses).

use std::{
    collections::VecDeque,
    fmt::Write,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};
use url::Host;

use crate::{
    base::io::keep_kernel_queue_short,
    model::failure::{Cause, Failure},
};

/// How long the resolver may take: two servers, two tries of 2 s each, and some air.
const RESOLVE: Duration = Duration::from_secs(10);
/// How long one address may take: a lost SYN is sent again after 1 s and 3 s.
const CONNECT: Duration = Duration::from_secs(5);
/// Addresses that are tried in one attempt; the attempt so ends within 40 s even when all are silent.
const ADDRESSES_MAX: usize = 8;
/// Probes of the kernel for a connection that HTTP/2 does not watch yet: after the 101 liveness is faster.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Resolves `host` and connects to the first address that answers. Cancel safe.
///
/// # Errors
/// A cause of the phases resolve and dial.
pub async fn dial(host: &Host<String>, port: u16) -> Result<TcpStream, Failure> {
    let addresses = match host {
        Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), port)],
        Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), port)],
        Host::Domain(name) => {
            let lookup = async { Ok(tokio::net::lookup_host((name.as_str(), port)).await?.collect()) };
            resolve(name, lookup).await?
        }
    };
    let stream = first_of(&interleaved(addresses), TcpStream::connect).await?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(Duration::from_secs(10));
    stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive))
        .and_then(|()| keep_kernel_queue_short(&stream))
        .map_err(|error| {
            Failure::new(Cause::Unreachable, format!("cannot set up the socket to {host}:{port}: {error}"))
        })?;
    Ok(stream)
}

async fn resolve(
    name: &str,
    lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
) -> Result<Vec<SocketAddr>, Failure> {
    match timeout(RESOLVE, lookup).await {
        Err(_) => Err(Failure::new(
            Cause::ResolveTimeout,
            format!(
                "no answer from the resolver to `{name}` within {} s; check the DNS servers of this host",
                RESOLVE.as_secs()
            ),
        )),
        Ok(Err(error)) => Err(Failure::new(
            Cause::NameNotResolved,
            format!("`{name}` has no address ({error}); check the name in remoteAddress and the DNS of this host"),
        )),
        Ok(Ok(addresses)) if addresses.is_empty() => Err(Failure::new(
            Cause::NameNotResolved,
            format!("`{name}` has no address; check the name in remoteAddress"),
        )),
        Ok(Ok(addresses)) => Ok(addresses),
    }
}

/// The resolver's order with the families taking turns, so that a dead IPv6 costs one deadline and not all of them.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return addresses };
    let (mut own, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    let mut order = Vec::with_capacity(ADDRESSES_MAX);
    while order.len() < ADDRESSES_MAX {
        let before = order.len();
        order.extend(own.pop_front());
        order.extend(other.pop_front());
        if order.len() == before {
            break;
        }
    }
    order.truncate(ADDRESSES_MAX);
    order
}

/// Connects to one address after the other until one answers.
async fn first_of<T, F>(addresses: &[SocketAddr], connect: impl Fn(SocketAddr) -> F) -> Result<T, Failure>
where
    F: Future<Output = io::Result<T>>,
{
    let mut sentence = String::new();
    let mut worst: Option<Cause> = None;
    for &address in addresses {
        let (cause, problem) = match timeout(CONNECT, connect(address)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Err(_) => (Cause::DialTimeout, format!("no answer within {} s", CONNECT.as_secs())),
            Ok(Err(error)) => match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    (Cause::ConnectionRefused, "connection refused, nothing listens there".to_owned())
                }
                io::ErrorKind::TimedOut => (Cause::DialTimeout, "no answer".to_owned()),
                _ => (Cause::Unreachable, error.to_string()),
            },
        };
        let _ = write!(sentence, "{}{address}: {problem}", if sentence.is_empty() { "" } else { "; " });
        // The enum's order is that of what a person can act on: a refusal says more than a silence.
        worst = Some(worst.map_or(cause, |worst| worst.min(cause)));
    }
    let cause = worst.unwrap_or(Cause::NameNotResolved);
    Err(Failure::new(cause, format!("cannot connect: {sentence}; check address, port and firewall")))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_families_take_turns_and_the_number_is_bounded() {
        let mut resolved: Vec<_> = (1..=20).map(|n| address(&format!("[2001:db8::{n}]:443"))).collect();
        resolved.push(address("192.0.2.1:443"));
        let order = interleaved(resolved);
        assert_eq!(order[..3], [address("[2001:db8::1]:443"), address("192.0.2.1:443"), address("[2001:db8::2]:443")]);
        assert_eq!(order.len(), ADDRESSES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_gives_way_to_the_next() {
        let addresses = [address("192.0.2.1:443"), address("192.0.2.2:443")];
        let connected = first_of(&addresses, |tried| async move {
            if tried == address("192.0.2.1:443") { pending().await } else { Ok(tried) }
        })
        .await;
        assert_eq!(connected, Ok(address("192.0.2.2:443")));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_everywhere_is_a_timeout_that_names_the_addresses() {
        let addresses = [address("192.0.2.1:443"), address("192.0.2.2:443")];
        let began = tokio::time::Instant::now();
        let failure = first_of(&addresses, |_| pending::<io::Result<()>>()).await.expect_err("silent");
        assert_eq!(failure.cause, Cause::DialTimeout);
        assert!(failure.message.contains("192.0.2.2:443"), "{failure}");
        assert_eq!(began.elapsed(), CONNECT * 2);
    }

    #[tokio::test]
    async fn a_refusal_and_an_error_are_told_apart() {
        for (kind, cause) in [
            (io::ErrorKind::ConnectionRefused, Cause::ConnectionRefused),
            (io::ErrorKind::NetworkUnreachable, Cause::Unreachable),
        ] {
            let failure =
                first_of(&[address("192.0.2.1:443")], |_| ready(Err::<(), _>(kind.into()))).await.expect_err("fails");
            assert_eq!(failure.cause, cause);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_resolver_is_a_cause_of_its_own() {
        let failure = resolve("cloud.example", pending()).await.expect_err("silent");
        assert_eq!(failure.cause, Cause::ResolveTimeout);
        let failure = resolve("cloud.example", ready(Ok(Vec::new()))).await.expect_err("no address");
        assert_eq!(failure.cause, Cause::NameNotResolved);
    }

    #[tokio::test]
    async fn a_listening_port_is_reached_without_delay_of_small_writes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let stream = dial(&Host::Ipv4(std::net::Ipv4Addr::LOCALHOST), port).await.expect("listens");
        assert!(stream.nodelay().expect("open"));
    }
}
