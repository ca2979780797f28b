use std::collections::BTreeMap;

use refwatch_core::{Cursor, CursorError};
use refwatch_store::Identity;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Failure;

const LOG: Identity = Identity { server: 0x51, epoch: 0xe0 };

/// Code, reason, metadata and whether it may be tried again, as the contract's table has them.
fn table() -> Vec<(Failure, Code, &'static str, &'static [&'static str], bool)> {
    let text = str::to_owned;
    let foreign = Cursor { server: 1, epoch: 2, sequence: 3 };
    vec![
        (
            Failure::CursorExpired { sequence: 4, floor: 10, log: LOG },
            Code::OutOfRange,
            "CURSOR_EXPIRED",
            &["cursor_sequence", "epoch", "floor_cursor", "floor_sequence"],
            false,
        ),
        (
            Failure::ForeignEpoch { cursor: foreign, log: LOG },
            Code::FailedPrecondition,
            "CURSOR_FOREIGN_EPOCH",
            &["cursor_epoch", "epoch", "server_id"],
            false,
        ),
        (
            Failure::CursorAhead { sequence: 9, last: 3, log: LOG },
            Code::FailedPrecondition,
            "CURSOR_AHEAD",
            &["cursor_sequence", "epoch", "last_sequence"],
            false,
        ),
        (
            Failure::CursorMalformed { field: "cursor", reason: CursorError::Encoding },
            Code::InvalidArgument,
            "CURSOR_MALFORMED",
            &["field"],
            false,
        ),
        (Failure::PageToken { detail: "no" }, Code::InvalidArgument, "PAGE_TOKEN_INVALID", &["field"], false),
        (
            Failure::Glob { field: text("f[0]"), value: text("["), detail: text("open") },
            Code::InvalidArgument,
            "GLOB_INVALID",
            &["field", "value"],
            false,
        ),
        (
            Failure::OutOfBounds { field: text("page_size"), value: text("9"), min: 1, max: 2 },
            Code::InvalidArgument,
            "FIELD_OUT_OF_BOUNDS",
            &["field", "max", "min", "value"],
            false,
        ),
        (
            Failure::Invalid { field: text("types[0]"), value: text("99"), detail: text("is unknown") },
            Code::InvalidArgument,
            "FIELD_INVALID",
            &["field", "value"],
            false,
        ),
        (
            Failure::RepositoryNotFound { field: text("repository_ids[0]"), value: text("00") },
            Code::NotFound,
            "REPOSITORY_NOT_FOUND",
            &["field", "value"],
            false,
        ),
        (
            Failure::TooManySubscribers { limit: 7 },
            Code::ResourceExhausted,
            "TOO_MANY_SUBSCRIBERS",
            &["limit"],
            true,
        ),
        (
            Failure::SlowConsumer { cursor: text("c"), stalled_ms: 2, limit_ms: 1 },
            Code::ResourceExhausted,
            "SLOW_CONSUMER",
            &["cursor", "limit_ms", "stalled_ms"],
            false,
        ),
        (
            Failure::SyncTimeout { timeout_ms: 5, pending: 2 },
            Code::DeadlineExceeded,
            "SYNC_TIMEOUT",
            &["pending", "timeout_ms"],
            false,
        ),
        (Failure::Credentials, Code::Unauthenticated, "CREDENTIALS_INVALID", &[], false),
        (Failure::IngestNotAllowed, Code::PermissionDenied, "INGEST_NOT_ALLOWED", &[], false),
        (
            Failure::TooManyFailures { retry_after: std::time::Duration::from_millis(5) },
            Code::ResourceExhausted,
            "TOO_MANY_FAILURES",
            &[],
            true,
        ),
        (Failure::RightsChanged, Code::Unavailable, "RIGHTS_CHANGED", &[], true),
        (Failure::WatchNotAllowed, Code::PermissionDenied, "WATCH_NOT_ALLOWED", &[], false),
        (
            Failure::TooManyReports { limit: 9, retry_after: std::time::Duration::from_millis(5) },
            Code::ResourceExhausted,
            "TOO_MANY_REPORTS",
            &["limit"],
            true,
        ),
        (
            Failure::NotRead { field: text("report.repository_id"), value: text("00") },
            Code::Unavailable,
            "SERVER_STARTING",
            &[],
            true,
        ),
        (Failure::Draining { cursor: text("c") }, Code::Unavailable, "SERVER_DRAINING", &["cursor"], true),
        (
            Failure::StoreUnavailable { detail: text("busy") },
            Code::Unavailable,
            "STORE_UNAVAILABLE",
            &[],
            true,
        ),
        (
            Failure::LogCorrupt { sequence: Some(3), detail: text("gone") },
            Code::DataLoss,
            "LOG_CORRUPT",
            &["sequence"],
            false,
        ),
    ]
}

#[test]
fn every_failure_has_the_code_reason_and_metadata_of_the_contract() {
    for (failure, code, reason, keys, again) in table() {
        assert_eq!(failure.number(), code as i32);
        let status = Status::from(failure);
        let details = status.get_error_details();
        let info = details.error_info().expect("every failure has one");
        assert_eq!((status.code(), info.reason.as_str()), (code, reason));
        assert_eq!(info.domain, "refwatch");
        let metadata: BTreeMap<_, _> = info.metadata.iter().collect();
        let found: Vec<_> = metadata.keys().map(|key| key.as_str()).collect();
        assert_eq!(found, keys, "{reason}");
        assert_eq!(details.retry_info().is_some(), again, "{reason}");
        assert_eq!(details.bad_request().is_some(), code == Code::InvalidArgument, "{reason}");
        let documented = include_str!("../../../proto/refwatch/v1/service.proto");
        assert!(
            documented.contains(&format!(" / {reason}")) || documented.contains(&format!(" or {reason}")),
            "{reason}"
        );
    }
}

#[test]
fn the_floor_cursor_resumes_with_the_oldest_event() {
    let status = Status::from(Failure::CursorExpired { sequence: 4, floor: 10, log: LOG });
    let details = status.get_error_details();
    let cursor = &details.error_info().unwrap().metadata["floor_cursor"];
    assert_eq!(Cursor::decode(cursor), Ok(Cursor { server: LOG.server, epoch: LOG.epoch, sequence: 9 }));
}

#[test]
fn what_a_client_sent_is_told_back_cut_short() {
    let value = "ä".repeat(5_000);
    let failure = Failure::Invalid { field: "f".to_owned(), value, detail: "is wrong".to_owned() };
    let status = Status::from(failure);
    assert!(status.get_error_details().error_info().unwrap().metadata["value"].len() <= 128);
    assert!(status.details().len() < 1024);
}

#[test]
fn zero_stands_for_the_default_and_bounds_hold() {
    assert_eq!(Failure::or_default("page_size", 0, 100, 1, 1000), Ok(100));
    assert_eq!(Failure::or_default("page_size", 1000, 100, 1, 1000), Ok(1000));
    let refused = Failure::or_default("page_size", 1001, 100, 1, 1000).unwrap_err();
    assert_eq!(refused.to_string(), "page_size is 1001, and must be 1 to 1000");
}
