//! The document as its JSON Schema describes it: every key with its meaning (ONVIF Uplink §6.1; the specification's words).
//!
//! The schema is made from these types. What reads documents is the room's validation, which reports all errors with their
//! places; a test holds the keys of both together.
#![allow(dead_code, reason = "the fields are the schema; documents are read through the located tree")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

/// Configuration of `onvif-uplink run`: the devices beside it, the uplinks they keep up, and what these refer to.
#[derive(JsonSchema)]
#[schemars(title = "onvif-uplink configuration", rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    /// The neighbours that are made reachable. An empty list is valid: nothing to do.
    devices: Vec<Device>,
    /// Client certificates by CertificateID (NCName, at most 64 characters).
    #[schemars(default)]
    certificates: Option<BTreeMap<String, Certificate>>,
    /// Whom to trust, by CertPathValidationPolicyID (NCName, at most 64 characters).
    #[schemars(default)]
    cert_path_validation_policies: Option<BTreeMap<String, CertPathValidationPolicy>>,
    /// Where access tokens come from, by token (NCName, at most 64 characters).
    #[schemars(default)]
    authorization_servers: Option<BTreeMap<String, AuthorizationServer>>,
    /// Custom roles by name, for userLevel (25.12). The levels Administrator, Operator and User are built in.
    #[schemars(default)]
    roles: Option<BTreeMap<String, Role>>,
    /// Who may use the uplink configuration service on the local ONVIF listener.
    #[schemars(default)]
    accounts: Option<Vec<Account>>,
}

/// A neighbour in the same network namespace.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    /// Unique name: lower-case letters, digits and hyphens, at most 63 (a DNS label).
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    name: String,
    /// Its web service: `http://127.0.0.1:PORT` (HTTP/1.1) or `h2c://127.0.0.1:PORT` (HTTP/2). Loopback only.
    http: String,
    /// Its RTSP service: `rtsp://127.0.0.1:554`. Loopback only.
    rtsp: Option<String>,
    /// How RTSP through the uplink reaches the device: `auto` (default), `device` (its own RTSP over HTTP and WebSocket) or
    /// `bridge` (its RTSP service; needs `rtsp`).
    rtsp_via: Option<RtspVia>,
    /// TCP ports of the device that a remote may reach by CONNECT, for what has no HTTP form: RTSP over TCP, ssh. None by default.
    #[schemars(inner(range(min = 1)))]
    connect_ports: Option<Vec<u16>>,
    /// What the addresses in its answers become: `authority` (default: that by which it was asked), `none`, or a fixed address.
    rewrite: Option<String>,
    /// Further loopback ports of its web services; none by default.
    http_ports: Option<Vec<u16>>,
    /// Accounts at the device, by user level (Administrator, Operator, User or a role). A level without one uses the next higher.
    credentials: Option<BTreeMap<String, DeviceAccount>>,
    /// With credentials: what the remote sends of its own (Authorization, WS-Security, cookies) reaches the device; false by default.
    pass_through: Option<bool>,
    /// Paths of its web service that others than Administrators may use, besides what ONVIF's operations give. The first rule that
    /// matches counts.
    paths: Option<Vec<PathRule>>,
    /// Its uplink configuration service.
    uplink_service: Option<UplinkService>,
    /// Its uplinks.
    uplinks: Vec<Uplink>,
}

/// An account at the device.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct DeviceAccount {
    /// User name.
    username: String,
    /// File that holds the password; or secretName.
    password_file: Option<String>,
    /// Secret that holds the password.
    secret_name: Option<String>,
    /// Its key; `password` by default.
    secret_key: Option<String>,
}

/// One relation of the device to a remote. Exactly one of certificateID and authorizationServer.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Uplink {
    /// Where to dial: `https://` (native h2c-reverse) or `wss://` (within a WebSocket). Unique within the device.
    remote_address: String,
    /// The client certificate, for TLS client authentication.
    #[schemars(rename = "certificateID")]
    certificate_id: Option<String>,
    /// The authorization server, for an access token.
    authorization_server: Option<String>,
    /// What the remote may do: a level, or a list of levels and roles.
    user_level: UserLevels,
    /// How the level is enforced.
    access: Option<Access>,
    /// Whom to trust; the system's roots if it is missing.
    #[schemars(rename = "certPathValidationPolicyID")]
    cert_path_validation_policy_id: Option<String>,
    /// Where the upgrade request carries the access token: `header` (default), or `query` with wss.
    token_in: Option<TokenIn>,
    /// How it leaves its network.
    network: Option<Network>,
    /// What it asks of TLS.
    tls: Option<Tls>,
    /// Switches for laboratories and compatibility; each that is on is a warning in the log.
    lab: Option<Lab>,
    /// What a vendor's client added by SetUplink: one XML element `Extensions` with its attributes and elements.
    extensions: Option<String>,
}

