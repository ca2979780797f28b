//! What a setting takes: reading it, telling what was expected, and printing it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use figment::value::Value;

use super::layer::Syntax;
use super::table::Draft;

/// Kind of a setting, with its bounds and its place in the settings.
pub(super) enum Kind {
    /// A whole number.
    Number { min: u64, max: u64, get: fn(&Draft) -> u64, set: fn(&mut Draft, u64) },
    /// `true` or `false`.
    Switch { get: fn(&Draft) -> bool, set: fn(&mut Draft, bool) },
    /// One of some words.
    Word { words: &'static [&'static str], get: fn(&Draft) -> &'static str, set: fn(&mut Draft, &str) },
    /// A path. Its default may be none.
    Path { get: fn(&Draft) -> Option<&Path>, set: fn(&mut Draft, PathBuf) },
    /// Several paths.
    Paths { get: fn(&Draft) -> &[PathBuf], set: fn(&mut Draft, Vec<PathBuf>) },
    /// Several globs.
    Globs { get: fn(&Draft) -> &[String], set: fn(&mut Draft, Vec<String>) },
    /// Several names of users or groups.
    Names { get: fn(&Draft) -> &[String], set: fn(&mut Draft, Vec<String>) },
    /// An address to listen on.
    Address { get: fn(&Draft) -> SocketAddr, set: fn(&mut Draft, SocketAddr) },
    /// An address to listen on, or `off`.
    AddressOrOff { get: fn(&Draft) -> Option<SocketAddr>, set: fn(&mut Draft, Option<SocketAddr>) },
}

/// What a value means depends on where it stands.
pub(super) struct Context<'a> {
    pub(super) syntax: Syntax,
    /// What relative paths are relative to.
    pub(super) base: &'a Path,
}

/// How an address is switched off.
pub(super) const OFF: &str = "off";

impl Kind {
    /// Reads a value into the settings.
    ///
    /// # Errors
    /// What was found instead, in words.
    pub(super) fn apply(
        &self,
        draft: &mut Draft,
        value: &Value,
        context: &Context<'_>,
    ) -> Result<(), String> {
        match self {
            Kind::Number { min, max, set, .. } => {
                let number = number(value, context.syntax).ok_or_else(|| shown(value))?;
                if !(*min..=*max).contains(&number) {
                    return Err(shown(value));
                }
                set(draft, number);
            }
            Kind::Switch { set, .. } => {
                set(draft, switch(value, context.syntax).ok_or_else(|| shown(value))?)
            }
            Kind::Word { words, set, .. } => {
                let word = value.as_str().filter(|word| words.contains(word)).ok_or_else(|| shown(value))?;
                set(draft, word);
            }
            Kind::Path { set, .. } => {
                let text = value.as_str().filter(|text| !text.is_empty()).ok_or_else(|| shown(value))?;
                set(draft, absolute(context.base, text));
            }
            Kind::Paths { set, .. } => {
                let texts = texts(value, context.syntax, split_paths)?;
                set(draft, texts.iter().map(|text| absolute(context.base, text)).collect());
            }
            Kind::Globs { set, .. } => {
                let texts = texts(value, context.syntax, |text| vec![text.to_owned()])?;
                for text in &texts {
                    globset::Glob::new(text).map_err(|error| format!("{text:?}: {}", error.kind()))?;
                }
                set(draft, texts);
            }
            Kind::Names { set, .. } => {
                let texts = texts(value, context.syntax, split_names)?;
                match texts.iter().find(|text| text.is_empty()) {
                    Some(empty) => return Err(format!("{empty:?}")),
                    None => set(draft, texts),
                }
            }
            Kind::Address { set, .. } => set(draft, address(value)?),
            Kind::AddressOrOff { set, .. } => match value.as_str() {
                Some(OFF) => set(draft, None),
                _ => set(draft, Some(address(value)?)),
            },
        }
        Ok(())
    }

