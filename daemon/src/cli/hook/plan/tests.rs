//! Every state of a hook's place is planned for, and what plans do is followed on a model of the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::found::{
    Access, Entry, FORMER, Files, Found, Hooks, HooksPlace, NEW, Place, Repository, Setting, Slot, Spool,
};
use super::super::phase::Phase;
use super::super::step::Mark;
use super::*;

const GIT_DIR: &str = "/r.git";
const PROGRAM: &str = "/usr/bin/refwatch-hook";
const OLD: &str = "/old/refwatch-hook";
const ACCESS: Access = Access { shared: 0, owner: None };

fn ours(target: &str) -> Entry {
    Entry::Ours { target: target.into() }
}

fn every_entry() -> Vec<Entry> {
    vec![
        Entry::Missing,
        ours(PROGRAM),
        ours(OLD),
        Entry::Copy,
        Entry::File,
        Entry::Link,
        Entry::Dangling,
        Entry::Other("a directory"),
    ]
}

/// The three names of one hook: its own, the former one's, and the one in making.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    hook: Entry,
    former: Entry,
    new: Entry,
    is_twice: bool,
}

impl Names {
    fn of(hook: Entry, former: Entry) -> Self {
        Self { hook, former, new: Entry::Missing, is_twice: false }
    }

    fn every() -> impl Iterator<Item = Self> {
        let pairs = every_entry()
            .into_iter()
            .flat_map(|hook| every_entry().into_iter().map(move |former| Self::of(hook.clone(), former)));
        pairs.flat_map(|names| {
            let twice = (names.hook == names.former && names.hook.is_hook())
                .then(|| Self { is_twice: true, ..names.clone() });
            let new = Self { new: ours(PROGRAM), ..names.clone() };
            [Some(names), Some(new), twice].into_iter().flatten()
        })
    }

    /// The hook that would run behind ours, or in its place.
    fn somebodys(&self) -> Option<Entry> {
        [&self.former, &self.hook].into_iter().find(|entry| entry.is_hook()).cloned()
    }

    fn at(&mut self, path: &Path) -> &mut Entry {
        let name = path.to_str().expect("text");
        match name.strip_prefix("/r.git/hooks/update").expect("of this hook") {
            "" => &mut self.hook,
            FORMER => &mut self.former,
            NEW => &mut self.new,
            other => panic!("{other}"),
        }
    }

    /// Does what the step says.
    fn follow(&mut self, step: &Step) {
        match step {
            Step::Place { hook, target } => {
                assert_eq!(*self.at(hook), Entry::Missing, "a link is placed where nothing is");
                *self.at(hook) = Entry::Ours { target: target.clone() };
            }
            Step::Wrap { hook, former, target } => {
                assert_eq!(*self.at(former), Entry::Missing, "nothing is written over");
                *self.at(former) = self.at(hook).clone();
                *self.at(hook) = Entry::Ours { target: target.clone() };
            }
            Step::Cover { hook, target, .. } => {
                assert!(self.is_twice, "what is covered has another name");
                *self.at(hook) = Entry::Ours { target: target.clone() };
                self.is_twice = false;
            }
            Step::Repoint { hook, target, was } => {
                assert_eq!(*self.at(hook), Entry::Ours { target: was.clone() });
                *self.at(hook) = Entry::Ours { target: target.clone() };
            }
            Step::Restore { hook, former } => {
                assert_eq!(*self.at(hook), Entry::Missing, "nothing is written over");
                *self.at(hook) = self.at(former).clone();
                *self.at(former) = Entry::Missing;
            }
            Step::Uncover { hook, former, was } => {
                assert_eq!(self.at(hook).target(), *was);
                assert!(!self.at(hook).is_hook(), "nobody's hook is written over");
                *self.at(hook) = self.at(former).clone();
                self.is_twice = true;
            }
            Step::Settle => assert!(self.is_twice, "the former hook has both names while others look for it"),
            Step::Drop { path, .. } => {
                assert!(self.at(path).is_ours(), "only what is ours is deleted");
                *self.at(path) = Entry::Missing;
            }
            Step::DropName { path, .. } => {
                assert!(self.is_twice);
                *self.at(path) = Entry::Missing;
                self.is_twice = false;
            }
            other => panic!("not of a hook: {other}"),
        }
    }
}

