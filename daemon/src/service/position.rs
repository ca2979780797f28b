//! GetPosition, and the barrier behind it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use refwatch_proto::{limits, v1};
use refwatch_store::{Bounds, RepositoryKey};
use tonic::metadata::MetadataMap;

use super::Inner;
use crate::barrier::SyncError;
use crate::directory::Health;
use crate::filter::{View, parse_ids};
use crate::log::Log;
use crate::status::Failure;
use crate::wire::hex16;

pub(super) async fn get(
    inner: &Arc<Inner>,
    view: View,
    request: &v1::GetPositionRequest,
    caller_waits: Option<Duration>,
) -> Result<v1::GetPositionResponse, Failure> {
    let timeout_ms = Failure::or_default(
        "timeout_ms",
        request.timeout_ms,
        limits::SYNC_TIMEOUT_MS_DEFAULT,
        1,
        limits::SYNC_TIMEOUT_MS_MAX,
    )?;
    let uids = parse_ids("repository_ids", &request.repository_ids)?;
    if request.sync {
        let timeout = Duration::from_millis(timeout_ms.into());
        sync(inner, view, &uids, caller_waits.map_or(timeout, |caller| caller.min(timeout))).await?;
    }
    Ok(position(&inner.log))
}

fn position(log: &Log) -> v1::GetPositionResponse {
    let Bounds { floor, last } = log.bounds();
    v1::GetPositionResponse {
        cursor: log.encoder().cursor(last),
        last_sequence: last,
        floor_sequence: floor,
        floor_cursor: log.encoder().cursor(floor.saturating_sub(1)),
        epoch: hex16(log.identity().epoch),
    }
}

async fn sync(inner: &Arc<Inner>, view: View, uids: &[u64], timeout: Duration) -> Result<(), Failure> {
    // How many repositories others have is not for everyone to know.
    let pending_max = if view.is_limited() { 1 } else { u64::MAX };
    let timed_out = |pending: u64| Failure::SyncTimeout {
        timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        pending: pending.min(pending_max),
    };
    let deadline = Instant::now() + timeout;
    let turn = tokio::time::timeout_at(deadline.into(), Arc::clone(&inner.syncs).acquire_owned());
    let turn = turn.await.map_err(|_| timed_out(inner.barrier.pending()))?;
    let (shared, uids) = (Arc::clone(inner), uids.to_vec());
    let waiting = tokio::task::spawn_blocking(move || {
        let reached = wait(&shared, &view, &uids, deadline);
        drop(turn);
        reached
    });
    match waiting.await {
        Ok(Reached::Yes) => Ok(()),
        Ok(Reached::Not(SyncError::TimedOut { pending })) => Err(timed_out(pending)),
        Ok(Reached::Not(SyncError::Store(detail))) => Err(Failure::StoreUnavailable { detail }),
        Ok(Reached::Unknown(index, uid)) => {
            Err(Failure::RepositoryNotFound { field: format!("repository_ids[{index}]"), value: hex16(uid) })
        }
        Err(error) => Err(Failure::Bug(format!("the barrier did not answer: {error}"))),
    }
}

enum Reached {
    Yes,
    Not(SyncError),
    Unknown(usize, u64),
}

/// Waits for the barrier; a repository that is not known yet is looked for with all others.
fn wait(inner: &Inner, view: &View, uids: &[u64], deadline: Instant) -> Reached {
    let known = keys_of(&inner.log, view, uids);
    let wanted = match &known {
        Ok(keys) if keys.is_empty() => None,
        Ok(keys) => Some(keys.as_slice()),
        Err(_) => None,
    };
    if let Err(error) = inner.barrier.sync(wanted, deadline) {
        return Reached::Not(error);
    }
    match known.or_else(|_| keys_of(&inner.log, view, uids)) {
        Ok(_) => Reached::Yes,
        Err((index, uid)) => Reached::Unknown(index, uid),
    }
}

/// The keys of repositories, or the first that is unknown, gone or out of view.
fn keys_of(log: &Log, view: &View, uids: &[u64]) -> Result<Vec<RepositoryKey>, (usize, u64)> {
    let key_of = |(index, uid): (usize, &u64)| match log.directory().by_uid(*uid) {
        Some(entry) if entry.health != Health::Deleted && view.shows(&entry.path) => Ok(entry.key),
        Some(_) | None => Err((index, *uid)),
    };
    uids.iter().enumerate().map(key_of).collect()
}

/// How long the caller is ready to wait, from the header `grpc-timeout`.
///
/// Source: gRPC's "gRPC over HTTP2", `Timeout`: at most eight digits and a unit.
pub(crate) fn deadline_of(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            deadline_of(&metadata)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("99999999u"), Some(Duration::from_micros(99_999_999)));
        for text in ["", "S", "5", "5s", "123456789S", "-1S", "1.5S"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(deadline_of(&MetadataMap::new()), None);
    }
}
