//! L3: who we are to the device (ONVIF Uplink §5.3: what comes through an uplink carries no credentials; the device grants it the
//! level of the uplink. An unmodified device asks for credentials, so the sidecar shows its own).
//!
//! - [`mediation`]: the handler around the one that reaches the device; [`exchange`] is one request in it, [`demand`] what an
//!   answer asks for, [`payload`] what it carries, [`replay`] a body that can go twice, [`refusal`] what the remote reads when it does not work.
//! - [`account`]: one account at one device with its password; [`standing`] how it stands, [`learned`] what the device wants.
//! - [`rtsp`]: the same for RTSP that is carried to the device.
//! - [`challenge`], [`digest`], [`basic`], [`username_token`], [`envelope`]: the schemes and their syntax.

pub mod account;
pub mod basic;
#[cfg(test)]
mod bench;
pub mod challenge;
pub mod demand;
pub mod digest;
pub mod envelope;
pub mod exchange;
pub mod learned;
pub mod mediation;
#[cfg(test)]
mod message_tests;
pub mod payload;
pub mod refusal;
pub mod replay;
pub mod rtsp;
pub mod standing;
pub mod username_token;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use self::{account::Account, mediation::Mediation, rtsp::Conversations};
use crate::{
    base::{http::Handler, mediator::Mediators, watch::FileWatcher},
    model::{
        device::{DeviceAccount, LoopbackUrl},
        status::StatusBoard,
        uplink::Uplink,
    },
};

/// What tells accounts apart: the same user at another device, or at another address, is another one.
type Key = (String, LoopbackUrl, DeviceAccount);

/// The accounts of the process. Uplinks that use one account share it: its nonces, and the tries that it has left.
pub struct Accounts {
    watcher: Arc<FileWatcher>,
    board: Arc<StatusBoard>,
    used: Mutex<HashMap<Key, Weak<Account>>>,
}

impl Accounts {
    /// No accounts yet. `watcher` follows password files, `board` shows trouble.
    pub fn new(watcher: Arc<FileWatcher>, board: Arc<StatusBoard>) -> Self {
        Self { watcher, board, used: Mutex::default() }
    }

    /// A handler that shows the device the account of this uplink's level; `inner` itself when the device has no accounts.
    pub fn mediate(&self, uplink: &Uplink, inner: Arc<dyn Handler>) -> Arc<dyn Handler> {
        let key = uplink.key();
        let Some(account) = self.account(uplink) else {
            self.board.note_device(&key, None);
            return inner;
        };
        Arc::new(Mediation::new(account, inner, key, uplink.device.pass_through))
    }

    /// What shows the account of this uplink's level in RTSP; `None` when the device has no accounts, or the remote may show its
    /// own.
    pub fn mediate_rtsp(&self, uplink: &Uplink) -> Option<Arc<dyn Mediators>> {
        let account = self.account(uplink).filter(|_| !uplink.device.pass_through)?;
        Some(Arc::new(Conversations::new(account)))
    }

    /// The account of an uplink's level, if its device has one.
    pub fn account(&self, uplink: &Uplink) -> Option<Arc<Account>> {
        let device = &uplink.device;
        let account = device.account(&uplink.user_level)?;
        let key = (device.name.clone(), device.http, account.clone());
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = used.get(&key).and_then(Weak::upgrade) {
            return Some(known);
        }
        used.retain(|_, account| account.strong_count() > 0);
        let new = Arc::new(Account::new(&device.name, account, &self.watcher, Arc::clone(&self.board)));
        used.insert(key, Arc::downgrade(&new));
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{uplink::testing, user_level::UserLevel};

    fn uplink(remote: &str, level: UserLevel) -> Uplink {
        let mut uplink = testing::uplink(remote);
        for level in [UserLevel::Administrator, UserLevel::User] {
            let account = DeviceAccount { username: level.to_string(), password_file: "/nonexistent".into() };
            uplink.device.credentials.insert(level, account);
        }
        uplink.user_level = vec![level];
        uplink
    }

    #[tokio::test]
    async fn uplinks_of_one_device_share_an_account_and_levels_have_their_own() {
        let accounts = Accounts::new(FileWatcher::start(), StatusBoard::new());
        let of = |remote, level| accounts.account(&uplink(remote, level)).expect("an account");
        let first = of("https://a/", UserLevel::User);
        assert!(Arc::ptr_eq(&first, &of("https://b/", UserLevel::User)));
        let other = of("https://a/", UserLevel::Operator);
        assert_eq!((first.username(), other.username()), ("User", "Administrator"));
        first.refresh().await;
        assert!(accounts.account(&testing::uplink("https://a/")).is_none());
        drop((first, other));
        of("https://a/", UserLevel::User);
        assert_eq!(accounts.used.lock().expect("one thread").len(), 1, "accounts of gone uplinks are forgotten");
    }
}
