//! What is in the way of the Kubernetes API: one enum for watches and single calls, with a sentence that names the mend.

use std::time::Duration;

use kube::core::Status;

/// The head of an answer is there within this time: the client ends what takes longer with the timeout of tower.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Longest part of a sentence that comes from the server.
const MESSAGE_MAX: usize = 300;

/// Why the API server did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 403: a Role lacks a rule. With what the server says.
    Forbidden(String),
    /// 401: the token is not taken.
    Unauthorized,
    /// Any other answer that is no success.
    Answered(u16, String),
    /// No answer within this time.
    Silent(Duration),
    /// No connection, or it broke.
    Unreachable(String),
}

impl Trouble {
    /// What an error of the client means; no call of this program can be wrong by itself, so the rest is a matter of the connection.
    pub fn of(error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::answered(status);
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        if cause.is::<tower::timeout::error::Elapsed>() {
            return Self::Silent(ANSWER_MAX);
        }
        Self::Unreachable(cause.to_string().chars().take(MESSAGE_MAX).collect())
    }

    /// What an answer that is no success means.
    pub fn answered(status: &Status) -> Self {
        let message = match (&*status.message, &*status.reason) {
            ("", reason) => reason,
            (message, _) => message,
        };
        let message: String = message.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect();
        match status.code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden(message),
            code => Self::Answered(code, message),
        }
    }

    /// The word of the metric, stable.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::Answered(409, _) => "conflict",
            Self::Answered(429, _) => "too_many_requests",
            Self::Answered(_, _) => "refused",
            Self::Silent(_) => "silent",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// Whether the same may succeed a little later with nobody doing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Forbidden(_) | Self::Unauthorized => false,
            Self::Answered(code, _) => matches!(code, 408 | 409 | 429 | 500..),
            Self::Silent(_) | Self::Unreachable(_) => true,
        }
    }

    /// A sentence that names the mend; `rule` is what the Role in `namespace` must allow.
    pub fn sentence(&self, rule: &str, namespace: &str) -> String {
        match self {
            Self::Forbidden(message) => format!(
                "the API server forbids it ({message}); the Role of the pod's service account in the namespace {namespace} \
                 needs the rule {{{rule}}}"
            ),
            Self::Unauthorized => {
                "the API server does not accept the service account's token (401); see whether the token is mounted and the \
                 service account exists"
                    .to_owned()
            }
            Self::Answered(429, _) => "the API server has too many requests (429)".to_owned(),
            Self::Answered(code, message) => format!("the API server answered {code} ({message})"),
            Self::Silent(waited) => format!("the API server did not answer within {} s", waited.as_secs()),
            Self::Unreachable(reason) => format!("the API server cannot be reached ({reason})"),
        }
    }
}
