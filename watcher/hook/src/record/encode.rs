//! Writing a record.

use super::{
    ACTOR_BYTES_MAX, CUT, Facts, HEAD_BYTES, HEADER_BYTES, INPUT_BYTES_MAX, INPUT_LEFT_OUT, MAGIC, Outcome,
    PUSH_OPTION_BYTES_MAX, PUSH_OPTIONS_MAX, REFUSED_BY_BYTES_MAX, VERSION, WORKTREE_BYTES_MAX,
};
use crate::crc::crc32;

/// Where the flags are.
const FLAGS_AT: usize = HEADER_BYTES + 4 + 1;

/// A record in the making: one buffer, into which the input is read where it will stand.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    input_at: usize,
}

impl Encoder {
    /// Begins a record. What is longer than its limit is cut, and the record says so.
    pub fn new(facts: &Facts<'_>) -> Self {
        let options = &facts.push_options[..facts.push_options.len().min(PUSH_OPTIONS_MAX)];
        let too_long = facts.actor.len() > ACTOR_BYTES_MAX
            || facts.push_options.len() > PUSH_OPTIONS_MAX
            || options.iter().any(|option| option.len() > PUSH_OPTION_BYTES_MAX);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 512);
        bytes.resize(HEADER_BYTES, 0);
        push_length(&mut bytes, HEAD_BYTES);
        bytes.extend_from_slice(&[facts.phase.code(), if facts.cut || too_long { CUT } else { 0 }]);
        for value in [facts.id, facts.wall_us, facts.monotonic_ns] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        for value in [facts.pid, facts.parent_pid] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        for value in [facts.parent_start_ticks, facts.process_space] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        push_field(&mut bytes, first(facts.actor, ACTOR_BYTES_MAX));
        let cut = || options.iter().map(|option| first(option, PUSH_OPTION_BYTES_MAX));
        push_length(&mut bytes, cut().map(|option| 4 + option.len()).sum());
        for option in cut() {
            push_field(&mut bytes, option);
        }
        push_field(&mut bytes, first(facts.worktree, WORKTREE_BYTES_MAX));
        push_length(&mut bytes, 0);
        let input_at = bytes.len();
        Self { bytes, input_at }
    }

    /// Where the input is to be appended. Nothing before what is there may be touched.
    pub fn input(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the record and gives its bytes. An input longer than [`INPUT_BYTES_MAX`] is left out.
    pub fn finish(self) -> Vec<u8> {
        self.finish_with(None)
    }

    /// Ends the record as [`Encoder::finish`] does, with what came of the hook. A name longer than
    /// [`REFUSED_BY_BYTES_MAX`] is cut.
    pub fn finish_with(self, outcome: Option<&Outcome<'_>>) -> Vec<u8> {
        let Self { mut bytes, input_at } = self;
        if bytes.len() - input_at > INPUT_BYTES_MAX {
            bytes.truncate(input_at);
            bytes[FLAGS_AT] |= INPUT_LEFT_OUT;
        }
        let input_length = length(bytes.len() - input_at);
        bytes[input_at - 4..input_at].copy_from_slice(&input_length);
        if let Some(Outcome { status, refused_by }) = outcome {
            let refused_by = first(refused_by, REFUSED_BY_BYTES_MAX);
            push_length(&mut bytes, 4 + 4 + refused_by.len());
            bytes.extend_from_slice(&status.to_le_bytes());
            push_field(&mut bytes, refused_by);
        }
        let payload_length = length(bytes.len() - HEADER_BYTES);
        let checksum = crc32(&bytes[HEADER_BYTES..]).to_le_bytes();
        bytes[..3].copy_from_slice(&MAGIC);
        bytes[3] = VERSION;
        bytes[4..8].copy_from_slice(&payload_length);
        bytes[8..HEADER_BYTES].copy_from_slice(&checksum);
        bytes
    }
}

/// The first bytes of some, without half a character of UTF-8 at the end.
fn first(bytes: &[u8], bytes_max: usize) -> &[u8] {
    if bytes.len() <= bytes_max {
        return bytes;
    }
    let continues = |at: &usize| bytes[*at] & 0xc0 == 0x80;
    // A character has four bytes: a longer run of such bytes is no text, and is cut anywhere.
    let end = (bytes_max - 3..=bytes_max).rev().find(|at| !continues(at)).unwrap_or(bytes_max);
    &bytes[..end]
}

fn push_field(out: &mut Vec<u8>, bytes: &[u8]) {
    push_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn push_length(out: &mut Vec<u8>, bytes: usize) {
    out.extend_from_slice(&length(bytes));
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("every field is bounded far below 4 GiB").to_le_bytes()
}
