//! Where a stream begins.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use refwatch_core::Cursor;
use refwatch_proto::v1::{self, watch_events_request};
use refwatch_store::{Bounds, ReadError};

use crate::log::{Log, read_in_turn};
use crate::status::Failure;

/// What to do about a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnGap {
    Fail,
    Resnapshot,
}

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Start {
    /// Right after a position.
    After(u64),
    /// With a snapshot; after a Reset where there is a gap.
    Snapshot(Option<v1::Reset>),
}

impl OnGap {
    pub(super) fn of(request: &v1::WatchEventsRequest) -> Result<Self, Failure> {
        match v1::OnGap::try_from(request.on_gap) {
            Ok(v1::OnGap::Unspecified | v1::OnGap::Fail) => Ok(OnGap::Fail),
            Ok(v1::OnGap::Resnapshot) => Ok(OnGap::Resnapshot),
            Err(_) => Err(Failure::Invalid {
                field: "on_gap".to_owned(),
                value: request.on_gap.to_string(),
                detail: "is not one of the values that this server knows".to_owned(),
            }),
        }
    }

    /// What a failure becomes where gaps are to be bridged: `None` for one that is no gap.
    pub(super) fn bridge(self, failure: &Failure) -> Option<v1::Reset> {
        if self == OnGap::Fail {
            return None;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "only these three are gaps")]
        let (reason, first, last, log) = match failure {
            Failure::CursorExpired { sequence, floor, log } => {
                (v1::ResetReason::CursorExpired, sequence + 1, floor.saturating_sub(1), log)
            }
            Failure::ForeignEpoch { log, .. } => (v1::ResetReason::ForeignEpoch, 0, 0, log),
            Failure::CursorAhead { sequence, last, log } => {
                (v1::ResetReason::CursorAhead, last + 1, *sequence, log)
            }
            _ => return None,
        };
        Some(v1::Reset {
            reason: reason.into(),
            lost_first_sequence: first,
            lost_last_sequence: last,
            epoch: crate::wire::hex16(log.epoch),
        })
    }
}

/// Finds out where a stream begins.
pub(super) async fn resolve(
    log: &Arc<Log>,
    request: &v1::WatchEventsRequest,
    on_gap: OnGap,
    retention_age: Option<Duration>,
) -> Result<Start, Failure> {
    use watch_events_request::Start as Wanted;
    let bounds = log.bounds();
    let found = match &request.start {
        None | Some(Wanted::Now(_)) => Ok(bounds.last),
        Some(Wanted::Earliest(_)) => Ok(bounds.floor.saturating_sub(1)),
        Some(Wanted::Snapshot(_)) => {
            log.baseline_over().await?;
            return Ok(Start::Snapshot(None));
        }
        Some(Wanted::Cursor(token)) => position_of(log, "cursor", token),
        Some(Wanted::SinceUs(time_us)) => {
            let time_us = time("since_us", *time_us)?;
            read_in_turn(Arc::clone(log), move |log| since(log, time_us, retention_age)).await
        }
    };
    match found {
        Ok(position) => Ok(Start::After(position)),
        Err(failure) => match on_gap.bridge(&failure) {
            Some(reset) => {
                log.baseline_over().await?;
                Ok(Start::Snapshot(Some(reset)))
            }
            None => Err(failure),
        },
    }
}

/// A time of a request, which is not before 1970.
pub(crate) fn time(field: &str, time_us: i64) -> Result<i64, Failure> {
    if time_us >= 0 {
        return Ok(time_us);
    }
    let (field, value) = (field.to_owned(), time_us.to_string());
    Err(Failure::OutOfBounds { field, value, min: 0, max: i64::MAX.unsigned_abs() })
}

/// The position that a cursor in a field of a request stands at, if everything after it can be had.
///
/// # Errors
/// The cursor's own [`Failure`]: malformed, of another log, ahead or expired.
pub(crate) fn position_of(log: &Log, field: &'static str, token: &str) -> Result<u64, Failure> {
    let cursor = Cursor::decode(token).map_err(|reason| Failure::CursorMalformed { field, reason })?;
    let identity = log.identity();
    if (cursor.server, cursor.epoch) != (identity.server, identity.epoch) {
        return Err(Failure::ForeignEpoch { cursor, log: identity });
    }
    let Bounds { floor, last } = log.bounds();
    if cursor.sequence > last {
        return Err(Failure::CursorAhead { sequence: cursor.sequence, last, log: identity });
    }
    if cursor.sequence + 1 < floor {
        return Err(Failure::CursorExpired { sequence: cursor.sequence, floor, log: identity });
    }
    Ok(cursor.sequence)
}

/// The position before the first event observed at or after a time. Blocks.
fn since(log: &Log, time_us: i64, retention_age: Option<Duration>) -> Result<u64, Failure> {
    let identity = log.identity();
    let failed = |error: ReadError| Failure::of_read(error, 0, identity);
    let reader = log.store().read().map_err(failed)?;
    let Bounds { floor, last } = reader.bounds();
    if floor > 1 {
        let mut oldest_us = None;
        reader
            .events_after(floor - 1, 1, |logged| {
                oldest_us = Some(logged.observed_at_us);
                ControlFlow::Break(())
            })
            .map_err(failed)?;
        // An empty log that once held something was emptied by age: the rest is known to be older than that.
        let retained_us = oldest_us.or_else(|| {
            let age_us = i64::try_from(retention_age?.as_micros()).unwrap_or(i64::MAX);
            Some(jiff::Timestamp::now().as_microsecond().saturating_sub(age_us))
        });
        if retained_us.is_none_or(|retained_us| time_us < retained_us) {
            return Err(Failure::CursorExpired { sequence: 0, floor, log: identity });
        }
    }
    let first = reader.first_at_or_after(time_us).map_err(failed)?;
    Ok(first.saturating_sub(1).min(last))
}
