//! Errors to gRPC: the one place that knows the codes, reasons and metadata of the contract.

use std::time::Duration;

use refwatch_core::{Cursor, CursorError};
use refwatch_proto::{ERROR_DOMAIN, v1::ErrorReason};
use refwatch_store::{Identity, ReadError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::wire::{cut, hex16};

/// When a client may try again what failed for now.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest value of a field that is told back, in bytes: statuses travel in headers, which are small.
const VALUE_BYTES_MAX: usize = 128;
/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Why a request or a stream ends otherwise than well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "events after {sequence} are retained no more, the log starts at {floor}: take a snapshot, or accept the gap \
         and start from floor_cursor"
    )]
    CursorExpired { sequence: u64, floor: u64, log: Identity },
    #[error("the cursor is of another log, this is {}: take a snapshot", hex16(log.epoch))]
    ForeignEpoch { cursor: Cursor, log: Identity },
    #[error(
        "the cursor stands at {sequence}, the log ends at {last}, so the log has lost its end: take a snapshot and \
         tell the operator"
    )]
    CursorAhead { sequence: u64, last: u64, log: Identity },
    #[error("{field}: {reason}")]
    CursorMalformed { field: &'static str, reason: CursorError },
    #[error("page_token: {detail}; start over with the first page")]
    PageToken { detail: &'static str },
    #[error("{field}: not a glob: {detail}")]
    Glob { field: String, value: String, detail: String },
    #[error("{field} is {value}, and must be {min} to {max}")]
    OutOfBounds { field: String, value: String, min: u64, max: u64 },
    #[error("{field} {detail}")]
    Invalid { field: String, value: String, detail: String },
    #[error("{field}: no repository is known as {value}")]
    RepositoryNotFound { field: String, value: String },
    #[error("all {limit} streams are taken; try again later, or raise grpc.subscribers_max")]
    TooManySubscribers { limit: usize },
    #[error("the client took nothing for {stalled_ms} ms; start again from the cursor given here")]
    SlowConsumer { cursor: String, stalled_ms: u64, limit_ms: u64 },
    #[error("what was on disk before the call was not in the log within {timeout_ms} ms")]
    SyncTimeout { timeout_ms: u64, pending: u64 },
    #[error("no credentials, or none that are known here: send `authorization: Bearer <token>`")]
    Credentials,
    #[error(
        "this caller may not report: report over the Unix socket (grpc.socket), with a token of grpc.token_file that has \
         scope=ingest, or signed with the secret of grpc.shared_secret_file"
    )]
    IngestNotAllowed,
    #[error("this token may report, but not watch: its line in grpc.token_file needs scope=watch,ingest")]
    WatchNotAllowed,
    #[error("more than {limit} reports a second; try again in {} ms", retry_after.as_millis())]
    TooManyReports { limit: u32, retry_after: Duration },
    #[error("too many calls without valid credentials came from this address; try again in {} ms", retry_after.as_millis())]
    TooManyFailures { retry_after: Duration },
    #[error("the rights of this token have changed; start again from the last cursor")]
    RightsChanged,
    #[error("the first scan of a fresh log is not over; try again in a moment")]
    Starting,
    #[error("{field}: the repository {value} was found and is not read yet; try again in a moment")]
    NotRead { field: String, value: String },
    #[error("the deadline of the call has passed; start again from the last cursor")]
    Deadline,
    #[error("the server stops; start again elsewhere or in a moment")]
    Draining { cursor: String },
    #[error("the log cannot be written or read now: {detail}")]
    StoreUnavailable { detail: String },
    #[error("the log is damaged: {detail}; it needs the operator")]
    LogCorrupt { sequence: Option<u64>, detail: String },
    #[error("BUG: {0}")]
    Bug(String),
}

impl Failure {
    /// Fails unless a number is within its bounds.
    pub(crate) fn bounds(field: &str, value: u64, min: u64, max: u64) -> Result<(), Self> {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(Failure::OutOfBounds { field: field.to_owned(), value: value.to_string(), min, max })
    }

    /// A number that is its default when it is 0, and within its bounds otherwise.
    pub(crate) fn or_default(field: &str, value: u32, default: u32, min: u32, max: u32) -> Result<u32, Self> {
        if value == 0 {
            return Ok(default);
        }
        Self::bounds(field, value.into(), min.into(), max.into())?;
        Ok(value)
    }

