//! `check --connect`: walks each uplink of a configuration through its phases once, by the parts that the sidecar uses, and
//! says what was seen (ONVIF Uplink §5).
//!
//! Nothing reaches the device: a session that comes up says GOAWAY at once and ends. A remote that keeps one session per
//! device may end that of a running sidecar for it, which then dials again.

pub mod recorder;
pub mod walk;

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use http::StatusCode;
use tokio::time::timeout;

use self::{recorder::Recorder, walk::Walk};
use super::{Proxies, authorizers, served, transports};
use crate::{
    base::{
        drain::drain,
        http::{BoxFuture, Handler, Request, Response, text_response},
        watch::FileWatcher,
    },
    config::{self, file},
    model::{
        failure::{Cause, Failure},
        uplink::Uplink,
    },
    reverse::Limits,
    transport::reach::Reach,
    uplink::session::{CONNECT_MAX, Dialer, GRANT_MAX, PREFACE_MAX, establish},
};

/// Uplinks that are walked at the same time; tables come in the order of the configuration all the same.
const AT_ONCE: usize = 4;
/// Phases have deadlines of their own; a refused token walks twice.
const WALK_MAX: Duration = GRANT_MAX.saturating_add(CONNECT_MAX).saturating_add(PREFACE_MAX);
/// How long a remote may take over our GOAWAY.
const GOODBYE: Duration = Duration::from_secs(2);

/// Walks all uplinks of `file` and tells each as soon as it and those before it are done. Returns whether all came up.
/// Cancel safe: dropping the future closes the connections.
///
/// # Errors
/// All that is wrong with the configuration, one line each: `FILE:LINE:COLUMN: path: sentence`. Then nothing was dialed.
pub async fn connect(
    path: &Path,
    secrets_dir: &Path,
    proxies: Proxies,
    mut told: impl FnMut(&Walk),
) -> Result<bool, Vec<String>> {
    let document = file::read(path).map_err(|error| vec![error.to_string()])?;
    let desired = config::load(&document.text, &document.base_dir, &served(secrets_dir))
        .map_err(|errors| errors.iter().map(|error| format!("{}:{error}", document.name)).collect::<Vec<_>>())?;
    let watcher = FileWatcher::start();
    let reach = Reach::new(proxies);
    let (authorizers, transports) = (authorizers(&watcher, &reach), transports(reach));
    let walks = desired.iter().map(|(_, uplink)| {
        let parts = authorizers.get(&uplink.authorization.mode()).zip(transports.get(&uplink.remote.scheme()));
        let dialer = parts.map(|(authorizer, transport)| Dialer {
            authorizer: Arc::clone(authorizer),
            transport: Arc::clone(transport),
            limits: Limits::default(),
        });
        walk(dialer, uplink)
    });
    let mut walks = stream::iter(walks).buffered(AT_ONCE);
    let mut all = true;
    while let Some(walk) = walks.next().await {
        all &= walk.online;
        told(&walk);
    }
    Ok(all)
}

async fn walk(dialer: Option<Dialer>, uplink: &Uplink) -> Walk {
    let recorder = Recorder::start();
    let outcome = match dialer {
        Some(dialer) => timeout(WALK_MAX, once(&dialer, uplink, &recorder)).await.unwrap_or_else(|_| {
            let sentence = format!("the uplink did not come up within {} s", WALK_MAX.as_secs());
            Err(Failure::new(Cause::DialTimeout, sentence))
        }),
        None => Err(Failure::new(
            Cause::CredentialInvalid,
            "this program has no part for the uplink's authorization mode or scheme",
        )),
    };
    recorder.finish(uplink, outcome)
}

async fn once(dialer: &Dialer, uplink: &Uplink, recorder: &Recorder) -> Result<(), Failure> {
    let established = establish(dialer, uplink, |_| {}, recorder).await?;
    let (switch, part) = drain();
    switch.start(GOODBYE);
    // It stood; how it ends is the remote's affair.
    let _ = established.serve(Arc::new(NotHere), part).await;
    Ok(())
}

/// A request that came before our GOAWAY does not reach the device.
struct NotHere;

impl Handler for NotHere {
    fn handle(&self, _: Request) -> BoxFuture<'static, Response> {
        let answer = text_response(StatusCode::SERVICE_UNAVAILABLE, "this connection was a check, and ends now");
        Box::pin(std::future::ready(answer))
    }
}
