//! What a person does about a [`Cause`]: one sentence each, for `check --connect` and the manual.
//!
//! Apart from the causes themselves, because it speaks to whoever stands before the camera, not to a dashboard.

use super::failure::Cause;

impl Cause {
    /// What to do, in the imperative, without a full stop.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NameNotResolved => {
                "check the host in remoteAddress for typing errors, and the DNS server of this host"
            }
            Self::ResolveTimeout => "check that this host reaches its DNS server",
            Self::ConnectionRefused => "check the port in remoteAddress, and that the cloud service runs",
            Self::DialTimeout => "have the site's firewall let this host out to that address and port, or set a proxy",
            Self::Unreachable => "check cable, address and default route of this host, then the site's firewall",
            Self::SourceUnavailable => "set network.source to an address or interface that this host has, or remove it",
            Self::ProxyUnreachable => "check the proxy's address, and that this host may reach it",
            Self::ProxyTimeout => "ask whoever runs the proxy; it took the connection and fell silent",
            Self::ProxyAuthentication => "check the proxy's credentials file",
            Self::ProxyRefused => "ask whoever runs the proxy to let this host through to the remote's host and port",
            Self::ProxyInvalid => "check scheme and port of the proxy: http, https or socks5",
            Self::ServerCertificateExpired => {
                "check this host's clock; if it is right, the cloud must renew its certificate"
            }
            Self::ServerCertificateNotYetValid => "set this host's clock",
            Self::ServerNameMismatch => "use one of the names in the certificate as the host of remoteAddress",
            Self::ServerUntrusted => {
                "put the authority that issued the remote's certificate into trustAnchorFiles; if it is none you know, something intercepts the connection"
            }
            Self::ServerCertificateRevoked => {
                "do not connect; ask the cloud's operator why the certificate was revoked"
            }
            Self::ServerPinMismatch => {
                "if the cloud announced a new key, add its pin; otherwise something intercepts the connection"
            }
            Self::ServerCertificateInvalid => "show the certificate to the cloud's operator",
            Self::ClientCertificateRefused => {
                "have the cloud accept this device's certificate, or use the one that it issued"
            }
            Self::TlsHandshakeFailed => "check that the port speaks TLS, and the minimum version in tls",
            Self::TlsTimeout => "check that the port speaks TLS, and that no firewall holds TLS back",
            Self::CredentialUnreadable => "put the file where the configuration says, readable for this process",
            Self::CredentialInvalid => "replace the file with a good one in PEM form",
            Self::KeyMismatch => "replace certificate and key together",
            Self::ClientCertificateExpired => "issue a new certificate for this device",
            Self::ClientCertificateNotYetValid => "set this host's clock",
            Self::AuthorizationServerUnreachable => "check serverUri, its trust policy, and the firewall",
            Self::MetadataInvalid => "check serverUri: it must be the issuer, whose metadata this host reads",
            Self::TokenRefused => "check clientID, secret or key, and scope with whoever runs the authorization server",
            Self::TokenInvalid => "ask whoever runs the authorization server; its answer is not what RFC 6749 says",
            Self::ClockSkew => "set this host's clock, best by NTP",
            Self::Unauthorized => "register this device with the cloud, or use the certificate or token that it issued",
            Self::Redirected => "if the new address is to be trusted, write it into remoteAddress",
            Self::RemoteBusy => "nothing; the uplink comes back when the remote asked it to",
            Self::UpgradeRefused => "check the path in remoteAddress",
            Self::UpgradeMalformed => "check that the address is that of an uplink service",
            Self::UpgradeHeadTooLarge => "check that the address is that of an uplink service",
            Self::WebSocketSubprotocol => "check that the path is that of the uplink service",
            Self::UpgradeTimeout => "ask the cloud's operator; the remote took the request and fell silent",
            Self::UpgradeClosed => "check the path in remoteAddress and that the cloud knows this device",
            Self::PrefaceTimeout => "ask the cloud's operator; the remote agreed to HTTP/2 and sent none",
            Self::PrefaceInvalid => "ask the cloud's operator; the remote agreed to HTTP/2 and sent something else",
            Self::Silent => "check the link for losses, and firewalls for idle timeouts",
            Self::NetworkChanged => "nothing; the uplink dials from the new address at once",
            Self::ClosedByRemote => "nothing if it stays rare; otherwise ask the cloud's operator",
            Self::ConnectionReset => "nothing if it stays rare; otherwise look for a firewall that cuts connections",
            Self::ProtocolViolation => "report the sentence to the cloud's operator",
            Self::WebSocketViolation => {
                "report the sentence to the cloud's operator; proxies in between may do this too"
            }
            Self::DeviceCredentialsRefused => {
                "put the account's present password into its passwordFile, and see that the device has not locked the account"
            }
            Self::DeviceCredentialsUnreadable => {
                "put the password, one line, where passwordFile says, readable for this process"
            }
            Self::DeviceAuthenticationUnknown => "switch HTTP Digest authentication on at the device",
            Self::Drained => "nothing; it was asked for",
        }
    }
}
