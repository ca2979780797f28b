//! The command lines.

use std::path::PathBuf;

use super::super::output::ColorWhen;
use super::phase::Phase;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Puts the recording hooks into repositories, in front of those that are there
    Install(InstallArgs),
    /// Takes them out again, and puts the former hooks back
    Remove(RemoveArgs),
    /// Says what is installed, what runs behind it, and what keeps it from recording
    Status(StatusArgs),
}

/// The repositories that are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Git directories, or working trees with one
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Takes every repository below the paths
    #[arg(long)]
    pub(super) recursive: bool,
    /// The shared directory of hooks that core.hooksPath or a link leads to: its hooks serve every repository that uses it
    #[arg(long, value_name = "DIR")]
    pub(super) hooks_path: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = INSTALL_HELP)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// The hooks to install, by commas; others of ours are taken out. By default pre-receive and post-receive are added to
    /// what is there
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub(super) phases: Option<Vec<Phase>>,
    /// Prints what would be done, and touches nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The program that hooks become links to; by default refwatch-hook beside refwatch, or in PATH
    #[arg(long, value_name = "FILE")]
    pub(super) hook_binary: Option<PathBuf>,
    /// Keeps the journals in this directory instead of in the repositories
    #[arg(long, value_name = "DIR")]
    pub(super) spool: Option<PathBuf>,
    /// Writes hooks into each repository's configuration instead of its hooks directory; for Git 2.54 and later
    #[arg(long, conflicts_with = "hooks_path")]
    pub(super) configured: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Prints what would be done, and touches nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(super) target: Target,
    /// Prints one repository a line as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub(super) color: ColorWhen,
}

const INSTALL_HELP: &str = "\
Which hooks: pre-receive and post-receive are two processes a push whatever its size, and tell exactly what pushes do. \
reference-transaction tells every command, but before Git 2.50 is started twice for each ref of a push that is not \
atomic. update is started for each ref, and tells something only where such a hook refuses pushes.

Measured with Git 2.47, a push of 2,000 new refs: 0.8 s without hooks; pre-receive and post-receive add less than 0.1 s, \
update 3 s, reference-transaction 8 s (atomic: less than 0.1 s). More in ops/HOOKS.md.

Existing hooks are kept beside as <hook>.refwatch-former, and run. Hooks are links, so that the program is exchanged in \
one place: remove them before you remove the program.

Exit codes: 0 installed, 64 refused and nothing touched, 74 failed and undone.";
