//! `refwatch hook`: installs, removes and inspects the hooks that record what Git does.

mod apply;
mod args;
mod configuration;
mod configured;
mod found;
mod look;
mod phase;
mod plan;
mod program;
mod refusal;
mod status;
mod step;
mod walk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) use self::args::Command;
use self::args::{InstallArgs, RemoveArgs, Target};
use self::look::Look;
use self::plan::{Others, Plan, Planned, Wanted, Way};
use self::refusal::Refusal;
use super::escape::Escaped;
use super::exit::{self, Exit};
use super::output::Out;
use super::say;

/// Runs one of them.
pub(super) fn run(command: Command, out: &mut Out) -> Result<ExitCode, Exit> {
    match command {
        Command::Install(args) => install(&args, out),
        Command::Remove(args) => remove(&args, out),
        Command::Status(args) => status::run(&args, out),
    }
}

fn install(args: &InstallArgs, out: &mut Out) -> Result<ExitCode, Exit> {
    let program = program::find(args.hook_binary.as_deref())?;
    if args.configured {
        check_git()?;
    }
    let spool = args.spool.as_deref().map(|spool| directory("--spool", spool)).transpose()?;
    let wanted = Wanted {
        program: program.path.clone(),
        phases: args.phases.clone().unwrap_or_else(|| phase::Phase::DEFAULT.to_vec()),
        others: if args.phases.is_some() { Others::Go } else { Others::Stay },
        hooks_path: hooks_path(&args.target)?,
        way: if args.configured { Way::Configuration } else { Way::Files },
    };
    let paths = walk::paths(&args.target)?;
    let look = Look { program: Some(&program), spool: spool.as_deref() };
    let found = look::at(&paths, &look).map_err(refused)?;
    let plan = plan::install(&found, &wanted);
    // The program is looked for along the whole way only once something is to lead to it.
    let plan = if plan.as_ref().is_ok_and(|plan| !plan.steps.is_empty()) {
        let blocked = found.repositories.iter().filter_map(|repository| {
            let (user, group) = status::owner(&repository.git_dir)?;
            let blocked_at = program::blocked_at(&program.path, user, group)?;
            let program = program.path.clone();
            Some(Refusal::OutOfReach { program, blocked_at, git_dir: repository.git_dir.clone() })
        });
        let blocked: Vec<_> = blocked.collect();
        if blocked.is_empty() { plan } else { Err(blocked) }
    } else {
        plan
    };
    let count = found.repositories.len();
    let done = finish(plan, args.dry_run, OnFailure::Undo, out)?;
    let repositories = if count == 1 { "1 repository" } else { &format!("{count} repositories") };
    match done {
        0 => out.line(&format!("{repositories}: installed already, nothing to do"))?,
        _ if args.dry_run => out.line(&format!("{repositories}: nothing was touched"))?,
        _ => out.line(&format!("{repositories}: installed"))?,
    }
    if !args.configured && configured::version().is_ok_and(|(version, _)| version >= configured::SINCE) {
        out.line("this Git also takes hooks from a repository's configuration: see --configured")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn remove(args: &RemoveArgs, out: &mut Out) -> Result<ExitCode, Exit> {
    let hooks_path = hooks_path(&args.target)?;
    let paths = walk::paths(&args.target)?;
    let program = program::search();
    let look = Look { program: program.as_ref(), spool: None };
    let found = look::at(&paths, &look).map_err(refused)?;
    let count = found.repositories.len();
    let done = finish(plan::remove(&found, hooks_path.as_deref()), args.dry_run, OnFailure::Stop, out)?;
    let repositories = if count == 1 { "1 repository" } else { &format!("{count} repositories") };
    match done {
        0 => out.line(&format!("{repositories}: nothing of ours to remove"))?,
        _ if args.dry_run => out.line(&format!("{repositories}: nothing was touched"))?,
        _ => out.line(&format!("{repositories}: removed"))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What becomes of the steps that were done when one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    /// All are undone.
    Undo,
    /// They stay: the next run goes on from there.
    Stop,
}

/// Carries a plan out, or only prints it, and says how many steps it has.
fn finish(plan: Planned, dry_run: bool, on_failure: OnFailure, out: &mut Out) -> Result<usize, Exit> {
    let Plan { steps, notes } = plan.map_err(refused)?;
    for (index, step) in steps.iter().enumerate() {
        if dry_run {
            out.line(&format!("would {step}"))?;
            continue;
        }
        if let Err(error) = apply::apply(step) {
            let undone = match on_failure {
                OnFailure::Undo => undo(&steps[..index]),
                OnFailure::Stop => "run it again to go on from there".to_owned(),
            };
            return Err(Exit::new(exit::IO, format!("{error}; {undone}")));
        }
        out.line(&step.to_string())?;
    }
    for note in notes {
        out.line(&format!("note: {note}"))?;
    }
    Ok(steps.len())
}

/// Undoes steps, the last first.
fn undo(steps: &[step::Step]) -> String {
    let mut failed = 0;
    for step in steps.iter().rev() {
        if let Err(error) = apply::undo(step) {
            say(&error.to_string());
            failed += 1;
        }
    }
    match failed {
        0 => "everything done before was undone".to_owned(),
        _ => format!("{failed} steps could not be undone: `refwatch hook remove` takes away what is left"),
    }
}

fn refused(refusals: Vec<Refusal>) -> Exit {
    let lines: Vec<_> = refusals.iter().map(|refusal| format!("  {refusal}")).collect();
    let count = if lines.len() == 1 { "1 problem" } else { &format!("{} problems", lines.len()) };
    Exit::usage(format!("{count}, nothing was touched:\n{}", lines.join("\n")))
}

fn check_git() -> Result<(), Exit> {
    let (version, said) = configured::version()
        .map_err(|error| Exit::usage(format!("--configured: git in PATH cannot be asked: {error}")))?;
    if version < configured::SINCE {
        let (major, minor) = configured::SINCE;
        return Err(Exit::usage(format!(
            "--configured: {} knows no hooks in its configuration, which came with {major}.{minor}: leave it out",
            Escaped::text(&said)
        )));
    }
    Ok(())
}

fn hooks_path(target: &Target) -> Result<Option<PathBuf>, Exit> {
    target.hooks_path.as_deref().map(|path| directory("--hooks-path", path)).transpose()
}

/// The canonical path of a directory that has to be there.
fn directory(flag: &str, path: &Path) -> Result<PathBuf, Exit> {
    let refused = |why: &str| Exit::usage(format!("{flag} {}: {why}", Escaped::path(path)));
    let canonical = path.canonicalize().map_err(|error| refused(&error.to_string()))?;
    if canonical.is_dir() { Ok(canonical) } else { Err(refused("not a directory")) }
}
