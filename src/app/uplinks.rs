//! The uplinks of a device for its configuration service: what is in force, how each is, and changes that are written back.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    base::http::BoxFuture,
    config::{
        Configuration, ConfiguredDevice, Served,
        store::{ConfigStore, Edit, Entry, StoreError},
    },
    model::{
        address::RemoteAddress,
        authorization::{Authorization, Trust},
        status::{Snapshot, Status, StatusBoard},
        streaming::Streaming,
        uplink::Uplink,
        uplink_service::OnlineWord,
        user_level::UserLevel,
    },
    onvif::uplink_service::store::{Capabilities, Shown, State, UplinkStore},
};

/// How long an operation waits until what it wrote is in force. The file is looked at as soon as it is written; beyond this the
/// change is made all the same, a little later.
const IN_FORCE_PATIENCE: Duration = Duration::from_secs(5);

/// Longest reason in an audit line, characters; it quotes the one who asked.
const REASON_MAX: usize = 300;

/// The document in force.
#[derive(Debug, Default)]
pub(super) struct Current {
    /// Its text.
    pub(super) text: String,
    /// What it says.
    pub(super) configuration: Configuration,
}

/// The uplinks of all devices.
pub(super) struct Uplinks {
    /// The document in force; empty before the first.
    pub(super) current: watch::Receiver<Arc<Current>>,
    /// How the uplinks are.
    pub(super) board: Arc<StatusBoard>,
    /// Where changes go.
    pub(super) store: Arc<dyn ConfigStore>,
    /// Makes the source look at once.
    pub(super) reload: mpsc::Sender<()>,
    /// What is served.
    pub(super) served: Served,
}

impl Uplinks {
    /// The uplinks of one device.
    pub(super) fn of(self: &Arc<Self>, device: &str) -> Arc<dyn UplinkStore> {
        Arc::new(DeviceUplinks { uplinks: Arc::clone(self), device: device.to_owned() })
    }

    async fn change(&self, device: &str, edit: Edit) -> Result<(), StoreError> {
        let (operation, remote) = match &edit {
            Edit::Set(entry) => ("SetUplink", &entry.remote_address),
            Edit::Delete(remote) => ("DeleteUplink", remote),
        };
        // Shown without what may be a secret in it.
        let remote = RemoteAddress::parse(remote).map_or_else(|_| "no address".to_owned(), |remote| remote.to_string());
        let written = self.store.change(device, edit.clone()).await.inspect_err(|error| {
            let reason: String = error.to_string().chars().take(REASON_MAX).flat_map(char::escape_debug).collect();
            tracing::info!(target: "audit", device, operation, remote, reason, "not changed");
        })?;
        tracing::info!(target: "audit", device, operation, remote, "changed");
        // A full channel means that it is about to look anyway.
        let _ = self.reload.try_send(());
        let mut current = self.current.clone();
        // Somebody else may have changed it again before it was looked at.
        let in_force =
            current.wait_for(|current| current.text == written.text || is_made(&current.configuration, device, &edit));
        if timeout(IN_FORCE_PATIENCE, in_force).await.is_err() {
            tracing::warn!(device, "what the uplink configuration service wrote is not in force yet");
        }
        Ok(())
    }
}

struct DeviceUplinks {
    uplinks: Arc<Uplinks>,
    device: String,
}

impl UplinkStore for DeviceUplinks {
    fn capabilities(&self) -> Capabilities {
        let current = Arc::clone(&self.uplinks.current.borrow());
        let service = current.configuration.device(&self.device).map(|device| device.service).unwrap_or_default();
        let served = &self.uplinks.served;
        let all = self.uplinks.board.snapshot();
        // Not known before the first look at the device, which comes with the configuration.
        let streaming = all.devices.get(&self.device).and_then(|device| device.streaming.as_ref());
        Capabilities {
            max_uplinks: service.max_uplinks,
            protocols: served.schemes.iter().map(ToString::to_string).collect(),
            authorization_modes: served.authorization_modes.iter().map(|mode| mode.as_str().to_owned()).collect(),
            streaming_over_uplink: streaming.is_some_and(Streaming::over_uplink),
        }
    }

