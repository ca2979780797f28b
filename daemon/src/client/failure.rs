//! Why a call or a stream failed, sorted by what the caller does about it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use refwatch_proto::ERROR_DOMAIN;
use refwatch_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A failed call.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What to do about it.
    pub(crate) kind: FailureKind,
    /// refwatch's own reason, where it gave one.
    pub(crate) reason: Option<ErrorReason>,
    /// For people; what the server said is in it as it came.
    pub(crate) message: String,
    /// How long the server asks to wait before another try.
    pub(crate) retry_after: Option<Duration>,
    /// Details of the reason, see the contract.
    pub(crate) metadata: HashMap<String, String>,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Try again: nobody answers, the connection broke, the server is busy or stops.
    Transient,
    /// Take a snapshot: the cursor leads nowhere any more.
    Gap,
    /// Correct the request.
    Request,
    /// Bring credentials that are known there.
    Denied,
    /// The server is damaged, lacks the call, or broke its contract: tell its operator.
    Server,
}

impl Failure {
    /// Nobody to talk to: worth another try.
    pub(super) fn transient(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Transient, message)
    }

    /// The server broke a promise of the contract.
    pub(super) fn contract(message: impl fmt::Display) -> Self {
        Self::new(FailureKind::Server, format!("the server broke its contract: {message}"))
    }

    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, reason: None, message: message.into(), retry_after: None, metadata: HashMap::new() }
    }

    /// Sorts a status.
    pub(crate) fn of_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        let reason = info.and_then(|info| ErrorReason::from_short_name(&info.reason));
        let text = match status.message() {
            "" => status.code().description(),
            message => message,
        };
        Self {
            kind: reason.map_or_else(|| of_code(status.code()), |reason| of_reason(reason, status.code())),
            reason,
            message: text.to_owned(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            metadata: info.map(|info| info.metadata.clone()).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "{} ({})", self.message, reason.short_name()),
            None => f.write_str(&self.message),
        }
    }
}

fn of_reason(reason: ErrorReason, code: Code) -> FailureKind {
    match reason {
        ErrorReason::CursorExpired | ErrorReason::CursorForeignEpoch | ErrorReason::CursorAhead => {
            FailureKind::Gap
        }
        ErrorReason::CursorMalformed
        | ErrorReason::PageTokenInvalid
        | ErrorReason::GlobInvalid
        | ErrorReason::FieldOutOfBounds
        | ErrorReason::FieldInvalid
        | ErrorReason::RepositoryNotFound => FailureKind::Request,
        ErrorReason::TooManySubscribers
        | ErrorReason::TooManyReports
        | ErrorReason::SlowConsumer
        | ErrorReason::SyncTimeout
        | ErrorReason::ServerDraining
        | ErrorReason::ServerStarting
        | ErrorReason::StoreUnavailable => FailureKind::Transient,
        ErrorReason::CredentialsInvalid | ErrorReason::IngestNotAllowed | ErrorReason::WatchNotAllowed => {
            FailureKind::Denied
        }
        ErrorReason::LogCorrupt => FailureKind::Server,
        ErrorReason::Unspecified => of_code(code),
    }
}

/// A status without a reason of refwatch's: from the transport, or from something in between such as a proxy.
fn of_code(code: Code) -> FailureKind {
    match code {
        // tonic reports a connection that breaks under a stream as Unknown, Internal or Cancelled.
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Cancelled
        | Code::Unknown
        | Code::Internal => FailureKind::Transient,
        Code::Unauthenticated | Code::PermissionDenied => FailureKind::Denied,
        Code::InvalidArgument
        | Code::NotFound
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::AlreadyExists => FailureKind::Request,
        Code::Unimplemented | Code::DataLoss | Code::Ok => FailureKind::Server,
    }
}