    /// What it takes, in words.
    pub(super) fn expected(&self) -> String {
        match self {
            Kind::Number { min, max, .. } if *max >= i64::MAX.unsigned_abs() => {
                format!("a whole number of at least {min}")
            }
            Kind::Number { min, max, .. } => format!("a whole number from {min} to {max}"),
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Word { words, .. } => words.join(" or "),
            Kind::Path { .. } => "a path".to_owned(),
            Kind::Paths { .. } => "a list of paths".to_owned(),
            Kind::Globs { .. } => "a list of globs".to_owned(),
            Kind::Names { .. } => "a list of names or numbers".to_owned(),
            Kind::Address { .. } => "an address and port such as 127.0.0.1:50052 or [::1]:50052".to_owned(),
            Kind::AddressOrOff { .. } => "an address and port such as 127.0.0.1:5002, or off".to_owned(),
        }
    }

    /// The value as TOML; `None` where there is none.
    pub(super) fn print(&self, draft: &Draft) -> Option<toml::Value> {
        let path = |path: &Path| toml::Value::String(path.display().to_string());
        Some(match self {
            Kind::Number { get, .. } => toml::Value::Integer(i64::try_from(get(draft)).unwrap_or(i64::MAX)),
            Kind::Switch { get, .. } => toml::Value::Boolean(get(draft)),
            Kind::Word { get, .. } => toml::Value::String(get(draft).to_owned()),
            Kind::Path { get, .. } => path(get(draft)?),
            Kind::Paths { get, .. } => toml::Value::Array(get(draft).iter().map(|item| path(item)).collect()),
            Kind::Globs { get, .. } | Kind::Names { get, .. } => {
                toml::Value::Array(get(draft).iter().cloned().map(toml::Value::String).collect())
            }
            Kind::Address { get, .. } => toml::Value::String(get(draft).to_string()),
            Kind::AddressOrOff { get, .. } => {
                toml::Value::String(get(draft).map_or_else(|| OFF.to_owned(), |address| address.to_string()))
            }
        })
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expected())
    }
}

fn number(value: &Value, syntax: Syntax) -> Option<u64> {
    match syntax {
        Syntax::Typed => value.to_i128().and_then(|number| u64::try_from(number).ok()),
        Syntax::Text => value.as_str()?.parse().ok(),
    }
}

fn switch(value: &Value, syntax: Syntax) -> Option<bool> {
    match syntax {
        Syntax::Typed => value.to_bool(),
        Syntax::Text => value.as_str()?.parse().ok(),
    }
}

fn address(value: &Value) -> Result<SocketAddr, String> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| shown(value))
}

/// A list: in a file an array, elsewhere also an array as TOML spells it, or plain text that `split` takes apart.
fn texts(value: &Value, syntax: Syntax, split: fn(&str) -> Vec<String>) -> Result<Vec<String>, String> {
    let of_array = |items: &[Value]| {
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| shown(item)));
        texts.collect::<Result<Vec<_>, _>>()
    };
    match (value, syntax) {
        (Value::Array(_, items), _) => of_array(items),
        (Value::String(_, text), Syntax::Text) if text.starts_with("[\"") || text.starts_with("['") => {
            let wrapped: Wrapped = toml::from_str(&format!("list = {text}")).map_err(|_| shown(value))?;
            Ok(wrapped.list)
        }
        (Value::String(_, text), Syntax::Text) => Ok(split(text)),
        _ => Err(shown(value)),
    }
}

#[derive(serde::Deserialize)]
struct Wrapped {
    list: Vec<String>,
}

/// Takes `a:b` apart, as in `PATH`.
fn split_paths(text: &str) -> Vec<String> {
    std::env::split_paths(text)
        .filter_map(|path| path.to_str().map(str::to_owned))
        .filter(|path| !path.is_empty())
        .collect()
}

/// Takes `a,b` apart.
fn split_names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A path without `.` and doubled or trailing slashes. `..` stays: what it means is for the filesystem to say.
fn absolute(base: &Path, text: &str) -> PathBuf {
    let path: PathBuf =
        base.join(text).components().filter(|component| *component != Component::CurDir).collect();
    path
}

/// A value in words. Long ones are cut.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 80;
    let cut = |text: String| match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    };
    match value {
        Value::String(_, text) => cut(format!("{text:?}")),
        Value::Char(_, char) => format!("{char:?}"),
        Value::Bool(_, switch) => switch.to_string(),
        Value::Num(_, _) => value
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| value.to_f64().map(|number| number.to_string()))
            .unwrap_or_else(|| "a number".to_owned()),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}
