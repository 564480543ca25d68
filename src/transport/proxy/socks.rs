//! SOCKS 5: greeting, user name and password, CONNECT by name (RFC 1928, RFC 1929).

use tokio::time::timeout;
use tokio_socks::{Error, tcp::Socks5Stream};
use url::Host;

use super::{ANSWER, Proxy};
use crate::{
    model::failure::{Cause, Failure},
    transport::socket::Socket,
};

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
    let asked = async {
        // An address without its brackets: the library tells names and addresses apart.
        let text = match host {
            Host::Ipv6(ip) => ip.to_string(),
            other => other.to_string(),
        };
        let target = (text.as_str(), port);
        match &proxy.credentials {
            None => Socks5Stream::connect_with_socket(socket, target).await,
            Some(own) => {
                Socks5Stream::connect_with_password_and_socket(socket, target, &own.user, own.password.expose()).await
            }
        }
    };
    match timeout(ANSWER, asked).await {
        Ok(Ok(stream)) => Ok(stream.into_inner()),
        Ok(Err(error)) => Err(explain(proxy, host, &error)),
        Err(_) => Err(proxy.failure(
            Cause::ProxyTimeout,
            format_args!("took the connection and did not answer within {} s", ANSWER.as_secs()),
        )),
    }
}

fn explain(proxy: &Proxy, host: &Host<String>, error: &Error) -> Failure {
    let refused =
        |why: &str| proxy.failure(Cause::ProxyRefused, format_args!("cannot or will not reach {host}: {why}"));
    match error {
        Error::PasswordAuthFailure(_) | Error::NoAcceptableAuthMethods | Error::AuthorizationRequired => proxy.failure(
            Cause::ProxyAuthentication,
            "wants other credentials; name a file with USER:PASSWORD in proxyCredentialsFile",
        ),
        Error::ConnectionNotAllowedByRuleset => refused("its rules forbid it; ask whoever runs it"),
        Error::NetworkUnreachable | Error::HostUnreachable => refused("no way to it, or no such name there"),
        Error::ConnectionRefused => refused("connection refused, nothing listens there"),
        Error::TtlExpired => refused("no answer from it"),
        Error::GeneralSocksServerFailure => refused("it does not say why"),
        Error::CommandNotSupported | Error::AddressTypeNotSupported => refused("it does not support the request"),
        Error::InvalidAuthValues(why) => {
            proxy.failure(Cause::ProxyAuthentication, format_args!("cannot be given these credentials: {why}"))
        }
        other => {
            proxy.failure(Cause::ProxyInvalid, format_args!("does not speak SOCKS 5 ({other}); check scheme and port"))
        }
    }
}
