//! What a caller may know of: the repositories of its token.

use std::sync::Arc;

use refwatch_core::EventType;
use refwatch_store::Logged;

use super::globs::{Budget, Globs};
use crate::status::Failure;

/// The repositories that a caller may know of: all, or those whose paths its globs match.
///
/// Unlike a filter, which the client chooses, it holds in every call. Two views are equal where their globs are the
/// same.
#[derive(Clone, Debug, Default)]
pub(crate) struct View(Option<Arc<Limits>>);

#[derive(Debug)]
struct Limits {
    text: Vec<String>,
    globs: Globs,
}

/// What is seen of an event that happened.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Nothing.
    Nothing,
    /// The event.
    Event,
    /// This one in its place, of the repository under this path: it came into view, or went out of it.
    Instead(Box<(Logged, Box<[u8]>)>),
}

impl View {
    /// A view of the repositories that any of the globs match; of all where there are none.
    ///
    /// # Errors
    /// [`Failure`] that names the glob as `repository[n]`.
    pub(crate) fn of(globs: Vec<String>) -> Result<Self, Failure> {
        let compiled = Globs::compile("repository", &globs, &mut Budget::default())?;
        Ok(Self(compiled.map(|compiled| Arc::new(Limits { text: globs, globs: compiled }))))
    }

    /// True where not every repository is in view.
    pub(crate) fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// True for a repository at this path, relative to its root, that is in view.
    pub(crate) fn shows(&self, path: &[u8]) -> bool {
        self.0.as_ref().is_none_or(|limits| limits.globs.match_bytes(path))
    }

    /// What is seen of an event of a repository that was called so when it happened.
    ///
    /// A move out of view is a deletion and a move into it a discovery: neither may tell the path on the other side.
    pub(super) fn sees(&self, logged: &Logged, path: &[u8]) -> Seen {
        if !self.is_limited() {
            return Seen::Event;
        }
        let shown = self.shows(path);
        let previous = logged.event.extra.as_deref().and_then(|extra| extra.previous.as_deref());
        match previous {
            Some(previous) if self.shows(previous) != shown => {
                let (kind, path) = if shown {
                    (EventType::RepositoryDiscovered, path)
                } else {
                    (EventType::RepositoryDeleted, previous)
                };
                let mut instead = logged.clone();
                instead.event.kind = kind;
                if let Some(extra) = &mut instead.event.extra {
                    extra.previous = None;
                }
                Seen::Instead(Box::new((instead, path.into())))
            }
            Some(_) | None if shown => Seen::Event,
            Some(_) | None => Seen::Nothing,
        }
    }
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        let text = |view: &Self| view.0.as_ref().map(|limits| limits.text.clone());
        text(self) == text(other)
    }
}

impl Eq for View {}
