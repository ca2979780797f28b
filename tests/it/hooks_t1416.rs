//! What Git's own tests say of the reference-transaction hook (`t1416` and its like), asked anew of a repository in which
//! `refwatch hook install` put the hooks: Git does what it did without them, and the stream tells what happened and
//! nothing of what did not. On both ref formats.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use refwatch_proto::v1::{GitEvent, GitEventType as Type, Origin, RejectionStage};
use refwatch_tests::{Flavour, Options, Repo, Source, World};

use crate::stage::Stage;

const BOTH: [Flavour; 2] = [Flavour::PLAIN, Flavour::REFTABLE];

/// Writes what it was started for, and its input, to `seen` in the repository.
const NOTE: &str = r#"{ echo "$1"; sed 's/^/ /'; } >>seen"#;

/// A repository with main, over which hooks are installed: in front of a former reference-transaction hook, if there is
/// one.
struct Place {
    stage: Stage,
    source: Source,
    one: String,
    two: String,
    zero: String,
}

impl Place {
    fn new(flavour: Flavour, former: Option<&str>) -> Self {
        Self::prepared(flavour, |repo| {
            if let Some(script) = former {
                hook(repo, "reference-transaction", script);
            }
        })
    }

    fn prepared(flavour: Flavour, prepare: impl Fn(&Repo)) -> Self {
        let world = World::new();
        let repo = world.repo_as("team/app.git", flavour);
        let source = world.source(flavour);
        let [one, two] = source.0.history();
        source.push(&repo, &[&format!("{one}:refs/heads/main"), &format!("{two}:refs/tags/two")]);
        repo.git(&["symbolic-ref", "refs/heads/link", "refs/heads/main"]);
        prepare(&repo);
        repo.install_hooks();
        let stage = Stage::over(Options::new(&world), world, repo);
        let zero = stage.repo.zero();
        Self { stage, source, one, two, zero }
    }

    fn repo(&self) -> &Repo {
        &self.stage.repo
    }

    /// What the former hook was started for, with its input, since the last call.
    fn seen(&self) -> String {
        let path = self.repo().git_dir.join("seen");
        let seen = fs::read_to_string(&path).unwrap_or_default();
        if !seen.is_empty() {
            fs::remove_file(path).expect("removed");
        }
        seen
    }

    /// How often it was started for this.
    fn times(seen: &str, state: &str) -> usize {
        seen.lines().filter(|line| *line == state).count()
    }

