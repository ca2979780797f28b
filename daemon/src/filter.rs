//! What a subscriber wants to see: `EventFilter`, compiled once a request.

mod globs;
mod refs;
mod repositories;
mod view;

use refwatch_core::{Namespace, RefName};
use refwatch_proto::{limits, v1};
use refwatch_store::Logged;

use crate::status::Failure;

pub(crate) use globs::Budget;
pub(crate) use refs::Refs;
pub(crate) use repositories::{Repositories, parse_ids};
pub(crate) use view::{Seen, View};

/// Which events are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    repositories: Repositories,
    refs: Refs,
    types: Option<Types>,
    view: View,
    summary: String,
}

/// Types that are wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Types {
    /// By the bits of their numbers.
    named: u128,
    /// Every event that changes a ref.
    every_change: bool,
}

impl Filter {
    /// Compiles the field `filter` of a request, for a caller with this view.
    ///
    /// # Errors
    /// [`Failure`] that names the field, such as `filter.ref_include_globs[2]`.
    pub(crate) fn compile(filter: Option<&v1::EventFilter>, view: View) -> Result<Self, Failure> {
        let default = v1::EventFilter::default();
        let filter = filter.unwrap_or(&default);
        let mut budget = Budget::default();
        Ok(Self {
            repositories: Repositories::compile(
                "filter.",
                &filter.repository_ids,
                &filter.repository_globs,
                &mut budget,
            )?,
            refs: Refs::compile(
                "filter.",
                &filter.ref_include_globs,
                &filter.ref_exclude_globs,
                &filter.namespaces,
                filter.include_internal,
                &mut budget,
            )?,
            types: types(&filter.types)?,
            view,
            summary: summary(filter),
        })
    }

    /// What is to be told of an event of the repository with this id, called so when it happened.
    pub(crate) fn look(&self, logged: &Logged, uid: u64, path: &[u8]) -> Seen {
        let seen = self.view.sees(logged, path);
        let wanted = match &seen {
            Seen::Nothing => false,
            Seen::Event => self.passes(logged, uid, path),
            Seen::Instead(instead) => self.passes(&instead.0, uid, &instead.1),
        };
        if wanted { seen } else { Seen::Nothing }
    }

    /// True for an event that is wanted, whoever asks.
    fn passes(&self, logged: &Logged, uid: u64, path: &[u8]) -> bool {
        self.passes_type(logged)
            && logged.event.name.as_ref().is_none_or(|name| self.refs.pass(name))
            && (self.repositories.pass(uid, path) || self.passes_path_before(logged, uid))
    }

    /// True for a move from a path that is wanted: whoever follows the repository there must know that it went.
    pub(crate) fn passes_path_before(&self, logged: &Logged, uid: u64) -> bool {
        let previous = logged.event.extra.as_deref().and_then(|extra| extra.previous.as_deref());
        previous.is_some_and(|previous| self.repositories.pass(uid, previous))
    }

    /// True for a repository that is in view, and whose events may be wanted.
    pub(crate) fn passes_repository(&self, uid: u64, path: &[u8]) -> bool {
        self.view.shows(path) && self.repositories.pass(uid, path)
    }

    /// True for a ref whose events may be wanted.
    pub(crate) fn passes_ref(&self, name: &RefName) -> bool {
        self.refs.pass(name)
    }

    /// True where all is in view and wanted but the internal namespaces: what most subscribers ask for.
    pub(crate) fn only_hides_internal(&self) -> bool {
        !self.view.is_limited()
            && self.types.is_none()
            && self.repositories.are_all()
            && self.refs.are_all_but_internal()
    }

    /// In a few words, for the status page.
    pub(crate) fn summary(&self) -> &str {
        &self.summary
    }

    fn passes_type(&self, logged: &Logged) -> bool {
        self.types.is_none_or(|types| {
            types.named & 1 << logged.event.kind.code() != 0
                || types.every_change && logged.event.change.is_some()
        })
    }
}

fn types(types: &[i32]) -> Result<Option<Types>, Failure> {
    bounded_list("filter.types", types.len())?;
    let mut wanted = Types::default();
    for (index, number) in types.iter().enumerate() {
        let invalid = || unknown_number(format!("filter.types[{index}]"), *number);
        match v1::GitEventType::try_from(*number) {
            Ok(v1::GitEventType::RefUpdated) => wanted.every_change = true,
            Ok(v1::GitEventType::Unspecified) | Err(_) => return Err(invalid()),
            Ok(_) => wanted.named |= 1 << u32::try_from(*number).map_err(|_| invalid())?,
        }
    }
    Ok((!types.is_empty()).then_some(wanted))
}

/// The namespace of a number on the wire.
fn namespace(number: i32) -> Option<Namespace> {
    const ALL: [Namespace; 10] = [
        Namespace::Head,
        Namespace::Branch,
        Namespace::Tag,
        Namespace::Notes,
        Namespace::Replace,
        Namespace::Remote,
        Namespace::ChangeRequest,
        Namespace::Worktree,
        Namespace::Internal,
        Namespace::Custom,
    ];
    ALL.into_iter().find(|namespace| i32::from(crate::wire::namespace(*namespace)) == number)
}

fn bounded_list(field: &str, len: usize) -> Result<(), Failure> {
    Failure::bounds(field, len as u64, 0, u64::from(limits::FILTER_ENUMS_MAX))
}

fn unknown_number(field: String, number: i32) -> Failure {
    Failure::Invalid {
        field,
        value: number.to_string(),
        detail: "is not one of the values that this server knows".to_owned(),
    }
}

/// The filter in a few words.
fn summary(filter: &v1::EventFilter) -> String {
    let mut words = Vec::new();
    let mut list = |name: &str, values: Vec<String>| {
        const SHOWN: usize = 3;
        if !values.is_empty() {
            let more = values.len().saturating_sub(SHOWN);
            let shown = values.iter().take(SHOWN).map(|value| crate::wire::cut(value, 64));
            let mut word = format!("{name} {}", shown.collect::<Vec<_>>().join(" "));
            if more > 0 {
                word.push_str(&format!(" and {more} more"));
            }
            words.push(word);
        }
    };
    list("repositories", [filter.repository_ids.as_slice(), &filter.repository_globs].concat());
    list("refs", filter.ref_include_globs.clone());
    list("without", filter.ref_exclude_globs.clone());
    let types = filter.types.iter().filter_map(|number| v1::GitEventType::try_from(*number).ok());
    list("types", types.map(|kind| kind.short_name().to_owned()).collect());
    let namespaces = filter.namespaces.iter().filter_map(|number| v1::RefNamespace::try_from(*number).ok());
    list("namespaces", namespaces.map(|namespace| namespace.short_name().to_owned()).collect());
    if filter.include_internal {
        words.push("internal too".to_owned());
    }
    if words.is_empty() { "everything".to_owned() } else { words.join("; ") }
}

#[cfg(test)]
mod tests;
