//! Makes transactions and records of pushes of what hooks copied.

use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::push::{self, Process, Refused, Said};
use refwatch_core::{InvalidName, ObjectFormat, ObjectId, RefName};
use refwatch_hook::record::{Input, Phase, Record};

use super::{Entry, PassedOver};

/// Why a line is no update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoUpdate {
    Bad,
    NotFollowed,
}

/// Reads a record's input, lines of `<old> SP <new> SP <ref> LF` for every hook (githooks(5)), and what came of it. `None`
/// for a refusal that does not say of what, or that refused nothing.
pub(super) fn entry(
    record: &Record<'_>,
    format: ObjectFormat,
    passed_over: &mut PassedOver,
) -> Option<Entry> {
    let facts = &record.facts;
    let updates = updates(record, format, passed_over);
    let actor = || (!facts.actor.is_empty()).then(|| text(facts.actor));
    let push_options = || facts.push_options.iter().copied().map(text).collect();
    let (at_us, id) = (facts.wall_us, facts.id);
    let transaction = |outcome, updates| {
        let at_ns = at_us.saturating_mul(1000);
        Entry::Transaction(Transaction {
            at_ns,
            id,
            outcome,
            actor: actor(),
            push_options: push_options(),
            updates,
        })
    };
    let push = |said| {
        let process = Process { pid: facts.parent_pid, start_ticks: facts.parent_start_ticks };
        Entry::Push(push::Record { at_us, id, process, said, actor: actor(), push_options: push_options() })
    };
    Some(match facts.phase {
        Phase::Committed => transaction(Outcome::Committed, updates),
        Phase::Aborted => transaction(Outcome::Aborted, updates),
        Phase::PreReceive => push(Said::Attempted { updates, refused: refused(record) }),
        Phase::PostReceive => push(Said::Accepted { updates }),
        Phase::Update => {
            let [update] = updates.try_into().ok()?;
            push(Said::UpdateRefused { update, refused: refused(record)? })
        }
    })
}

fn updates(record: &Record<'_>, format: ObjectFormat, passed_over: &mut PassedOver) -> Vec<Update> {
    let input = match record.input {
        Input::Whole(input) => input,
        Input::LeftOut => {
            passed_over.inputs_left_out += 1;
            b""
        }
    };
    let mut updates = Vec::new();
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        match update(line, format, record.facts.worktree) {
            Ok(update) => updates.push(update),
            Err(NoUpdate::Bad) => passed_over.lines_bad += 1,
            Err(NoUpdate::NotFollowed) => passed_over.lines_not_followed += 1,
        }
    }
    updates
}