/// The uplink configuration service of a device: GetUplinks, SetUplink, DeleteUplink.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct UplinkService {
    /// How many uplinks SetUplink lets the device have; 16 by default.
    #[schemars(range(min = 1, max = 1000))]
    max_uplinks: Option<u16>,
    /// What GetUplinks calls an uplink that stands: `Connected` (default; WSDL and 26.06) or `Online` (text of 18.12 to 25.12).
    online_status: Option<OnlineStatus>,
    /// Whether an uplink may have neither certificateID nor authorizationServer; false by default, and loud in the log.
    allow_no_authentication: Option<bool>,
}

/// The word for an uplink that stands.
#[derive(JsonSchema)]
enum OnlineStatus {
    /// WSDL and 26.06.
    Connected,
    /// Text of 18.12 to 25.12.
    Online,
}

/// How RTSP through the uplink reaches the device.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum RtspVia {
    /// Its own service where it has one, else the bridge.
    Auto,
    /// Its own RTSP over HTTP and WebSocket.
    Device,
    /// Its RTSP service.
    Bridge,
}

/// Where the access token goes.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum TokenIn {
    /// `Authorization: Bearer`.
    Header,
    /// `access_token` in the query; only with wss.
    Query,
}

/// How an uplink leaves its network; all of it has a default that suits.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Network {
    /// `http://HOST:PORT`, `https://HOST:PORT`, `socks5://HOST:PORT`, or `none`. Default: HTTPS_PROXY and NO_PROXY of the environment.
    proxy: Option<String>,
    /// File with one line `USER:PASSWORD` for the proxy.
    proxy_credentials_file: Option<String>,
    /// Address of this host from which the uplink is dialed.
    source_address: Option<String>,
    /// Network interface through which the uplink is dialed.
    source_interface: Option<String>,
    /// TCP congestion control by the kernel's name, for example `bbr`; the default where the kernel has none of that name.
    congestion_control: Option<String>,
    /// Most that the uplink sends, in kbit/s.
    #[schemars(range(min = 64, max = 100_000_000))]
    max_kilobits_per_second: Option<u64>,
    /// Bytes that the kernel may hold unsent (TCP_NOTSENT_LOWAT). 0: as many as it likes. Default: 131072, less on thin links.
    #[schemars(range(min = 0, max = 67_108_864))]
    send_queue_bytes: Option<u64>,
}

/// What an uplink asks of TLS.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Tls {
    /// Oldest version: "1.2" (default) or "1.3".
    minimum_version: Option<TlsVersion>,
    /// Whether post-quantum hybrid key exchange is offered; true by default.
    post_quantum: Option<bool>,
}

/// A version of TLS; quoted or not.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum TlsVersion {
    /// Quoted.
    Text(String),
    /// Not quoted.
    Number(f64),
}

/// Switches for laboratories and for remotes that are not what the specification says. All are off by default.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Lab {
    /// Request target of the upgrade instead of path and query of remoteAddress.
    #[schemars(regex(pattern = r"^/[!-~]*$"))]
    path: Option<String>,
    /// `Host` of the upgrade instead of the authority of remoteAddress.
    host: Option<String>,
    /// `upgrade` (default), or `none`: HTTP/2 right after TLS.
    handshake: Option<Handshake>,
    /// Whoever answers is taken for the remote.
    skip_server_verification: Option<bool>,
    /// No TLS; only to loopback addresses.
    plain_tcp: Option<bool>,
}

/// What comes between TLS and HTTP/2.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Handshake {
    /// The upgrade of the specification.
    Upgrade,
    /// Nothing.
    None,
}

/// Requests of these methods for this path have this access class.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct PathRule {
    /// Path in its canonical form: alone (any query), with `?` and the one query that is meant, or with `/*` for all below it.
    #[schemars(regex(pattern = r"^/"))]
    path: String,
    /// The access class of the default policy.
    class: AccessClass,
    /// The methods that are meant; GET and HEAD if it is missing.
    methods: Option<Vec<String>>,
}

/// Access classes of ONVIF's default policy. User may PRE_AUTH, READ_SYSTEM and READ_MEDIA; Operator also READ_SYSTEM_SENSITIVE and
/// ACTUATE; Administrator all.
#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
enum AccessClass {
    PreAuth,
    ReadSystem,
    ReadSystemSensitive,
    ReadSystemSecret,
    WriteSystem,
    Unrecoverable,
    ReadMedia,
    Actuate,
}

