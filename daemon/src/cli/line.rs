//! One line of text for one event or ref, for people.

use anstyle::{AnsiColor, Color, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use refwatch_proto::v1::{Forward, GitEvent, GitEventType, Ref, RejectionStage};

use super::escape::Escaped;
use super::output::Paint;

/// Digits of an object id that are shown.
const OID_DIGITS: usize = 10;

const BRANCHES: &str = "refs/heads/";

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// How lines are written.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pub(super) paint: Paint,
    pub(super) zone: TimeZone,
}

impl Format {
    /// `<time> <path> <type> <ref> <old>..<new>`, and what else there is to say.
    pub(super) fn event(&self, event: &GitEvent) -> String {
        let kind = event.r#type();
        let path = event.repository.as_ref().map_or("", |repository| repository.path.as_str());
        let mut words = vec![
            self.paint.paint(DIM, &self.time(event.observed_at_us)),
            Escaped::text(path).to_string(),
            self.paint.paint(style(kind), &type_word(event)),
        ];
        if !event.ref_name.is_empty() {
            let name = Escaped::name(&event.ref_name, &event.ref_name_bytes).to_string();
            words.push(self.paint.paint(BOLD, without(&name, told_prefix(kind))));
        }
        if !event.old_oid.is_empty() || !event.new_oid.is_empty() {
            words.push(format!("{}..{}", old_value(event), new_value(event)));
        }
        if !event.new_peeled_oid.is_empty() {
            words.push(format!("^{}", abbreviated(&event.new_peeled_oid)));
        }
        match event.forward() {
            Forward::Forced => words.push(self.paint.paint(style(GitEventType::BranchForcePushed), "forced")),
            Forward::Unrelated => {
                words.push(self.paint.paint(style(GitEventType::BranchForcePushed), "unrelated"))
            }
            Forward::Unspecified | Forward::FastForward | Forward::Unknown => {}
        }
        words.extend(extras(event));
        if let Some(transaction) = event.transaction.as_ref().filter(|transaction| transaction.size > 1) {
            let place = format!("[{}/{}]", u64::from(transaction.index) + 1, transaction.size);
            words.push(self.paint.paint(DIM, &place));
        }
        if event.coalesced {
            words.push(self.paint.paint(DIM, "~"));
        }
        if let Some(actor) = event.actor.as_ref().filter(|actor| !actor.name.is_empty()) {
            words.push(format!("by {}", Escaped::text(&actor.name)));
        }
        words.join(" ")
    }

    /// `<oid> <path> <ref>`, and what else there is to say.
    pub(super) fn reference(&self, path: &str, reference: &Ref) -> String {
        let name = Escaped::name(&reference.name, &reference.name_bytes).to_string();
        let value = if reference.symbolic_target.is_empty() {
            reference.oid.clone()
        } else {
            let target = Escaped::name(&reference.symbolic_target, &reference.symbolic_target_bytes);
            format!("ref:{target}")
        };
        let mut words = vec![value, Escaped::text(path).to_string(), self.paint.paint(BOLD, &name)];
        if !reference.peeled_oid.is_empty() {
            words.push(format!("^{}", abbreviated(&reference.peeled_oid)));
        }
        if let Some(broken) = &reference.broken {
            let text = format!("broken: {}", Escaped::text(&broken.reason));
            words.push(self.paint.paint(style(GitEventType::RefBroken), &text));
        }
        words.join(" ")
    }

    /// Local time to the millisecond.
    pub(super) fn time(&self, time_us: i64) -> String {
        match Timestamp::from_microsecond(time_us) {
            Ok(time) => {
                time.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
            }
            Err(_) => format!("{time_us}us"),
        }
    }
}