fn refused(record: &Record<'_>) -> Option<Refused> {
    let outcome = record.outcome.filter(|outcome| outcome.status != 0)?;
    Some(Refused { status: outcome.status, by: text(outcome.refused_by) })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn update(line: &[u8], format: ObjectFormat, worktree: &[u8]) -> Result<Update, NoUpdate> {
    // A line without its end is half a line.
    let line = line.strip_suffix(b"\n").ok_or(NoUpdate::Bad)?;
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let mut part = || parts.next().ok_or(NoUpdate::Bad);
    let (old, new, name) = (value(part()?, format)?, value(part()?, format)?, part()?);
    Ok(Update { name: full_name(name, worktree)?, old, new })
}

fn value(text: &[u8], format: ObjectFormat) -> Result<Value, NoUpdate> {
    if let Some(name) = text.strip_prefix(b"ref:") {
        return RefName::new(name).map(Value::Symbolic).map_err(|_| NoUpdate::Bad);
    }
    if text == format.zero_hex().as_bytes() {
        return Ok(Value::Zero);
    }
    if text.len() != format.hex_len() {
        return Err(NoUpdate::Bad);
    }
    ObjectId::from_hex(text).map(Value::Oid).map_err(|_| NoUpdate::Bad)
}

/// A name as the whole repository knows it. In a linked worktree Git says `HEAD` for that worktree's, and
/// `main-worktree/HEAD` for the repository's own (gitrepository-layout(5), git-worktree(1)).
fn full_name(name: &[u8], worktree: &[u8]) -> Result<RefName, NoUpdate> {
    let full = if let Some(main) = name.strip_prefix(b"main-worktree/") {
        RefName::new(main)
    } else if !worktree.is_empty() && is_per_worktree(name) {
        RefName::new(&[b"worktrees/", worktree, b"/", name].concat())
    } else {
        RefName::new(name)
    };
    full.map_err(|invalid| match invalid {
        InvalidName::Prefix => NoUpdate::NotFollowed,
        InvalidName::Length { .. }
        | InvalidName::Component
        | InvalidName::Character { .. }
        | InvalidName::Ending => NoUpdate::Bad,
    })
}

fn is_per_worktree(name: &[u8]) -> bool {
    let below: [&[u8]; 3] = [b"refs/bisect/", b"refs/worktree/", b"refs/rewritten/"];
    (!name.starts_with(b"refs/") && !name.contains(&b'/'))
        || below.iter().any(|below| name.starts_with(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn parsed(line: &str, worktree: &str) -> Result<Update, NoUpdate> {
        update(line.as_bytes(), ObjectFormat::Sha1, worktree.as_bytes())
    }

    #[test]
    fn lines_as_git_writes_them_are_updates() {
        let zero = ObjectFormat::Sha1.zero_hex();
        let oid = Value::Oid(ObjectId::from_hex(A.as_bytes()).expect("an id"));
        let name = |name: &str| RefName::new(name.as_bytes()).expect("a name");
        for (line, worktree, old, new, full) in [
            (format!("{zero} {A} refs/heads/x\n"), "", Value::Zero, oid.clone(), "refs/heads/x"),
            (format!("{A} {zero} refs/heads/x\n"), "w", oid.clone(), Value::Zero, "refs/heads/x"),
            (
                "ref:refs/heads/a ref:refs/heads/b HEAD\n".to_owned(),
                "",
                Value::Symbolic(name("refs/heads/a")),
                Value::Symbolic(name("refs/heads/b")),
                "HEAD",
            ),
            (format!("{zero} {A} HEAD\n"), "w", Value::Zero, oid.clone(), "worktrees/w/HEAD"),
            (
                format!("{zero} {A} refs/bisect/bad\n"),
                "w",
                Value::Zero,
                oid.clone(),
                "worktrees/w/refs/bisect/bad",
            ),
            (format!("{zero} {A} main-worktree/HEAD\n"), "w", Value::Zero, oid.clone(), "HEAD"),
            (format!("{zero} {A} worktrees/v/HEAD\n"), "w", Value::Zero, oid, "worktrees/v/HEAD"),
        ] {
            assert_eq!(parsed(&line, worktree), Ok(Update { name: name(full), old, new }), "{line}");
        }
    }

    #[test]
    fn other_lines_are_counted_by_what_they_are() {
        let zero = ObjectFormat::Sha1.zero_hex();
        let zero256 = ObjectFormat::Sha256.zero_hex();
        for line in [
            String::new(),
            "\n".into(),
            format!("{zero} {A}\n"),
            format!("{zero} {A} refs/heads/x"),
            format!("{zero} {A} refs/heads/x y\n"),
            format!("{zero} {A} refs/heads/..\n"),
            format!("{zero256} {zero256} refs/heads/x\n"),
            format!("{A} {}x refs/heads/x\n", &A[1..]),
            format!("{zero} ref:x refs/heads/x\n"),
        ] {
            assert_eq!(parsed(&line, ""), Err(NoUpdate::Bad), "{line}");
        }
        for name in ["ORIG_HEAD", "FETCH_HEAD", "AUTO_MERGE"] {
            for worktree in ["", "w"] {
                assert_eq!(parsed(&format!("{zero} {A} {name}\n"), worktree), Err(NoUpdate::NotFollowed));
            }
        }
    }
}
