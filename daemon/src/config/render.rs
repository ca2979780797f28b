//! Prints settings: those in force, and the reference of all there are.

use super::Loaded;
use super::layer::variable_of;
use super::table::{Draft, SECTIONS, SETTINGS, Setting};

/// Width of comment lines, in characters.
const WIDTH: usize = 100;

/// The settings in force as TOML, each with where it is from.
pub(crate) fn effective(loaded: &Loaded) -> String {
    let mut out = String::new();
    if let Some(file) = &loaded.file {
        out.push_str(&format!("# Settings file: {}\n", file.display()));
    }
    each_section(&mut out, |out, name, setting| {
        let source = loaded.source(setting.key);
        match setting.kind.print(&loaded.draft) {
            Some(value) => out.push_str(&format!("{name} = {value} # {source}\n")),
            None => out.push_str(&format!("# {name} is not set\n")),
        }
    });
    out
}

/// Every setting with its default as TOML, with its help: a file to start from.
pub(crate) fn reference() -> String {
    let defaults = Draft::default();
    let mut out =
        String::from("# Every setting of refwatch with its default. Flags and variables are stronger.\n");
    each_section(&mut out, |out, name, setting| {
        out.push('\n');
        comment(out, setting.help);
        comment(out, &format!("Takes {}. Variable: {}", setting.kind.expected(), variable_of(setting.key)));
        match (setting.example, setting.kind.print(&defaults)) {
            (Some(example), _) => out.push_str(&format!("# {name} = {example}\n")),
            (None, Some(value)) => out.push_str(&format!("{name} = {value}\n")),
            (None, None) => out.push_str(&format!("# {name} =\n")),
        }
    });
    out
}

/// Every setting as rows of a Markdown table.
pub(crate) fn markdown() -> String {
    let defaults = Draft::default();
    let mut out = String::from("| key | takes | default | meaning |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let default = match (setting.example, setting.kind.print(&defaults)) {
            (None, Some(value)) => format!("`{value}`"),
            _ => String::new(),
        };
        let cells = [format!("`{}`", setting.key), setting.kind.expected(), default, setting.help.to_owned()];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        out.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    out
}

/// Writes the settings without a section first, as TOML demands, then section by section.
fn each_section(out: &mut String, mut write: impl FnMut(&mut String, &str, &Setting)) {
    for setting in SETTINGS.iter().filter(|setting| !setting.key.contains('.')) {
        write(out, setting.key, setting);
    }
    for (section, help) in SECTIONS {
        out.push('\n');
        comment(out, help);
        out.push_str(&format!("[{section}]\n"));
        for setting in SETTINGS {
            if let Some(name) = setting.key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')) {
                write(out, name, setting);
            }
        }
    }
}

/// Writes a comment, broken into lines.
fn comment(out: &mut String, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() + 3 > WIDTH {
            out.push_str(&format!("# {line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        out.push_str(&format!("# {line}\n"));
    }
}
