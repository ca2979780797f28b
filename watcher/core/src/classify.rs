//! What an event is called: a pure function of a ref's name, its change, and how the commits relate.

use crate::{EventType, Forward, RefChange, RefName, Target};

/// The part of the ref name space that a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Namespace {
    /// The repository's own `HEAD`.
    Head,
    /// `refs/heads/`.
    Branch,
    /// `refs/tags/`.
    Tag,
    /// `refs/notes/`.
    Notes,
    /// `refs/replace/`.
    Replace,
    /// `refs/remotes/`.
    Remote,
    /// `refs/pull/`, `refs/merge-requests/`, `refs/changes/`.
    ChangeRequest,
    /// `HEAD` or a ref of a linked worktree, and the per-worktree `refs/bisect/`, `refs/worktree/`, `refs/rewritten/`.
    Worktree,
    /// What Git hosts keep for themselves: `refs/keep-around/` and the like.
    Internal,
    /// Anything else.
    Custom,
}

/// Prefixes that Git hosts (GitLab, Gitea, Gerrit, GitHub) and Git itself use for their own bookkeeping.
const INTERNAL: [&[u8]; 9] = [
    b"refs/keep-around/",
    b"refs/environments/",
    b"refs/pipelines/",
    b"refs/tmp/",
    b"refs/prefetch/",
    b"refs/__gh__/",
    b"refs/cache-automerge/",
    b"refs/internal/",
    b"refs/starred-changes/",
];

impl Namespace {
    /// The namespace of a name.
    pub fn of(name: &RefName) -> Self {
        let bytes = name.as_bytes();
        let starts = |prefix: &[u8]| bytes.starts_with(prefix);
        if name.is_head() {
            Namespace::Head
        } else if starts(b"refs/heads/") {
            Namespace::Branch
        } else if starts(b"refs/tags/") {
            Namespace::Tag
        } else if starts(b"refs/notes/") {
            Namespace::Notes
        } else if starts(b"refs/replace/") {
            Namespace::Replace
        } else if starts(b"refs/remotes/") {
            Namespace::Remote
        } else if starts(b"refs/pull/") || starts(b"refs/merge-requests/") || starts(b"refs/changes/") {
            Namespace::ChangeRequest
        } else if starts(b"worktrees/")
            || starts(b"refs/bisect/")
            || starts(b"refs/worktree/")
            || starts(b"refs/rewritten/")
        {
            Namespace::Worktree
        } else if INTERNAL.iter().any(|prefix| starts(prefix)) {
            Namespace::Internal
        } else {
            Namespace::Custom
        }
    }
}

/// Whether a repository has a working tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bareness {
    /// It has none: HEAD names the default branch.
    Bare,
    /// It has one: HEAD is what is checked out.
    Worktree,
}

/// The type of a change of one ref's value.
pub fn classify(
    bareness: Bareness,
    name: &RefName,
    old: Option<&Target>,
    new: Option<&Target>,
    change: RefChange,
    forward: Forward,
) -> EventType {
    let namespace = Namespace::of(name);
    if namespace == Namespace::Head && bareness == Bareness::Bare {
        return EventType::DefaultBranchChanged;
    }
    let symbolic = |target: Option<&Target>| target.is_some_and(|target| target.symbolic().is_some());
    if symbolic(old) || symbolic(new) {
        return EventType::SymbolicRefUpdated;
    }
    match namespace {
        Namespace::Branch => match (change, forward) {
            (RefChange::Created, _) => EventType::BranchCreated,
            (RefChange::Deleted, _) => EventType::BranchDeleted,
            (RefChange::Updated, Forward::Forced | Forward::Unrelated) => EventType::BranchForcePushed,
            (RefChange::Updated, Forward::FastForward | Forward::Unknown) => EventType::BranchUpdated,
        },
        Namespace::Tag => match change {
            RefChange::Created => EventType::TagCreated,
            RefChange::Updated => EventType::TagMoved,
            RefChange::Deleted => EventType::TagDeleted,
        },
        Namespace::Notes => EventType::NotesUpdated,
        Namespace::Replace => EventType::ReplaceRefUpdated,
        Namespace::ChangeRequest => EventType::ChangeRequestRefUpdated,
        Namespace::Head
        | Namespace::Remote
        | Namespace::Worktree
        | Namespace::Internal
        | Namespace::Custom => EventType::CustomRefUpdated,
    }
}
