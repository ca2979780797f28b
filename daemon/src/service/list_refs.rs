//! ListRefs: all pages show the refs at the same position.

use std::sync::Arc;

use prost::Message as _;
use refwatch_core::RefName;
use refwatch_proto::{limits, v1};
use refwatch_store::{ReadError, Reader, RepositoryRow};

use super::token;
use crate::filter::{Budget, Refs, Repositories, View};
use crate::log::{Log, read_in_turn};
use crate::status::Failure;
use crate::subscriptions::alive_at;
use crate::wire;

const METHOD: &str = "ListRefs";
/// Refs looked at for one page; a page of a narrow filter may so hold none and yet have a next one.
const SCAN_REFS: usize = 50_000;
/// Fewest and most refs read in one go.
const READ_REFS: (usize, usize) = (100, 1_000);
/// Largest page, in encoded bytes, but for what the response holds besides refs.
const PAGE_BYTES_MAX: usize = limits::BATCH_BYTES_MAX as usize - 64 * 1024;

/// Where a page goes on.
#[derive(Debug)]
struct Resume {
    /// Position that all pages show.
    sequence: u64,
    /// Repository to go on with, or the first after it.
    uid: u64,
    /// Last ref of it that is listed already.
    after: Option<RefName>,
}

/// What a request wants.
struct Wanted {
    view: View,
    repositories: Repositories,
    refs: Refs,
    page_size: usize,
    fingerprint: u64,
}

pub(super) async fn list(
    log: &Arc<Log>,
    view: View,
    mut request: v1::ListRefsRequest,
) -> Result<v1::ListRefsResponse, Failure> {
    let page_size = Failure::or_default(
        "page_size",
        std::mem::take(&mut request.page_size),
        limits::REF_PAGE_SIZE_DEFAULT,
        1,
        limits::REF_PAGE_SIZE_MAX,
    )?;
    let page_token = std::mem::take(&mut request.page_token);
    let mut budget = Budget::default();
    let wanted = Wanted {
        view,
        repositories: Repositories::compile(
            "",
            &request.repository_ids,
            &request.repository_globs,
            &mut budget,
        )?,
        refs: Refs::compile(
            "",
            &request.ref_include_globs,
            &request.ref_exclude_globs,
            &[],
            request.include_internal,
            &mut budget,
        )?,
        page_size: page_size as usize,
        fingerprint: token::fingerprint(log.identity(), METHOD, &request),
    };
    let from = match page_token.as_str() {
        "" => None,
        text => Some(Resume::open(wanted.fingerprint, text)?),
    };
    log.baseline_over().await?;
    read_in_turn(Arc::clone(log), move |log| page(log, &wanted, from)).await
}

fn page(log: &Log, wanted: &Wanted, from: Option<Resume>) -> Result<v1::ListRefsResponse, Failure> {
    let sequence = from.as_ref().map(|from| from.sequence);
    let failed = |error| {
        if matches!(error, ReadError::Expired { .. }) {
            Failure::PageToken { detail: "the refs that the first page showed are retained no more" }
        } else {
            Failure::of_read(error, sequence.unwrap_or_default(), log.identity())
        }
    };
    let reader = log.store().read().map_err(failed)?;
    let bounds = reader.bounds();
    let from = from.unwrap_or(Resume { sequence: bounds.last, uid: 0, after: None });
    if from.sequence + 1 < bounds.floor {
        return Err(failed(ReadError::Expired { floor: bounds.floor }));
    }
    let mut repositories = reader.repositories().map_err(failed)?;
    repositories.retain(|row| {
        let path = log.directory().get(row.key).map(|entry| entry.path.clone());
        let path = path.as_deref().unwrap_or(&row.path);
        row.uid >= from.uid
            && alive_at(row, from.sequence)
            && wanted.view.shows(path)
            && wanted.repositories.pass(row.uid, path)
    });
    repositories.sort_by_key(|row| row.uid);
    let mut page = Page::default();
    let mut next = None;
    for row in &repositories {
        let after = from.after.as_ref().filter(|_| row.uid == from.uid);
        next = page.take(&reader, row, from.sequence, after, wanted).map_err(failed)?;
        if next.is_some() {
            break;
        }
    }
    Ok(v1::ListRefsResponse {
        refs: page.refs,
        next_page_token: next.map(|next: Resume| next.seal(wanted.fingerprint)).unwrap_or_default(),
        cursor: log.encoder().cursor(from.sequence),
    })
}

#[derive(Default)]
struct Page {
    refs: Vec<v1::Ref>,
    bytes: usize,
    scanned: usize,
}

impl Page {
    /// Takes the refs of a repository, as many as fit; gives back where the next page begins, if they do not all.
    fn take(
        &mut self,
        reader: &Reader<'_>,
        row: &RepositoryRow,
        sequence: u64,
        after: Option<&RefName>,
        wanted: &Wanted,
    ) -> Result<Option<Resume>, ReadError> {
        let id = wire::hex16(row.uid);
        let mut last = after.cloned();
        loop {
            let read = reader.refs_page_at(
                sequence,
                row.key,
                last.as_ref(),
                wanted.page_size.clamp(READ_REFS.0, READ_REFS.1),
            )?;
            for (name, state, peeled) in read.refs {
                if self.scanned >= SCAN_REFS {
                    return Ok(Some(Resume { sequence, uid: row.uid, after: last }));
                }
                if wanted.refs.pass(&name) {
                    let item = wire::snapshot_ref(&id, row.object_format, &name, &state, peeled.as_ref());
                    let bytes = self.bytes + item.encoded_len() + 8;
                    let room = self.refs.is_empty() || bytes <= PAGE_BYTES_MAX;
                    if self.refs.len() >= wanted.page_size || !room {
                        return Ok(Some(Resume { sequence, uid: row.uid, after: last }));
                    }
                    self.bytes = bytes;
                    self.refs.push(item);
                }
                self.scanned += 1;
                last = Some(name);
            }
            match read.next {
                Some(next) => last = Some(next),
                None => return Ok(None),
            }
        }
    }
}

impl Resume {
    fn seal(&self, fingerprint: u64) -> String {
        let name = self.after.as_ref().map(RefName::as_bytes).unwrap_or_default();
        let state = [&self.sequence.to_be_bytes(), &self.uid.to_be_bytes(), name].concat();
        token::seal(fingerprint, &state)
    }

    fn open(fingerprint: u64, text: &str) -> Result<Self, Failure> {
        let state = token::open(fingerprint, text, limits::REF_PAGE_TOKEN_BYTES_MAX)?;
        let mut state = state.as_slice();
        let sequence = token::number(&mut state)?;
        let uid = token::number(&mut state)?;
        let after = match state {
            [] => None,
            name => Some(RefName::new(name).map_err(|_| token::malformed())?),
        };
        Ok(Self { sequence, uid, after })
    }
}