    /// Its input when it was started for this, the last time.
    fn lines<'a>(seen: &'a str, state: &str) -> BTreeSet<&'a str> {
        let behind = seen.rsplit_once(&format!("{state}\n")).map_or("", |(_, behind)| behind);
        behind.lines().map_while(|line| line.strip_prefix(' ')).collect()
    }

    fn value(&self, name: &str) -> String {
        let output = self.repo().try_git(&["rev-parse", "-q", "--verify", name]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn hook(repo: &Repo, name: &str, script: &str) {
    let path = repo.git_dir.join("hooks").join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

/// Types and refs, all recorded by hooks and of one transaction, which this is the whole of.
fn one_transaction(events: &[GitEvent]) -> BTreeSet<(Type, &str)> {
    let mut ids = BTreeSet::new();
    for event in events {
        assert_eq!((event.origin(), event.coalesced), (Origin::Hook, false), "{event:#?}");
        let transaction = event.transaction.as_ref().expect("always set");
        assert_eq!(usize::try_from(transaction.size), Ok(events.len()), "{events:#?}");
        ids.insert(&*transaction.id);
    }
    assert_eq!(ids.len(), 1, "one transaction: {events:#?}");
    events.iter().map(|event| (event.r#type(), &*event.ref_name)).collect()
}

#[test]
fn a_hook_that_lets_pass_is_called_for_each_state_and_the_update_is_told() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        place.repo().git(&["update-ref", "refs/heads/main", &place.two, &place.one]);
        let seen = place.seen();
        assert_eq!(Place::times(&seen, "prepared"), 1, "{flavour:?}: {seen}");
        assert_eq!(Place::times(&seen, "committed"), 1, "{flavour:?}: {seen}");
        assert_eq!(Place::times(&seen, "aborted"), 0, "{flavour:?}: {seen}");
        let events = place.stage.events();
        assert_eq!(
            one_transaction(&events),
            [(Type::BranchUpdated, "refs/heads/main")].into(),
            "{flavour:?}"
        );
        assert_eq!((&events[0].old_oid, &events[0].new_oid), (&place.one, &place.two));
        place.stage.validate();
    }
}

#[test]
fn a_hook_that_refuses_keeps_the_ref_as_it_was_and_nothing_is_told() {
    // `preparing` is told by Git 2.54 and later only.
    for (state, is_told) in [("preparing", false), ("prepared", true)] {
        for flavour in BOTH {
            let script = format!("{NOTE}; test \"$1\" != {state}");
            let mut place = Place::new(flavour, Some(&script));
            let output = place.repo().try_git(&["update-ref", "refs/heads/main", &place.two]);
            let seen = place.seen();
            let is_refused = Place::times(&seen, state) > 0;
            assert!(is_refused || !is_told, "{flavour:?}: {seen}");
            assert_eq!(output.status.success(), !is_refused, "{flavour:?}: {output:?}");
            if is_refused {
                assert!(String::from_utf8_lossy(&output.stderr).contains("hook"), "{output:?}");
                assert_eq!(place.value("refs/heads/main"), place.one);
                assert_eq!(place.stage.events(), [], "{flavour:?} {state}");
            } else {
                assert_eq!(place.value("refs/heads/main"), place.two);
                assert_eq!(place.stage.event().r#type(), Type::BranchUpdated);
            }
            place.stage.validate();
        }
    }
}

#[test]
fn what_a_hook_answers_once_it_is_committed_or_aborted_changes_nothing() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(&format!("{NOTE}; test \"$1\" = prepared")));
        place.repo().git(&["update-ref", "refs/heads/main", &place.two]);
        assert_eq!(place.stage.event().new_oid, place.two, "{flavour:?}");
        place.repo().update(&format!("start\nupdate refs/heads/main {}\nabort\n", place.one));
        assert_eq!(place.stage.events(), [], "{flavour:?}");
        place.stage.validate();
    }
}

#[test]
fn all_updates_that_are_queued_reach_the_hook_in_each_state_and_are_one_transaction() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        let Place { one, two, zero, .. } = &place;
        place.repo().update(&format!(
            "start\nupdate refs/heads/main {two} {one}\ncreate refs/heads/new {two}\n\
             delete refs/tags/two {two}\nprepare\ncommit\n"
        ));
        let expected: BTreeSet<String> = [
            format!("{one} {two} refs/heads/main"),
            format!("{zero} {two} refs/heads/new"),
            format!("{two} {zero} refs/tags/two"),
        ]
        .into();
        let seen = place.seen();
        for state in ["prepared", "committed"] {
            let lines = Place::lines(&seen, state);
            // Older versions add a line about HEAD, which is main.
            assert!(expected.iter().all(|line| lines.contains(&**line)), "{flavour:?} {state}: {seen}");
        }
        let events = place.stage.events();
        assert_eq!(
            one_transaction(&events),
            [
                (Type::BranchUpdated, "refs/heads/main"),
                (Type::BranchCreated, "refs/heads/new"),
                (Type::TagDeleted, "refs/tags/two"),
            ]
            .into(),
            "{flavour:?}"
        );
        place.stage.validate();
    }
}

#[test]
fn all_updates_that_are_given_up_reach_the_hook_and_none_is_told() {
    for flavour in BOTH {
        for prepare in ["", "prepare\n"] {
            let mut place = Place::new(flavour, Some(NOTE));
            let Place { one, two, zero, .. } = &place;
            place.repo().update(&format!(
                "start\nupdate refs/heads/main {two} {one}\ncreate refs/heads/new {two}\n{prepare}abort\n"
            ));
            let seen = place.seen();
            assert_eq!(Place::times(&seen, "committed"), 0, "{flavour:?}: {seen}");
            let lines = Place::lines(&seen, "aborted");
            for line in [format!("{one} {two} refs/heads/main"), format!("{zero} {two} refs/heads/new")] {
                assert!(lines.contains(&*line), "{flavour:?} {prepare:?}: {seen}");
            }
            assert_eq!(place.value("refs/heads/main"), *one);
            assert_eq!(place.value("refs/heads/new"), "");
            assert_eq!(place.stage.events(), [], "{flavour:?} {prepare:?}");
            place.stage.validate();
        }
    }
}

#[test]
fn a_transaction_of_which_git_refuses_one_update_changes_and_tells_nothing() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        let Place { one, two, .. } = &place;
        let output = place.repo().try_update(
            format!("create refs/heads/new {two}\nupdate refs/heads/main {two} {two}\n").as_bytes(),
        );
        assert!(!output.status.success(), "{flavour:?}: {output:?}");
        assert_eq!(Place::times(&place.seen(), "committed"), 0);
        assert_eq!(
            (place.value("refs/heads/main"), place.value("refs/heads/new")),
            (one.clone(), String::new())
        );
        assert_eq!(place.stage.events(), [], "{flavour:?}");
        place.stage.validate();
    }
}

