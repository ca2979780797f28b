//! Steps over the bytes of a journal, whatever they are. Pure.

use refwatch_hook::record::{self, Flaw, Frame, MAGIC};

/// What follows the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// More of the file.
    Further,
    /// The end of a file that may grow.
    Growing,
    /// The end for good.
    Final,
}

/// What is wrong with bytes that are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flawed {
    /// A record that ends before its length: the next one begins within, or nothing does.
    Torn,
    /// No record, or a damaged one.
    Corrupt,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A whole record.
    Whole(Frame<'a>),
    /// So many bytes are to be passed over; behind them is a whole record or the end for good.
    Skip { bytes: usize, flawed: Flawed },
    /// So many bytes are to be passed over; what is behind them has to be looked at.
    Amid { bytes: usize, flawed: Flawed },
    /// So many bytes are needed, more than are at hand.
    Needs { bytes: usize },
    /// What is here may become a record, and nothing whole follows.
    Wait,
}

/// What a search behind a flaw came to.
enum Found {
    Whole(usize),
    /// More bytes are needed to tell whether a record is here.
    Perhaps(usize),
    /// The search is to go on here another time.
    Tired(usize),
    Nothing,
}

/// Says what to do with the bytes at hand. Every step but [`Next::Wait`] gets on; `search_bytes_left` bounds the work.
pub(super) fn next<'a>(bytes: &'a [u8], tail: Tail, search_bytes_left: &mut usize) -> Next<'a> {
    let flaw = match record::check(bytes) {
        Ok(frame) => return Next::Whole(frame),
        Err(Flaw::Incomplete { needs_bytes }) if tail == Tail::Further => {
            return Next::Needs { bytes: needs_bytes };
        }
        Err(flaw) => flaw,
    };
    let claimed = record::claimed(bytes);
    let flawed =
        |to| if claimed.is_some_and(|claimed| claimed > to) { Flawed::Torn } else { Flawed::Corrupt };
    match search(bytes, tail, search_bytes_left) {
        Found::Whole(at) => Next::Skip { bytes: at, flawed: flawed(at) },
        // What is not all there yet is waited for, even if that takes until it is rotated.
        Found::Tired(_) if tail == Tail::Growing && flaw != Flaw::Corrupt => Next::Wait,
        Found::Tired(at) | Found::Perhaps(at) => Next::Amid { bytes: at, flawed: flawed(at) },
        Found::Nothing => match tail {
            Tail::Further => Next::Amid { bytes: bytes.len(), flawed: flawed(bytes.len()) },
            Tail::Growing => Next::Wait,
            // The beginning of a header is torn, too.
            Tail::Final if flaw != Flaw::Corrupt => Next::Skip { bytes: bytes.len(), flawed: Flawed::Torn },
            Tail::Final => Next::Skip { bytes: bytes.len(), flawed: Flawed::Corrupt },
        },
    }
}

/// Looks for a whole record behind the first byte.
fn search(bytes: &[u8], tail: Tail, search_bytes_left: &mut usize) -> Found {
    let mut from = 1;
    while let Some(found) = bytes.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == MAGIC[0]))
    {
        let at = from + found;
        if *search_bytes_left == 0 {
            return Found::Tired(at);
        }
        let checked = record::check(&bytes[at..]);
        match checked {
            Ok(_) => return Found::Whole(at),
            Err(Flaw::Incomplete { .. }) if tail == Tail::Further => return Found::Perhaps(at),
            Err(Flaw::Incomplete { .. } | Flaw::Corrupt) => {}
        }
        let verified = match checked {
            Err(Flaw::Corrupt) => record::claimed(&bytes[at..]).unwrap_or(1),
            _ => 1,
        };
        *search_bytes_left = search_bytes_left.saturating_sub(verified);
        from = at + 1;
    }
    Found::Nothing
}
