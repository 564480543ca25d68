//! One session, from the grant to its end: connect, wait for the remote's preface, serve, watch for silence.
//!
//! Two steps, because a session that shall replace another must stand before the other drains: [`establish`] ends when the
//! remote's preface is there, [`Established::serve`] ends with the session.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::liveness;
use crate::{
    authz::{Authorizer, Grant},
    base::{
        activity::Activity,
        drain::Drain,
        http::{Handler, SessionInfo},
    },
    model::{
        failure::{Cause, Failure},
        status::TlsFacts,
        step::{Step, Witness},
        uplink::Uplink,
    },
    reverse::{Limits, Pinger, Reverse, ReverseError},
    transport::{Connected, Transport},
};

/// Authorization reads files or asks one server and has deadlines of its own; this one holds if they do not.
pub const GRANT_MAX: Duration = Duration::from_secs(60);
/// The phases of a connect have deadlines of their own that add up to less; this one holds if they do not.
pub const CONNECT_MAX: Duration = Duration::from_secs(120);
/// A preface that trickles in is no silence, but not a remote either: twice the rule's time for 24 bytes.
pub const PREFACE_MAX: Duration = Duration::from_secs(60);
/// After the deadline of a drain the session closes in good order by itself; this is when we no longer believe that.
const CLOSE_MARGIN: Duration = Duration::from_secs(2);

/// A session whose remote has sent its preface.
pub struct Established {
    reverse: Reverse,
    pinger: Option<Pinger>,
    /// Its counters; the clock runs since the connection stood.
    pub activity: Arc<Activity>,
    /// The other end of TCP.
    pub peer: SocketAddr,
    /// Our end of it.
    pub local: SocketAddr,
    /// What TLS came to.
    pub tls: TlsFacts,
}

/// The parts by which one uplink is connected.
#[derive(Clone)]
pub struct Dialer {
    /// Makes the grant.
    pub authorizer: Arc<dyn Authorizer>,
    /// Connects with it.
    pub transport: Arc<dyn Transport>,
    /// What the remote may use of us.
    pub limits: Limits,
}

/// Makes a session. `granted` is told of the grant as soon as it is there, so that the certificate's end is known even if
/// the rest fails; `witness` of each phase. Cancel safe: dropping the future closes the connection.
///
/// # Errors
/// A [`Failure`] of the phase that failed.
pub async fn establish(
    dialer: &Dialer,
    uplink: &Uplink,
    granted: impl Fn(&Grant) + Send + Sync,
    witness: &dyn Witness,
) -> Result<Established, Failure> {
    let grant = grant(dialer, uplink, witness).await?;
    granted(&grant);
    let token = grant.token.clone();
    let connected = match (connect(dialer, uplink, grant, witness).await, token) {
        // A token may have been revoked meanwhile. Once, and never in a circle.
        (Err(failure), Some(token))
            if failure.cause == Cause::Unauthorized && dialer.authorizer.refused(uplink, &token) =>
        {
            tracing::info!(%failure, "the remote refused the token; a fresh one is tried once");
            let fresh = self::grant(dialer, uplink, witness).await?;
            connect(dialer, uplink, fresh, witness).await?
        }
        (other, _) => other?,
    };
    let established = accept(connected, &dialer.limits).await?;
    witness.saw(Step::Preface);
    Ok(established)
}

async fn grant(dialer: &Dialer, uplink: &Uplink, witness: &dyn Witness) -> Result<Grant, Failure> {
    timeout(GRANT_MAX, dialer.authorizer.grant(uplink, witness)).await.map_err(|_| {
        let sentence =
            format!("the authorization was not ready within {} s; look at its files and server", GRANT_MAX.as_secs());
        Failure::new(Cause::CredentialUnreadable, sentence)
    })?
}

async fn connect(dialer: &Dialer, uplink: &Uplink, grant: Grant, witness: &dyn Witness) -> Result<Connected, Failure> {
    timeout(CONNECT_MAX, dialer.transport.connect(uplink, grant, witness)).await.map_err(|_| {
        let sentence = format!("{} was not connected within {} s", uplink.remote, CONNECT_MAX.as_secs());
        Failure::new(Cause::DialTimeout, sentence)
    })?
}

async fn accept(connected: Connected, limits: &Limits) -> Result<Established, Failure> {
    let Connected { stream, early, peer, local, tls } = connected;
    let activity = Arc::new(Activity::start());
    let accepted = tokio::select! {
        biased;
        accepted = Reverse::accept(stream, early, Arc::clone(&activity), limits) => accepted,
        () = preface_overdue(&activity) => {
            let sentence = format!(
                "the remote {peer} answered 101 but sent no HTTP/2 preface within {} s; does it speak h2c-reverse?",
                liveness::DEAD_AFTER.as_secs(),
            );
            return Err(Failure::new(Cause::PrefaceTimeout, sentence));
        }
    };
    let mut reverse = accepted.map_err(before_preface)?;
    let pinger = reverse.pinger();
    Ok(Established { reverse, pinger, activity, peer, local, tls })
}

async fn preface_overdue(activity: &Activity) {
    let _ = timeout(PREFACE_MAX, liveness::silent(activity)).await;
}

impl Established {
    /// Serves until the session ends: `Ok` by our drain, which is over a moment after its deadline at the latest.
    ///
    /// Cancel safety: dropping the future drops the connection.
    ///
    /// # Errors
    /// Why the session ended otherwise: the remote, silence, the protocol.
    pub async fn serve(self, handler: Arc<dyn Handler>, drain: Drain) -> Result<(), Failure> {
        let Self { reverse, pinger, activity, peer, .. } = self;
        let serving = reverse.run(handler, SessionInfo { remote: peer }, drain.clone());
        tokio::select! {
            biased;
            ended = serving => ended.map_err(ended_early),
            () = liveness::watch(&activity, pinger) => {
                let sentence = format!(
                    "nothing was received from the remote {peer} for {} s, not even an answer to our PING; reconnecting",
                    liveness::DEAD_AFTER.as_secs(),
                );
                Err(Failure::new(Cause::Silent, sentence))
            }
            () = drained(drain) => Ok(()),
        }
    }
}

/// Resolves when a drain has started and its deadline, which may be drawn nearer meanwhile, is over.
async fn drained(mut drain: Drain) {
    let mut deadline = drain.started().await.deadline;
    while Instant::now() < deadline + CLOSE_MARGIN {
        tokio::select! {
            () = sleep_until(deadline + CLOSE_MARGIN) => {}
            nearer = drain.nearer_than(deadline) => deadline = nearer.deadline,
        }
    }
}

fn before_preface(error: ReverseError) -> Failure {
    let cause = match error {
        ReverseError::PrefaceInvalid(_) | ReverseError::Closed(_) | ReverseError::Protocol(_) => Cause::PrefaceInvalid,
        ReverseError::Reset(_) => Cause::ConnectionReset,
        ReverseError::Carrier(_) => Cause::WebSocketViolation,
    };
    Failure::new(cause, error.to_string())
}

fn ended_early(error: ReverseError) -> Failure {
    let cause = match error {
        ReverseError::PrefaceInvalid(_) => Cause::PrefaceInvalid,
        ReverseError::Closed(_) => Cause::ClosedByRemote,
        ReverseError::Reset(_) => Cause::ConnectionReset,
        ReverseError::Carrier(_) => Cause::WebSocketViolation,
        ReverseError::Protocol(_) => Cause::ProtocolViolation,
    };
    Failure::new(cause, error.to_string())
}