fn repository() -> Repository {
    Repository {
        git_dir: GIT_DIR.into(),
        hooks: HooksPlace::Inside("/r.git/hooks".into()),
        journal: Place::Directory(Files::default()),
        spool: None,
        is_writable: true,
        access: ACCESS,
        configured: BTreeMap::new(),
    }
}

fn hooks(slots: Vec<Slot>) -> Hooks {
    Hooks {
        directory: "/r.git/hooks".into(),
        is_there: true,
        is_writable: true,
        is_marked: false,
        slots,
        access: ACCESS,
    }
}

fn found(repository: Repository, hooks: Hooks) -> Found {
    Found { repositories: vec![repository], hooks: [(hooks.directory.clone(), hooks)].into() }
}

fn with_names(names: &Names) -> Found {
    let Names { hook, former, new, is_twice } = names.clone();
    let slot = Slot { phase: Phase::Update, entry: hook, former, new, is_twice };
    found(repository(), hooks(vec![slot]))
}

fn wanted(phases: &[Phase]) -> Wanted {
    Wanted {
        program: PROGRAM.into(),
        phases: phases.to_vec(),
        others: Others::Stay,
        hooks_path: None,
        way: Way::Files,
    }
}

/// The steps of the hook alone.
fn installing(names: &Names) -> Result<Vec<Step>, Vec<Refusal>> {
    install(&with_names(names), &wanted(&[Phase::Update])).map(|plan| plan.steps)
}

fn removing(names: &Names) -> Result<Vec<Step>, Vec<Refusal>> {
    let plan = remove(&with_names(names), None)?;
    // The journal's directory is the last to go.
    let (last, steps) = plan.steps.split_last().expect("a journal");
    assert!(matches!(last, Step::DropJournal { .. }));
    Ok(steps.to_vec())
}

/// Follows an installation, and looks at every state in between.
fn installed(names: &Names, steps: &[Step]) {
    let kept = names.somebodys();
    let mut now = names.clone();
    for (index, step) in steps.iter().enumerate() {
        if index > 0 {
            let again = installing(&now).unwrap_or_else(|refused| panic!("{now:?}: {refused:?}"));
            assert!(!again.is_empty(), "{now:?}");
            removing(&now).unwrap_or_else(|refused| panic!("{now:?}: {refused:?}"));
        }
        now.follow(step);
    }
    assert!(now.hook == ours(PROGRAM) || now.hook == Entry::Copy, "{names:?} -> {now:?}");
    assert_eq!((now.somebodys(), &now.new), (kept, &Entry::Missing), "{names:?} -> {now:?}");
    assert_eq!(installing(&now), Ok(Vec::new()), "a second one changes nothing: {names:?} -> {now:?}");
    removed(&now, &removing(&now).expect("what is installed can be removed"));
}

/// Follows a removal, and looks at every state in between.
fn removed(names: &Names, steps: &[Step]) {
    let kept = names.former.is_hook().then(|| names.former.clone());
    let mut now = names.clone();
    for step in steps {
        removing(&now).unwrap_or_else(|refused| panic!("{now:?}: {refused:?}"));
        now.follow(step);
    }
    assert!([&now.hook, &now.former, &now.new].iter().all(|entry| !entry.is_ours()), "{names:?} -> {now:?}");
    assert_eq!(removing(&now), Ok(Vec::new()), "a second one changes nothing: {names:?} -> {now:?}");
    if let Some(kept) = kept {
        assert_eq!((now.hook, now.former), (kept, Entry::Missing), "{names:?}");
    }
}

