//! The device: the neighbour that is made reachable (the specification's local service).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
};

use super::{addresses::Addresses, streaming::RtspVia, user_level::UserLevel};

/// A neighbour of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Unique name; label in logs, metrics and status.
    pub name: String,
    /// Its web service.
    pub http: LoopbackUrl,
    /// Its RTSP service, for bridging.
    pub rtsp: Option<LoopbackUrl>,
    /// How tunnelled RTSP reaches it.
    pub rtsp_via: RtspVia,
    /// TCP ports that CONNECT may reach at the address of [`Self::http`]; none by default.
    pub connect_ports: BTreeSet<u16>,
    /// How it is named outside.
    pub addresses: Addresses,
    /// The accounts by which we use it, per user level.
    pub credentials: BTreeMap<UserLevel, DeviceAccount>,
    /// Whether credentials and cookies that the remote sends by itself reach the device.
    pub pass_through: bool,
}

impl Device {
    /// The account by which an uplink of these levels uses the device; see [`account_for`].
    pub fn account(&self, levels: &[UserLevel]) -> Option<&DeviceAccount> {
        account_for(&self.credentials, levels)
    }
}

/// Of `credentials` the account for these levels: that of the highest level, or of the next higher one that has an account.
///
/// What a role may do is known to the sidecar only, so roles use the Administrator's account, unless there is a single role,
/// and it has an account of its own. `None` when no account is high enough.
pub fn account_for<'c>(
    credentials: &'c BTreeMap<UserLevel, DeviceAccount>,
    levels: &[UserLevel],
) -> Option<&'c DeviceAccount> {
    if let [role @ UserLevel::Role(_)] = levels
        && let Some(own) = credentials.get(role)
    {
        return Some(own);
    }
    let from = match levels.iter().min()? {
        _ if levels.iter().any(|level| matches!(level, UserLevel::Role(_))) => &UserLevel::Administrator,
        highest => highest,
    };
    // The order of the levels begins with the highest; roles come last.
    credentials.range(..=from).next_back().map(|(_, account)| account)
}

/// An account at the device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceAccount {
    /// User name at the device.
    pub username: String,
    /// File that holds the password.
    pub password_file: PathBuf,
}

/// How the neighbour is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceScheme {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// RTSP.
    Rtsp,
}

impl DeviceScheme {
    /// The scheme as it is written in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Rtsp => "rtsp",
        }
    }
}

/// A loopback address with a scheme: the only kind of address that forwarding ever dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoopbackUrl {
    scheme: DeviceScheme,
    address: SocketAddr,
}

impl LoopbackUrl {
    /// Reads `scheme://127.0.0.1:port`. `localhost` is 127.0.0.1; there is no path: paths come from the requests.
    ///
    /// # Errors
    /// A sentence with the mend: not a URL, another scheme, a host that is not loopback, a path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text)
            .map_err(|error| format!("`{text}` is not a URL ({error}); write http://127.0.0.1:PORT"))?;
        let (scheme, default_port) = match url.scheme() {
            "http" => (DeviceScheme::Http, Some(80)),
            "h2c" => (DeviceScheme::H2c, None),
            "rtsp" => (DeviceScheme::Rtsp, Some(554)),
            other => {
                return Err(format!(
                    "the scheme `{other}` is not one of a neighbour; write http://, h2c:// or rtsp://"
                ));
            }
        };
        let port = url.port().or(default_port).ok_or_else(|| format!("`{text}` has no port"))?;
        // `Url` leaves the host of schemes that it does not know as text.
        let host = url.host_str().unwrap_or_default();
        let ip = match host {
            "localhost" => std::net::Ipv4Addr::LOCALHOST.into(),
            _ => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().map_err(|_| not_loopback(host))?,
        };
        if !ip.is_loopback() {
            return Err(not_loopback(host));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
            return Err(format!("`{text}` must be only scheme, host and port; the paths come from the requests"));
        }
        Ok(Self { scheme, address: SocketAddr::new(ip, port) })
    }

    /// HTTP/1.1 at another port of the same address.
    #[must_use]
    pub fn at_port(&self, port: u16) -> Self {
        Self { scheme: DeviceScheme::Http, address: SocketAddr::new(self.address.ip(), port) }
    }

    /// How it is spoken to.
    pub fn scheme(&self) -> DeviceScheme {
        self.scheme
    }

    /// Where it listens; always a loopback address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn not_loopback(host: &str) -> String {
    format!("`{host}` is not a loopback address; the neighbour shares our network namespace: write 127.0.0.1 or [::1]")
}

impl fmt::Display for LoopbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(accounts: &[&str]) -> BTreeMap<UserLevel, DeviceAccount> {
        let account = |level: &&str| {
            let account = DeviceAccount { username: (*level).to_owned(), password_file: PathBuf::new() };
            (UserLevel::parse(level).expect("a level"), account)
        };
        accounts.iter().map(account).collect()
    }

    #[test]
    fn a_level_uses_its_account_or_the_next_higher_one() {
        for (accounts, levels, expected) in [
            (&["Administrator", "Operator", "User"][..], &["User"][..], Some("User")),
            (&["Administrator", "User"], &["Operator"], Some("Administrator")),
            (&["Administrator", "Operator"], &["User"], Some("Operator")),
            (&["User"], &["Operator"], None),
            (&["Administrator", "Operator", "User"], &["User", "Operator"], Some("Operator")),
            (&["Administrator", "Operator"], &["Operator", "Guards"], Some("Administrator")),
            (&["Administrator", "Guards"], &["Guards"], Some("Guards")),
            (&["Administrator", "Guards"], &["Guards", "Night"], Some("Administrator")),
            (&["Operator", "Guards"], &["Night"], None),
            (&[], &["User"], None),
        ] {
            let levels: Vec<_> = levels.iter().map(|level| UserLevel::parse(level).expect("a level")).collect();
            let credentials = credentials(accounts);
            let found = account_for(&credentials, &levels).map(|account| account.username.as_str());
            assert_eq!(found, expected, "{accounts:?} {levels:?}");
        }
    }

    #[test]
    fn loopback_addresses_are_read_with_their_default_ports() {
        let read = |text| LoopbackUrl::parse(text).expect(text).to_string();
        assert_eq!(read("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(read("http://localhost"), "http://127.0.0.1:80");
        assert_eq!(read("rtsp://[::1]"), "rtsp://[::1]:554");
        assert_eq!(read("h2c://127.0.0.2:50051"), "h2c://127.0.0.2:50051");
    }

    #[test]
    fn nothing_but_loopback_is_ever_a_neighbour() {
        for text in
            ["http://192.0.2.1", "http://camera.local", "http://0.0.0.0", "http://127.0.0.1.example.com", "http://[::]"]
        {
            assert!(LoopbackUrl::parse(text).expect_err(text).contains("loopback"), "{text}");
        }
        for text in
            ["https://127.0.0.1", "http://127.0.0.1/path", "h2c://127.0.0.1", "http://user@127.0.0.1", "127.0.0.1:80"]
        {
            assert!(LoopbackUrl::parse(text).is_err(), "{text}");
        }
    }
}
