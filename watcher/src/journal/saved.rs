//! What is kept of a journal over restarts: a position, and records before it that are not done with.

use refwatch_core::ObjectFormat;
use refwatch_core::journal::{Outcome, Update, Value};
use refwatch_core::push::Said;
use refwatch_hook::record::{self, Encoder, Facts, Phase};

use super::{Entry, MalformedPosition, PassedOver, Position, parse};

/// Longest kept records, in bytes, all of one journal together. Beyond, the later ones are left out: after a restart
/// what they would have explained is told as observed.
pub const SAVED_BYTES_MAX: usize = 64 << 10;

/// How far a journal is read, and what was read and is not done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where to read on.
    pub position: Position,
    /// When the latest record that was taken was made, in microseconds since 1970: none that is older is taken where
    /// the journal has to be read from its beginning.
    pub taken_us: u64,
    /// Records before it that may still explain something, each with the space of its process number.
    pub entries: Vec<(Entry, u64)>,
}

impl Saved {
    /// As bytes: the position's length, the position, 8 bytes of the time, and records as hooks write them, at most
    /// [`SAVED_BYTES_MAX`] of these. What does not fit is left out.
    pub fn to_bytes<'a>(
        position: &Position,
        taken_us: u64,
        entries: impl Iterator<Item = (&'a Entry, u64)>,
        format: ObjectFormat,
    ) -> Vec<u8> {
        let position = position.to_bytes();
        let mut bytes = vec![u8::try_from(position.len()).expect("a position has few bytes")];
        bytes.extend_from_slice(&position);
        bytes.extend_from_slice(&taken_us.to_le_bytes());
        let begin = bytes.len();
        for (entry, process_space) in entries {
            let record = encode(entry, process_space, format);
            if bytes.len() - begin + record.len() <= SAVED_BYTES_MAX {
                bytes.extend_from_slice(&record);
            }
        }
        bytes
    }

    /// Reads what [`Saved::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`MalformedPosition`] for all else.
    pub fn from_bytes(bytes: &[u8], format: ObjectFormat) -> Result<Self, MalformedPosition> {
        let (&length, rest) = bytes.split_first().ok_or(MalformedPosition)?;
        let (position, rest) = rest.split_at_checked(length.into()).ok_or(MalformedPosition)?;
        let (taken_us, mut rest) = rest.split_first_chunk::<8>().ok_or(MalformedPosition)?;
        let position = Position::from_bytes(position)?;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let frame = record::check(rest).map_err(|_| MalformedPosition)?;
            let record = record::decode(frame.payload).map_err(|_| MalformedPosition)?;
            let entry = parse::entry(&record, format, &mut PassedOver::default());
            entries.push((entry.ok_or(MalformedPosition)?, record.facts.process_space));
            rest = &rest[frame.bytes()..];
        }
        Ok(Self { position, taken_us: u64::from_le_bytes(*taken_us), entries })
    }
}

fn encode(entry: &Entry, process_space: u64, format: ObjectFormat) -> Vec<u8> {
    let (phase, updates, refused) = match entry {
        Entry::Transaction(transaction) => match transaction.outcome {
            Outcome::Committed => (Phase::Committed, &transaction.updates[..], None),
            Outcome::Aborted => (Phase::Aborted, &transaction.updates[..], None),
        },
        Entry::Push(push) => match &push.said {
            Said::Attempted { updates, refused } => (Phase::PreReceive, &updates[..], refused.as_ref()),
            Said::UpdateRefused { update, refused } => {
                (Phase::Update, std::slice::from_ref(update), Some(refused))
            }
            Said::Accepted { updates } => (Phase::PostReceive, &updates[..], None),
        },
    };
    let (id, wall_us, process, actor, push_options) = match entry {
        Entry::Transaction(of) => (of.id, of.at_ns / 1000, None, &of.actor, &of.push_options),
        Entry::Push(of) => (of.id, of.at_us, Some(of.process), &of.actor, &of.push_options),
    };
    let mut encoder = Encoder::new(&Facts {
        phase,
        id,
        wall_us,
        monotonic_ns: 0,
        pid: 0,
        parent_pid: process.map_or(0, |process| process.pid),
        parent_start_ticks: process.map_or(0, |process| process.start_ticks),
        process_space,
        actor: actor.as_deref().unwrap_or_default().as_bytes(),
        push_options: push_options.iter().map(String::as_bytes).collect(),
        worktree: b"",
        cut: false,
    });
    for update in updates {
        line(encoder.input(), update, format);
    }
    let outcome =
        refused.map(|refused| record::Outcome { status: refused.status, refused_by: refused.by.as_bytes() });
    encoder.finish_with(outcome.as_ref())
}

