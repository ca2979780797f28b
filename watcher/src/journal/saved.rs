//! What is kept of a journal over restarts: a position, transactions before it that are not done with, and from where
//! pushes that are not told yet are read again.

use refwatch_core::ObjectFormat;
use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::push::{PUSHES_MAX, Process};
use refwatch_hook::record::{self, Encoder, Facts, Phase};

use super::{Entry, MalformedPosition, PassedOver, Position, parse};

/// Longest kept transactions, in bytes, all of one journal together. Beyond, the later ones are left out: after a restart
/// what they would have explained is told as observed.
pub const SAVED_BYTES_MAX: usize = 64 << 10;

const VERSION: u8 = 1;

/// How far a journal is read, and what was read and is not done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where to read on; [`Position::oldest`] where the journal has to be read from its beginning.
    pub position: Position,
    /// When the latest record that was taken was made, in microseconds since 1970: none that is older is taken then.
    pub taken_us: u64,
    /// Pushes that are not told yet.
    pub untold: Untold,
    /// Transactions before the position that may still explain something.
    pub transactions: Vec<Transaction>,
}

/// Pushes of which records were read and nothing is told yet. Their records may be long: they stay in the journal, which
/// keeps them ([`super::Journal::remove_before`]), and are read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Before the first record of any of them; where there are none, of no meaning.
    pub from: Position,
    /// Their processes, at most [`PUSHES_MAX`].
    pub pushes: Vec<Process>,
}

impl Default for Untold {
    fn default() -> Self {
        Self { from: Position::oldest(), pushes: Vec::new() }
    }
}

impl Saved {
    /// As bytes:
    ///
    /// ```text
    /// version; length of the position, the position; time, 8 bytes; length of `from`, `from`;
    /// number of pushes, 4 bytes; for each pid, 4 bytes, and start, 8 bytes; records as hooks write them
    /// ```
    ///
    /// Transactions take at most [`SAVED_BYTES_MAX`]. What does not fit is left out.
    pub fn to_bytes(&self, format: ObjectFormat) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        put_position(&mut bytes, &self.position);
        bytes.extend_from_slice(&self.taken_us.to_le_bytes());
        put_position(&mut bytes, &self.untold.from);
        let pushes = &self.untold.pushes[..self.untold.pushes.len().min(PUSHES_MAX)];
        let count = u32::try_from(pushes.len()).expect("few enough");
        bytes.extend_from_slice(&count.to_le_bytes());
        for Process { pid, start_ticks } in pushes {
            bytes.extend_from_slice(&pid.to_le_bytes());
            bytes.extend_from_slice(&start_ticks.to_le_bytes());
        }
        let begin = bytes.len();
        for transaction in &self.transactions {
            let record = encode(transaction, format);
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
        let rest = bytes.strip_prefix(&[VERSION]).ok_or(MalformedPosition)?;
        let (position, rest) = position(rest)?;
        let (taken_us, rest) = number(rest)?;
        let (from, rest) = self::position(rest)?;
        let (count, mut rest) = rest.split_first_chunk::<4>().ok_or(MalformedPosition)?;
        let mut pushes = Vec::new();
        for _ in 0..u32::from_le_bytes(*count) {
            let (pid, after) = rest.split_first_chunk::<4>().ok_or(MalformedPosition)?;
            let (start_ticks, after) = number(after)?;
            pushes.push(Process { pid: u32::from_le_bytes(*pid), start_ticks });
            rest = after;
        }
        let mut transactions = Vec::new();
        while !rest.is_empty() {
            let frame = record::check(rest).map_err(|_| MalformedPosition)?;
            let record = record::decode(frame.payload).map_err(|_| MalformedPosition)?;
            match parse::entry(&record, format, &mut PassedOver::default()) {
                Some(Entry::Transaction(transaction)) => transactions.push(transaction),
                Some(Entry::Push(_)) | None => return Err(MalformedPosition),
            }
            rest = &rest[frame.bytes()..];
        }
        Ok(Self { position, taken_us, untold: Untold { from, pushes }, transactions })
    }
}

fn put_position(bytes: &mut Vec<u8>, position: &Position) {
    let position = position.to_bytes();
    bytes.push(u8::try_from(position.len()).expect("a position has few bytes"));
    bytes.extend_from_slice(&position);
}