#[test]
fn every_state_of_a_hook_is_installed_over_or_refused_and_comes_back() {
    let (mut planned, mut refused) = (0, 0);
    for names in Names::every() {
        match installing(&names) {
            Ok(steps) => {
                planned += 1;
                installed(&names, &steps);
            }
            Err(_) => {
                refused += 1;
                let is_odd = |entry: &Entry| matches!(entry, Entry::Other(_) | Entry::Dangling);
                let is_taken = names.hook.is_hook() && names.former.is_hook() && !names.is_twice;
                assert!(is_odd(&names.hook) || is_odd(&names.former) || is_taken, "{names:?}");
            }
        }
    }
    assert!(planned > 40 && refused > 20, "{planned} and {refused}");
}

#[test]
fn every_state_of_a_hook_is_removed_from_or_refused() {
    for names in Names::every() {
        match removing(&names) {
            Ok(steps) => removed(&names, &steps),
            Err(refusals) => {
                assert_eq!(refusals, [Refusal::Taken { hook: "/r.git/hooks/update".into() }], "{names:?}");
                assert!(
                    !names.hook.is_ours() && names.hook != Entry::Missing && !names.is_twice,
                    "{names:?}"
                );
            }
        }
    }
}

#[test]
fn a_hook_that_is_there_is_wrapped_in_one_step() {
    let names = Names::of(Entry::File, Entry::Missing);
    let (hook, former) = (PathBuf::from("/r.git/hooks/update"), "/r.git/hooks/update.refwatch-former".into());
    assert_eq!(installing(&names), Ok(vec![Step::Wrap { hook, former, target: PROGRAM.into() }]));
}

#[test]
fn hooks_that_were_not_asked_for_stay_unless_phases_were_named() {
    let slots: Vec<Slot> = Phase::ALL
        .into_iter()
        .map(|phase| Slot {
            phase,
            entry: ours(PROGRAM),
            former: Entry::Missing,
            new: Entry::Missing,
            is_twice: false,
        })
        .collect();
    let found = found(repository(), hooks(slots));
    let wanted = wanted(&Phase::DEFAULT);
    let plan = install(&found, &wanted).expect("planned");
    assert_eq!((plan.steps.len(), plan.notes.len()), (0, 2), "{plan:?}");
    let plan = install(&found, &Wanted { others: Others::Go, ..wanted }).expect("planned");
    let dropped: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(dropped, ["delete /r.git/hooks/update", "delete /r.git/hooks/reference-transaction"]);
}

#[test]
fn a_directory_of_hooks_that_is_made_is_marked_and_goes_again() {
    let slot = |entry| Slot {
        phase: Phase::PreReceive,
        entry,
        former: Entry::Missing,
        new: Entry::Missing,
        is_twice: false,
    };
    let missing = Hooks { is_there: false, ..hooks(vec![slot(Entry::Missing)]) };
    let bare = Repository { journal: Place::Missing, ..repository() };
    let plan = install(&found(bare, missing), &wanted(&[Phase::PreReceive])).expect("planned");
    let make = |path: &str, mark| Step::MakeDirectory { path: path.into(), access: ACCESS, mark };
    let hook = PathBuf::from("/r.git/hooks/pre-receive");
    assert_eq!(
        plan.steps,
        [
            make("/r.git/refwatch", Mark::Leave),
            make("/r.git/hooks", Mark::Set),
            Step::Place { hook: hook.clone(), target: PROGRAM.into() },
        ]
    );
    let made = Hooks { is_marked: true, ..hooks(vec![slot(ours(PROGRAM))]) };
    let plan = remove(&found(repository(), made), None).expect("planned");
    assert_eq!(
        plan.steps[..2],
        [
            Step::Drop { path: hook, was: Some(PROGRAM.into()) },
            Step::DropHooks { path: "/r.git/hooks".into() }
        ]
    );
}

