//! Settings, from flags over variables over one file: read as a whole, so that everything wrong is told at once.
//!
//! Reading opens no port and writes nothing.

mod check;
mod exposed;
mod kind;
mod layer;
mod place;
mod problem;
mod render;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use figment::Figment;
use tracing_subscriber::filter::LevelFilter;

pub(crate) use self::layer::{FlagGiven, FlagValue};
pub(crate) use self::problem::Problem;
pub(crate) use self::render::{effective, markdown, reference};

use self::kind::Context;
use self::layer::{Layer, Syntax};
use self::table::{Draft, SETTINGS};
use crate::settings::Settings;

/// Variables of settings start with this.
pub(crate) const VARIABLE_PREFIX: &str = "REFWATCH_";
/// Names the settings file where no flag does.
pub(crate) const CONFIG_VARIABLE: &str = "REFWATCH_CONFIG";
/// Where clients find the daemon.
pub(crate) const SERVER_VARIABLE: &str = "REFWATCH_SERVER";
/// File with the bearer token of clients.
pub(crate) const TOKEN_FILE_VARIABLE: &str = "REFWATCH_TOKEN_FILE";

/// All settings: the daemon's, and those of its log output.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) log: LogSettings,
}

/// `[log]`
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogSettings {
    /// `log.level`
    pub(crate) level: LevelFilter,
    /// `log.format`
    pub(crate) format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line says of settings.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// `--config`
    pub(crate) file: Option<PathBuf>,
    /// Every flag that stands for a setting.
    pub(crate) flags: Vec<FlagGiven>,
}

/// What the process has around it. Handed in, so that tests need not change their own.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// All variables of the environment.
    pub(crate) variables: BTreeMap<OsString, OsString>,
    /// What relative paths of flags and variables are relative to.
    pub(crate) directory: PathBuf,
    /// The process is root's.
    pub(crate) privileged: bool,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// When the current directory is gone.
    pub(crate) fn of_process() -> std::io::Result<Self> {
        Ok(Self {
            variables: std::env::vars_os().collect(),
            directory: std::env::current_dir()?,
            privileged: rustix::process::geteuid().is_root(),
        })
    }

    /// A variable that is set to something.
    fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())
    }
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody set it.
    Default,
    /// A settings file.
    File(PathBuf),
    /// A variable, by its whole name.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

/// What reading gave.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Defaults stand in for values that are wrong: use it only if there are no problems.
    pub(crate) config: Config,
    /// Everything that is wrong, in order of the layers.
    pub(crate) problems: Vec<Problem>,
    /// What is no mistake but not safe: files with secrets that every user of the machine may open.
    pub(crate) warnings: Vec<Problem>,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    draft: Draft,
    sources: BTreeMap<&'static str, Source>,
}

impl Loaded {
    /// Where the value of a key is from.
    pub(crate) fn source(&self, key: &str) -> &Source {
        self.sources.get(key).unwrap_or(&Source::Default)
    }
}

/// Reads all settings and checks them against each other and against the disk.
pub(crate) fn load(given: &Given, around: &Surroundings) -> Loaded {
    let mut problems = Vec::new();
    let file = place::settings_file(given, around);
    let mut layers = Vec::new();
    if let Some(file) = &file {
        layers.extend(Layer::of_file(file, &mut problems));
    }
    layers.push(Layer::of_variables(around, &mut problems));
    layers.push(Layer::of_flags(&given.flags, &mut problems));

    let mut draft = Draft { database: place::database(around), ..Draft::default() };
    let sources = apply(&layers, around, &mut draft, &mut problems);
    let config = draft.config();
    let mut loaded = Loaded { config, problems, warnings: Vec::new(), file, draft, sources };
    check::check(&mut loaded);
    loaded.warnings = exposed::warnings(&loaded);
    loaded
}

/// Merges the layers and takes each known key by itself.
fn apply(
    layers: &[Layer],
    around: &Surroundings,
    draft: &mut Draft,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'static str, Source> {
    let merged = layers.iter().fold(Figment::new(), |merged, layer| merged.merge(layer));
    let mut sources = BTreeMap::new();
    for setting in SETTINGS {
        let Ok(value) = merged.find_value(setting.key) else { continue };
        let layer = merged
            .get_metadata(value.tag())
            .and_then(|metadata| layers.iter().find(|layer| layer.name() == metadata.name));
        let Some(layer) = layer else { continue };
        let base = match layer.syntax() {
            Syntax::Typed => file_directory(layer).unwrap_or(&around.directory),
            Syntax::Text => &around.directory,
        };
        let source = layer.source(setting.key);
        let context = Context { syntax: layer.syntax(), base };
        match setting.kind.apply(draft, &value, &context) {
            Ok(()) => drop(sources.insert(setting.key, source)),
            Err(found) => problems.push(Problem::value(&source, setting, &found)),
        }
    }
    sources
}

fn file_directory(layer: &Layer) -> Option<&std::path::Path> {
    layer.file().and_then(std::path::Path::parent)
}
