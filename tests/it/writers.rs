//! The same changes by every implementation of Git: the same events.

use std::collections::BTreeSet;

use refwatch_proto::v1::{GitEventType as Type, Origin, RefChange};
use refwatch_tests::{Library, Options, Repo, Variant, World};

use crate::stage::Stage;

/// Edits that are made in one call, and what is told of them.
type Step = (Vec<String>, Vec<(Type, RefChange, &'static str)>);

/// Every change of a ref that all of the libraries can make.
fn script(repo: &Repo) -> Vec<Step> {
    use RefChange::{Created, Deleted, Unspecified, Updated};
    let [one, two] = repo.history();
    let beside = repo.commit("beside", &[&one]);
    repo.git(&["tag", "-a", "-m", "m", "annotated", &two]);
    let tag = repo.git(&["rev-parse", "refs/tags/annotated"]);
    let edits = |edits: &[&str]| edits.iter().map(|edit| (*edit).to_owned()).collect::<Vec<_>>();
    let (main, next) = ("refs/heads/main", "refs/heads/next");
    let (alias, release) = ("refs/heads/alias", "refs/tags/v1.0.0");
    let set = |name: &str, oid: &str| vec![format!("{name}={oid}")];
    vec![
        (set(main, &one), vec![(Type::BranchCreated, Created, main)]),
        (set(main, &two), vec![(Type::BranchUpdated, Updated, main)]),
        (set(main, &beside), vec![(Type::BranchForcePushed, Updated, main)]),
        // The same value once more.
        (set(main, &beside), vec![]),
        (
            [set(next, &one), set("refs/heads/deep/er/one", &two), set("refs/notes/commits", &two)].concat(),
            vec![
                (Type::BranchCreated, Created, "refs/heads/deep/er/one"),
                (Type::BranchCreated, Created, next),
                (Type::NotesUpdated, Created, "refs/notes/commits"),
            ],
        ),
        (
            set(release, &tag),
            vec![(Type::ReleaseCreated, Unspecified, release), (Type::TagCreated, Created, release)],
        ),
        (set(release, &two), vec![(Type::TagMoved, Updated, release)]),
        (set("refs/pull/1/head", &two), vec![(Type::ChangeRequestRefUpdated, Created, "refs/pull/1/head")]),
        (edits(&["HEAD=ref:refs/heads/next"]), vec![(Type::DefaultBranchChanged, Updated, "HEAD")]),
        (edits(&["refs/heads/alias=ref:refs/heads/main"]), vec![(Type::SymbolicRefUpdated, Created, alias)]),
        (edits(&["refs/heads/alias=ref:refs/heads/next"]), vec![(Type::SymbolicRefUpdated, Updated, alias)]),
        (edits(&["refs/heads/alias=delete"]), vec![(Type::SymbolicRefUpdated, Deleted, alias)]),
        (edits(&["refs/tags/v1.0.0=delete"]), vec![(Type::TagDeleted, Deleted, release)]),
        (
            [set(main, &two), set(next, &two)].concat(),
            vec![(Type::BranchForcePushed, Updated, main), (Type::BranchUpdated, Updated, next)],
        ),
        (edits(&["refs/heads/main=delete"]), vec![(Type::BranchDeleted, Deleted, main)]),
        (
            edits(&["refs/heads/deep/er/one=delete", "refs/notes/commits=delete"]),
            vec![
                (Type::BranchDeleted, Deleted, "refs/heads/deep/er/one"),
                (Type::NotesUpdated, Deleted, "refs/notes/commits"),
            ],
        ),
    ]
}

/// Follows the script, in the midst of which everything is packed and the daemon is killed.
fn follow(library: Library, variant: Variant) {
    let what = format!("{library:?} {variant}");
    let world = World::new();
    let repo = world.repo_exactly("team/app.git", variant.flavour);
    let steps = script(&repo);
    if variant.has_hooks {
        repo.install_hooks();
    }
    let mode = if variant.polls { "poll" } else { "auto" };
    let options = Options::new(&world).set("watch.mode", mode).set("watch.poll_interval_ms", "50");
    let mut stage = Stage::over(options, world, repo);
    let middle = steps.len() / 2;
    for (number, (edits, expected)) in steps.into_iter().enumerate() {
        if number == middle {
            stage.repo.git(&["pack-refs", "--all"]);
            stage.daemon.kill9();
            stage.daemon.restart();
            stage.client = stage.daemon.client();
            stage.recorder.resume(&stage.client);
        }
        let output = library.edit(&stage.repo, &edits);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what} {edits:?}: {said}");
        let events = stage.events();
        let mut told: Vec<_> =
            events.iter().map(|event| (event.r#type(), event.change(), &*event.ref_name)).collect();
        // Which ref of a transaction comes first is a matter of the library.
        told.sort_by_key(|(kind, _, name)| (kind.as_str_name(), *name));
        assert_eq!(told, expected, "{what} {edits:?}");
        if library.has_transactions() {
            let ids = events.iter().filter_map(|event| event.transaction.as_ref()).map(|of| &of.id);
            let ids: BTreeSet<_> = ids.collect();
            assert!(ids.len() < 2, "{what} {edits:?}: one transaction: {events:#?}");
        }
        if variant.has_hooks && library == Library::Git {
            assert!(
                events.iter().all(|event| event.origin() == Origin::Hook),
                "{what} {edits:?}: {events:#?}"
            );
        }
    }
    stage.validate();
}

/// By notifications and by polling, in repositories of all formats that the library writes.
fn everywhere(library: Library) {
    if library.program().is_none() {
        println!("not tested: {library:?} is not there");
        return;
    }
    for variant in Variant::all().into_iter().filter(|variant| !variant.has_hooks) {
        if library.writes(variant.flavour) {
            follow(library, variant);
        }
    }
}

#[test]
fn matrix_git_makes_the_same_events_in_every_variant() {
    for variant in Variant::all() {
        follow(Library::Git, variant);
    }
}

#[test]
fn writers_another_git() {
    everywhere(Library::OtherGit);
}

#[test]
fn writers_gitoxide() {
    everywhere(Library::Gix);
}

#[test]
fn writers_libgit2() {
    everywhere(Library::Libgit2);
}

#[test]
fn writers_dulwich() {
    everywhere(Library::Dulwich);
}

#[test]
fn writers_jgit() {
    everywhere(Library::Jgit);
}

/// Nobody watches a directory before it is there, nor sees the first locks in it being made.
#[test]
fn writers_refs_in_directories_that_come_with_them_are_one_transaction() {
    for library in [Library::Git, Library::Gix] {
        let mut stage = Stage::of_files();
        let [one, two] = stage.repo.history();
        for round in 0..40 {
            let names = ["refs/heads/main", "refs/heads/new/a", "refs/heads/new/b/c", "refs/pull/1/head"];
            let all = |value: &str| names.map(|name| format!("{name}={value}")).to_vec();
            let oid = if round % 2 == 0 { &one } else { &two };
            for edits in [all(oid), all("delete")] {
                let output = library.edit(&stage.repo, &edits);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let events = stage.events();
                assert_eq!(events.len(), names.len(), "{library:?} {edits:?}: {events:#?}");
                let ids: BTreeSet<_> =
                    events.iter().filter_map(|event| event.transaction.as_ref()).map(|of| &of.id).collect();
                assert_eq!(ids.len(), 1, "{library:?} {edits:?}: {events:#?}");
            }
        }
        stage.validate();
    }
}
