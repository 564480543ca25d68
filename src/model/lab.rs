//! Switches for laboratories and for remotes that are not what the specification says (shared notes, quirks Q2, Q5, Q6).
//! All are off by default; each that is on is a warning in the log whenever the uplink is configured.

/// The `lab` settings of an uplink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lab {
    /// Request target of the upgrade instead of that of RemoteAddress; begins with `/`.
    pub path: Option<String>,
    /// `Host` of the upgrade instead of the authority of RemoteAddress.
    pub host: Option<String>,
    /// Whether there is an HTTP/1.1 upgrade at all.
    pub handshake: Handshake,
    /// The remote's certificate is not verified.
    pub skip_server_verification: bool,
    /// No TLS; only to loopback addresses.
    pub plain_tcp: bool,
}

/// What comes between TLS and HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// The upgrade of the specification.
    #[default]
    Upgrade,
    /// Nothing: the remote's preface comes right after TLS (quirk Q5).
    None,
}

impl Lab {
    /// A sentence for each switch that is on, by what it costs.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.skip_server_verification {
            warnings.push("lab.skipServerVerification is on: whoever answers is taken for the remote; never use it outside a laboratory".to_owned());
        }
        if self.plain_tcp {
            warnings.push("lab.plainTcp is on: nothing is encrypted and nobody is authenticated".to_owned());
        }
        if self.handshake == Handshake::None {
            warnings.push("lab.handshake is none: HTTP/2 begins without the upgrade of the specification".to_owned());
        }
        if let Some(path) = &self.path {
            let plain = path.split('?').next().unwrap_or_default();
            warnings
                .push(format!("lab.path is set: the upgrade asks for `{plain}` and not for the path of remoteAddress"));
        }
        if let Some(host) = &self.host {
            warnings
                .push(format!("lab.host is set: the upgrade names the host `{host}` and not that of remoteAddress"));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_that_is_on_is_warned_of_and_no_query_is_shown() {
        assert!(Lab::default().warnings().is_empty());
        let all = Lab {
            path: Some("/xxx?access_token=secret".to_owned()),
            host: Some("cloud".to_owned()),
            handshake: Handshake::None,
            skip_server_verification: true,
            plain_tcp: true,
        };
        assert_eq!(all.warnings().len(), 5);
        assert!(!all.warnings().concat().contains("secret"));
    }
}
