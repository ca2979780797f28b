//! Findings in words.

use refwatch_store::{Finding, RepositoryKey, RepositoryRow};

use crate::cli::escape::Escaped;

/// One line that says what does not hold.
pub(super) fn text(finding: &Finding, rows: &[RepositoryRow]) -> String {
    let path = |key: &RepositoryKey| path(*key, rows);
    match finding {
        Finding::Database { detail } => format!("database: {}", Escaped::text(detail)),
        Finding::Gap { first, last } => format!("log: events {first} to {last} are missing"),
        Finding::Undecodable { sequence, detail } => {
            format!("log: event {sequence} cannot be decoded: {}", Escaped::text(detail))
        }
        Finding::Transaction { sequence } => {
            format!("log: event {sequence} does not continue its transaction")
        }
        Finding::Time { sequence } => format!("log: event {sequence} is older than the one before it"),
        Finding::Chain { sequence, repository, name } => format!(
            "log: event {sequence} does not start where {} {} was",
            path(repository),
            Escaped::text(name)
        ),
        Finding::Current { repository, name, sequence } => {
            let name =
                name.as_deref().map_or_else(|| "a ref".to_owned(), |name| Escaped::text(name).to_string());
            let last = sequence.map(|sequence| format!(", event {sequence}")).unwrap_or_default();
            format!("refs: {} {name} is not what its last event{last} says", path(repository))
        }
        Finding::Ref { repository, name } => {
            format!("refs: {} {} cannot be decoded", path(repository), Escaped::text(name))
        }
        Finding::Repository { repository, detail } => {
            format!("repositories: {}: {}", path(repository), Escaped::text(detail))
        }
    }
}

fn path(key: RepositoryKey, rows: &[RepositoryRow]) -> String {
    rows.iter()
        .find(|row| row.key == key)
        .map_or_else(|| format!("repository {key}"), |row| Escaped::name("", &row.path).to_string())
}
