//! The value of a ref's row: its state and the object an annotated tag names.
//!
//! One byte (bits 0-1 the target's kind, bit 2 broken, bits 3-4 the peeled id's kind), the target, the peeled id.

use refwatch_core::{ObjectId, RefState};

use crate::bytes::{Cut, Malformed, oid_kind, push_target, target_kind};

const BROKEN: u32 = 1 << 2;
const PEELED: u32 = 3;

/// Writes a value over `out`.
pub(crate) fn encode(out: &mut Vec<u8>, state: &RefState, peeled: Option<&ObjectId>) {
    let target = state.target();
    let broken = if state.is_broken() { BROKEN } else { 0 };
    let [flags, ..] = (target_kind(target) | broken | oid_kind(peeled) << PEELED).to_le_bytes();
    out.clear();
    out.push(flags);
    push_target(out, target);
    if let Some(peeled) = peeled {
        out.extend_from_slice(peeled.as_raw());
    }
}

/// Reads a value.
pub(crate) fn decode(value: &[u8]) -> Result<(RefState, Option<ObjectId>), Malformed> {
    let mut cut = Cut(value);
    let flags = u32::from(cut.byte()?);
    if flags >> 5 != 0 {
        return Err(Malformed::Field("flags"));
    }
    let target = cut.target(flags & 3)?;
    let peeled = cut.oid(flags >> PEELED & 3)?;
    cut.end()?;
    let state = match (flags & BROKEN != 0, target) {
        (true, last_good) => RefState::Broken { last_good },
        (false, Some(target)) => RefState::Good(target),
        (false, None) => return Err(Malformed::Field("target")),
    };
    Ok((state, peeled))
}

#[cfg(test)]
mod tests {
    use refwatch_core::{RefName, Target};

    use super::*;

    #[test]
    fn every_kind_of_value_round_trips_and_no_prefix_of_one_is_taken() {
        let oid = ObjectId::Sha1([7; 20]);
        let long = ObjectId::Sha256([9; 32]);
        let symbolic = Target::Symbolic(RefName::new(b"refs/heads/x").unwrap());
        for state in [
            RefState::Good(Target::Direct(oid)),
            RefState::Good(Target::Direct(long)),
            RefState::Good(symbolic.clone()),
            RefState::Broken { last_good: None },
            RefState::Broken { last_good: Some(symbolic) },
        ] {
            for peeled in [None, Some(oid), Some(long)] {
                let mut out = Vec::new();
                encode(&mut out, &state, peeled.as_ref());
                assert_eq!(decode(&out), Ok((state.clone(), peeled)));
                for end in 0..out.len() {
                    assert!(decode(&out[..end]).is_err());
                }
                out.push(0);
                assert_eq!(decode(&out), Err(Malformed::Long(1)));
            }
        }
        assert!(decode(&[0]).is_err(), "a good ref has a target");
        assert!(decode(&[0xff; 60]).is_err());
    }
}