/// A custom role (25.12, UserRole).
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Role {
    /// The operations that it may call, as `prefix:Operation`; for example `tptz:ContinuousMove`.
    functions: Vec<String>,
}

/// How the level of an uplink is enforced.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Access {
    /// Status of a refused SOAP request: 400 with the fault env:Sender/ter:NotAuthorized (default), 401 or 403 with the same fault.
    refusal: Option<RefusalStatus>,
    /// Whether Subscribe of WS-BaseNotification, which makes the device post to an address of the caller's choosing, counts as
    /// READ_MEDIA; true by default. False: Administrators only.
    subscribe: Option<bool>,
}

/// Status of a refusal; quoted or not.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum RefusalStatus {
    /// Not quoted.
    Number(u16),
    /// Quoted.
    Text(String),
}

/// Administrator, Operator, User or a role; or a list of these.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum UserLevels {
    /// One level.
    One(String),
    /// Several.
    Many(Vec<String>),
}

/// A client certificate with its key: either two files or one Secret.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Certificate {
    /// PEM file: the certificate, then the intermediates.
    cert_file: Option<String>,
    /// PEM file: the private key.
    key_file: Option<String>,
    /// Name of a Secret of type kubernetes.io/tls: tls.crt and tls.key.
    secret_name: Option<String>,
}

/// Which server certificates are accepted.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct CertPathValidationPolicy {
    /// PEM files with the trust anchors; at least one. Or secretName.
    #[schemars(length(min = 1))]
    trust_anchor_files: Option<Vec<String>>,
    /// Secret that holds the trust anchors.
    secret_name: Option<String>,
    /// Its key; `ca.crt` by default.
    secret_key: Option<String>,
    /// Files with certificate revocation lists, PEM or DER.
    crl_files: Option<Vec<String>>,
    /// SHA-256 of public keys as `sha256/BASE64`; one of them must be in the server's chain.
    pins: Option<Vec<String>>,
}

/// An AuthorizationServerConfiguration.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct AuthorizationServer {
    /// The kind of authorization.
    #[schemars(rename = "type")]
    kind: AuthorizationServerType,
    /// Its metadata document (RFC 8414); https only.
    server_uri: String,
    /// `client_id`.
    #[schemars(rename = "clientID")]
    client_id: String,
    /// How the client authenticates.
    client_auth: ClientAuth,
    /// File that holds the secret; for the methods client_secret_*.
    secret_file: Option<String>,
    /// PEM file with the private key; for private_key_jwt.
    key_file: Option<String>,
    /// Secret that holds the secret or the private key.
    secret_name: Option<String>,
    /// Its key; `client-secret` by default, `tls.key` for private_key_jwt.
    secret_key: Option<String>,
    /// `kid` of the assertion; for private_key_jwt.
    #[schemars(rename = "keyID")]
    key_id: Option<String>,
    /// Client certificate; for tls_client_auth and self_signed_tls_client_auth.
    #[schemars(rename = "certificateID")]
    certificate_id: Option<String>,
    /// Requested scopes.
    scopes: Option<Vec<String>>,
    /// `aud` of client assertions (client_secret_jwt, private_key_jwt); the token endpoint by default.
    audience: Option<String>,
    /// Whom to trust there; the system's roots if it is missing.
    #[schemars(rename = "certPathValidationPolicyID")]
    cert_path_validation_policy_id: Option<String>,
}

/// The kind of authorization.
#[derive(JsonSchema)]
enum AuthorizationServerType {
    /// OAuth 2.0 client credentials (RFC 6749 §4.4).
    OAuthClientCredentials,
}

/// How the client authenticates at the authorization server.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
enum ClientAuth {
    /// HTTP Basic with the secret.
    ClientSecretBasic,
    /// The secret in the body.
    ClientSecretPost,
    /// An assertion signed with the secret.
    ClientSecretJwt,
    /// An assertion signed with a private key.
    PrivateKeyJwt,
    /// TLS client authentication, certificate of a CA.
    #[schemars(rename = "tls_client_auth")]
    Tls,
    /// TLS client authentication, self-signed certificate.
    #[schemars(rename = "self_signed_tls_client_auth")]
    SelfSignedTls,
}

/// An account of the local ONVIF listener.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Account {
    /// User name.
    username: String,
    /// Administrator, Operator or User.
    level: String,
    /// File that holds the password; or secretName.
    password_file: Option<String>,
    /// Secret that holds the password.
    secret_name: Option<String>,
    /// Its key; `password` by default.
    secret_key: Option<String>,
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
