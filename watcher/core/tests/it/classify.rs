//! What an event is called: every namespace, change, relation and kind of repository.

use refwatch_core::EventType as T;
use refwatch_core::classify::{Bareness, Namespace, classify};
use refwatch_core::{Forward, RefChange, Target};

use crate::given::{direct, name};

/// A name, its namespace, and what its creation, update, forced update and deletion are called.
const TABLE: [(&str, Namespace, [T; 4]); 32] = {
    const BRANCH: [T; 4] = [T::BranchCreated, T::BranchUpdated, T::BranchForcePushed, T::BranchDeleted];
    const TAG: [T; 4] = [T::TagCreated, T::TagMoved, T::TagMoved, T::TagDeleted];
    const CHANGE: [T; 4] = [T::ChangeRequestRefUpdated; 4];
    const CUSTOM: [T; 4] = [T::CustomRefUpdated; 4];
    [
        ("HEAD", Namespace::Head, CUSTOM),
        ("refs/heads/main", Namespace::Branch, BRANCH),
        ("refs/heads/feature/deep/y", Namespace::Branch, BRANCH),
        ("refs/heads/refs/tags/v1", Namespace::Branch, BRANCH),
        ("refs/heads", Namespace::Custom, CUSTOM),
        ("refs/headsman/x", Namespace::Custom, CUSTOM),
        ("refs/tags/v1", Namespace::Tag, TAG),
        ("refs/tags/a/b", Namespace::Tag, TAG),
        ("refs/notes/commits", Namespace::Notes, [T::NotesUpdated; 4]),
        ("refs/replace/0123", Namespace::Replace, [T::ReplaceRefUpdated; 4]),
        ("refs/pull/1/head", Namespace::ChangeRequest, CHANGE),
        ("refs/merge-requests/1/head", Namespace::ChangeRequest, CHANGE),
        ("refs/changes/01/1/1", Namespace::ChangeRequest, CHANGE),
        ("refs/remotes/origin/main", Namespace::Remote, CUSTOM),
        ("refs/bisect/bad", Namespace::Worktree, CUSTOM),
        ("refs/worktree/x", Namespace::Worktree, CUSTOM),
        ("refs/rewritten/x", Namespace::Worktree, CUSTOM),
        ("worktrees/w1/HEAD", Namespace::Worktree, CUSTOM),
        ("worktrees/w1/refs/bisect/bad", Namespace::Worktree, CUSTOM),
        ("refs/keep-around/0123", Namespace::Internal, CUSTOM),
        ("refs/environments/prod", Namespace::Internal, CUSTOM),
        ("refs/pipelines/1", Namespace::Internal, CUSTOM),
        ("refs/tmp/x", Namespace::Internal, CUSTOM),
        ("refs/prefetch/remotes/origin/main", Namespace::Internal, CUSTOM),
        ("refs/__gh__/x", Namespace::Internal, CUSTOM),
        ("refs/cache-automerge/01/0123", Namespace::Internal, CUSTOM),
        ("refs/internal/x", Namespace::Internal, CUSTOM),
        ("refs/starred-changes/01/1/1", Namespace::Internal, CUSTOM),
        ("refs/stash", Namespace::Custom, CUSTOM),
        ("refs/for/main", Namespace::Custom, CUSTOM),
        ("refs/meta/config", Namespace::Custom, CUSTOM),
        ("refs/pullover/1", Namespace::Custom, CUSTOM),
    ]
};

#[test]
fn every_change_of_an_object_is_called_as_the_table_says() {
    for (text, namespace, [created, updated, forced, deleted]) in TABLE {
        let of = name(text);
        assert_eq!(Namespace::of(&of), namespace, "{text}");
        for bareness in [Bareness::Bare, Bareness::Worktree] {
            for forward in Forward::ALL.iter().copied() {
                let moved = match forward {
                    Forward::Forced | Forward::Unrelated => forced,
                    Forward::FastForward | Forward::Unknown => updated,
                };
                for (old, new, change, expected) in [
                    (0, 1, RefChange::Created, created),
                    (1, 2, RefChange::Updated, moved),
                    (1, 0, RefChange::Deleted, deleted),
                ] {
                    let bare_head = namespace == Namespace::Head && bareness == Bareness::Bare;
                    let expected = if bare_head { T::DefaultBranchChanged } else { expected };
                    let (old, new) = (direct(old), direct(new));
                    let kind = classify(bareness, &of, old.as_ref(), new.as_ref(), change, forward);
                    assert_eq!(kind, expected, "{text} {change:?} {forward:?} {bareness:?}");
                }
            }
        }
    }
}

#[test]
fn every_change_to_or_from_a_symbolic_target_is_one_of_a_symbolic_ref() {
    let link = |text| Some(Target::Symbolic(name(text)));
    let sides = [
        (None, link("refs/heads/x"), RefChange::Created),
        (link("refs/heads/x"), link("refs/heads/y"), RefChange::Updated),
        (link("refs/heads/x"), direct(1), RefChange::Updated),
        (direct(1), link("refs/heads/x"), RefChange::Updated),
        (link("refs/heads/x"), None, RefChange::Deleted),
    ];
    for (text, namespace, _) in TABLE {
        for (old, new, change) in &sides {
            for bareness in [Bareness::Bare, Bareness::Worktree] {
                for forward in Forward::ALL.iter().copied() {
                    let kind = classify(bareness, &name(text), old.as_ref(), new.as_ref(), *change, forward);
                    let bare_head = namespace == Namespace::Head && bareness == Bareness::Bare;
                    let expected = if bare_head { T::DefaultBranchChanged } else { T::SymbolicRefUpdated };
                    assert_eq!(kind, expected, "{text} {change:?} {bareness:?}");
                }
            }
        }
    }
}
