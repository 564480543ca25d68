//! The race of the addresses, in virtual time.

use std::{
    future::{pending, ready},
    net::Ipv4Addr,
    sync::Mutex,
};

use tokio::time::Instant;

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn refused<T>() -> Result<T, Problem> {
    Err((Cause::ConnectionRefused, "refused".to_owned()))
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
async fn a_silent_address_is_overtaken_by_the_next_after_a_quarter_of_a_second() {
    let addresses = [address("[2001:db8::1]:443"), address("192.0.2.2:443")];
    let began = Instant::now();
    let connected = race(&addresses, |tried| async move { if tried.is_ipv6() { pending().await } else { Ok(tried) } });
    assert_eq!(connected.await, Ok(addresses[1]));
    assert_eq!(began.elapsed(), NEXT);
}

#[tokio::test(start_paused = true)]
async fn a_family_that_fails_at_once_costs_nothing() {
    let addresses = [address("[2001:db8::1]:443"), address("192.0.2.2:443")];
    let began = Instant::now();
    let connected = race(&addresses, |tried| async move { if tried.is_ipv6() { refused() } else { Ok(tried) } });
    assert_eq!(connected.await, Ok(addresses[1]));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_first_that_stands_wins_though_it_was_started_earlier() {
    let addresses = [address("192.0.2.1:443"), address("192.0.2.2:443")];
    let connected = race(&addresses, |tried| async move {
        sleep(Duration::from_millis(if tried.ip() == Ipv4Addr::new(192, 0, 2, 1) { 400 } else { 300 })).await;
        Ok(tried)
    });
    assert_eq!(connected.await, Ok(addresses[0]), "400 ms from the start against 250 ms and 300 ms");
}

#[tokio::test(start_paused = true)]
async fn silence_everywhere_is_a_timeout_that_names_the_addresses_and_ends_soon() {
    let addresses: Vec<_> = (1..=8).map(|n| address(&format!("192.0.2.{n}:443"))).collect();
    let began = Instant::now();
    let failure = race(&addresses, |_| pending::<Result<(), Problem>>()).await.expect_err("silent");
    assert_eq!(failure.cause, Cause::DialTimeout);
    assert!(failure.message.contains("192.0.2.1:443") && failure.message.contains("192.0.2.8:443"), "{failure}");
    assert_eq!(began.elapsed(), NEXT * 7 + CONNECT);
}

#[tokio::test(start_paused = true)]
async fn each_address_is_tried_once_and_a_refusal_says_more_than_silence() {
    let tried = Mutex::new(Vec::new());
    let addresses = [address("192.0.2.1:443"), address("192.0.2.2:443")];
    let failure = race(&addresses, |address| {
        tried.lock().expect("one thread").push(address);
        async move { if address.ip() == Ipv4Addr::new(192, 0, 2, 1) { pending().await } else { refused::<()>() } }
    })
    .await
    .expect_err("none stands");
    assert_eq!(failure.cause, Cause::ConnectionRefused);
    assert_eq!(*tried.lock().expect("one thread"), addresses);
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_is_a_cause_of_its_own() {
    let failure = resolve("cloud.example", pending()).await.expect_err("silent");
    assert_eq!(failure.cause, Cause::ResolveTimeout);
    let failure = resolve("cloud.example", ready(Ok(Vec::new()))).await.expect_err("no address");
    assert_eq!(failure.cause, Cause::NameNotResolved);
}

#[tokio::test]
async fn a_name_of_this_host_is_reached_whichever_family_listens() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = tokio::net::TcpListener::bind(listen).await else { continue };
        let port = listener.local_addr().expect("bound").port();
        let dialed = dial(&Host::Domain("localhost".to_owned()), port, &Network::default(), &()).await;
        // A resolver that knows localhost by one family only is the host's own choice.
        if let Err(failure) = dialed {
            assert_eq!((listen, failure.cause), ("[::1]:0", Cause::ConnectionRefused), "{failure}");
        }
    }
}
