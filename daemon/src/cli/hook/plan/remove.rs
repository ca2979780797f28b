//! Plans a removal.

use std::path::{Path, PathBuf};

use super::super::found::{
    Entry, FORMER, Files, Found, Hooks, HooksPlace, NEW, Place, Repository, Slot, with,
};
use super::super::refusal::Refusal;
use super::super::step::Step;
use super::{Plan, Planned};
use crate::cli::escape::Escaped;

/// Plans a removal from every repository: hooks first, then the journals that they write.
pub(crate) fn remove(found: &Found, hooks_path: Option<&Path>) -> Planned {
    let mut plan = Plan::default();
    let mut refusals = Vec::new();
    let mut directories: Vec<PathBuf> = Vec::new();
    for repository in &found.repositories {
        let (ours, note) = directories_of(repository, found, hooks_path);
        for directory in ours {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        plan.notes.extend(note);
    }
    let mut steps = Vec::new();
    for directory in &directories {
        let Some(hooks) = found.hooks.get(directory) else { continue };
        match in_directory(hooks) {
            Ok(planned) => steps.extend(planned),
            Err(refused) => refusals.extend(refused),
        }
    }
    plan.steps.extend(settled(steps));
    for repository in &found.repositories {
        let config = repository.config_path();
        let mut steps: Vec<Step> = repository
            .configured
            .iter()
            .map(|(phase, command)| Step::Unconfigure {
                config: config.clone(),
                phase: *phase,
                command: command.clone(),
            })
            .collect();
        steps.extend(journal(repository, &mut plan.notes));
        if !steps.is_empty() && !repository.is_writable {
            refusals.push(Refusal::NotWritable { directory: repository.git_dir.clone() });
        }
        plan.steps.extend(steps);
    }
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

/// The directories to take hooks out of: the repository's own, and the one that Git uses if it lies within the
/// repository or was named. Hooks that others share are left, and that is said.
fn directories_of(
    repository: &Repository,
    found: &Found,
    hooks_path: Option<&Path>,
) -> (Vec<PathBuf>, Option<String>) {
    let mut directories = vec![repository.own_hooks()];
    match &repository.hooks {
        HooksPlace::Inside(directory) => directories.push(directory.clone()),
        HooksPlace::Outside { directory, .. } if hooks_path == Some(directory) => {
            directories.push(directory.clone());
        }
        HooksPlace::Outside { directory, .. } => {
            let hooks = found.hooks.get(directory);
            if hooks.is_some_and(|hooks| hooks.slots.iter().any(|slot| slot.entry.is_ours())) {
                let path = Escaped::path(directory);
                let note = format!(
                    "the hooks in {path} may serve other repositories and stay; --hooks-path {path} takes them out"
                );
                return (directories, Some(note));
            }
        }
        HooksPlace::Nowhere { .. } | HooksPlace::Ambiguous(_) => {}
    }
    (directories, None)
}

fn in_directory(hooks: &Hooks) -> Result<Vec<Step>, Vec<Refusal>> {
    let mut steps = Vec::new();
    let mut refusals = Vec::new();
    for slot in &hooks.slots {
        match in_slot(hooks, slot) {
            Ok(planned) => steps.extend(planned),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if hooks.is_marked {
        steps.push(Step::DropHooks { path: hooks.directory.clone() });
    }
    if !steps.is_empty() && !hooks.is_writable {
        refusals.push(Refusal::NotWritable { directory: hooks.directory.clone() });
    }
    if refusals.is_empty() { Ok(steps) } else { Err(refusals) }
}

/// Plans one hook, from any state that a crash of an installation or a removal leaves. What is not ours stays.
pub(super) fn in_slot(hooks: &Hooks, slot: &Slot) -> Result<Vec<Step>, Refusal> {
    let hook = hooks.directory.join(slot.phase.name());
    let former = with(&hook, FORMER);
    let mut steps = Vec::new();
    let leftovers = [(&slot.new, with(&hook, NEW)), (&slot.former, former.clone())];
    for (entry, path) in leftovers {
        if entry.is_ours() {
            steps.push(Step::Drop { path, was: entry.target() });
        }
    }
    let is_kept = !slot.former.is_ours() && slot.former != Entry::Missing;
    let was = slot.entry.target();
    match (&slot.entry, is_kept) {
        (Entry::Missing, true) => steps.push(Step::Restore { hook, former }),
        (Entry::Ours { .. } | Entry::Copy, true) if slot.former.is_hook() => {
            steps.push(Step::Uncover { hook: hook.clone(), former: former.clone(), was });
            steps.push(Step::DropName { path: former, hook });
        }
        // A directory, say, which has no second name, and which nobody runs.
        (Entry::Ours { .. } | Entry::Copy, true) => {
            steps.push(Step::Drop { path: hook.clone(), was });
            steps.push(Step::Restore { hook, former });
        }
        (Entry::Ours { .. } | Entry::Copy, false) => steps.push(Step::Drop { path: hook, was }),
        (_, true) if slot.is_twice => steps.push(Step::DropName { path: former, hook }),
        (_, true) => return Err(Refusal::Taken { hook }),
        (_, false) => {}
    }
    Ok(steps)
}

/// Lets hooks that are starting find the former ones: their other names go last, after one wait for all of them.
pub(super) fn settled(steps: Vec<Step>) -> Vec<Step> {
    if !steps.iter().any(|step| matches!(step, Step::Uncover { .. })) {
        return steps;
    }
    let is_last = |step: &Step| matches!(step, Step::DropName { .. } | Step::DropHooks { .. });
    let (last, mut first): (Vec<_>, Vec<_>) = steps.into_iter().partition(is_last);
    first.push(Step::Settle);
    first.extend(last);
    first
}

fn journal(repository: &Repository, notes: &mut Vec<String>) -> Vec<Step> {
    let path = repository.journal_path();
    let mut drop = |directory: &Path, files: &Files| {
        if let Some(foreign) = &files.foreign {
            let (directory, foreign) = (Escaped::path(directory), Escaped::path(foreign));
            notes.push(format!("{directory} stays, since {foreign} in it is none of ours"));
        }
        (files.foreign.is_none() || files.journals > 0).then(|| Step::DropJournal {
            directory: directory.to_owned(),
            journals: files.journals,
            bytes: files.bytes,
            and_directory: files.foreign.is_none(),
        })
    };
    match &repository.journal {
        Place::Missing => Vec::new(),
        Place::Directory(files) => drop(&path, files).into_iter().collect(),
        Place::Link { target, files } => {
            let link = Step::DropLink { path, was: target.clone() };
            files.iter().filter_map(|files| drop(target, files)).chain([link]).collect()
        }
        Place::Other(what) => {
            notes.push(format!("{} stays: {what}, which is none of ours", Escaped::path(&path)));
            Vec::new()
        }
    }
}