fn line(out: &mut Vec<u8>, update: &Update, format: ObjectFormat) {
    for value in [&update.old, &update.new] {
        match value {
            Value::Zero => out.extend_from_slice(format.zero_hex().as_bytes()),
            Value::Oid(oid) => out.extend_from_slice(oid.to_string().as_bytes()),
            Value::Symbolic(name) => {
                out.extend_from_slice(b"ref:");
                out.extend_from_slice(name.as_bytes());
            }
        }
        out.push(b' ');
    }
    out.extend_from_slice(update.name.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use refwatch_core::journal::Transaction;
    use refwatch_core::push::{Process, Record, Refused};
    use refwatch_core::{ObjectId, RefName};

    use super::*;

    #[test]
    fn what_is_kept_reads_as_it_was_written_and_no_part_of_it_does() {
        let oid = |byte| Value::Oid(ObjectId::Sha1([byte; 20]));
        let update =
            |name: &str, old, new| Update { name: RefName::new(name.as_bytes()).expect("a name"), old, new };
        let updates = vec![
            update("refs/heads/a", Value::Zero, oid(1)),
            update("HEAD", Value::Zero, Value::Symbolic(RefName::new(b"refs/heads/a").expect("a name"))),
            update("worktrees/w/HEAD", oid(2), oid(3)),
        ];
        let transaction = Transaction {
            at_ns: 5_000,
            id: 7,
            outcome: Outcome::Committed,
            actor: Some("ada".into()),
            push_options: vec!["ci.skip".into()],
            updates: updates.clone(),
        };
        let refused = Refused { status: 129, by: "former".into() };
        let push = |said| {
            let process = Process { pid: 3, start_ticks: 9 };
            Entry::Push(Record { at_us: 6, id: 8, process, said, actor: None, push_options: vec![] })
        };
        let entries = vec![
            Entry::Transaction(transaction),
            push(Said::Attempted { updates: updates.clone(), refused: Some(refused.clone()) }),
            push(Said::Attempted { updates: updates.clone(), refused: None }),
            push(Said::UpdateRefused { update: updates[0].clone(), refused }),
            push(Said::Accepted { updates }),
        ];
        let format = ObjectFormat::Sha1;
        let entries: Vec<(Entry, u64)> = entries.into_iter().zip(1..).collect();
        let each = entries.iter().map(|(entry, space)| (entry, *space));
        let bytes = Saved::to_bytes(&Position::oldest(), 77, each, format);
        let saved = Saved::from_bytes(&bytes, format).expect("what was just written");
        assert_eq!(saved, Saved { position: Position::oldest(), taken_us: 77, entries });
        let whole = |end: &usize| Saved::from_bytes(&bytes[..*end], format).is_ok();
        // Between two records it is a shorter one.
        assert_eq!((0..bytes.len()).filter(whole).count(), saved.entries.len());
    }

    #[test]
    fn no_more_is_kept_than_its_limit() {
        let name = RefName::new(b"refs/heads/a").expect("a name");
        let update = Update { name, old: Value::Zero, new: Value::Zero };
        let of = |id, count| {
            let updates = vec![update.clone(); count];
            let (actor, push_options) = (None, Vec::new());
            let outcome = Outcome::Committed;
            Entry::Transaction(Transaction { at_ns: 0, id, outcome, actor, push_options, updates })
        };
        let entries = [of(1, 1), of(2, 1000), of(3, 1)];
        let each = entries.iter().map(|entry| (entry, 0));
        let bytes = Saved::to_bytes(&Position::oldest(), 0, each, ObjectFormat::Sha1);
        assert!(bytes.len() < SAVED_BYTES_MAX);
        let saved = Saved::from_bytes(&bytes, ObjectFormat::Sha1).expect("what was just written");
        // What is too long costs itself alone.
        let kept: Vec<_> = saved.entries.into_iter().map(|(entry, _)| entry.id()).collect();
        assert_eq!(kept, [1, 3]);
    }
}