/// The type as `--type` takes it; for one that this version does not know, its number.
fn type_word(event: &GitEvent) -> String {
    let kind = event.r#type();
    if kind == GitEventType::Unspecified {
        return format!("type-{}", event.r#type);
    }
    kind.short_name().to_ascii_lowercase().replace('_', "-")
}

fn style(kind: GitEventType) -> Style {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(Color::Ansi(colour)));
    match kind {
        GitEventType::BranchCreated
        | GitEventType::TagCreated
        | GitEventType::ReleaseCreated
        | GitEventType::RefRepaired
        | GitEventType::RepositoryDiscovered => colour(AnsiColor::Green),
        GitEventType::BranchDeleted | GitEventType::TagDeleted | GitEventType::RepositoryDeleted => {
            colour(AnsiColor::Red)
        }
        GitEventType::BranchForcePushed | GitEventType::TagMoved => colour(AnsiColor::Magenta).bold(),
        GitEventType::PushRejected | GitEventType::ProtectedBranchRejected | GitEventType::RefBroken => {
            colour(AnsiColor::Red).bold()
        }
        GitEventType::DefaultBranchChanged
        | GitEventType::SymbolicRefUpdated
        | GitEventType::BranchRenamed
        | GitEventType::RepositoryMoved => colour(AnsiColor::Yellow),
        GitEventType::PushReceived | GitEventType::MirrorSynced => colour(AnsiColor::Blue),
        GitEventType::Unspecified
        | GitEventType::BranchUpdated
        | GitEventType::NotesUpdated
        | GitEventType::ReplaceRefUpdated
        | GitEventType::ChangeRequestRefUpdated
        | GitEventType::CustomRefUpdated
        | GitEventType::RefUpdated => colour(AnsiColor::Cyan),
    }
}

/// The beginning of a name that the type's word already tells.
fn told_prefix(kind: GitEventType) -> &'static str {
    let word = kind.short_name();
    if word.starts_with("BRANCH_") {
        BRANCHES
    } else if word.starts_with("TAG_") || word.starts_with("RELEASE_") {
        "refs/tags/"
    } else {
        ""
    }
}

fn without<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn old_value(event: &GitEvent) -> String {
    value(&event.old_oid, &event.old_symbolic_target, &event.old_symbolic_target_bytes)
}

fn new_value(event: &GitEvent) -> String {
    value(&event.new_oid, &event.new_symbolic_target, &event.new_symbolic_target_bytes)
}

fn value(oid: &str, symbolic: &str, symbolic_bytes: &[u8]) -> String {
    if symbolic.is_empty() {
        return abbreviated(oid);
    }
    format!("ref:{}", Escaped::name(symbolic, symbolic_bytes))
}

fn abbreviated(oid: &str) -> String {
    Escaped::text(oid.get(..OID_DIGITS).unwrap_or(oid)).to_string()
}

/// What only some types have.
fn extras(event: &GitEvent) -> Vec<String> {
    let mut words = Vec::new();
    if !event.renamed_from.is_empty() {
        let name = Escaped::name(&event.renamed_from, &event.renamed_from_bytes).to_string();
        words.push(format!("from {}", without(&name, BRANCHES)));
    }
    if !event.previous_path.is_empty() {
        words.push(format!("from {}", Escaped::text(&event.previous_path)));
    }
    if let Some(summary) = &event.summary {
        for (count, word) in [
            (summary.created, "created"),
            (summary.updated, "updated"),
            (summary.deleted, "deleted"),
            (summary.rejected, "rejected"),
        ] {
            if count > 0 {
                words.push(format!("{count} {word}"));
            }
        }
    }
    if let Some(rejection) = &event.rejection {
        if rejection.stage() != RejectionStage::Unspecified {
            words.push(format!(
                "at {}",
                rejection.stage().short_name().to_ascii_lowercase().replace('_', "-")
            ));
        }
        let said =
            [rejection.reason.as_str(), rejection.message.trim()].map(|text| Escaped::text(text).to_string());
        words.extend(said.into_iter().filter(|text| !text.is_empty()));
    }
    if let Some(broken) = &event.broken {
        words.push(format!("({})", Escaped::text(&broken.reason)));
    }
    words
}

#[cfg(test)]
mod tests;
