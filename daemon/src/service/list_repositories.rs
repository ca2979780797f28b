//! ListRepositories.

use std::sync::Arc;

use prost::Message as _;
use refwatch_proto::{limits, v1};

use super::token;
use crate::directory::{Entry, Health};
use crate::filter::{Budget, Repositories, View};
use crate::log::{Log, read_in_turn};
use crate::status::Failure;
use crate::wire;

const METHOD: &str = "ListRepositories";
/// Largest page, in encoded bytes, but for what the response holds besides repositories.
const PAGE_BYTES_MAX: usize = limits::BATCH_BYTES_MAX as usize - 1024;
/// What a repository takes besides its own encoding: tag and length.
const ITEM_BYTES: usize = 6;

pub(super) async fn list(
    log: &Arc<Log>,
    view: &View,
    mut request: v1::ListRepositoriesRequest,
) -> Result<v1::ListRepositoriesResponse, Failure> {
    let page_size = Failure::or_default(
        "page_size",
        std::mem::take(&mut request.page_size),
        limits::PAGE_SIZE_DEFAULT,
        1,
        limits::PAGE_SIZE_MAX,
    )?;
    let wanted = Repositories::compile(
        "",
        &request.repository_ids,
        &request.repository_globs,
        &mut Budget::default(),
    )?;
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
            && view.shows(&entry.path)
            && wanted.pass(entry.uid, &entry.path)
    });
    entries.sort_by_key(|entry| entry.uid);
    let page = read_in_turn(Arc::clone(log), move |log| describe(log, &entries, page_size as usize)).await?;
    let next = page.next_after.map(|uid| token::seal(fingerprint, &uid.to_be_bytes()));
    Ok(v1::ListRepositoriesResponse {
        repositories: page.repositories,
        next_page_token: next.unwrap_or_default(),
    })
}

struct Page {
    repositories: Vec<v1::Repository>,
    /// The last repository of the page, where more follow.
    next_after: Option<u64>,
}

/// The first of the repositories that fit into a page, with the number of refs that the store counts.
fn describe(log: &Log, entries: &[Arc<Entry>], page_size: usize) -> Result<Page, Failure> {
    let failed = |error| Failure::of_read(error, 0, log.identity());
    let reader = log.store().read().map_err(failed)?;
    let mut repositories = Vec::with_capacity(entries.len().min(page_size));
    let mut bytes = 0;
    for entry in entries.iter().take(page_size) {
        let row = reader.repository(entry.key).map_err(failed)?;
        let repository = wire::repository(entry, &entry.path, row.map(|row| row.ref_count));
        bytes += repository.encoded_len() + ITEM_BYTES;
        if bytes > PAGE_BYTES_MAX && !repositories.is_empty() {
            break;
        }
        repositories.push(repository);
    }
    let (shown, more) = (repositories.len(), repositories.len() < entries.len());
    let next_after = shown.checked_sub(1).filter(|_| more).map(|last| entries[last].uid);
    Ok(Page { repositories, next_after })
}