#[test]
fn transactions_of_one_session_are_told_one_by_one() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        let Place { one, two, .. } = &place;
        place.repo().update(&format!(
            "start\nupdate refs/heads/main {two}\ncommit\nstart\nupdate refs/heads/main {one}\nabort\n\
             start\ncreate refs/heads/a {one}\ncreate refs/heads/b {one}\ncommit\n"
        ));
        let seen = place.seen();
        assert_eq!((Place::times(&seen, "committed"), Place::times(&seen, "aborted")), (2, 1), "{seen}");
        let events = place.stage.events();
        let (first, second) = events.split_at(1);
        assert_eq!(one_transaction(first), [(Type::BranchUpdated, "refs/heads/main")].into(), "{flavour:?}");
        assert_eq!(
            one_transaction(second),
            [(Type::BranchCreated, "refs/heads/a"), (Type::BranchCreated, "refs/heads/b")].into(),
            "{flavour:?}"
        );
        place.stage.validate();
    }
}

#[test]
fn hooks_of_one_push_follow_each_other_ref_by_ref_and_each_ref_is_told_once() {
    // A script that is a former hook learns the name it has now.
    let order = r#"hook=${0##*/}; echo "${hook%.refwatch-former} $1" >>order"#;
    for flavour in BOTH {
        let mut place = Place::prepared(flavour, |repo| {
            hook(repo, "update", order);
            hook(repo, "reference-transaction", order);
        });
        let Place { one, two, source, .. } = &place;
        source.push(place.repo(), &[&format!("{one}:refs/tags/a"), &format!("{two}:refs/tags/b")]);
        let order = fs::read_to_string(place.repo().git_dir.join("order")).expect("hooks ran");
        let updates: Vec<&str> = order.lines().filter(|line| line.contains("update")).collect();
        assert_eq!(updates, ["update refs/tags/a", "update refs/tags/b"], "{order}");
        // One transaction a ref, or one for both: that is Git's own matter. None is called twice for it.
        let states = |state: &str| order.lines().filter(|line| line.ends_with(state)).count();
        assert_eq!(states(" prepared"), states(" committed"), "{order}");
        assert!((1..=2).contains(&states(" committed")), "{order}");
        let events = place
            .stage
            .recorder
            .wait("the push", |recording| !recording.of_type(Type::PushReceived).is_empty());
        let of_push = |kind| events.of_type(kind).len();
        assert_eq!((of_push(Type::TagCreated), of_push(Type::PushReceived)), (2, 1), "{flavour:?}");
        let told = place.stage.events();
        let changes: Vec<&GitEvent> = told.iter().filter(|event| event.change != 0).collect();
        assert_eq!(changes.len(), 2, "{flavour:?}: {told:#?}");
        assert!(changes.iter().all(|event| event.origin() == Origin::Hook), "{told:#?}");
        place.stage.validate();
    }
}

#[test]
fn a_symbolic_ref_that_is_set_or_removed_is_told_with_where_it_leads() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        place.repo().git(&["symbolic-ref", "refs/heads/new", "refs/heads/main"]);
        let event = place.stage.event();
        assert_eq!(
            (&*event.ref_name, &*event.new_symbolic_target),
            ("refs/heads/new", "refs/heads/main"),
            "{flavour:?}: {event:#?}"
        );
        place.repo().git(&["symbolic-ref", "refs/heads/new", "refs/heads/other"]);
        let event = place.stage.event();
        let targets = (&*event.old_symbolic_target, &*event.new_symbolic_target);
        assert_eq!(targets, ("refs/heads/main", "refs/heads/other"), "{flavour:?}: {event:#?}");
        place.repo().git(&["symbolic-ref", "HEAD", "refs/heads/other"]);
        let event = place.stage.event();
        let head = (event.r#type(), &*event.new_symbolic_target);
        assert_eq!(head, (Type::DefaultBranchChanged, "refs/heads/other"), "{flavour:?}: {event:#?}");
        place.repo().git(&["symbolic-ref", "-d", "refs/heads/new"]);
        let event = place.stage.event();
        assert_eq!((&*event.ref_name, &*event.new_symbolic_target), ("refs/heads/new", ""), "{flavour:?}");
        // Git calls the hook for what it sets since 2.46, and says where that leads.
        let seen = place.seen();
        if Place::times(&seen, "committed") > 0 {
            assert!(seen.contains("ref:refs/heads/other"), "{flavour:?}: {seen}");
        }
        place.stage.validate();
    }
}

