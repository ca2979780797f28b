//! Plans an installation.

use std::path::{Path, PathBuf};

use super::super::found::{Entry, FORMER, Found, Hooks, HooksPlace, NEW, Place, Repository, Slot, with};
use super::super::phase::Phase;
use super::super::refusal::Refusal;
use super::super::step::{Mark, Step};
use super::{Plan, Planned, remove};
use crate::cli::escape::Escaped;

/// What an installation is to lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The program, absolute.
    pub(crate) program: PathBuf,
    pub(crate) phases: Vec<Phase>,
    /// Whether hooks of ours that are not among the phases go.
    pub(crate) others: Others,
    /// The directory of hooks that repositories share, canonical.
    pub(crate) hooks_path: Option<PathBuf>,
    pub(crate) way: Way,
}

/// What becomes of hooks of ours that were not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    Stay,
    Go,
}

/// How Git is told of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Files,
    Configuration,
}

/// Plans an installation in every repository: the journals first, so that hooks record from their first run on.
pub(crate) fn install(found: &Found, wanted: &Wanted) -> Planned {
    let mut plan = Plan::default();
    let mut refusals = Vec::new();
    for repository in &found.repositories {
        match journal(repository) {
            Ok(steps) => plan.steps.extend(steps),
            Err(refusal) => refusals.push(refusal),
        }
    }
    refusals.extend(found.repositories.iter().flat_map(|repository| twice(found, repository, wanted)));
    let mut directories: Vec<&Path> = Vec::new();
    for repository in &found.repositories {
        match wanted.way {
            Way::Configuration => configure(repository, wanted, &mut plan, &mut refusals),
            Way::Files => match hooks(repository, wanted) {
                Ok(directory) if directories.contains(&directory) => {}
                Ok(directory) => directories.push(directory),
                Err(refusal) => refusals.push(refusal),
            },
        }
    }
    for directory in directories {
        let hooks = found.hooks.get(directory).expect("BUG: every directory of hooks was looked at");
        match in_directory(hooks, wanted, &mut plan.notes) {
            Ok(steps) => plan.steps.extend(steps),
            Err(refused) => refusals.extend(refused),
        }
    }
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

/// The directory whose hooks Git runs in a repository, if we may change it.
fn hooks<'a>(repository: &'a Repository, wanted: &Wanted) -> Result<&'a Path, Refusal> {
    let git_dir = || repository.git_dir.clone();
    match (&repository.hooks, &wanted.hooks_path) {
        (HooksPlace::Inside(directory), None) => Ok(directory),
        (HooksPlace::Inside(directory) | HooksPlace::Outside { directory, .. }, Some(named))
            if directory == named =>
        {
            Ok(directory)
        }
        (HooksPlace::Inside(used) | HooksPlace::Outside { directory: used, .. }, Some(named)) => {
            Err(Refusal::NotThere { git_dir: git_dir(), named: named.clone(), used: used.clone() })
        }
        (place, _) => Err(Refusal::Elsewhere { git_dir: git_dir(), place: place.clone() }),
    }
}

fn journal(repository: &Repository) -> Result<Vec<Step>, Refusal> {
    let path = repository.journal_path();
    let access = repository.access;
    let make = |path: PathBuf| Step::MakeDirectory { path, access, mark: Mark::Leave };
    let taken = |what: &str| Refusal::JournalTaken { path: path.clone(), what: what.to_owned() };
    let steps = match (&repository.journal, &repository.spool) {
        (Place::Missing, None) => vec![make(path)],
        (Place::Missing, Some(spool)) => {
            if !spool.is_empty {
                return Err(Refusal::SpoolTaken { directory: spool.directory.clone() });
            }
            let link = Step::LinkJournal { path, target: spool.directory.clone() };
            if spool.is_there { vec![link] } else { vec![make(spool.directory.clone()), link] }
        }
        (Place::Directory(_), None) | (Place::Link { files: Some(_), .. }, None) => Vec::new(),
        (Place::Link { target, files }, Some(spool)) if *target == spool.directory => match files {
            Some(_) => Vec::new(),
            None => vec![make(target.clone())],
        },
        (Place::Directory(_) | Place::Link { files: Some(_), .. }, Some(_)) => {
            return Err(taken("records already, elsewhere than in that spool: remove the hooks first"));
        }
        (Place::Link { files: None, .. }, _) => {
            return Err(taken("a link that leads to no directory: mend or delete it first"));
        }
        (Place::Other(what), _) => return Err(taken(&format!("{what}, where the journal is to be"))),
    };
    if !steps.is_empty() && !repository.is_writable {
        return Err(Refusal::NotWritable { directory: repository.git_dir.clone() });
    }
    Ok(steps)
}