    /// A failed read of what follows a position.
    pub(crate) fn of_read(error: ReadError, sequence: u64, log: Identity) -> Self {
        match error {
            ReadError::Expired { floor } => Failure::CursorExpired { sequence, floor, log },
            ReadError::Corrupt { sequence, detail } => Failure::LogCorrupt { sequence, detail },
            ReadError::Busy { .. } | ReadError::Io { .. } => {
                Failure::StoreUnavailable { detail: error.to_string() }
            }
        }
    }

    /// The number of its gRPC code.
    pub(crate) fn number(&self) -> i32 {
        self.code().0 as i32
    }

    fn code(&self) -> (Code, Option<ErrorReason>) {
        let (code, reason) = match self {
            Failure::CursorExpired { .. } => (Code::OutOfRange, ErrorReason::CursorExpired),
            Failure::ForeignEpoch { .. } => (Code::FailedPrecondition, ErrorReason::CursorForeignEpoch),
            Failure::CursorAhead { .. } => (Code::FailedPrecondition, ErrorReason::CursorAhead),
            Failure::CursorMalformed { .. } => (Code::InvalidArgument, ErrorReason::CursorMalformed),
            Failure::PageToken { .. } => (Code::InvalidArgument, ErrorReason::PageTokenInvalid),
            Failure::Glob { .. } => (Code::InvalidArgument, ErrorReason::GlobInvalid),
            Failure::OutOfBounds { .. } => (Code::InvalidArgument, ErrorReason::FieldOutOfBounds),
            Failure::Invalid { .. } => (Code::InvalidArgument, ErrorReason::FieldInvalid),
            Failure::RepositoryNotFound { .. } => (Code::NotFound, ErrorReason::RepositoryNotFound),
            Failure::TooManySubscribers { .. } => (Code::ResourceExhausted, ErrorReason::TooManySubscribers),
            Failure::SlowConsumer { .. } => (Code::ResourceExhausted, ErrorReason::SlowConsumer),
            Failure::SyncTimeout { .. } => (Code::DeadlineExceeded, ErrorReason::SyncTimeout),
            Failure::Credentials => (Code::Unauthenticated, ErrorReason::CredentialsInvalid),
            Failure::IngestNotAllowed => (Code::PermissionDenied, ErrorReason::IngestNotAllowed),
            Failure::WatchNotAllowed => (Code::PermissionDenied, ErrorReason::WatchNotAllowed),
            Failure::TooManyReports { .. } => (Code::ResourceExhausted, ErrorReason::TooManyReports),
            Failure::TooManyFailures { .. } => (Code::ResourceExhausted, ErrorReason::TooManyFailures),
            Failure::RightsChanged => (Code::Unavailable, ErrorReason::RightsChanged),
            Failure::Starting | Failure::NotRead { .. } => (Code::Unavailable, ErrorReason::ServerStarting),
            Failure::Draining { .. } => (Code::Unavailable, ErrorReason::ServerDraining),
            Failure::StoreUnavailable { .. } => (Code::Unavailable, ErrorReason::StoreUnavailable),
            Failure::LogCorrupt { .. } => (Code::DataLoss, ErrorReason::LogCorrupt),
            // The client's own word.
            Failure::Deadline => return (Code::DeadlineExceeded, None),
            Failure::Bug(_) => return (Code::Internal, None),
        };
        (code, Some(reason))
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        let value = |text: &str| cut(text, VALUE_BYTES_MAX).to_owned();
        match self {
            Failure::CursorExpired { sequence, floor, log } => vec![
                ("cursor_sequence", sequence.to_string()),
                ("floor_sequence", floor.to_string()),
                ("floor_cursor", before(*floor, *log)),
                ("epoch", hex16(log.epoch)),
            ],
            Failure::ForeignEpoch { cursor, log } => vec![
                ("cursor_epoch", hex16(cursor.epoch)),
                ("epoch", hex16(log.epoch)),
                ("server_id", hex16(log.server)),
            ],
            Failure::CursorAhead { sequence, last, log } => vec![
                ("cursor_sequence", sequence.to_string()),
                ("last_sequence", last.to_string()),
                ("epoch", hex16(log.epoch)),
            ],
            Failure::CursorMalformed { field, .. } => vec![("field", (*field).to_owned())],
            Failure::PageToken { .. } => vec![("field", "page_token".to_owned())],
            Failure::Glob { field, value: found, .. }
            | Failure::Invalid { field, value: found, .. }
            | Failure::RepositoryNotFound { field, value: found } => {
                vec![("field", field.clone()), ("value", value(found))]
            }
            Failure::OutOfBounds { field, value: found, min, max } => vec![
                ("field", field.clone()),
                ("value", value(found)),
                ("min", min.to_string()),
                ("max", max.to_string()),
            ],
            Failure::TooManySubscribers { limit } => vec![("limit", limit.to_string())],
            Failure::TooManyReports { limit, .. } => vec![("limit", limit.to_string())],
            Failure::SlowConsumer { cursor, stalled_ms, limit_ms } => vec![
                ("cursor", cursor.clone()),
                ("stalled_ms", stalled_ms.to_string()),
                ("limit_ms", limit_ms.to_string()),
            ],
            Failure::SyncTimeout { timeout_ms, pending } => {
                vec![("timeout_ms", timeout_ms.to_string()), ("pending", pending.to_string())]
            }
            Failure::Draining { cursor } => vec![("cursor", cursor.clone())],
            Failure::LogCorrupt { sequence, .. } => {
                sequence.map(|sequence| ("sequence", sequence.to_string())).into_iter().collect()
            }
            Failure::Credentials
            | Failure::IngestNotAllowed
            | Failure::WatchNotAllowed
            | Failure::TooManyFailures { .. }
            | Failure::RightsChanged
            | Failure::Starting
            | Failure::NotRead { .. }
            | Failure::StoreUnavailable { .. }
            | Failure::Deadline
            | Failure::Bug(_) => Vec::new(),
        }
    }