#[test]
fn symbolic_refs_that_are_queued_together_are_one_transaction() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        let commands = "start\nsymref-create refs/heads/new refs/heads/main\n\
             option no-deref\nsymref-update refs/heads/link refs/tags/two\nprepare\ncommit\n";
        let output = place.repo().try_update(commands.as_bytes());
        if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("unknown command") {
            // Git before 2.46.
            continue;
        }
        assert!(output.status.success(), "{flavour:?}: {output:?}");
        let seen = place.seen();
        let lines = Place::lines(&seen, "committed");
        let ends = |end: &str| lines.iter().any(|line| line.ends_with(end));
        assert!(ends("ref:refs/heads/main refs/heads/new"), "{flavour:?}: {seen}");
        assert!(ends("ref:refs/tags/two refs/heads/link"), "{flavour:?}: {seen}");
        let events = place.stage.events();
        let names: BTreeSet<&str> = one_transaction(&events).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["refs/heads/link", "refs/heads/new"].into(), "{flavour:?}");
        place.repo().try_update(
            b"start\noption no-deref\nsymref-delete refs/heads/new refs/heads/main\n\
              option no-deref\nsymref-update refs/heads/link refs/heads/main\nprepare\nabort\n",
        );
        assert_eq!(place.stage.events(), [], "{flavour:?}");
        place.stage.validate();
    }
}

#[test]
fn what_is_verified_or_set_to_what_it_has_reaches_the_hook_and_is_not_told() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        let Place { one, two, .. } = &place;
        place.repo().update(&format!("verify refs/heads/main {one}\nupdate refs/tags/two {two} {two}\n"));
        assert_eq!(Place::times(&place.seen(), "committed"), 1, "{flavour:?}");
        assert_eq!(place.stage.events(), [], "{flavour:?}");
        place.stage.validate();
    }
}

#[test]
fn a_ref_changed_by_way_of_a_symbolic_one_is_told_under_its_own_name() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some(NOTE));
        place.repo().git(&["update-ref", "refs/heads/link", &place.two]);
        let events = place.stage.events();
        assert_eq!(
            one_transaction(&events),
            [(Type::BranchUpdated, "refs/heads/main")].into(),
            "{flavour:?}"
        );
        place.stage.validate();
    }
}

#[test]
fn a_push_refused_in_prepared_ends_there_and_its_refusal_is_told() {
    for flavour in BOTH {
        let mut place = Place::new(flavour, Some("test \"$1\" != prepared"));
        let output = place.source.try_push(place.repo(), &[&format!("{}:refs/heads/main", place.two)]);
        assert!(!output.status.success(), "{flavour:?}: {output:?}");
        assert_eq!(place.value("refs/heads/main"), place.one);
        place
            .stage
            .recorder
            .wait("the refusal", |recording| !recording.of_type(Type::PushRejected).is_empty());
        let event = place.stage.event();
        let stage = event.rejection.as_ref().expect("it says why").stage();
        assert_eq!((event.change, stage), (0, RejectionStage::ReferenceTransaction), "{flavour:?}");
        place.stage.validate();
    }
}

#[test]
fn a_push_refused_by_a_lock_says_so_while_the_lock_is_there() {
    for (flavour, lock) in
        [(Flavour::PLAIN, "refs/heads/main.lock"), (Flavour::REFTABLE, "reftable/tables.list.lock")]
    {
        let mut place = Place::new(flavour, None);
        let path = place.repo().git_dir.join(lock);
        fs::write(&path, "").expect("written");
        let output = place.source.try_push(place.repo(), &[&format!("{}:refs/heads/main", place.two)]);
        assert!(!output.status.success(), "{flavour:?}: {output:?}");
        place
            .stage
            .recorder
            .wait("the refusal", |recording| !recording.of_type(Type::PushRejected).is_empty());
        let event = place.stage.event();
        let rejection = event.rejection.as_ref().expect("it says why");
        assert_eq!((rejection.stage(), &*rejection.reason), (RejectionStage::Lock, "LOCKED"), "{flavour:?}");
        fs::remove_file(&path).expect("removed");
        place.stage.validate();
    }
}

#[test]
fn of_a_lock_that_is_gone_when_the_push_is_over_nothing_is_known() {
    let mut place = Place::prepared(Flavour::PLAIN, |repo| {
        // It goes with the last ref, when Git has been at its own.
        hook(repo, "update", "test \"$1\" != refs/heads/z || rm refs/heads/main.lock");
    });
    fs::write(place.repo().git_dir.join("refs/heads/main.lock"), "").expect("written");
    let Place { one, two, source, .. } = &place;
    let output =
        source.try_push(place.repo(), &[&format!("{two}:refs/heads/main"), &format!("{one}:refs/heads/z")]);
    assert!(!output.status.success(), "{output:?}");
    place.stage.recorder.wait("the push", |recording| !recording.of_type(Type::PushReceived).is_empty());
    let told = place.stage.events();
    let refused: Vec<&GitEvent> = told.iter().filter(|event| event.r#type() == Type::PushRejected).collect();
    let [refused] = refused[..] else { panic!("{told:#?}") };
    let stage = refused.rejection.as_ref().expect("it says why").stage();
    assert_eq!((&*refused.ref_name, stage), ("refs/heads/main", RejectionStage::ReceivePack));
    place.stage.validate();
}
