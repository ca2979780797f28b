//! What is wrong with the settings, said so that it can be put right.

use std::fmt;

use super::Source;
use super::layer::variable_of;
use super::table::{SETTINGS, Setting};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// File, variable or flag.
    pub(crate) place: String,
    /// The key; `None` where the place says it all.
    pub(crate) key: Option<String>,
    /// What is wrong, and the remedy.
    pub(crate) message: String,
}

impl Problem {
    pub(super) fn new(place: String, key: Option<String>, message: String) -> Self {
        Self { place, key, message }
    }

    /// A value that is not what its setting takes. `found` says what it is instead.
    pub(super) fn value(source: &Source, setting: &Setting, found: &str) -> Self {
        Self::of(source, setting.key, format!("expected {}, found {found}", setting.kind.expected()))
    }

    /// Something wrong with the value of a key.
    pub(super) fn of(source: &Source, key: &str, message: String) -> Self {
        let place = match source {
            // What nobody set stands nowhere.
            Source::Default => "settings".to_owned(),
            Source::File(_) | Source::Variable(_) | Source::Flag(_) => source.to_string(),
        };
        Self::new(place, Some(key.to_owned()), message)
    }

    /// A key that is no setting.
    pub(super) fn unknown(place: String, key: &str) -> Self {
        let hint = nearest(key).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
        Self::new(place, Some(key.to_owned()), format!("no such setting{hint}"))
    }

    /// A variable that names no setting.
    pub(super) fn unknown_variable(name: &str, key: &str) -> Self {
        let hint =
            nearest(key).map(|known| format!("; did you mean {}?", variable_of(known))).unwrap_or_default();
        Self::new(name.to_owned(), None, format!("no setting has this variable{hint}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {key}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Variable(name) | Source::Flag(name) => f.write_str(name),
        }
    }
}

/// The setting that was probably meant: one whose last word is the same, or that is a few letters away.
fn nearest(key: &str) -> Option<&'static str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let mut ranked: Vec<(usize, &'static str)> = SETTINGS
        .iter()
        .map(|setting| {
            let whole = strsim::osa_distance(key, setting.key);
            let tail = strsim::osa_distance(&last(key), &last(setting.key)) + 1;
            (whole.min(tail), setting.key)
        })
        .collect();
    ranked.sort_unstable();
    let far = (key.len() / 4).clamp(2, 4);
    ranked.first().filter(|(distance, _)| *distance <= far).map(|(_, known)| *known)
}
