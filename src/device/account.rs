//! One account at one device, shared by all uplinks that use it: its password, how it stands, what it has learned.
//!
//! The password is read when it is first needed and again when its file changes; it is told by name only. Trouble goes to the
//! log once and to the status of each uplink that uses the account. Locks are held for a hash at most, never over a wait.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout},
};

use super::{learned::Learned, standing::Standing};
use crate::{
    base::{clock, secret::Secret, watch::FileWatcher},
    model::{
        device::DeviceAccount,
        failure::{Cause, Failure},
        status::StatusBoard,
        uplink::UplinkKey,
    },
};

/// Longest password, bytes, with its line end. ONVIF allows 128 characters.
const PASSWORD_MAX: u64 = 4096;
/// How long a request waits while another one proves the password. A wrong one is refused within this; a right one whose
/// answer takes longer (PullMessages) does not hold the others up for more.
const PROOF_WAIT: Duration = Duration::from_secs(1);

/// An account in use.
pub struct Account {
    device: String,
    username: String,
    password_file: PathBuf,
    board: Arc<StatusBoard>,
    changed: Mutex<watch::Receiver<u64>>,
    state: Mutex<State>,
    /// One try at a time while nothing is proven.
    proof: Arc<Semaphore>,
}

/// What changes.
#[derive(Default)]
struct State {
    password: Option<Result<Secret, Failure>>,
    /// Its file has changed since it was read.
    outdated: bool,
    standing: Standing,
    learned: Learned,
    /// What people are told.
    trouble: Option<Failure>,
    users: Vec<UplinkKey>,
}

/// Why an account cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It was refused and is left alone for so long.
    Refused(Duration),
    /// Its password cannot be read.
    Unreadable,
}

impl Account {
    /// An account whose password is not read yet.
    pub fn new(device: &str, account: &DeviceAccount, watcher: &FileWatcher, board: Arc<StatusBoard>) -> Self {
        let changed = watcher.subscribe(std::slice::from_ref(&account.password_file));
        Self {
            device: device.to_owned(),
            username: account.username.clone(),
            password_file: account.password_file.clone(),
            board,
            changed: Mutex::new(changed),
            state: Mutex::default(),
            proof: Arc::new(Semaphore::new(1)),
        }
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// An uplink begins to use it, and hears of its trouble.
    pub fn enlist(&self, key: &UplinkKey) {
        let mut state = self.lock();
        state.users.push(key.clone());
        self.board.note_device(key, state.trouble.as_ref());
    }

    /// The opposite of [`Self::enlist`], once.
    pub fn leave(&self, key: &UplinkKey) {
        let mut state = self.lock();
        if let Some(place) = state.users.iter().position(|user| user == key) {
            state.users.swap_remove(place);
        }
    }

    /// Reads the password, if it was not read yet or its file has changed since. Cancel safe.
    pub async fn refresh(&self) {
        let changed = {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            let has_changed = changed.has_changed().unwrap_or(false);
            changed.mark_unchanged();
            has_changed
        };
        {
            let mut state = self.lock();
            state.outdated |= changed;
            if !state.outdated && state.password.is_some() {
                return;
            }
        }
        let file = self.password_file.clone();
        // Files may lie on a slow disk: never on the thread of an uplink.
        let Ok(read) = tokio::task::spawn_blocking(move || read_password(&file)).await else { return };
        let mut state = self.lock();
        state.outdated = false;
        if state.password.as_ref() != Some(&read) {
            state.standing = Standing::default();
            state.learned.forget_nonces();
            self.tell(&mut state, read.as_ref().err().cloned());
            state.password = Some(read);
        }
    }

    /// The password, if the account may be shown now.
    ///
    /// # Errors
    /// [`Blocked`].
    pub fn password(&self) -> Result<Secret, Blocked> {
        let state = self.lock();
        let now = Instant::now();
        match (&state.password, state.standing.paused_until(now)) {
            (_, Some(until)) => Err(Blocked::Refused(until - now)),
            (Some(Ok(password)), None) => Ok(password.clone()),
            (None | Some(Err(_)), None) => Err(Blocked::Unreadable),
        }
    }

    /// The turn to show a password that nothing has proven; `None` when another request took too long over its own.
    /// Whoever has waited looks at [`Self::password`] again.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        timeout(PROOF_WAIT, Arc::clone(&self.proof).acquire_owned()).await.ok().and_then(Result::ok)
    }

    /// Whether the password has been accepted and not refused since.
    pub fn proven(&self) -> bool {
        self.lock().standing.proven()
    }

    /// Looks at, or changes, what was learned.
    pub fn learned<T>(&self, with: impl FnOnce(&mut Learned) -> T) -> T {
        with(&mut self.lock().learned)
    }

    /// The device accepted the password.
    pub fn accepted(&self) {
        let mut state = self.lock();
        if state.standing.accepted() || state.trouble.is_some() {
            tracing::info!(device = self.device, account = self.username, "the device accepts the account");
        }
        self.tell(&mut state, None);
    }