#[test]
fn hooks_elsewhere_are_refused_unless_named() {
    let setting =
        Setting { path: "/shared".into(), source: "/etc/gitconfig (system)".to_owned(), is_own: false };
    let outside = HooksPlace::Outside { directory: "/shared".into(), setting: Some(setting.clone()) };
    let shared = || {
        let slots = vec![Slot {
            phase: Phase::Update,
            entry: Entry::Missing,
            former: Entry::Missing,
            new: Entry::Missing,
            is_twice: false,
        }];
        Hooks { directory: "/shared".into(), ..hooks(slots) }
    };
    let at = |place: &HooksPlace| found(Repository { hooks: place.clone(), ..repository() }, shared());
    let named = |path: &str| Wanted { hooks_path: Some(path.into()), ..wanted(&[Phase::Update]) };
    let refused = |found: &Found, wanted: &Wanted| {
        let refusals = install(found, wanted).expect_err("refused");
        refusals.iter().map(ToString::to_string).collect::<String>()
    };
    let said = refused(&at(&outside), &wanted(&[Phase::Update]));
    assert!(said.contains("own hooks are off") && said.contains("--hooks-path /shared"), "{said}");
    let plan = install(&at(&outside), &named("/shared")).expect("planned");
    assert_eq!(plan.steps, [Step::Place { hook: "/shared/update".into(), target: PROGRAM.into() }]);
    let said = refused(&at(&outside), &named("/another"));
    assert!(said.contains("not those in /another"), "{said}");
    let inside = found(repository(), hooks(Vec::new()));
    assert!(refused(&inside, &named("/shared")).contains("not those in /shared"));
    let nowhere = HooksPlace::Nowhere { path: "/dev/null".into(), setting: Some(setting.clone()) };
    assert!(refused(&at(&nowhere), &wanted(&[])).contains("Git runs no hook"));
    assert!(refused(&at(&HooksPlace::Ambiguous(setting)), &named("/shared")).contains("relative"));
}

#[test]
fn shared_hooks_are_planned_once_and_stay_until_they_are_named() {
    let outside = HooksPlace::Outside { directory: "/shared".into(), setting: None };
    let slot = |entry| Slot {
        phase: Phase::Update,
        entry,
        former: Entry::Missing,
        new: Entry::Missing,
        is_twice: false,
    };
    let shared = |entry| Hooks { directory: "/shared".into(), ..hooks(vec![slot(entry)]) };
    let repositories = ["/a.git", "/b.git"].map(|path| Repository {
        git_dir: path.into(),
        hooks: outside.clone(),
        ..repository()
    });
    let both = |entry| Found {
        repositories: repositories.to_vec(),
        hooks: [("/shared".into(), shared(entry))].into(),
    };
    let named = Wanted { hooks_path: Some("/shared".into()), ..wanted(&[Phase::Update]) };
    assert_eq!(install(&both(Entry::Missing), &named).expect("planned").steps.len(), 1);
    let plan = remove(&both(ours(PROGRAM)), None).expect("planned");
    assert!(plan.steps.iter().all(|step| matches!(step, Step::DropJournal { .. })), "{plan:?}");
    assert!(plan.notes[0].contains("--hooks-path /shared"), "{plan:?}");
    let plan = remove(&both(ours(PROGRAM)), Some(Path::new("/shared"))).expect("planned");
    assert_eq!((plan.steps.len(), plan.notes.len()), (3, 0), "{plan:?}");
}

