//! `refwatch completions` and `refwatch man`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::Shell;

use super::exit::{self, Exit};
use super::output::Out;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell to write them for
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Folder to write a page a command to; without it, the main page goes to stdout
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Writes completions to stdout.
pub(super) fn completions(args: &CompletionsArgs, out: &mut Out) -> Result<ExitCode, Exit> {
    // Into memory first: the library panics where its output cannot be written.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "refwatch", &mut text);
    out.writer().write_all(&text)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The page of the program that Git's hooks are. `refwatch hook`, which would have a page of that name, only leads to its
/// own commands, and so does this one.
pub(super) const HOOK_PAGE: (&str, &str) = ("refwatch-hook.1", include_str!("refwatch-hook.1"));

/// Writes manual pages.
pub(super) fn man(args: &ManArgs, out: &mut Out) -> Result<ExitCode, Exit> {
    match &args.directory {
        Some(directory) => {
            let (name, page) = HOOK_PAGE;
            let page = page.replace("@version@", env!("CARGO_PKG_VERSION"));
            clap_mangen::generate_to(super::command(), directory)
                .and_then(|()| fs::write(directory.join(name), page))
                .map_err(|error| Exit::new(exit::IO, format!("{}: {error}", directory.display())))?;
        }
        None => {
            clap_mangen::Man::new(super::command()).render(out.writer())?;
            out.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