    /// The field that is to blame.
    fn field(&self) -> Option<&str> {
        match self {
            Failure::CursorMalformed { field, .. } => Some(field),
            Failure::PageToken { .. } => Some("page_token"),
            Failure::Glob { field, .. }
            | Failure::OutOfBounds { field, .. }
            | Failure::Invalid { field, .. }
            | Failure::RepositoryNotFound { field, .. } => Some(field),
            Failure::CursorExpired { .. }
            | Failure::ForeignEpoch { .. }
            | Failure::CursorAhead { .. }
            | Failure::TooManySubscribers { .. }
            | Failure::SlowConsumer { .. }
            | Failure::SyncTimeout { .. }
            | Failure::Credentials
            | Failure::IngestNotAllowed
            | Failure::WatchNotAllowed
            | Failure::TooManyReports { .. }
            | Failure::TooManyFailures { .. }
            | Failure::RightsChanged
            | Failure::Starting
            | Failure::NotRead { .. }
            | Failure::Draining { .. }
            | Failure::StoreUnavailable { .. }
            | Failure::LogCorrupt { .. }
            | Failure::Deadline
            | Failure::Bug(_) => None,
        }
    }

    /// When it may be tried again, where waiting helps.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::TooManyReports { retry_after, .. } | Failure::TooManyFailures { retry_after } => {
                Some(*retry_after)
            }
            Failure::RightsChanged
            | Failure::TooManySubscribers { .. }
            | Failure::Starting
            | Failure::NotRead { .. }
            | Failure::Draining { .. }
            | Failure::StoreUnavailable { .. } => Some(RETRY_AFTER),
            Failure::CursorExpired { .. }
            | Failure::ForeignEpoch { .. }
            | Failure::CursorAhead { .. }
            | Failure::CursorMalformed { .. }
            | Failure::PageToken { .. }
            | Failure::Glob { .. }
            | Failure::OutOfBounds { .. }
            | Failure::Invalid { .. }
            | Failure::RepositoryNotFound { .. }
            | Failure::SlowConsumer { .. }
            | Failure::SyncTimeout { .. }
            | Failure::Credentials
            | Failure::IngestNotAllowed
            | Failure::WatchNotAllowed
            | Failure::LogCorrupt { .. }
            | Failure::Deadline
            | Failure::Bug(_) => None,
        }
    }
}

/// The cursor right before a sequence.
fn before(sequence: u64, log: Identity) -> String {
    Cursor { server: log.server, epoch: log.epoch, sequence: sequence.saturating_sub(1) }.encode()
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let (code, reason) = failure.code();
        let text = failure.to_string();
        let message = cut(&text, MESSAGE_BYTES_MAX);
        let mut details = ErrorDetails::new();
        if let Some(reason) = reason {
            let metadata: Vec<_> =
                failure.metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            details.set_error_info(
                reason.short_name(),
                ERROR_DOMAIN,
                metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
            );
        }
        if let (Code::InvalidArgument, Some(field)) = (code, failure.field()) {
            details.add_bad_request_violation(field, message);
        }
        if let Some(after) = failure.retry_after() {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(code, message, details)
    }
}

#[cfg(test)]
mod tests;
