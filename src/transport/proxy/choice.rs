//! Which proxy an uplink uses: its own setting, else what `HTTPS_PROXY` and `NO_PROXY` of the process say.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::AsyncReadExt;

use super::{Credentials, Proxy};
use crate::{
    base::secret::Secret,
    model::{
        failure::{Cause, Failure},
        network::{Network, ProxyAddress, ProxyChoice},
    },
};

/// A user name and a password of 255 bytes each (RFC 1929), and a line end.
const CREDENTIALS_MAX: u64 = 1024;

/// The proxies of the process.
#[derive(Clone, Default)]
pub struct Proxies {
    environment: Option<Arc<Matcher>>,
    credentials_file: Option<PathBuf>,
}

impl std::fmt::Debug for Proxies {
    /// Without what the environment holds: it may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").field("environment", &self.environment.is_some()).finish_non_exhaustive()
    }
}

impl Proxies {
    /// Those that `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` (in either case) name now; `credentials_file` holds the
    /// `USER:PASSWORD` of the environment's proxy, if its URL does not.
    pub fn from_environment(credentials_file: Option<PathBuf>) -> Self {
        Self { environment: Some(Arc::new(Matcher::from_env())), credentials_file }
    }

    /// The proxy on the way to `host` and `port`; `None` is the direct way.
    pub(in crate::transport) async fn choose(
        &self,
        network: &Network,
        host: &str,
        port: u16,
    ) -> Result<Option<Proxy>, Failure> {
        match &network.proxy {
            ProxyChoice::Direct => Ok(None),
            ProxyChoice::Via(address) => {
                let credentials = read(network.proxy_credentials_file.as_deref()).await?;
                Ok(Some(Proxy { address: address.clone(), credentials }))
            }
            ProxyChoice::Environment => self.of_environment(host, port).await,
        }
    }

    async fn of_environment(&self, host: &str, port: u16) -> Result<Option<Proxy>, Failure> {
        let Some(matcher) = &self.environment else { return Ok(None) };
        let Ok(destination) = format!("https://{host}:{port}/").parse() else { return Ok(None) };
        let Some(found) = matcher.intercept(&destination) else { return Ok(None) };
        let authority = found.uri().authority().map(|authority| authority.as_str()).unwrap_or_default();
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let address = format!("{}://{authority}", found.uri().scheme_str().unwrap_or("http"));
        let address = ProxyAddress::parse(&address).map_err(|sentence| {
            Failure::new(
                Cause::ProxyInvalid,
                format!("the proxy of the environment (HTTPS_PROXY) is unusable: {sentence}"),
            )
        })?;
        let own = match (found.raw_auth(), found.basic_auth()) {
            (Some((user, password)), _) => Some(Credentials { user: user.to_owned(), password: Secret::new(password) }),
            (None, Some(basic)) => decode_basic(basic),
            (None, None) => None,
        };
        let credentials = match own {
            Some(own) => Some(own),
            None => read(self.credentials_file.as_deref()).await?,
        };
        Ok(Some(Proxy { address, credentials }))
    }
}

/// The library gives the credentials of an http proxy as the header that they become.
fn decode_basic(header: &http::HeaderValue) -> Option<Credentials> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let encoded = header.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials { user: user.to_owned(), password: Secret::new(password) })
}

/// Reads `USER:PASSWORD`, anew at each dial so that a mended file is taken by itself.
async fn read(file: Option<&Path>) -> Result<Option<Credentials>, Failure> {
    let Some(file) = file else { return Ok(None) };
    let unreadable = |error: std::io::Error| {
        let sentence = format!("cannot read the proxy credentials file {}: {error}", file.display());
        Failure::new(Cause::CredentialUnreadable, sentence)
    };
    let mut text = String::new();
    let opened = tokio::fs::File::open(file).await.map_err(unreadable)?;
    opened.take(CREDENTIALS_MAX).read_to_string(&mut text).await.map_err(unreadable)?;
    match text.trim_end_matches(['\r', '\n']).split_once(':') {
        Some((user, password)) if !user.is_empty() && !password.contains(['\r', '\n']) => {
            Ok(Some(Credentials { user: user.to_owned(), password: Secret::new(password) }))
        }
        _ => Err(Failure::new(
            Cause::CredentialInvalid,
            format!("the proxy credentials file {} must hold one line USER:PASSWORD", file.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(https: &str, no: &str) -> Proxies {
        let matcher = Matcher::builder().https(https.to_owned()).no(no.to_owned()).build();
        Proxies { environment: Some(Arc::new(matcher)), credentials_file: None }
    }

    async fn chosen(proxies: &Proxies, network: &Network, host: &str) -> Option<String> {
        let proxy = proxies.choose(network, host, 443).await.expect("usable")?;
        let user =
            proxy.credentials.map(|credentials| format!("{}:{}@", credentials.user, credentials.password.expose()));
        Some(format!("{}{}", user.unwrap_or_default(), proxy.address))
    }

    #[tokio::test]
    async fn the_setting_of_the_uplink_comes_before_the_environment() {
        let proxies = environment("http://env:8080", "");
        let default = Network::default();
        assert_eq!(chosen(&proxies, &default, "cloud").await.as_deref(), Some("http://env:8080"));
        let direct = Network { proxy: ProxyChoice::Direct, ..Network::default() };
        assert_eq!(chosen(&proxies, &direct, "cloud").await, None);
        let own = ProxyAddress::parse("socks5://own:1").expect("valid");
        let via = Network { proxy: ProxyChoice::Via(own), ..Network::default() };
        assert_eq!(chosen(&proxies, &via, "cloud").await.as_deref(), Some("socks5://own:1"));
        assert_eq!(chosen(&Proxies::default(), &default, "cloud").await, None, "no environment, no proxy");
    }

    #[tokio::test]
    async fn no_proxy_is_honoured_by_domain_address_and_star() {
        for (no, host, direct) in [
            ("example.com", "cloud.example.com", true),
            ("example.com", "cloud.example.org", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("*", "cloud", true),
        ] {
            let found = chosen(&environment("http://env:8080", no), &Network::default(), host).await;
            assert_eq!(found.is_none(), direct, "{no} {host}");
        }
    }

    #[tokio::test]
    async fn credentials_of_the_environment_are_taken_and_never_shown() {
        let proxies = environment("http://me:s%40cret@env:8080", "");
        assert_eq!(chosen(&proxies, &Network::default(), "cloud").await.as_deref(), Some("me:s@cret@http://env:8080"));
        let proxy = proxies.choose(&Network::default(), "cloud", 443).await.expect("usable").expect("a proxy");
        assert!(!format!("{proxy:?} {proxies:?}").contains("s@cret"));
    }

    #[tokio::test]
    async fn a_credentials_file_is_one_line_and_what_is_wrong_with_it_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("proxy");
        assert_eq!(read(Some(&file)).await.expect_err("missing").cause, Cause::CredentialUnreadable);
        for bad in ["", "secret", ":secret", "a:secret\nb:c"] {
            std::fs::write(&file, bad).expect("written");
            let failure = read(Some(&file)).await.expect_err(bad);
            assert_eq!(failure.cause, Cause::CredentialInvalid);
            assert!(!failure.message.contains("secret"));
        }
        std::fs::write(&file, "me:pass:word\n").expect("written");
        let good = read(Some(&file)).await.expect("good").expect("credentials");
        assert_eq!((good.user.as_str(), good.password.expose()), ("me", "pass:word"));
    }
}
