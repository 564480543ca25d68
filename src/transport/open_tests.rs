//! What the kernel was asked for, read back from real sockets on loopback.

use std::net::{IpAddr, Ipv4Addr};

use tokio::net::TcpListener;

use super::*;

async fn opened(network: &Network) -> (TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let stream = open(listener.local_addr().expect("bound"), network).await.expect("listens");
    (stream, listener)
}

#[tokio::test]
async fn every_socket_is_kept_alive_prompt_and_short_of_queue() {
    let (stream, _listener) = opened(&Network::default()).await;
    let socket = SockRef::from(&stream);
    assert!(stream.nodelay().expect("open"));
    assert!(socket.keepalive().expect("open"));
    assert_eq!(socket.tcp_keepalive_time().expect("open"), KEEPALIVE);
    #[cfg(target_os = "linux")]
    {
        assert_eq!(socket.tcp_user_timeout().expect("open"), Some(UNACKNOWLEDGED));
        assert_eq!(socket.tcp_notsent_lowat().expect("open"), 128 * 1024);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_queue_is_a_choice() {
    let (stream, _listener) = opened(&Network { send_queue: SendQueue::Bytes(20_000), ..Network::default() }).await;
    assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().expect("open"), 20_000);
    let (stream, _listener) = opened(&Network { send_queue: SendQueue::Kernel, ..Network::default() }).await;
    assert!(SockRef::from(&stream).tcp_notsent_lowat().expect("open") != 128 * 1024);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn congestion_control_is_taken_where_the_kernel_has_it_and_harmless_where_not() {
    let with = |name: &str| Network { congestion_control: Some(name.to_owned()), ..Network::default() };
    let (stream, _listener) = opened(&with("reno")).await;
    let name = SockRef::from(&stream).tcp_congestion().expect("open");
    assert!(name.starts_with(b"reno"), "{name:?}");
    opened(&with("no-such-control")).await;
}

#[tokio::test]
async fn a_source_address_is_the_one_that_the_peer_sees() {
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 9));
    let (stream, _listener) = opened(&Network { source: Some(Source::Address(source)), ..Network::default() }).await;
    assert_eq!(stream.local_addr().expect("open").ip(), source);
}

#[tokio::test]
async fn a_source_that_is_not_here_is_named() {
    for source in [
        Source::Address([192, 0, 2, 1].into()),
        Source::Address(std::net::Ipv6Addr::LOCALHOST.into()),
        Source::Interface("no-such-dev".to_owned()),
    ] {
        let network = Network { source: Some(source), ..Network::default() };
        let (cause, sentence) = open(([127, 0, 0, 1], 9).into(), &network).await.expect_err("not here");
        assert_eq!(cause, Cause::SourceUnavailable, "{sentence}");
    }
}
