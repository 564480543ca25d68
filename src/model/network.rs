//! How an uplink leaves its network: proxy, source, and what the kernel is asked for. All of it has a default that suits.

use std::{fmt, net::IpAddr, num::NonZeroU64, path::PathBuf};

use url::{Host, Url};

/// The `network` settings of an uplink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network {
    /// Whether and which proxy is used.
    pub proxy: ProxyChoice,
    /// File with the `USER:PASSWORD` of the proxy that the configuration names.
    pub proxy_credentials_file: Option<PathBuf>,
    /// From where the connection starts; the kernel chooses by default.
    pub source: Option<Source>,
    /// TCP congestion control by the kernel's name, for example `bbr`. The kernel's default where it has none of that name.
    pub congestion_control: Option<String>,
    /// Most bits per second that the uplink sends.
    pub rate_limit: Option<NonZeroU64>,
    /// Bytes that the kernel may hold unsent (TCP_NOTSENT_LOWAT).
    pub send_queue: SendQueue,
}

/// Which proxy an uplink uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProxyChoice {
    /// What `HTTPS_PROXY` and `NO_PROXY` of the process say.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    /// This one.
    Via(ProxyAddress),
}

/// From where a connection starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address of this host.
    Address(IpAddr),
    /// A network interface by name (SO_BINDTODEVICE), at most 15 bytes.
    Interface(String),
}

/// How much the kernel may hold unsent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SendQueue {
    /// Short, so that a small answer is not behind megabytes of video.
    #[default]
    Short,
    /// The kernel's default: as much as its send buffer takes.
    Kernel,
    /// This many bytes.
    Bytes(u32),
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyScheme {
    /// CONNECT over plain TCP (RFC 9110 §9.3.6).
    Http,
    /// CONNECT over TLS.
    Https,
    /// SOCKS 5 with the name resolved by the proxy (RFC 1928).
    Socks5,
}

impl ProxyScheme {
    /// The scheme as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 3128,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

/// Where a proxy is. It holds no password, so it may be shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProxyAddress {
    /// How it is spoken to.
    pub scheme: ProxyScheme,
    /// DNS name or IP address.
    pub host: Host<String>,
    /// TCP port.
    pub port: u16,
}

impl ProxyAddress {
    /// Reads `http://HOST:PORT`, `https://HOST:PORT`, `socks5://HOST:PORT` or `socks5h://HOST:PORT`.
    ///
    /// # Errors
    /// A sentence with the mend; it quotes neither user name nor password.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
        // A password may stand before an `@`: it is never quoted.
        let plain = text.rsplit('@').next().unwrap_or_default();
        let url = Url::parse(text).map_err(|error| format!("`{plain}` is not a proxy ({error}); {FORM}"))?;
        let scheme = match url.scheme() {
            "http" => ProxyScheme::Http,
            "https" => ProxyScheme::Https,
            "socks5" | "socks5h" => ProxyScheme::Socks5,
            other => return Err(format!("the scheme `{other}` is not one of a proxy; {FORM}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a proxy has no user name or password here; put USER:PASSWORD into a file and name it in proxyCredentialsFile".to_owned());
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("a proxy has only scheme, host and port; {FORM}"));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("`{plain}` has no host; {FORM}"))?;
        // `Url` does not look into the host of schemes that it does not know.
        let host = Host::parse(host).map_err(|error| format!("`{host}` is not a host ({error}); {FORM}"))?;
        // `port` is `None` for a scheme's own default too, which for http is not the one of proxies.
        let written = text.trim_end_matches('/').rsplit(':').next().and_then(|digits| digits.parse().ok());
        let port = url.port().or(written).unwrap_or_else(|| scheme.default_port());
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

impl fmt::Debug for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_taken_apart_with_the_port_that_proxies_have() {
        for (text, printed) in [
            ("http://proxy.example.com:8080", "http://proxy.example.com:8080"),
            ("http://proxy.example.com", "http://proxy.example.com:3128"),
            ("http://proxy.example.com:80/", "http://proxy.example.com:80"),
            ("https://192.0.2.1", "https://192.0.2.1:443"),
            ("socks5h://[2001:db8::1]", "socks5://[2001:db8::1]:1080"),
        ] {
            assert_eq!(ProxyAddress::parse(text).expect(text).to_string(), printed);
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_quoting_a_password() {
        for text in [
            "http://me:secret@proxy:3128",
            "ftp://me:secret@proxy",
            "proxy:3128",
            "http://proxy/path",
            "http://",
            "socks5://me:secret@:1",
            "http://me:secret@proxy:99999",
        ] {
            let error = ProxyAddress::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