    fn list(&self) -> Vec<Shown> {
        let current = Arc::clone(&self.uplinks.current.borrow());
        let Some(device) = current.configuration.device(&self.device) else { return Vec::new() };
        let all = self.uplinks.board.snapshot();
        let desired = &current.configuration.desired;
        let of_device: Vec<_> = desired.iter().filter(|(key, _)| key.device == self.device).collect();
        let shown = |(remote, _): &(String, _)| {
            let (_, uplink) = of_device.iter().find(|(key, _)| key.remote.as_configured() == remote)?;
            Some(shown(uplink, device, &all))
        };
        device.uplinks.iter().filter_map(shown).collect()
    }

    fn set(&self, entry: Entry) -> BoxFuture<'static, Result<(), StoreError>> {
        let (uplinks, device) = (Arc::clone(&self.uplinks), self.device.clone());
        Box::pin(async move { uplinks.change(&device, Edit::Set(entry)).await })
    }

    fn delete(&self, remote_address: String) -> BoxFuture<'static, Result<(), StoreError>> {
        let (uplinks, device) = (Arc::clone(&self.uplinks), self.device.clone());
        Box::pin(async move { uplinks.change(&device, Edit::Delete(remote_address)).await })
    }
}

/// Whether a configuration has what a change was to make.
fn is_made(configuration: &Configuration, device: &str, edit: &Edit) -> bool {
    let of = |remote: &str| {
        let mut all = configuration.desired.iter().map(|(_, uplink)| uplink);
        all.find(|uplink| uplink.device.name == device && uplink.remote.as_configured() == remote)
    };
    match edit {
        Edit::Delete(remote) => of(remote).is_none(),
        Edit::Set(entry) => of(&entry.remote_address).is_some_and(|uplink| {
            let levels = entry.user_level.iter().map(|level| UserLevel::parse(level));
            let wanted = Entry { user_level: Vec::new(), extensions: None, ..entry.clone() };
            let found = Entry { user_level: Vec::new(), ..entry_of(uplink) };
            found == wanted && levels.eq(uplink.user_level.iter().cloned().map(Ok))
        }),
    }
}

/// An uplink in the words of SetUplink.
fn entry_of(uplink: &Uplink) -> Entry {
    let (certificate_id, authorization_server) = match &uplink.authorization {
        Authorization::Mtls(certificate) => (Some(certificate.id.clone()), None),
        Authorization::AccessToken(token) => (None, Some(token.server.id.clone())),
        Authorization::Unauthenticated => (None, None),
    };
    let policy = match &uplink.trust {
        Trust::SystemRoots => None,
        Trust::Policy(policy) => Some(policy.id.clone()),
    };
    Entry {
        remote_address: uplink.remote.as_configured().to_owned(),
        certificate_id,
        authorization_server,
        user_level: uplink.user_level.iter().map(ToString::to_string).collect(),
        cert_path_validation_policy_id: policy,
        extensions: None,
    }
}

fn shown(uplink: &Uplink, device: &ConfiguredDevice, all: &Snapshot) -> Shown {
    let remote = uplink.remote.as_configured();
    let status = all.uplinks.get(&uplink.key());
    let extensions =
        device.uplinks.iter().find(|(known, _)| known == remote).and_then(|(_, extensions)| extensions.clone());
    Shown {
        entry: entry_of(uplink),
        extensions,
        state: state(status.map_or(Status::Offline, |status| status.status), device.service.online_word),
        error: status
            .and_then(|status| status.error.as_ref())
            .map(|failure| format!("{}: {}: {}", failure.phase().as_str(), failure.cause.as_str(), failure.message)),
    }
}

fn state(status: Status, online: OnlineWord) -> State {
    match status {
        Status::Offline => State::Offline,
        Status::Connecting => State::Connecting,
        Status::Online => State::Online(online),
    }
}

#[cfg(test)]
#[path = "uplinks_tests.rs"]
mod tests;
