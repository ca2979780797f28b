//! `refwatch config`: checks or prints the daemon's settings.

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

use super::exit::{self, Exit};
use super::output::Out;
use super::serve::{SettingArgs, listed};
use crate::config::{self, Loaded};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Says OK, or all that is wrong with the settings; and which files with secrets others may open
    Check(SettingArgs),
    /// Prints the settings in force as TOML, each with where it is from
    Print(PrintArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct PrintArgs {
    /// Prints every setting with its default and its help instead
    #[arg(long)]
    defaults: bool,
    /// How --defaults looks
    #[arg(long, value_enum, default_value = "toml", requires = "defaults")]
    format: Format,
    #[command(flatten)]
    settings: SettingArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A file to start from
    Toml,
    /// A table for a manual
    Markdown,
}

/// Checks or prints.
pub(super) fn run(command: Command, out: &mut Out) -> Result<ExitCode, Exit> {
    match command {
        Command::Check(args) => {
            let Loaded { problems, warnings, .. } = args.load()?;
            for warning in warnings {
                out.line(&format!("warning: {warning}"))?;
            }
            let text = if problems.is_empty() { "OK".to_owned() } else { listed(&problems) };
            out.line(&text)?;
            out.flush()?;
            Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) })
        }
        Command::Print(args) if args.defaults => {
            let text = match args.format {
                Format::Toml => config::reference(),
                Format::Markdown => config::markdown(),
            };
            out.line(text.trim_end())?;
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Print(args) => {
            let loaded = args.settings.load()?;
            out.line(config::effective(&loaded).trim_end())?;
            out.flush()?;
            if loaded.problems.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            Err(Exit::usage(listed(&loaded.problems)))
        }
    }
}