    /// The device refused the password, shown in the way of this name. Returns how long it is left alone now.
    pub fn refused(&self, scheme: &str) -> Option<Duration> {
        let mut state = self.lock();
        let Some(pause) = state.standing.refused(Instant::now()) else {
            tracing::debug!(device = self.device, account = self.username, "refused once; perhaps above its rights");
            return None;
        };
        let sentence = format!(
            "{} refused the account `{}` ({scheme}); not to lock it, it is tried again at {}, or when {} changes",
            self.device,
            self.username,
            clock::date(SystemTime::now() + pause),
            self.password_file.display()
        );
        self.tell(&mut state, Some(Failure::new(Cause::DeviceCredentialsRefused, sentence)));
        Some(pause)
    }

    /// The device demands something that we cannot give.
    pub fn not_understood(&self, what: &str) {
        let sentence = format!("{} asks for credentials in a way that is not known here: {what}", self.device);
        let failure = Failure::new(Cause::DeviceAuthenticationUnknown, sentence);
        let mut state = self.lock();
        self.tell(&mut state, Some(failure));
    }

    /// Tells people, if it is news.
    fn tell(&self, state: &mut State, trouble: Option<Failure>) {
        if state.trouble == trouble {
            return;
        }
        if let Some(failure) = &trouble {
            tracing::warn!(device = self.device, cause = failure.cause.as_str(), "{failure}");
        }
        for key in &state.users {
            self.board.note_device(key, trouble.as_ref());
        }
        state.trouble = trouble;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic left half done is at worst a nonce that the device refuses.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A password is what stands on the only line of its file.
fn read_password(file: &Path) -> Result<Secret, Failure> {
    let failure = |sentence| Failure::new(Cause::DeviceCredentialsUnreadable, sentence);
    let unreadable =
        |error: std::io::Error| failure(format!("cannot read the password file {}: {error}", file.display()));
    let mut text = String::new();
    std::fs::File::open(file).map_err(unreadable)?.take(PASSWORD_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\r', '\n']) {
        return Err(failure(format!("the password file {} must hold one line, the password", file.display())));
    }
    Ok(Secret::new(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::uplink::testing::uplink;

    struct Bench {
        dir: tempfile::TempDir,
        board: Arc<StatusBoard>,
        account: Account,
        key: UplinkKey,
    }

    fn bench(password: Option<&str>) -> Bench {
        let (dir, board) = (tempfile::tempdir().expect("a directory"), StatusBoard::new());
        let password_file = dir.path().join("password");
        if let Some(password) = password {
            std::fs::write(&password_file, password).expect("writable");
        }
        let account = DeviceAccount { username: "admin".to_owned(), password_file };
        let account = Account::new("camera-1", &account, &FileWatcher::start(), Arc::clone(&board));
        let key = uplink("https://cloud/").key();
        board.update(&key, |_| {});
        account.enlist(&key);
        Bench { dir, board, account, key }
    }

    impl Bench {
        fn told(&self) -> Option<Failure> {
            self.board.snapshot().uplinks[&self.key].device_error.clone()
        }
    }

    #[tokio::test]
    async fn a_password_is_the_only_line_of_its_file() {
        for (text, expected) in
            [("pw", Some("pw")), ("p w\r\n", Some("p w")), ("", None), ("\n", None), ("a\nb\n", None)]
        {
            let bench = bench(Some(text));
            bench.account.refresh().await;
            assert_eq!(bench.account.password().ok().as_ref().map(Secret::expose), expected, "{text:?}");
            let told = bench.told();
            assert_eq!(told.map(|told| told.cause), expected.is_none().then_some(Cause::DeviceCredentialsUnreadable));
        }
    }

    #[tokio::test]
    async fn trouble_is_shown_at_each_uplink_until_the_account_is_accepted() {
        let bench = bench(Some("pw"));
        bench.account.refresh().await;
        assert_eq!(bench.account.refused("HTTP Digest"), Some(crate::device::standing::FIRST_PAUSE));
        let told = bench.told().expect("trouble");
        assert_eq!(told.cause, Cause::DeviceCredentialsRefused);
        assert!(told.message.contains("`admin`") && !told.message.contains("pw "), "{told}");
        let other = uplink("https://other/").key();
        bench.board.update(&other, |_| {});
        bench.account.enlist(&other);
        assert_eq!(bench.board.snapshot().uplinks[&other].device_error, Some(told));
        bench.account.leave(&other);
        assert!(matches!(bench.account.password(), Err(Blocked::Refused(_))));
        bench.account.accepted();
        assert_eq!(bench.told(), None);
        assert!(bench.account.password().is_ok());
    }

    #[tokio::test]
    async fn another_password_ends_the_pause_and_the_same_one_does_not() {
        let bench = bench(Some("wrong"));
        bench.account.refresh().await;
        bench.account.refused("HTTP Basic");
        for (password, blocked) in [("wrong\n", true), ("right", false)] {
            std::fs::write(bench.dir.path().join("password"), password).expect("writable");
            // What the watcher says when the file was written.
            bench.account.lock().outdated = true;
            bench.account.refresh().await;
            assert_eq!(bench.account.password().is_err(), blocked, "{password:?}");
        }
        assert_eq!(bench.account.password().expect("at once").expose(), "right");
        assert_eq!(bench.told(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_for_the_proof_of_another() {
        let bench = bench(None);
        let held = bench.account.turn().await.expect("free");
        assert!(bench.account.turn().await.is_none());
        drop(held);
        assert!(bench.account.turn().await.is_some());
    }
}
