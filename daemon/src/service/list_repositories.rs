//! ListRepositories.

use std::sync::Arc;

use refwatch_proto::{limits, v1};

use super::token;
use crate::directory::{Entry, Health};
use crate::filter::Repositories;
use crate::log::{Log, read_in_turn};
use crate::status::Failure;
use crate::wire;

const METHOD: &str = "ListRepositories";

pub(super) async fn list(
    log: &Arc<Log>,
    mut request: v1::ListRepositoriesRequest,
) -> Result<v1::ListRepositoriesResponse, Failure> {
    let page_size = Failure::or_default(
        "page_size",
        std::mem::take(&mut request.page_size),
        limits::PAGE_SIZE_DEFAULT,
        1,
        limits::PAGE_SIZE_MAX,
    )?;
    let wanted = Repositories::compile("", &request.repository_ids, &request.repository_globs)?;
    let page_token = std::mem::take(&mut request.page_token);
    let fingerprint = token::fingerprint(log.identity(), METHOD, &request);
    let after = match page_token.as_str() {
        "" => None,
        text => {
            let state = token::open(fingerprint, text, limits::PAGE_TOKEN_BYTES_MAX)?;
            Some(token::number(&mut state.as_slice())?)
        }
    };
    let mut entries = log.directory().all();
    entries.retain(|entry| {
        entry.health != Health::Deleted
            && after.is_none_or(|after| entry.uid > after)
            && wanted.pass(entry.uid, &entry.path)
    });
    entries.sort_by_key(|entry| entry.uid);
    let more = entries.len() > page_size as usize;
    entries.truncate(page_size as usize);
    let next = entries.last().filter(|_| more).map(|last| token::seal(fingerprint, &last.uid.to_be_bytes()));
    let repositories = read_in_turn(Arc::clone(log), move |log| describe(log, &entries)).await?;
    Ok(v1::ListRepositoriesResponse { repositories, next_page_token: next.unwrap_or_default() })
}

/// The repositories, with the number of refs that the store counts.
fn describe(log: &Log, entries: &[Arc<Entry>]) -> Result<Vec<v1::Repository>, Failure> {
    let failed = |error| Failure::of_read(error, 0, log.identity());
    let reader = log.store().read().map_err(failed)?;
    let describe = |entry: &Arc<Entry>| {
        let row = reader.repository(entry.key).map_err(failed)?;
        Ok(wire::repository(entry, &entry.path, row.map(|row| row.ref_count)))
    };
    entries.iter().map(describe).collect()
}
