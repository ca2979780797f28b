//! The repository that a report is about.

use std::path::{Component, Path};
use std::sync::Arc;

use refwatch_proto::limits;
use refwatch_proto::v1::RejectionReport;
use refwatch_proto::v1::rejection_report::Repository;
use refwatch_store::RepositoryKey;

use super::Inner;
use crate::directory::{Entry, Health};
use crate::filter::View;
use crate::intake::Standing;
use crate::status::Failure;
use crate::wire::from_hex16;

/// The one repository that all reports are about. The first of them names it in `fields[0]`.
///
/// # Errors
/// [`Failure`] for a report that names none, one that is not known or not in view, or another than the first.
pub(super) fn of_all(
    inner: &Inner,
    view: &View,
    fields: &[String],
    reports: &[RejectionReport],
) -> Result<Arc<Entry>, Failure> {
    let (first_field, first) = (&fields[0], &reports[0]);
    let key = key_of(inner, view, first_field, first)?;
    for (field, report) in fields.iter().zip(reports).skip(1) {
        if report.repository != first.repository && key_of(inner, view, field, report)? != key {
            return Err(Failure::Invalid {
                field: field_of(field, report),
                value: value_of(report),
                detail: format!(
                    "is another repository than that of {first_field}: report it in a call of its own"
                ),
            });
        }
    }
    inner.log.directory().get(key).ok_or_else(|| not_found(first_field, first))
}

/// It is not followed.
pub(super) fn not_found(field: &str, report: &RejectionReport) -> Failure {
    Failure::RepositoryNotFound { field: field_of(field, report), value: value_of(report) }
}

/// It was found, and the log does not know it yet.
pub(super) fn not_read(field: &str, report: &RejectionReport) -> Failure {
    Failure::NotRead { field: field_of(field, report), value: value_of(report) }
}

fn key_of(
    inner: &Inner,
    view: &View,
    field: &str,
    report: &RejectionReport,
) -> Result<RepositoryKey, Failure> {
    // What is out of view is not known, whatever the roots hold.
    let shown = |key: &RepositoryKey| {
        !view.is_limited() || inner.log.directory().get(*key).is_some_and(|entry| view.shows(&entry.path))
    };
    let key = match &report.repository {
        None => None,
        Some(Repository::RepositoryId(id)) => {
            let uid = from_hex16(id).ok_or_else(|| {
                invalid(
                    field,
                    report,
                    "is no repository id: those are 16 lower-case hexadecimal digits, as ListRepositories gives them",
                )
            })?;
            let entry = inner.log.directory().by_uid(uid);
            Some(entry.filter(|entry| entry.health != Health::Deleted).map(|entry| entry.key))
        }
        Some(Repository::RepositoryPath(path)) => {
            let at = field_of(field, report);
            Failure::bounds(&at, path.len() as u64, 1, limits::NAME_BYTES_MAX as u64)?;
            let path = Path::new(path);
            if path.components().any(|part| part == Component::ParentDir) {
                return Err(invalid(field, report, "has a .. in it"));
            }
            let mut found = inner.intake.find(path);
            found.retain(shown);
            match found.as_slice() {
                [] => Some(None),
                [key] => Some(Some(*key)),
                _ => return Err(invalid(field, report, "is there below several roots: give it from / on")),
            }
        }
    };
    let key =
        key.ok_or_else(|| invalid(field, report, "is missing: give repository_id or repository_path"))?;
    let followed = key.filter(|key| shown(key) && inner.intake.standing(*key) != Standing::Unknown);
    followed.ok_or_else(|| not_found(field, report))
}

fn invalid(field: &str, report: &RejectionReport, detail: &str) -> Failure {
    Failure::Invalid { field: field_of(field, report), value: value_of(report), detail: detail.to_owned() }
}

fn field_of(field: &str, report: &RejectionReport) -> String {
    let name = match &report.repository {
        None => "repository",
        Some(Repository::RepositoryId(_)) => "repository_id",
        Some(Repository::RepositoryPath(_)) => "repository_path",
    };
    format!("{field}.{name}")
}

fn value_of(report: &RejectionReport) -> String {
    match &report.repository {
        None => String::new(),
        Some(Repository::RepositoryId(text) | Repository::RepositoryPath(text)) => text.clone(),
    }
}
