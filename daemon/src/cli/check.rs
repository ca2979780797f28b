//! `refwatch check`: verifies a database, and compares it with the repositories.

mod compare;
mod finding;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use refwatch_store::{ReadError, ReadOnly, Reader, RepositoryRow, RepositoryState};

use super::exit::{self, Exit};
use super::output::Out;
use super::serve::{SettingArgs, listed};

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The database; by default the one that `serve` takes
    #[arg(long, value_name = "FILE")]
    db: Option<String>,
    /// Settings file that names the database
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Compares only repositories below this folder; may be given several times
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// Verifies the log only, and looks at no repository
    #[arg(long, conflicts_with = "root")]
    log_only: bool,
}

const AFTER_HELP: &str = "\
The database is only read. Changes that were made since the daemon last looked show as differences: they are no damage, \
and become events when it looks again.

Exit codes: 0 nothing found, 1 something found, 64 wrong use, 70 the database cannot be read, 74 output failed.";

/// Prints a line for everything that does not hold, and a summary.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<ExitCode, Exit> {
    let path = database(args)?;
    let roots = args.root.iter().map(|root| absolute(root)).collect::<Result<Vec<_>, _>>()?;
    let store = open(&path)?;
    let reader = store.read().map_err(|error| unreadable(&path, &error))?;
    let wanted =
        |row: &RepositoryRow| !args.log_only && (roots.is_empty() || roots.contains(&compare::root(row)));
    let findings = check(&path, &reader, wanted, out)?;
    out.flush()?;
    Ok(if findings == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Opens the database without writing to it: opening it as the daemon does would take its lock and might begin a
/// new epoch, and a check that ends every cursor is worse than none.
fn open(path: &Path) -> Result<ReadOnly, Exit> {
    ReadOnly::open(path).map_err(|error| Exit::new(exit::SERVER, error.to_string()))
}

/// The database that is meant.
fn database(args: &Args) -> Result<PathBuf, Exit> {
    let loaded = SettingArgs::of_database(args.config.clone(), args.db.clone()).load()?;
    // What else may be wrong with the settings does not matter here.
    let concerns = |key: Option<&str>| key.is_none_or(|key| key == "store.path");
    let problems: Vec<_> =
        loaded.problems.into_iter().filter(|problem| concerns(problem.key.as_deref())).collect();
    if !problems.is_empty() {
        return Err(Exit::usage(listed(&problems)));
    }
    let path = loaded.config.settings.store.path;
    if !path.is_file() {
        return Err(Exit::usage(format!("{} is no database; name it with --db FILE", path.display())));
    }
    Ok(path)
}

fn absolute(root: &Path) -> Result<PathBuf, Exit> {
    let absolute = std::path::absolute(root);
    absolute.map_err(|error| Exit::usage(format!("{}: {error}", root.display())))
}

fn unreadable(path: &Path, error: &ReadError) -> Exit {
    Exit::new(exit::SERVER, format!("{}: {error}", path.display()))
}

/// Verifies the log, then every repository that is wanted. Gives the number of findings.
fn check(
    path: &Path,
    reader: &Reader<'_>,
    wanted: impl Fn(&RepositoryRow) -> bool,
    out: &mut Out,
) -> Result<u64, Exit> {
    let failed = |error: ReadError| unreadable(path, &error);
    let rows = reader.repositories().map_err(failed)?;
    let mut written = Ok(());
    let verified = reader.verify(|finding| {
        written = out.line(&finding::text(&finding, &rows));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written?;
    let verified = verified.map_err(failed)?;
    let mut findings = verified.findings;
    let mut compared = 0_u64;
    for row in rows.iter().filter(|row| row.state == RepositoryState::Active && wanted(row)) {
        compared += 1;
        for line in compare::differences(reader, row).map_err(failed)? {
            findings += 1;
            out.line(&line)?;
        }
    }
    let summary = format!(
        "{findings} findings; verified {} events and {} refs of {} repositories, compared {compared} with the disk",
        verified.events, verified.refs, verified.repositories
    );
    out.line(&summary)?;
    Ok(findings)
}
