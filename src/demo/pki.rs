//! The demo's throw-away PKI: an authority that forgets its key, a certificate for the gateway, one for the device.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The files of the PKI.
pub(super) struct Pki {
    /// The authority of both sides.
    pub(super) ca: PathBuf,
    pub(super) server_cert: PathBuf,
    pub(super) server_key: PathBuf,
}

impl Pki {
    /// Makes new keys and certificates in `dir`: `ca.crt`, `gateway.crt/.key` for localhost, `<device>.crt/.key`.
    pub(super) fn write(dir: &Path, device: &str) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        let ca_key = KeyPair::generate().map_err(unmade)?;
        let mut ca = named("onvif-uplink demo authority")?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_cert = ca.self_signed(&ca_key).map_err(unmade)?;
        let authority = Issuer::from_params(&ca, &ca_key);

        let mut server = named("onvif-uplink demo gateway")?;
        server.subject_alt_names = vec![
            rcgen::SanType::DnsName("localhost".try_into().map_err(unmade)?),
            rcgen::SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()),
        ];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut client = named(device)?;
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

        let pki =
            Self { ca: dir.join("ca.crt"), server_cert: dir.join("gateway.crt"), server_key: dir.join("gateway.key") };
        write(&pki.ca, &ca_cert.pem(), 0o644)?;
        issue(&server, &authority, dir, "gateway")?;
        issue(&client, &authority, dir, device)?;
        Ok(pki)
    }
}

fn named(common_name: &str) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(Vec::new()).map_err(unmade)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn issue(params: &CertificateParams, authority: &Issuer<'_, &KeyPair>, dir: &Path, name: &str) -> Result<(), String> {
    let key = KeyPair::generate().map_err(unmade)?;
    let cert = params.signed_by(&key, authority).map_err(unmade)?;
    write(&dir.join(format!("{name}.crt")), &cert.pem(), 0o644)?;
    write(&dir.join(format!("{name}.key")), &key.serialize_pem(), 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let written = fs::write(path, text).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn unmade(error: rcgen::Error) -> String {
    format!("a certificate of the demo could not be made: {error}")
}
