//! Refs and repositories as the generated messages.

use refwatch_core::classify::Bareness;
use refwatch_core::{Namespace, ObjectFormat, ObjectId, RefName, RefState, Target};
use refwatch_proto::{limits, v1};
use refwatch_store::{RefStorage, RepositoryRow};

use super::{cut, hex16};
use crate::directory::{Entry, Health, Watched};

/// What a broken ref says; the log knows the reason in words only at the event.
const BROKEN: &str = "it cannot be read; see its REF_BROKEN event";

/// A repository, as the engine knows it.
pub(crate) fn repository(entry: &Entry, path: &[u8], ref_count: Option<u64>) -> v1::Repository {
    let (state, message) = match &entry.health {
        Health::Ready => (v1::RepositoryState::Ready, ""),
        Health::Discovering => (v1::RepositoryState::Discovering, ""),
        Health::InFlux(message) => (v1::RepositoryState::InFlux, message.as_str()),
        Health::Unreadable(message) => (v1::RepositoryState::Unreadable, message.as_str()),
        Health::Deleted => (v1::RepositoryState::Unspecified, "it was deleted"),
    };
    v1::Repository {
        id: hex16(entry.uid),
        path: String::from_utf8_lossy(path).into_owned(),
        root: entry.root.to_string_lossy().into_owned(),
        object_format: super::object_format(entry.format).into(),
        ref_format: ref_format(entry.storage).into(),
        state: state.into(),
        state_message: cut(message, limits::BROKEN_REASON_BYTES_MAX).to_owned(),
        watch_mode: match entry.watched {
            Watched::Notify => v1::WatchMode::Notify,
            Watched::Poll => v1::WatchMode::Poll,
        }
        .into(),
        bare: entry.bareness == Bareness::Bare,
        last_observed_us: entry.last_observed_us,
        ref_count,
    }
}

/// A repository that only the store knows: nobody follows it.
pub(crate) fn repository_of_row(row: &RepositoryRow, path: &[u8]) -> v1::Repository {
    v1::Repository {
        id: hex16(row.uid),
        path: String::from_utf8_lossy(path).into_owned(),
        root: String::from_utf8_lossy(&row.root).into_owned(),
        object_format: super::object_format(row.object_format).into(),
        ref_format: ref_format(row.ref_storage).into(),
        bare: row.bareness == Bareness::Bare,
        ref_count: Some(row.ref_count),
        ..v1::Repository::default()
    }
}

const fn ref_format(storage: RefStorage) -> v1::RefFormat {
    match storage {
        RefStorage::Files => v1::RefFormat::Files,
        RefStorage::Reftable => v1::RefFormat::Reftable,
    }
}

/// A ref and its value.
pub(crate) fn snapshot_ref(
    repository_id: &str,
    format: ObjectFormat,
    name: &RefName,
    state: &RefState,
    peeled: Option<&ObjectId>,
) -> v1::Ref {
    let target = state.target();
    let symbolic = target.and_then(Target::symbolic);
    v1::Ref {
        repository_id: repository_id.to_owned(),
        name: name.to_text().into_owned(),
        name_bytes: unless_utf8(name),
        oid: target.and_then(Target::oid).map_or_else(|| format.zero_hex().to_owned(), |oid| oid.to_hex()),
        symbolic_target: symbolic.map(|name| name.to_text().into_owned()).unwrap_or_default(),
        peeled_oid: peeled.map(ObjectId::to_hex).unwrap_or_default(),
        broken: state.is_broken().then(|| v1::BrokenRef { reason: BROKEN.to_owned() }),
        symbolic_target_bytes: symbolic.map(unless_utf8).unwrap_or_default(),
        ref_namespace: super::namespace(Namespace::of(name)).into(),
    }
}

fn unless_utf8(name: &RefName) -> Vec<u8> {
    match std::str::from_utf8(name.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(_) => name.as_bytes().to_vec(),
    }
}