#[test]
fn journals_go_where_they_are_to_be_and_nowhere_else() {
    let spool = |is_empty: bool| Spool { directory: "/spool/r".into(), is_there: !is_empty, is_empty };
    let steps = |journal: Place, spool: Option<Spool>| {
        let repository = Repository { journal, spool, ..repository() };
        install(&found(repository, hooks(Vec::new())), &wanted(&[])).map(|plan| plan.steps.len())
    };
    let link = |target: &str, files| Place::Link { target: target.into(), files };
    let there = || Some(Files::default());
    assert_eq!(steps(Place::Missing, None), Ok(1));
    assert_eq!(steps(Place::Missing, Some(spool(true))), Ok(2));
    assert_eq!(steps(Place::Directory(Files::default()), None), Ok(0));
    assert_eq!(steps(link("/anywhere", there()), None), Ok(0));
    assert_eq!(steps(link("/spool/r", there()), Some(spool(false))), Ok(0));
    assert_eq!(steps(link("/spool/r", None), Some(spool(true))), Ok(1), "the spool was emptied");
    for refused in [
        steps(Place::Missing, Some(spool(false))),
        steps(Place::Directory(Files::default()), Some(spool(true))),
        steps(link("/anywhere", there()), Some(spool(true))),
        steps(link("/anywhere", None), None),
        steps(Place::Other("a file"), None),
    ] {
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[test]
fn what_is_not_ours_keeps_the_journals_directory() {
    let steps = |files: Files| {
        let repository = Repository { journal: Place::Directory(files), ..repository() };
        remove(&found(repository, hooks(Vec::new())), None).expect("planned")
    };
    let foreign = || Some(PathBuf::from("notes"));
    let plan = steps(Files { journals: 2, bytes: 9, foreign: foreign() });
    assert_eq!(plan.steps[0].to_string(), "delete 2 journals of 9 bytes in /r.git/refwatch");
    assert!(plan.notes[0].contains("notes"), "{plan:?}");
    assert_eq!(steps(Files { foreign: foreign(), ..Files::default() }).steps.len(), 0);
}

#[test]
fn what_cannot_be_written_is_refused_only_where_something_is_to_be_written() {
    let slot = |entry| Slot {
        phase: Phase::Update,
        entry,
        former: Entry::Missing,
        new: Entry::Missing,
        is_twice: false,
    };
    let locked = |entry| {
        let hooks = Hooks { is_writable: false, ..hooks(vec![slot(entry)]) };
        found(Repository { is_writable: false, ..repository() }, hooks)
    };
    let wanted = wanted(&[Phase::Update]);
    assert_eq!(install(&locked(ours(PROGRAM)), &wanted), Ok(Plan::default()));
    let refusals = install(&locked(Entry::Missing), &wanted).expect_err("refused");
    assert_eq!(refusals, [Refusal::NotWritable { directory: "/r.git/hooks".into() }]);
    let refusals = remove(&locked(ours(PROGRAM)), None).expect_err("refused");
    assert_eq!(refusals.len(), 2, "hooks and journal: {refusals:?}");
}

#[test]
fn configured_hooks_are_written_once_and_taken_out_exactly() {
    let wanted = Wanted { way: Way::Configuration, ..wanted(&Phase::DEFAULT) };
    let fresh = found(repository(), hooks(Vec::new()));
    let steps = install(&fresh, &wanted).expect("planned").steps;
    assert_eq!(steps.len(), 2);
    let configured = steps.iter().map(|step| match step {
        Step::Configure { phase, command, .. } => (*phase, command.clone()),
        other => panic!("{other}"),
    });
    let repository = Repository { configured: configured.collect(), ..repository() };
    let there = found(repository, hooks(Vec::new()));
    assert_eq!(install(&there, &wanted).expect("planned").steps, []);
    let moved = Wanted { program: OLD.into(), ..wanted };
    let kinds: Vec<_> = install(&there, &moved)
        .expect("planned")
        .steps
        .iter()
        .map(|step| matches!(step, Step::Configure { .. }))
        .collect();
    assert_eq!(kinds, [false, false, true, true], "taken out before they are written anew");
    let steps = remove(&there, None).expect("planned").steps;
    assert_eq!(steps.iter().filter(|step| matches!(step, Step::Unconfigure { .. })).count(), 2);
}

#[test]
fn a_hook_is_not_installed_in_two_ways() {
    let slot = Slot {
        phase: Phase::PreReceive,
        entry: ours(PROGRAM),
        former: Entry::Missing,
        new: Entry::Missing,
        is_twice: false,
    };
    let configuration = Wanted { way: Way::Configuration, ..wanted(&Phase::DEFAULT) };
    let refusals = install(&found(repository(), hooks(vec![slot])), &configuration).expect_err("refused");
    let twice = |phase, way| Refusal::Twice { git_dir: GIT_DIR.into(), phase, way };
    assert_eq!(refusals, [twice(Phase::PreReceive, Way::Files)]);
    let configured = [(Phase::PostReceive, "x".to_owned())].into();
    let repository = Repository { configured, ..repository() };
    let refusals =
        install(&found(repository, hooks(Vec::new())), &wanted(&Phase::DEFAULT)).expect_err("refused");
    assert_eq!(refusals, [twice(Phase::PostReceive, Way::Configuration)]);
}
