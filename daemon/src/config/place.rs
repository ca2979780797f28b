//! Where files are when nobody says.

use std::path::{Path, PathBuf};

use super::{CONFIG_VARIABLE, Given, Surroundings};

const FILE_NAME: &str = "refwatch.toml";
const DATABASE_NAME: &str = "refwatch.db";

/// The settings file: the one that is named, else the first that exists of `$CONFIGURATION_DIRECTORY`,
/// `$XDG_CONFIG_HOME/refwatch`, `~/.config/refwatch` (not for root) and `/etc/refwatch`.
pub(super) fn settings_file(given: &Given, around: &Surroundings) -> Option<PathBuf> {
    let named = given.file.clone().or_else(|| around.variable(CONFIG_VARIABLE).map(PathBuf::from));
    if let Some(named) = named {
        return Some(around.directory.join(named));
    }
    let mut directories: Vec<PathBuf> = Vec::new();
    directories.extend(service_directory(around, "CONFIGURATION_DIRECTORY"));
    if !around.privileged {
        directories.extend(home_directory(around, "XDG_CONFIG_HOME", ".config"));
    }
    directories.push(PathBuf::from("/etc/refwatch"));
    directories.into_iter().map(|directory| directory.join(FILE_NAME)).find(|file| file.is_file())
}

/// The database: below systemd's `$STATE_DIRECTORY`; for root `/var/lib/refwatch`; else `$XDG_STATE_HOME/refwatch` or
/// `~/.local/state/refwatch`. `None` for a process that has none of these.
pub(super) fn database(around: &Surroundings) -> Option<PathBuf> {
    service_directory(around, "STATE_DIRECTORY")
        .or_else(|| around.privileged.then(|| PathBuf::from("/var/lib/refwatch")))
        .or_else(|| home_directory(around, "XDG_STATE_HOME", ".local/state"))
        .map(|directory| directory.join(DATABASE_NAME))
}

/// The first of the directories that systemd made for the service, systemd.exec(5).
fn service_directory(around: &Surroundings, variable: &str) -> Option<PathBuf> {
    std::env::split_paths(around.variable(variable)?).find(|path| path.is_absolute())
}

/// A directory of the XDG Base Directory Specification, where relative ones are to be ignored.
fn home_directory(around: &Surroundings, variable: &str, below_home: &str) -> Option<PathBuf> {
    let absolute = |name: &str| around.variable(name).map(Path::new).filter(|path| path.is_absolute());
    absolute(variable)
        .map(Path::to_owned)
        .or_else(|| absolute("HOME").map(|home| home.join(below_home)))
        .map(|directory| directory.join("refwatch"))
}
