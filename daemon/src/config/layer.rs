//! One place that settings come from, as a figment provider.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::table::{self, Known};
use super::{
    CONFIG_VARIABLE, Problem, SERVER_VARIABLE, Source, Surroundings, TOKEN_FILE_VARIABLE, VARIABLE_PREFIX,
};

/// A flag that stands for a setting.
#[derive(Clone, Debug)]
pub(crate) struct FlagGiven {
    /// The setting.
    pub(crate) key: String,
    /// The flag, with its dashes.
    pub(crate) flag: &'static str,
    /// What it says.
    pub(crate) value: FlagValue,
}

/// What a flag says.
#[derive(Clone, Debug)]
pub(crate) enum FlagValue {
    /// One value, to be read as the value of a variable is.
    Text(String),
    /// A flag given several times.
    List(Vec<String>),
}

/// How values are spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// TOML tells numbers from text.
    Typed,
    /// Everything is text.
    Text,
}

/// Settings of one place.
#[derive(Debug)]
pub(super) struct Layer {
    kind: LayerKind,
    dict: Dict,
}

#[derive(Debug)]
enum LayerKind {
    File(PathBuf),
    Variables,
    Flags(BTreeMap<String, &'static str>),
}

impl Layer {
    /// Reads a file; `None` when there is nothing to be had from it.
    pub(super) fn of_file(path: &Path, problems: &mut Vec<Problem>) -> Option<Self> {
        let place = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                problems.push(Problem::new(place, None, format!("cannot be read: {error}")));
                return None;
            }
        };
        match Toml::from_str::<Dict>(&text) {
            Ok(dict) => {
                unknown_in(&dict, "", &place, problems);
                Some(Self { kind: LayerKind::File(path.to_owned()), dict })
            }
            Err(error) => {
                problems.push(Problem::new(
                    place,
                    None,
                    format!("is not TOML: {}", error.to_string().trim_end()),
                ));
                None
            }
        }
    }

    /// Takes the variables that name settings.
    pub(super) fn of_variables(around: &Surroundings, problems: &mut Vec<Problem>) -> Self {
        let mut dict = Dict::new();
        for (name, value) in &around.variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let others = [CONFIG_VARIABLE, SERVER_VARIABLE, TOKEN_FILE_VARIABLE];
            if value.is_empty() || others.contains(&name) || is_service_link(rest) {
                continue;
            }
            let key = rest.to_ascii_lowercase().replace("__", ".");
            match (table::known(&key), value.to_str()) {
                (Known::Setting, Some(text)) => insert(&mut dict, &key, text.into()),
                (Known::Setting, None) => {
                    problems.push(Problem::new(name.to_owned(), Some(key), "is not UTF-8".to_owned()));
                }
                (Known::Section | Known::Not, _) => problems.push(Problem::unknown_variable(name, &key)),
            }
        }
        Self { kind: LayerKind::Variables, dict }
    }

    /// Takes the flags.
    pub(super) fn of_flags(flags: &[FlagGiven], problems: &mut Vec<Problem>) -> Self {
        let mut dict = Dict::new();
        let mut names = BTreeMap::new();
        for FlagGiven { key, flag, value } in flags {
            if table::known(key) != Known::Setting {
                problems.push(Problem::unknown((*flag).to_owned(), key));
                continue;
            }
            let value = match value {
                FlagValue::Text(text) => text.as_str().into(),
                FlagValue::List(texts) => texts.clone().into(),
            };
            insert(&mut dict, key, value);
            names.insert(key.clone(), *flag);
        }
        Self { kind: LayerKind::Flags(names), dict }
    }

    /// Tells it from the other layers.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            LayerKind::File(_) => "file",
            LayerKind::Variables => "variables",
            LayerKind::Flags(_) => "flags",
        }
    }

    /// How its values are spelt.
    pub(super) fn syntax(&self) -> Syntax {
        match self.kind {
            LayerKind::File(_) => Syntax::Typed,
            LayerKind::Variables | LayerKind::Flags(_) => Syntax::Text,
        }
    }

    /// Its file.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.kind {
            LayerKind::File(path) => Some(path),
            LayerKind::Variables | LayerKind::Flags(_) => None,
        }
    }

    /// Where it has a key from.
    pub(super) fn source(&self, key: &str) -> Source {
        match &self.kind {
            LayerKind::File(path) => Source::File(path.clone()),
            LayerKind::Variables => Source::Variable(variable_of(key)),
            LayerKind::Flags(names) => {
                Source::Flag(names.get(key).copied().unwrap_or("the command line").to_owned())
            }
        }
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// The variable of a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Puts a value below the tables that a dotted key names.
fn insert(dict: &mut Dict, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(dict.insert(key.to_owned(), value)),
        Some((section, rest)) => {
            let below = dict.entry(section.to_owned()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, below) = below {
                insert(below, rest, value);
            }
        }
    }
}

/// Reports every key of a file that is no setting.
fn unknown_in(dict: &Dict, prefix: &str, place: &str, problems: &mut Vec<Problem>) {
    for (name, value) in dict {
        let key = format!("{prefix}{name}");
        match (table::known(&key), value) {
            (Known::Setting, _) => {}
            (Known::Section, Value::Dict(_, below)) => unknown_in(below, &format!("{key}."), place, problems),
            (Known::Section, _) => {
                let message = format!("is a section: write [{key}] and its settings below");
                problems.push(Problem::new(place.to_owned(), Some(key), message));
            }
            // The keys of an unknown section may each be meant for somewhere else.
            (Known::Not, Value::Dict(_, below)) if !below.is_empty() => {
                unknown_in(below, &format!("{key}."), place, problems);
            }
            (Known::Not, _) => problems.push(Problem::unknown(place.to_owned(), &key)),
        }
    }
}

/// Variables that Kubernetes sets in every pod beside a Service called `refwatch` or `refwatch-<something>`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(rest: &str) -> bool {
    if rest.contains("__") {
        return false;
    }
    let rest = format!("_{rest}");
    let port = rest.rsplit_once("_PORT").map(|(_, tail)| tail);
    rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.ends_with("_PORT")
        || port.is_some_and(|tail| tail.is_empty() || tail.starts_with('_'))
        || ["_TCP", "_UDP", "_SCTP", "_PROTO", "_ADDR"].iter().any(|end| rest.ends_with(end))
            && rest.contains("_PORT_")
}
