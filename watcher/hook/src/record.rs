//! One record of the journal: what a hook was told, framed so that a reader can tell whole ones from torn ones.
//!
//! ```text
//! magic        4 bytes: 1D 52 57 and the version, 1
//! length       4 bytes: of the payload
//! checksum     4 bytes: CRC-32 of the payload
//! payload      fields, each 4 bytes of length and that many bytes:
//!   head         phase 1, flags 1, id 8, wall clock 8, monotonic clock 8, pid 4, parent's pid 4, parent's start 8,
//!                process space 8
//!   actor        bytes
//!   options      fields, one an option
//!   worktree     bytes
//!   input        the hook's standard input, byte for byte; `<old> SP <new> SP <ref> LF` for `update`, which has none
//!   outcome      empty, or status 4 and a field with the name of the hook that refused; not there in older records
//! ```
//!
//! All integers are little-endian. A later program of the same version may append fields, to the head and to the
//! payload; a reader passes over what it does not know. What cannot be read that way is a new version, whose records
//! have the same frame and are passed over whole. The magic begins with a control character, which neither ref names
//! nor object ids contain: looking for the next record in a damaged journal seldom stops in the middle of one.

mod decode;
mod encode;

pub use decode::{Flaw, Frame, Malformed, check, claimed, decode};
pub use encode::Encoder;

/// What every record begins with, before its version.
pub const MAGIC: [u8; 3] = [0x1D, b'R', b'W'];

/// The version of what is written here.
pub const VERSION: u8 = 1;

/// Length of magic, payload length and checksum, in bytes.
pub const HEADER_BYTES: usize = 12;

/// Longest actor, in bytes; a longer one is cut.
pub const ACTOR_BYTES_MAX: usize = 256;

/// Most push options; further ones are left out.
pub const PUSH_OPTIONS_MAX: usize = 64;

/// Longest push option, in bytes; a longer one is cut.
pub const PUSH_OPTION_BYTES_MAX: usize = 1024;

/// Longest name of a worktree, in bytes: that of a file.
pub const WORKTREE_BYTES_MAX: usize = 255;

/// Longest input, in bytes: some 500,000 updates. A longer one is left out whole, since half a transaction misleads.
pub const INPUT_BYTES_MAX: usize = 64 << 20;

/// Longest name of a hook that refused, in bytes: that of a file.
pub const REFUSED_BY_BYTES_MAX: usize = 255;

/// Length of the head, in bytes.
const HEAD_BYTES: usize = 50;

/// Room for the outcome and for fields that a later program appends, in bytes. What is at its limits and has an outcome
/// must pass with those who know of none.
const APPENDED_BYTES_MAX: usize = 64 << 10;

/// Longest payload, in bytes: a greater length is that of no record.
pub const PAYLOAD_BYTES_MAX: usize = 5 * 4
    + HEAD_BYTES
    + ACTOR_BYTES_MAX
    + PUSH_OPTIONS_MAX * (4 + PUSH_OPTION_BYTES_MAX)
    + WORKTREE_BYTES_MAX
    + INPUT_BYTES_MAX
    + APPENDED_BYTES_MAX;

/// Longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX;

/// Set in the flags: the input was longer than [`INPUT_BYTES_MAX`] and is not there.
const INPUT_LEFT_OUT: u8 = 1;

/// Set in the flags: the actor or the options were cut to their limits.
const CUT: u8 = 1 << 1;

/// Which hook was called, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `reference-transaction committed`.
    Committed,
    /// `reference-transaction aborted`.
    Aborted,
    /// `pre-receive`, once it is known whether it refuses.
    PreReceive,
    /// `update` that refuses.
    Update,
    /// `post-receive`, before anything else is run for it.
    PostReceive,
}

impl Phase {
    /// The number that stands for it in a record.
    pub const fn code(self) -> u8 {
        match self {
            Phase::Committed => 1,
            Phase::Aborted => 2,
            Phase::PreReceive => 3,
            Phase::Update => 4,
            Phase::PostReceive => 5,
        }
    }

    /// What a number stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Phase::Committed),
            2 => Some(Phase::Aborted),
            3 => Some(Phase::PreReceive),
            4 => Some(Phase::Update),
            5 => Some(Phase::PostReceive),
            _ => None,
        }
    }
}

/// What a hook knows before it reads its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The hook and its state.
    pub phase: Phase,
    /// Identity of the record, unique in practice.
    pub id: u64,
    /// Wall clock, in microseconds since 1970.
    pub wall_us: u64,
    /// Monotonic clock of the machine, in nanoseconds; begins anew when it starts.
    pub monotonic_ns: u64,
    /// The hook's process.
    pub pid: u32,
    /// Its parent, which is the Git process that changes the refs.
    pub parent_pid: u32,
    /// When the parent started, in clock ticks since the machine did; 0 where that is not known.
    pub parent_start_ticks: u64,
    /// Where the numbers of processes mean what they say: [`crate::space::own`]; 0 where that is not known.
    pub process_space: u64,
    /// Who did it, at most [`ACTOR_BYTES_MAX`]; empty where nobody says.
    pub actor: &'a [u8],
    /// Options of the push, at most [`PUSH_OPTIONS_MAX`] of [`PUSH_OPTION_BYTES_MAX`].
    pub push_options: Vec<&'a [u8]>,
    /// The linked worktree that Git ran in, by its directory below `worktrees/`; empty for the repository itself.
    pub worktree: &'a [u8],
    /// Actor or options are not all that there was.
    pub cut: bool,
}

/// What a hook was given on standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It was longer than [`INPUT_BYTES_MAX`].
    LeftOut,
}

/// What came of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Its exit status: 0 where it accepts; 128 + n where signal n ended it, 126 or 127 where it could not be started.
    pub status: i32,
    /// Which hook refused: [`FORMER`], the name of a file, or [`DISPATCHER`]; at most [`REFUSED_BY_BYTES_MAX`], and
    /// empty where none did.
    pub refused_by: &'a [u8],
}

/// Stands for the hook that was there before refwatch's.
pub const FORMER: &str = "former";

/// Stands for refwatch's own program, which refuses what it cannot hand to the hooks that are to judge it.
pub const DISPATCHER: &str = "refwatch-hook";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What was known before the input.
    pub facts: Facts<'a>,
    /// The input.
    pub input: Input<'a>,
    /// What came of it; `None` where that was not known yet, or does not matter.
    pub outcome: Option<Outcome<'a>>,
}

#[cfg(test)]
mod tests;
