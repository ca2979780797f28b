//! `refwatch serve`: the daemon itself, and the flags that stand for settings.

use std::path::PathBuf;
use std::process::ExitCode;

use super::exit::{self, Exit};
use crate::config::{self, Config, FlagGiven, FlagValue, Given, Loaded, Problem, Surroundings};

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    settings: SettingArgs,
}

const AFTER_HELP: &str = "\
Every setting can be given as a variable too, such as REFWATCH_GRPC__ADDRESS for grpc.address. Flags are stronger than \
variables, and those than the file. `refwatch config print --defaults` lists all settings.";

/// Flags that stand for settings.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct SettingArgs {
    /// Settings file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder below which repositories are served; may be given several times
    #[arg(long, value_name = "DIR")]
    root: Vec<String>,
    /// The database
    #[arg(long, value_name = "FILE")]
    db: Option<String>,
    /// Where gRPC is served
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// Where probes, metrics and the status page are served, or off
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// How changes are noticed: auto or poll
    #[arg(long, value_name = "MODE")]
    watch_mode: Option<String>,
    /// Time between two looks at a repository that is polled
    #[arg(long, value_name = "MS")]
    poll_interval_ms: Option<String>,
    /// What a fresh database makes of the refs that it finds: known or emit
    #[arg(long, value_name = "WHAT")]
    baseline: Option<String>,
    /// Least important log lines: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any other setting, by its key
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

impl SettingArgs {
    /// Only a file and a database.
    pub(super) fn of_database(config: Option<PathBuf>, db: Option<String>) -> Self {
        Self { config, db, ..Self::default() }
    }

    /// What they say of settings.
    pub(super) fn given(&self) -> Given {
        let single = [
            ("store.path", "--db", &self.db),
            ("grpc.address", "--grpc", &self.grpc),
            ("http.address", "--http", &self.http),
            ("watch.mode", "--watch-mode", &self.watch_mode),
            ("watch.poll_interval_ms", "--poll-interval-ms", &self.poll_interval_ms),
            ("baseline", "--baseline", &self.baseline),
            ("log.level", "--log-level", &self.log_level),
            ("log.format", "--log-format", &self.log_format),
        ];
        let text = |key: &str, flag: &'static str, value: &str| FlagGiven {
            key: key.to_owned(),
            flag,
            value: FlagValue::Text(value.to_owned()),
        };
        let mut flags: Vec<FlagGiven> = single
            .iter()
            .filter_map(|(key, flag, value)| value.as_ref().map(|value| text(key, flag, value)))
            .collect();
        if !self.root.is_empty() {
            let value = FlagValue::List(self.root.clone());
            flags.push(FlagGiven { key: "roots".to_owned(), flag: "--root", value });
        }
        flags.extend(self.set.iter().map(|(key, value)| text(key, "--set", value)));
        Given { file: self.config.clone(), flags }
    }

    /// Reads all settings.
    ///
    /// # Errors
    /// When there is no current directory. What is wrong with the settings is in what is returned.
    pub(super) fn load(&self) -> Result<Loaded, Exit> {
        let around = Surroundings::of_process()
            .map_err(|error| Exit::new(exit::IO, format!("the current directory: {error}")))?;
        Ok(config::load(&self.given(), &around))
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Runs the daemon until it is told to stop.
pub(super) fn run(args: Args) -> Result<ExitCode, Exit> {
    let loaded = args.settings.load()?;
    if !loaded.problems.is_empty() {
        return Err(Exit::usage(listed(&loaded.problems)));
    }
    let Config { settings, log } = loaded.config;
    crate::app::run(settings, log, &loaded.warnings).map_err(|error| Exit::new(1, format!("{error:#}")))
}

/// Problems as a list.
pub(super) fn listed(problems: &[Problem]) -> String {
    let count = match problems.len() {
        1 => "1 problem with the settings:".to_owned(),
        count => format!("{count} problems with the settings:"),
    };
    let lines = problems.iter().map(|problem| format!("  {problem}"));
    std::iter::once(count).chain(lines).collect::<Vec<_>>().join("\n")
}
