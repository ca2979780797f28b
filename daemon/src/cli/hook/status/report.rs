//! What is said of a repository.

use anstyle::{AnsiColor, Color, Style};
use serde::Serialize;

use super::super::phase::Phase;
use crate::cli::escape::Escaped;
use crate::cli::output::Paint;

/// One repository, as `--json` prints it. Paths that are not UTF-8 have replacement characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Its git directory.
    pub(super) path: String,
    /// Where Git looks for its hooks; null where it looks nowhere.
    pub(super) hooks_directory: Option<String>,
    /// Hooks of ours are there, and nothing keeps them from recording.
    pub(super) recording: bool,
    pub(super) hooks: Vec<HookReport>,
    pub(super) journal: JournalReport,
    pub(super) hindrances: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct HookReport {
    pub(super) hook: Phase,
    pub(super) state: HookState,
    /// The program, or the command in the configuration.
    pub(super) program: Option<String>,
    /// A former hook runs behind it.
    pub(super) former: bool,
    /// What else runs behind it.
    pub(super) also: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HookState {
    /// Ours is there.
    Installed,
    /// Ours is in the repository's configuration.
    Configured,
    /// There is none.
    Absent,
    /// There is another.
    Other,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct JournalReport {
    pub(super) directory: String,
    /// Where it leads, if it is a link.
    pub(super) spool: Option<String>,
    /// It is there, and a directory.
    pub(super) is_there: bool,
    /// By who asks.
    pub(super) is_writable: bool,
    /// Files, rotated ones too.
    pub(super) journals: u64,
    /// Their length.
    pub(super) bytes: u64,
    /// Length of the file that hooks append to.
    pub(super) current_bytes: u64,
    /// RFC 3339.
    pub(super) last_record_at: Option<String>,
    /// Who did what the last record says.
    pub(super) last_actor: Option<String>,
}

/// The lines for people.
pub(super) fn lines(report: &Report, paint: Paint) -> Vec<String> {
    let green = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Green)));
    let red = Style::new().fg_color(Some(Color::Ansi(AnsiColor::Red)));
    let state = match (report.recording, report.hindrances.is_empty()) {
        (true, _) => paint.paint(green, "recording"),
        (false, true) => "not installed".to_owned(),
        (false, false) => paint.paint(red, "hindered"),
    };
    let mut lines = vec![format!("{}: {state}", Escaped::text(&report.path))];
    let mut say = |text: String| lines.push(format!("  {text}"));
    for hook in &report.hooks {
        let name = hook.hook.name();
        let program = hook.program.as_deref().unwrap_or_default();
        let program = Escaped::text(program);
        match hook.state {
            HookState::Installed => say(format!("{name}: installed, {program}")),
            HookState::Configured => say(format!("{name}: in the configuration, {program}")),
            HookState::Other => say(format!("{name}: another hook")),
            HookState::Absent => {}
        }
        if hook.former {
            say("  runs the former hook".to_owned());
        }
        for also in &hook.also {
            say(format!("  runs {}", Escaped::text(also)));
        }
    }
    let journal = &report.journal;
    if journal.is_there {
        let spool = journal.spool.as_ref();
        let spool = spool.map(|spool| format!(" in {}", Escaped::text(spool))).unwrap_or_default();
        let last = match (&journal.last_record_at, &journal.last_actor) {
            (None, _) => "no record yet".to_owned(),
            (Some(at), None) => format!("last record {at}"),
            (Some(at), Some(actor)) => format!("last record {at} by {}", Escaped::text(actor)),
        };
        let files = if journal.journals == 1 { "file" } else { "files" };
        say(format!("journal{spool}: {} {files}, {} bytes, {last}", journal.journals, journal.bytes));
    }
    for hindrance in &report.hindrances {
        say(paint.paint(red, &format!("! {hindrance}")));
    }
    lines
}
