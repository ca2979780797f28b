//! `refwatch token`: makes a token, and the line for `grpc.token_file` that lets it in.

use std::io::Read as _;
use std::process::ExitCode;

use clap::ValueEnum;
use data_encoding::BASE64URL_NOPAD;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::exit::{self, Exit};
use super::output::Out;
use crate::grpc::{Scope as Right, token_line};

/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;
/// How tokens begin, so that scanners for leaked secrets find them.
const PREFIX: &str = "rwt_";
/// Longest token that is read from stdin, in bytes.
const STDIN_BYTES_MAX: u64 = 4_096;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What it may do
    #[arg(long, value_enum, value_delimiter = ',', default_value = "watch")]
    scope: Vec<Scope>,
    /// Limits it to repositories whose path matches; may be given several times
    #[arg(long = "repository", value_name = "GLOB")]
    repositories: Vec<String>,
    /// What to call it in the log and on the status page
    #[arg(long)]
    name: Option<String>,
    /// Reads the token from stdin, and prints its line only
    #[arg(long)]
    stdin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// To watch and list
    Watch,
    /// To report refused updates
    Ingest,
}

/// Prints the token and its line. Nothing is stored.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<ExitCode, Exit> {
    let given = if args.stdin { Some(read()?) } else { None };
    let token = match &given {
        Some(token) => token.clone(),
        None => random()?,
    };
    let scopes = args.scope.iter().map(|scope| match scope {
        Scope::Watch => Right::Watch,
        Scope::Ingest => Right::Ingest,
    });
    let scopes: Vec<_> = scopes.collect();
    let line = token_line(&token, &scopes, &args.repositories, args.name.as_deref()).map_err(Exit::usage)?;
    if given.is_none() {
        out.line(&token)?;
    }
    out.line(&line)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn random() -> Result<String, Exit> {
    let mut bytes = [0; RANDOM_BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Exit::new(exit::IO, "the system gives no random numbers".to_owned()))?;
    Ok(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
}

fn read() -> Result<String, Exit> {
    let mut text = String::new();
    std::io::stdin().take(STDIN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}
