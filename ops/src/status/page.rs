//! The page for people: one self-contained document that needs neither scripts nor other files.
//!
//! The template engine escapes every value it is given; [`plain`] makes visible what escaping lets through.

use std::{borrow::Cow, fmt::Write as _};

use askama::Template;
use jiff::Timestamp;

use super::StatusReport;

#[derive(Template)]
#[template(path = "status.html")]
pub(crate) struct Page<'a> {
    report: &'a StatusReport,
    headline: Headline,
}

/// The answer to the first question of whoever opens the page.
#[derive(Clone, Copy)]
struct Headline {
    class: &'static str,
    text: &'static str,
}

/// Lays out a report.
pub(crate) fn page(report: &StatusReport) -> Page<'_> {
    let health = &report.health;
    let (class, text) = match (health.liveness.alive, health.readiness.draining, health.readiness.ready) {
        (false, _, _) => ("bad", "Stuck"),
        (true, true, _) => ("warn", "Draining"),
        (true, false, false) => ("warn", "Not ready"),
        (true, false, true) => ("good", "Ready"),
    };
    Page { report, headline: Headline { class, text } }
}

/// Colour that goes with a word for a state.
fn class(state: &str) -> &'static str {
    match state {
        "ok" | "watched" => "good",
        "pending" | "polled" => "warn",
        "failing" | "unreadable" | "broken" => "bad",
        _ => "",
    }
}

/// Spells out control characters and those that reorder text, so that a path cannot pass for another.
fn plain(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let spell = |c: char| if hidden(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(spell).collect())
}

/// Writes a number with its thousands apart, as in `1 234 567`.
fn number(n: &u64) -> String {
    let digits = n.to_string();
    let mut spaced = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            spaced.push('\u{202f}');
        }
        spaced.push(digit);
    }
    spaced
}

/// Writes a size in the unit that suits it.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn size(bytes: &u64) -> String {
    let mut shown = *bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter().peekable();
    let mut unit = units.next().unwrap_or_default();
    while shown >= 1024.0 && units.peek().is_some() {
        shown /= 1024.0;
        unit = units.next().unwrap_or_default();
    }
    if *bytes < 1024 { format!("{bytes} {unit}") } else { format!("{shown:.1} {unit}") }
}

/// Writes a span with its two largest units, as in `3d 4h`.
fn span(seconds: &u64) -> String {
    let units = [
        ("d", seconds / 86_400),
        ("h", seconds / 3600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let mut text = String::new();
    for (unit, n) in units.into_iter().skip_while(|(_, n)| *n == 0).take(2) {
        if n > 0 {
            write!(text, "{}{n} {unit}", if text.is_empty() { "" } else { " " })
                .expect("a string takes any text");
        }
    }
    if text.is_empty() { "0 s".to_owned() } else { text }
}

/// Writes how long before `now` something was.
fn ago(at: &Timestamp, now: &Timestamp) -> String {
    match u64::try_from(now.duration_since(*at).as_secs()) {
        Ok(0) | Err(_) => "just now".to_owned(),
        Ok(seconds) => format!("{} ago", span(&seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_for_people() {
        assert_eq!(
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"],
            [0, 999, 1000, 1_234_567].map(|n| number(&n))
        );
        assert_eq!(["0 B", "1023 B", "1.0 KiB", "1.5 GiB"], [0, 1023, 1024, 3 << 29].map(|n| size(&n)));
        assert!(size(&u64::MAX).ends_with("TiB"));
        assert_eq!(
            ["0 s", "59 s", "1 min", "1 h 1 min", "1 d", "3 d 4 h"],
            [0, 59, 60, 3661, 86_400, 273_600].map(|n| span(&n))
        );
    }

    #[test]
    fn a_time_to_come_is_just_now() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(ago(&Timestamp::MAX, &now), "just now");
        assert_eq!(ago(&Timestamp::MIN, &now).split(' ').next_back(), Some("ago"));
    }

    #[test]
    fn text_cannot_reorder_or_hide_itself() {
        assert_eq!(plain("repo.git"), "repo.git");
        assert_eq!(plain("a\u{202e}tig\n\u{7}"), "a\\u{202e}tig\\n\\u{7}");
    }
}
