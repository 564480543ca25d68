//! The keys of each map of the document, in the order in which an error lists them.

pub(super) const DOCUMENT: &[&str] =
    &["devices", "certificates", "certPathValidationPolicies", "authorizationServers", "roles", "accounts"];
pub(super) const DEVICE: &[&str] = &[
    "name",
    "http",
    "rtsp",
    "rtspVia",
    "connectPorts",
    "rewrite",
    "httpPorts",
    "credentials",
    "passThrough",
    "paths",
    "uplinkService",
    "uplinks",
];
pub(super) const DEVICE_ACCOUNT: &[&str] = &["username", "passwordFile", "secretName", "secretKey"];
pub(super) const UPLINK: &[&str] = &[
    "remoteAddress",
    "certificateID",
    "authorizationServer",
    "tokenIn",
    "userLevel",
    "access",
    "certPathValidationPolicyID",
    "network",
    "tls",
    "lab",
    "extensions",
];
pub(super) const UPLINK_SERVICE: &[&str] = &["maxUplinks", "onlineStatus", "allowNoAuthentication"];
pub(super) const ACCESS: &[&str] = &["refusal", "subscribe"];
pub(super) const PATH_RULE: &[&str] = &["path", "class", "methods"];
pub(super) const ROLE: &[&str] = &["functions"];
pub(super) const NETWORK: &[&str] = &[
    "proxy",
    "proxyCredentialsFile",
    "sourceAddress",
    "sourceInterface",
    "congestionControl",
    "maxKilobitsPerSecond",
    "sendQueueBytes",
];
pub(super) const TLS: &[&str] = &["minimumVersion", "postQuantum"];
pub(super) const LAB: &[&str] = &["path", "host", "handshake", "skipServerVerification", "plainTcp"];
pub(super) const CERTIFICATE: &[&str] = &["certFile", "keyFile", "secretName"];
pub(super) const POLICY: &[&str] = &["trustAnchorFiles", "secretName", "secretKey", "crlFiles", "pins"];
pub(super) const AUTHORIZATION_SERVER: &[&str] = &[
    "type",
    "serverUri",
    "clientID",
    "clientAuth",
    "secretFile",
    "keyFile",
    "secretName",
    "secretKey",
    "keyID",
    "certificateID",
    "scopes",
    "audience",
    "certPathValidationPolicyID",
];
pub(super) const ACCOUNT: &[&str] = &["username", "level", "passwordFile", "secretName", "secretKey"];
