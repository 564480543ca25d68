//! From the name of a host to a TCP connection: resolved anew at each dial, the families racing (RFC 8305), each step with a
//! deadline.
//!
//! One call of the system's resolver gives the addresses of both families in the order of RFC 6724; a family that this
//! host cannot use fails at once and costs nothing.

use std::{
    collections::VecDeque,
    fmt::Write,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use url::Host;

use super::open::{Problem, open};
use crate::model::{
    failure::{Cause, Failure},
    network::Network,
    step::{Step, Witness},
};

/// How long the resolver may take: two servers, two tries of 2 s each, and some air.
const RESOLVE: Duration = Duration::from_secs(10);
/// How long one address may take: a lost SYN is sent again after 1 s and 3 s.
const CONNECT: Duration = Duration::from_secs(5);
/// After this the next address is tried beside the ones under way (RFC 8305 §5, Connection Attempt Delay).
const NEXT: Duration = Duration::from_millis(250);
/// Addresses that are tried in one attempt; the attempt so ends within 7 s even when all are silent.
const ADDRESSES_MAX: usize = 8;

/// Resolves `host` and connects to the first address that answers, by the settings of `network`. Cancel safe.
///
/// # Errors
/// A cause of the phases resolve and dial.
pub(super) async fn dial(
    host: &Host<String>,
    port: u16,
    network: &Network,
    witness: &dyn Witness,
) -> Result<TcpStream, Failure> {
    let addresses = match host {
        Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), port)],
        Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), port)],
        Host::Domain(name) => {
            let lookup = async { Ok(tokio::net::lookup_host((name.as_str(), port)).await?.collect()) };
            let found = interleaved(resolve(name, lookup).await?);
            witness.saw(Step::Resolved { name: name.clone(), addresses: found.clone() });
            found
        }
    };
    race(&addresses, |address| open(address, network)).await
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
            format!("`{name}` has no address ({error}); check the name in the configuration and the DNS of this host"),
        )),
        Ok(Ok(addresses)) if addresses.is_empty() => Err(Failure::new(
            Cause::NameNotResolved,
            format!("`{name}` has no address; check the name in the configuration"),
        )),
        Ok(Ok(addresses)) => Ok(addresses),
    }
}

/// The resolver's order with the families taking turns (RFC 8305 §4).
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

/// Tries one address after the other, each a little later than the one before or as soon as that has failed; the first that
/// stands wins, the others are dropped.
async fn race<T, F>(addresses: &[SocketAddr], connect: impl Fn(SocketAddr) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Problem>>,
{
    let mut waiting = addresses.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut problems: Vec<(SocketAddr, Problem)> = Vec::new();
    loop {
        let Some(address) = waiting.next() else {
            // None is left to start: the rest decides.
            return match finish(&mut running, &mut problems).await {
                Some(connected) => Ok(connected),
                None => Err(all_failed(addresses, problems)),
            };
        };
        let connecting = connect(address);
        running.push(async move {
            let outcome = timeout(CONNECT, connecting).await;
            (
                address,
                outcome
                    .unwrap_or_else(|_| Err((Cause::DialTimeout, format!("no answer within {} s", CONNECT.as_secs())))),
            )
        });
        tokio::select! {
            biased;
            Some((address, outcome)) = running.next() => match outcome {
                Ok(connected) => return Ok(connected),
                Err(problem) => problems.push((address, problem)),
            },
            () = sleep(NEXT) => {}
        }
    }
}

async fn finish<T>(
    running: &mut FuturesUnordered<impl Future<Output = (SocketAddr, Result<T, Problem>)>>,
    problems: &mut Vec<(SocketAddr, Problem)>,
) -> Option<T> {
    while let Some((address, outcome)) = running.next().await {
        match outcome {
            Ok(connected) => return Some(connected),
            Err(problem) => problems.push((address, problem)),
        }
    }
    None
}

/// One sentence for all, in the order in which the addresses were tried.
fn all_failed(addresses: &[SocketAddr], problems: Vec<(SocketAddr, Problem)>) -> Failure {
    let mut sentence = String::new();
    for address in addresses {
        if let Some((_, (_, problem))) = problems.iter().find(|(failed, _)| failed == address) {
            let _ = write!(sentence, "{}{address}: {problem}", if sentence.is_empty() { "" } else { "; " });
        }
    }
    // The enum's order is that of what a person can act on: a refusal says more than a silence.
    let cause = problems.iter().map(|(_, (cause, _))| *cause).min().unwrap_or(Cause::NameNotResolved);
    Failure::new(cause, format!("cannot connect: {sentence}; check address, port and firewall"))
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
