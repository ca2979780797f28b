//! `refwatch hook status`: what is installed, and what keeps it from recording.

mod journal;
mod report;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use refwatch_hook::former::runs_directory;
use refwatch_hook::{DIRECTORY_SUFFIX, JOURNAL_BYTES_MAX, PROGRAMS_MAX};

use super::args::StatusArgs;
use super::found::{Entry, FORMER, Found, Hooks, HooksPlace, Repository, Slot, with};
use super::look::{self, Look};
use super::program::{self, Program};
use super::refusal;
use super::walk;
use crate::cli::escape::{self, Escaped};
use crate::cli::exit::Exit;
use crate::cli::output::{Out, Paint};
use report::{HookReport, HookState, Report};

/// Prints every repository, and ends with 1 where one is hindered.
pub(super) fn run(args: &StatusArgs, out: &mut Out) -> Result<ExitCode, Exit> {
    let paths = walk::paths(&args.target)?;
    let program = program::search();
    let look = Look { program: program.as_ref(), spool: None };
    let found = look::at(&paths, &look).map_err(super::refused)?;
    let paint = Paint::for_stdout(args.color);
    let mut is_hindered = false;
    for repository in &found.repositories {
        let report = report(repository, &found, program.as_ref());
        is_hindered |= !report.hindrances.is_empty();
        if args.json {
            let line = serde_json::to_string(&report).expect("strings, numbers and lists are JSON");
            out.line(&escape::json(&line))?;
        } else {
            for line in report::lines(&report, paint) {
                out.line(&line)?;
            }
        }
    }
    out.flush()?;
    Ok(if is_hindered { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// The user and group of a repository: those that hooks run as, mostly.
pub(super) fn owner(git_dir: &Path) -> Option<(u32, u32)> {
    fs::metadata(git_dir).ok().map(|found| (found.uid(), found.gid()))
}

fn report(repository: &Repository, found: &Found, program: Option<&Program>) -> Report {
    let directory = match &repository.hooks {
        HooksPlace::Inside(directory) | HooksPlace::Outside { directory, .. } => Some(directory),
        HooksPlace::Nowhere { .. } | HooksPlace::Ambiguous(_) => None,
    };
    let hooks = directory.and_then(|directory| found.hooks.get(directory));
    let mut hindrances = Vec::new();
    let mut reports: Vec<HookReport> = Vec::new();
    for slot in hooks.iter().flat_map(|hooks| &hooks.slots) {
        let hooks = hooks.expect("BUG: a slot is of a directory");
        reports.push(hook(repository, hooks, slot, program, &mut hindrances));
    }
    for (phase, command) in &repository.configured {
        reports.push(HookReport {
            hook: *phase,
            state: HookState::Configured,
            program: Some(command.clone()),
            former: false,
            also: Vec::new(),
        });
    }
    // Hooks of ours where Git does not look.
    let own = repository.own_hooks();
    if directory != Some(&own)
        && let Some(unused) = found.hooks.get(&own)
        && unused.slots.iter().any(|slot| slot.entry.is_ours())
    {
        let mut why = String::new();
        let told = refusal::elsewhere(&mut why, &repository.hooks);
        hindrances.push(match told {
            Ok(()) if !why.is_empty() => {
                format!("Git does not run the hooks in {}: {why}", Escaped::path(&own))
            }
            Ok(()) | Err(_) => format!("Git does not run the hooks in {}", Escaped::path(&own)),
        });
    }
    let journal = journal::look(repository);
    let is_installed =
        reports.iter().any(|hook| matches!(hook.state, HookState::Installed | HookState::Configured));
    if is_installed {
        hindrances.extend(journal::hindrances(repository, &journal));
    }
    Report {
        path: text(&repository.git_dir),
        hooks_directory: directory.map(|directory| text(directory)),
        recording: is_installed && hindrances.is_empty(),
        hooks: reports,
        journal,
        hindrances,
    }
}

fn hook(
    repository: &Repository,
    hooks: &Hooks,
    slot: &Slot,
    program: Option<&Program>,
    hindrances: &mut Vec<String>,
) -> HookReport {
    let path = hooks.directory.join(slot.phase.name());
    let state = match &slot.entry {
        Entry::Ours { .. } | Entry::Copy => HookState::Installed,
        Entry::Missing => HookState::Absent,
        Entry::File | Entry::Link | Entry::Dangling | Entry::Other(_) => HookState::Other,
    };
    let led = match &slot.entry {
        Entry::Ours { target } => Some(hooks.directory.join(target)),
        Entry::Copy => Some(path.clone()),
        Entry::Missing | Entry::File | Entry::Link | Entry::Dangling | Entry::Other(_) => None,
    };
    if let Some(led) = &led {
        hindrances.extend(program_hindrance(repository, &path, led));
    }
    let is_kept = slot.former.is_hook() && !slot.is_twice;
    if is_kept && !slot.entry.is_ours() {
        let former = with(&path, FORMER);
        hindrances.push(format!(
            "{} is kept, but {} is not ours: Git does not run what is kept",
            Escaped::path(&former),
            Escaped::path(&path)
        ));
    }
    let hook_name = OsStr::new(slot.phase.name());
    HookReport {
        hook: slot.phase,
        state,
        program: led.as_deref().map(text),
        former: is_kept && slot.entry.is_ours(),
        also: if slot.entry.is_ours() && !(is_kept && runs_directory(&with(&path, FORMER), hook_name)) {
            programs(&with(&path, DIRECTORY_SUFFIX), program)
        } else {
            Vec::new()
        },
    }
}

/// Why the program behind a hook of ours does not run.
fn program_hindrance(repository: &Repository, hook: &Path, led: &Path) -> Option<String> {
    let says = |why: String| Some(format!("{}: {why}; Git runs nothing in its place", Escaped::path(hook)));
    let led_text = Escaped::path(led);
    match fs::metadata(led) {
        Err(error) => return says(format!("leads to {led_text}: {error}")),
        Ok(found) if !found.is_file() => return says(format!("leads to {led_text}, which is no file")),
        Ok(found) if found.mode() & 0o111 == 0 => return says(format!("{led_text} is not executable")),
        Ok(_) => {}
    }
    let (user, group) = owner(&repository.git_dir)?;
    let blocked_at = program::blocked_at(led, user, group)?;
    says(format!(
        "the repository's owner cannot run {led_text}, since {} keeps others out",
        Escaped::path(&blocked_at)
    ))
}

/// The executable files of a directory `<hook>.d`, in order.
fn programs(directory: &Path, program: Option<&Program>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0))
        .filter(|path| look::entry(path, program).is_ok_and(|entry| !entry.is_ours()))
        .take(PROGRAMS_MAX)
        .collect();
    names.sort_unstable();
    names.iter().map(|path| text(path)).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// True where hooks append no more.
const fn is_full(bytes: u64) -> bool {
    bytes >= JOURNAL_BYTES_MAX
}
