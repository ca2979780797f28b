//! The command line.

mod check;
mod complete;
mod config;
mod connect;
mod escape;
mod exit;
mod filter;
mod health;
mod hook;
mod line;
mod output;
mod position;
mod refs;
mod repos;
mod serve;
mod since;
mod tail;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::exit::Exit;
use self::output::{Out, say};

/// Watches bare Git repositories and streams every change of their refs.
#[derive(Debug, Parser)]
#[command(name = "refwatch", after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watches repositories and serves their events
    Serve(serve::Args),
    /// Prints events as they happen
    Tail(Box<tail::Args>),
    /// Lists refs as the daemon knows them
    Refs(refs::Args),
    /// Lists the repositories that the daemon follows
    Repos(repos::Args),
    /// Tells where the log stands, as a cursor
    Position(position::Args),
    /// Asks whether the daemon is ready: for probes
    Health(health::Args),
    /// Verifies a database, and compares it with the repositories; needs no daemon
    Check(check::Args),
    /// Installs, removes and inspects the hooks that record what Git does
    #[command(subcommand)]
    Hook(hook::Command),
    /// Makes a token, and prints it and its line for grpc.token_file, which holds only its hash
    Token(token::Args),
    /// Checks or prints the daemon's settings
    #[command(subcommand)]
    Config(config::Command),
    /// Writes completions for a shell
    Completions(complete::CompletionsArgs),
    /// Writes the manual pages
    Man(complete::ManArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
   0  all went well
   1  `check` or `hook status` found something, `health` found the daemon not ready, or the daemon failed
  64  the command line or a setting is wrong
  65  the cursor leads nowhere any more: list again and watch from there
  69  the daemon is not there, or is too busy
  70  the daemon is damaged, or answers what it should not
  74  a file or the output cannot be written or read
  77  the daemon wants other credentials";

/// The version, with the commit where the build was told it (`REFWATCH_COMMIT`).
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("REFWATCH_COMMIT") {
    Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").to_owned(),
});

/// Runs what the command line says.
pub(crate) fn main() -> ExitCode {
    match parse(std::env::args_os()) {
        Ok(cli) => run(cli.command).unwrap_or_else(|exit| exit.tell()),
        Err(error) => {
            // Help and the version are asked for, and no error.
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(error) => Exit::from(error).tell(),
            }
        }
    }
}

fn command() -> clap::Command {
    Cli::command().version(VERSION.as_str())
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

fn run(command: Command) -> Result<ExitCode, Exit> {
    let mut out = Out::stdout();
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Tail(args) => tail::run(&args, &mut out),
        Command::Refs(args) => refs::run(&args, &mut out),
        Command::Repos(args) => repos::run(&args, &mut out),
        Command::Position(args) => position::run(&args, &mut out),
        Command::Health(args) => health::run(&args, &mut out),
        Command::Check(args) => check::run(&args, &mut out),
        Command::Hook(command) => hook::run(command, &mut out),
        Command::Token(args) => token::run(&args, &mut out),
        Command::Config(command) => config::run(command, &mut out),
        Command::Completions(args) => complete::completions(&args, &mut out),
        Command::Man(args) => complete::man(&args, &mut out),
    }
}

#[cfg(test)]
mod tests;