fn in_directory(hooks: &Hooks, wanted: &Wanted, notes: &mut Vec<String>) -> Result<Vec<Step>, Vec<Refusal>> {
    let mut steps = Vec::new();
    let mut refusals = Vec::new();
    if !hooks.is_there {
        steps.push(Step::MakeDirectory {
            path: hooks.directory.clone(),
            access: hooks.access,
            mark: Mark::Set,
        });
    }
    let mut last = Vec::new();
    for slot in &hooks.slots {
        let planned = if wanted.phases.contains(&slot.phase) {
            in_slot(hooks, slot, &wanted.program).map(|planned| steps.extend(planned))
        } else if slot.entry.is_ours() && wanted.others == Others::Stay {
            let hook = hooks.directory.join(slot.phase.name());
            notes.push(format!("{} is installed as well, and stays", Escaped::path(&hook)));
            Ok(())
        } else if wanted.others == Others::Go {
            remove::in_slot(hooks, slot).map(|planned| last.extend(planned))
        } else {
            Ok(())
        };
        refusals.extend(planned.err());
    }
    steps.extend(remove::settled(last));
    if !steps.is_empty() && !hooks.is_writable {
        refusals.push(Refusal::NotWritable { directory: hooks.directory.clone() });
    }
    if refusals.is_empty() { Ok(steps) } else { Err(refusals) }
}

/// Plans one hook, from any state that a crash of an installation or a removal leaves.
fn in_slot(hooks: &Hooks, slot: &Slot, program: &Path) -> Result<Vec<Step>, Refusal> {
    let hook = hooks.directory.join(slot.phase.name());
    let (former, new) = (with(&hook, FORMER), with(&hook, NEW));
    let target = program.to_owned();
    let mut steps = Vec::new();
    if slot.new.is_ours() {
        steps.push(Step::Drop { path: new, was: slot.new.target() });
    }
    // A crash left the link at the name that the former hook was about to get.
    if slot.former.is_ours() {
        steps.push(Step::Drop { path: former.clone(), was: slot.former.target() });
    }
    let is_kept = slot.former.is_hook();
    if let Entry::Other(what) = slot.former {
        return Err(Refusal::NoHook { hook: former, what });
    }
    match &slot.entry {
        Entry::Other(what) => return Err(Refusal::NoHook { hook, what }),
        Entry::Dangling => return Err(Refusal::Dangling { hook }),
        Entry::Copy => {}
        Entry::Ours { target: was } if *was == target => {}
        Entry::Ours { target: was } => steps.push(Step::Repoint { hook, target, was: was.clone() }),
        Entry::Missing => steps.push(Step::Place { hook, target }),
        Entry::File | Entry::Link if !is_kept => steps.push(Step::Wrap { hook, former, target }),
        Entry::File | Entry::Link if slot.is_twice => steps.push(Step::Cover { hook, former, target }),
        Entry::File | Entry::Link => return Err(Refusal::Taken { hook }),
    }
    Ok(steps)
}

/// What would be recorded twice: Git runs hooks of its configuration and of its directory, both.
fn twice(found: &Found, repository: &Repository, wanted: &Wanted) -> Vec<Refusal> {
    let hooks = match &repository.hooks {
        HooksPlace::Inside(directory) | HooksPlace::Outside { directory, .. } => found.hooks.get(directory),
        HooksPlace::Nowhere { .. } | HooksPlace::Ambiguous(_) => None,
    };
    let is_file = |phase: Phase| {
        let mut slots = hooks.iter().flat_map(|hooks| &hooks.slots);
        slots.any(|slot| slot.phase == phase && slot.entry.is_ours())
    };
    let (is_there, way): (&dyn Fn(Phase) -> bool, _) = match wanted.way {
        Way::Configuration => (&is_file, Way::Files),
        Way::Files => (&|phase| repository.configured.contains_key(&phase), Way::Configuration),
    };
    let phases = wanted.phases.iter().filter(|phase| is_there(**phase));
    phases.map(|phase| Refusal::Twice { git_dir: repository.git_dir.clone(), phase: *phase, way }).collect()
}

fn configure(repository: &Repository, wanted: &Wanted, plan: &mut Plan, refusals: &mut Vec<Refusal>) {
    let config = repository.config_path();
    let mut steps = Vec::new();
    for (phase, command) in &repository.configured {
        let is_wanted = wanted.phases.contains(phase);
        if is_wanted && *command != super::super::configured::command(&wanted.program, *phase)
            || !is_wanted && wanted.others == Others::Go
        {
            let (config, command) = (config.clone(), command.clone());
            steps.push(Step::Unconfigure { config, phase: *phase, command });
        }
    }
    for phase in &wanted.phases {
        let command = super::super::configured::command(&wanted.program, *phase);
        if repository.configured.get(phase) != Some(&command) {
            steps.push(Step::Configure { config: config.clone(), phase: *phase, command });
        }
    }
    if !steps.is_empty() && !repository.is_writable {
        refusals.push(Refusal::NotWritable { directory: repository.git_dir.clone() });
    }
    plan.steps.extend(steps);
}
