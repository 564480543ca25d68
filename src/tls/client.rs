//! TLS as the device's side has it: identity and trust become a configuration of rustls (ONVIF Uplink §5.1, §5.3).
//!
//! Configurations are kept by content: as long as neither the certificate chain nor the anchors changed, attempts share
//! one, and with it the tickets for session resumption. A new identity gets a new one, so that a ticket that was issued
//! to the old identity is never used with it (RFC 8446 §4.6.1: a ticket stands for the client certificate of its session).

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    ClientConfig,
    client::Resumption,
    pki_types::{CertificateDer, IpAddr, ServerName},
    version::{TLS12, TLS13},
};
use url::Host;

use super::{
    identity::Identity,
    provider::{provider, provider_without_post_quantum},
    trust::Anchors,
};
use crate::model::{
    failure::{Cause, Failure},
    tls_choices::{TlsChoices, TlsVersion},
    uplink::Uplink,
};

/// The application protocol of an upgrade (RFC 7301); HTTP/2 has no `Upgrade`, so `h2` is never offered.
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";
/// Configurations that are kept: one for each identity of a large sidecar. Beyond it resumption is lost, nothing else.
const CONFIGS_MAX: usize = 256;
/// Servers whose tickets one configuration keeps; an identity serves few remotes.
const RESUMPTION_SERVERS: usize = 8;

/// The configurations in use; the last used last.
#[derive(Default)]
pub struct ClientConfigs(Mutex<Vec<Entry>>);

/// What an uplink asks of TLS beyond identity and trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    choices: TlsChoices,
    skip_verification: bool,
}

impl Wishes {
    /// Those of `uplink`.
    pub fn of(uplink: &Uplink) -> Self {
        Self { choices: uplink.tls, skip_verification: uplink.lab.skip_server_verification }
    }
}

impl Default for Wishes {
    /// Everything that is spoken, and everything verified.
    fn default() -> Self {
        Self { choices: TlsChoices::default(), skip_verification: false }
    }
}

struct Entry {
    chain: Vec<CertificateDer<'static>>,
    anchors: Anchors,
    wishes: Wishes,
    config: Arc<ClientConfig>,
}

impl ClientConfigs {
    /// No configurations yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The configuration for an identity (`None`: no client certificate) and anchors: TLS 1.3 and 1.2, ALPN `http/1.1`,
    /// SNI when the remote has a DNS name.
    pub fn get(&self, identity: Option<&Identity>, anchors: &Anchors) -> Arc<ClientConfig> {
        self.get_with(identity, anchors, Wishes::default())
    }

    /// The same with the wishes of an uplink. Whatever differs has tickets of its own: a session that was begun before a
    /// revocation list or a pin came is not resumed behind it.
    pub fn get_with(&self, identity: Option<&Identity>, anchors: &Anchors, wishes: Wishes) -> Arc<ClientConfig> {
        let chain = identity.map_or(&[][..], Identity::chain);
        // A panic while the lock was held left a list that lacks an entry at worst.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match entries
            .iter()
            .position(|entry| entry.chain == chain && entry.wishes == wishes && entry.anchors.same(anchors))
        {
            Some(found) => entries.remove(found),
            None => {
                // Anchors of the same content are shared: the public roots take a quarter of a megabyte.
                let shared =
                    entries.iter().find(|entry| entry.anchors.same(anchors)).map(|entry| entry.anchors.clone());
                let anchors = shared.unwrap_or_else(|| anchors.clone());
                let config = client_config(identity, &anchors, wishes);
                Entry { chain: chain.to_vec(), anchors, wishes, config }
            }
        };
        let config = Arc::clone(&entry.config);
        if entries.len() >= CONFIGS_MAX {
            entries.remove(0);
        }
        entries.push(entry);
        config
    }
}

fn client_config(identity: Option<&Identity>, anchors: &Anchors, wishes: Wishes) -> Arc<ClientConfig> {
    let Wishes { choices, skip_verification } = wishes;
    let versions: &[_] = match choices.minimum_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let provider = if choices.post_quantum { provider() } else { provider_without_post_quantum() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider has cipher suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(anchors.verifier(skip_verification));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config.resumption = Resumption::in_memory_sessions(RESUMPTION_SERVERS);
    Arc::new(config)
}

/// The name that the remote's certificate must have (RFC 6125 §2.1; RFC 9110 §4.3.4 for IP addresses).
///
/// # Errors
/// [`Cause::ServerNameMismatch`] for a host that no certificate can have.
pub fn server_name(host: &Host<String>) -> Result<ServerName<'static>, Failure> {
    match host {
        Host::Ipv4(ip) => Ok(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(*ip)))),
        Host::Ipv6(ip) => Ok(ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V6(*ip)))),
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| {
            Failure::new(
                Cause::ServerNameMismatch,
                format!("`{name}` is not a DNS name, so no certificate can be valid for it; correct remoteAddress"),
            )
        }),
    }
}
