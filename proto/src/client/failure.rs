//! Why a call or a stream failed, sorted by what the caller does about it.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::ERROR_DOMAIN;
use crate::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::Violation;

/// A failed call.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// refwatch's own reason, where it gave one.
    pub reason: Option<ErrorReason>,
    /// For people; what the server said is in it as it came.
    pub message: String,
    /// How long the server asks to wait before another try.
    pub retry_after: Option<Duration>,
    /// Details of the reason, see the contract.
    pub metadata: HashMap<String, String>,
    /// Which promise was broken, where the events themselves say so.
    pub violation: Option<Box<Violation>>,
}

/// Why a cursor leads nowhere any more. Numbers that the server did not tell are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Events after it are retained no more (CURSOR_EXPIRED).
    Expired {
        /// Where it stands; `None` also for a start by time.
        cursor_sequence: Option<u64>,
        /// Oldest retained sequence: events from after the cursor up to before it are lost.
        floor_sequence: Option<u64>,
        /// Cursor right before the oldest retained event, for whoever can live with the gap.
        floor_cursor: Option<String>,
    },
    /// It belongs to another log (CURSOR_FOREIGN_EPOCH): another server, or this one before it was restored.
    ForeignEpoch {
        /// Log of the cursor.
        cursor_epoch: Option<String>,
        /// Log of the server.
        epoch: Option<String>,
    },
    /// It stands after the end of the log (CURSOR_AHEAD): the log has lost its end.
    Ahead {
        /// Where it stands.
        cursor_sequence: Option<u64>,
        /// End of the log.
        last_sequence: Option<u64>,
    },
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
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

    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: None,
            message: message.into(),
            retry_after: None,
            metadata: HashMap::new(),
            violation: None,
        }
    }

    /// Why the cursor leads nowhere; `None` for failures of other kinds.
    pub fn gap(&self) -> Option<Gap> {
        let text = |key: &str| self.metadata.get(key).cloned();
        let number = |key: &str| self.metadata.get(key).and_then(|value| value.parse().ok());
        match self.reason? {
            ErrorReason::CursorExpired => Some(Gap::Expired {
                cursor_sequence: number("cursor_sequence"),
                floor_sequence: number("floor_sequence"),
                floor_cursor: text("floor_cursor"),
            }),
            ErrorReason::CursorForeignEpoch => {
                Some(Gap::ForeignEpoch { cursor_epoch: text("cursor_epoch"), epoch: text("epoch") })
            }
            ErrorReason::CursorAhead => Some(Gap::Ahead {
                cursor_sequence: number("cursor_sequence"),
                last_sequence: number("last_sequence"),
            }),
            ErrorReason::Unspecified
            | ErrorReason::CursorMalformed
            | ErrorReason::PageTokenInvalid
            | ErrorReason::GlobInvalid
            | ErrorReason::FieldOutOfBounds
            | ErrorReason::FieldInvalid
            | ErrorReason::RepositoryNotFound
            | ErrorReason::TooManySubscribers
            | ErrorReason::SlowConsumer
            | ErrorReason::SyncTimeout
            | ErrorReason::CredentialsInvalid
            | ErrorReason::IngestNotAllowed
            | ErrorReason::ServerDraining
            | ErrorReason::StoreUnavailable
            | ErrorReason::LogCorrupt
            | ErrorReason::ServerStarting
            | ErrorReason::TooManyReports
            | ErrorReason::WatchNotAllowed
            | ErrorReason::TooManyFailures
            | ErrorReason::RightsChanged => None,
        }
    }

    /// Sorts a status.
    pub fn of_status(status: &Status) -> Self {
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
            violation: None,
        }
    }
}

/// The server broke a promise of the contract.
impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        let message = format!("the server broke its contract: {violation}");
        Self { violation: Some(Box::new(violation)), ..Self::new(FailureKind::Server, message) }
    }
}

impl Error for Failure {}

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
        | ErrorReason::TooManyFailures
        | ErrorReason::RightsChanged
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