fn position(bytes: &[u8]) -> Result<(Position, &[u8]), MalformedPosition> {
    let (&length, rest) = bytes.split_first().ok_or(MalformedPosition)?;
    let (position, rest) = rest.split_at_checked(length.into()).ok_or(MalformedPosition)?;
    Ok((Position::from_bytes(position)?, rest))
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), MalformedPosition> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(MalformedPosition)?;
    Ok((u64::from_le_bytes(*number), rest))
}

fn encode(transaction: &Transaction, format: ObjectFormat) -> Vec<u8> {
    let mut encoder = Encoder::new(&Facts {
        phase: match transaction.outcome {
            Outcome::Committed => Phase::Committed,
            Outcome::Aborted => Phase::Aborted,
        },
        id: transaction.id,
        wall_us: transaction.at_ns / 1000,
        monotonic_ns: 0,
        pid: 0,
        parent_pid: 0,
        parent_start_ticks: 0,
        process_space: 0,
        actor: transaction.actor.as_deref().unwrap_or_default().as_bytes(),
        push_options: transaction.push_options.iter().map(String::as_bytes).collect(),
        worktree: b"",
        cut: false,
    });
    for update in &transaction.updates {
        line(encoder.input(), update, format);
    }
    encoder.finish()
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
    use refwatch_core::{FsIdentity, ObjectId, RefName};

    use super::*;

    fn update(name: &str, old: Value, new: Value) -> Update {
        Update { name: RefName::new(name.as_bytes()).expect("a name"), old, new }
    }

    fn of(id: u64, updates: Vec<Update>) -> Transaction {
        let (actor, push_options) = (None, Vec::new());
        Transaction { at_ns: 0, id, outcome: Outcome::Committed, actor, push_options, updates }
    }

    #[test]
    fn what_is_kept_reads_as_it_was_written_and_no_part_of_it_does() {
        let oid = |byte| Value::Oid(ObjectId::Sha1([byte; 20]));
        let updates = vec![
            update("refs/heads/a", Value::Zero, oid(1)),
            update("HEAD", Value::Zero, Value::Symbolic(RefName::new(b"refs/heads/a").expect("a name"))),
            update("worktrees/w/HEAD", oid(2), oid(3)),
        ];
        let by_ada = Transaction {
            at_ns: 5_000,
            actor: Some("ada".into()),
            push_options: vec!["ci.skip".into()],
            ..of(7, updates.clone())
        };
        let file = Some(FsIdentity { dev: 0, ino: 2, birth_ns: Some(3) });
        let at = |offset| Position { file, offset, is_amid: false };
        let push = |pid| Process { pid, start_ticks: u64::MAX - u64::from(pid) };
        for pushes in [vec![], vec![push(1), push(u32::MAX)]] {
            let untold = Untold { from: at(4), pushes };
            let transactions =
                vec![by_ada.clone(), Transaction { outcome: Outcome::Aborted, ..of(8, updates.clone()) }];
            let saved = Saved { position: at(9), taken_us: 77, untold, transactions };
            let format = ObjectFormat::Sha1;
            let bytes = saved.to_bytes(format);
            assert_eq!(Saved::from_bytes(&bytes, format), Ok(saved));
            let whole = |end: &usize| Saved::from_bytes(&bytes[..*end], format).is_ok();
            // Between two records it is a shorter one.
            assert_eq!((0..bytes.len()).filter(whole).count(), 2);
            assert!(Saved::from_bytes(&[&[0], &bytes[1..]].concat(), format).is_err());
        }
    }

    #[test]
    fn no_more_is_kept_than_its_limits() {
        let updates = |count| vec![update("refs/heads/a", Value::Zero, Value::Zero); count];
        let pushes = vec![Process { pid: 1, start_ticks: 1 }; PUSHES_MAX + 1];
        let saved = Saved {
            position: Position::oldest(),
            taken_us: 0,
            untold: Untold { pushes, ..Untold::default() },
            transactions: vec![of(1, updates(1)), of(2, updates(1000)), of(3, updates(1))],
        };
        let bytes = saved.to_bytes(ObjectFormat::Sha1);
        assert!(bytes.len() < SAVED_BYTES_MAX + 12 * PUSHES_MAX + 100);
        let saved = Saved::from_bytes(&bytes, ObjectFormat::Sha1).expect("what was just written");
        // What is too long costs itself alone.
        assert_eq!(saved.transactions.iter().map(|kept| kept.id).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(saved.untold.pushes.len(), PUSHES_MAX);
    }
}
