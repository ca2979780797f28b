use super::*;
use crate::crc::crc32;

fn facts() -> Facts<'static> {
    Facts {
        phase: Phase::Committed,
        id: 0x0102_0304_0506_0708,
        wall_us: 1_764_000_000_000_000,
        monotonic_ns: 12_345_678_901,
        pid: 4_194_303,
        parent_pid: 1,
        parent_start_ticks: u64::MAX,
        process_space: 0,
        actor: "Zoë".as_bytes(),
        push_options: vec![b"ci.skip", b"", b"\xff\x1dRW\x01"],
        worktree: b"feature",
        cut: false,
    }
}

fn encoded(facts: &Facts<'_>, input: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(facts);
    encoder.input().extend_from_slice(input);
    encoder.finish()
}

/// A frame around any payload.
fn framed(version: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let parts = [&MAGIC[..], &[version], &length.to_le_bytes(), &crc32(payload).to_le_bytes(), payload];
    parts.concat()
}

#[test]
fn a_record_reads_as_it_was_written_whatever_follows() {
    for (facts, input) in [
        (facts(), b"0 1 refs/heads/main\n".as_slice()),
        (
            Facts { phase: Phase::Aborted, actor: b"", push_options: vec![], worktree: b"", ..facts() },
            b"".as_slice(),
        ),
    ] {
        let mut bytes = encoded(&facts, input);
        let length = bytes.len();
        assert_eq!(claimed(&bytes), Some(length));
        bytes.extend_from_slice(b"\x1dRW what follows");
        let frame = check(&bytes).expect("whole");
        assert_eq!((frame.version, frame.bytes()), (VERSION, length));
        assert_eq!(decode(frame.payload), Ok(Record { facts, input: Input::Whole(input), outcome: None }));
    }
}

#[test]
fn a_record_cut_at_any_byte_is_incomplete_and_says_what_it_needs() {
    let bytes = encoded(&facts(), b"0 1 refs/heads/main\n");
    for end in 0..bytes.len() {
        let needs_bytes = if end < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
        assert_eq!(check(&bytes[..end]), Err(Flaw::Incomplete { needs_bytes }), "{end}");
    }
}

#[test]
fn no_flipped_bit_passes_for_the_record() {
    let bytes = encoded(&facts(), b"0 1 refs/heads/main\n");
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            match check(&bytes) {
                // Another version may be right; whoever reads it passes over it.
                Ok(frame) => assert!(at == MAGIC.len() && frame.version != VERSION, "{at}.{bit}"),
                // Lengths are not under the checksum: a greater one waits for what never comes.
                Err(Flaw::Incomplete { needs_bytes }) => {
                    assert!((4..8).contains(&at) && needs_bytes > bytes.len(), "{at}.{bit}");
                }
                Err(Flaw::Corrupt) => {}
            }
        }
    }
}

#[test]
fn a_payload_cut_at_any_byte_is_malformed() {
    let bytes = encoded(&facts(), b"0 1 refs/heads/main\n");
    for end in HEADER_BYTES..bytes.len() {
        assert_eq!(decode(&bytes[HEADER_BYTES..end]), Err(Malformed::Short), "{end}");
    }
}

#[test]
fn lengths_beyond_their_limits_are_refused() {
    let bytes = encoded(&facts(), b"");
    for field in [0, 4 + HEAD_BYTES] {
        let mut payload = bytes[HEADER_BYTES..].to_vec();
        payload[field..field + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&payload), Err(Malformed::Long));
    }
    let mut header = framed(VERSION, b"x");
    for (length, expected) in [
        (0, None),
        (1, Some(HEADER_BYTES + 1)),
        (PAYLOAD_BYTES_MAX, Some(RECORD_BYTES_MAX)),
        (PAYLOAD_BYTES_MAX + 1, None),
    ] {
        header[4..8].copy_from_slice(&u32::try_from(length).expect("32 bits").to_le_bytes());
        assert_eq!(claimed(&header), expected, "{length}");
    }
}

#[test]
fn fields_that_a_later_program_appends_are_passed_over() {
    let bytes = encoded(&facts(), b"line\n");
    let mut payload = bytes[HEADER_BYTES..].to_vec();
    payload.splice(4 + HEAD_BYTES..4 + HEAD_BYTES, *b"more");
    payload[..4].copy_from_slice(&u32::try_from(HEAD_BYTES + 4).expect("short").to_le_bytes());
    payload.extend_from_slice(b"\0\0\0\0\x04\0\0\0more");
    let bytes = framed(VERSION, &payload);
    let frame = check(&bytes).expect("whole");
    let expected = Record { facts: facts(), input: Input::Whole(b"line\n"), outcome: None };
    assert_eq!(decode(frame.payload), Ok(expected));
}

#[test]
fn an_outcome_reads_as_it_was_written_also_with_more_behind_it() {
    let long = "é".repeat(REFUSED_BY_BYTES_MAX);
    for (outcome, expected) in [
        (Outcome { status: 0, refused_by: b"" }, b"".as_slice()),
        (Outcome { status: 255, refused_by: b"former" }, b"former"),
        (Outcome { status: i32::MIN, refused_by: long.as_bytes() }, &long.as_bytes()[..254]),
    ] {
        let mut encoder = Encoder::new(&Facts { phase: Phase::PreReceive, ..facts() });
        encoder.input().extend_from_slice(b"line\n");
        let payload = encoder.finish_with(Some(&outcome)).split_off(HEADER_BYTES);
        let expected = Some(Outcome { refused_by: expected, ..outcome });
        let record = decode(&payload).expect("a record");
        assert_eq!((record.input, record.outcome), (Input::Whole(b"line\n"), expected));
        let later = framed(VERSION, &[&payload[..], b"\x04\0\0\0more"].concat());
        assert_eq!(decode(check(&later).expect("whole").payload).map(|record| record.outcome), Ok(expected));
        let begin = payload.len() - 4 - 8 - expected.map_or(0, |outcome| outcome.refused_by.len());
        for end in begin + 1..payload.len() {
            assert_eq!(decode(&payload[..end]), Err(Malformed::Short), "{end}");
        }
    }
}

#[test]
fn phases_are_the_numbers_that_stand_for_them() {
    let phases: Vec<_> = (0..=u8::MAX).filter_map(Phase::from_code).collect();
    assert_eq!(phases.len(), 5);
    for (phase, code) in phases.into_iter().zip(1..) {
        assert_eq!(phase.code(), code);
    }
}

#[test]
fn an_unknown_phase_is_said_to_be_one() {
    let mut payload = encoded(&facts(), b"")[HEADER_BYTES..].to_vec();
    payload[4] = 77;
    assert_eq!(decode(&payload), Err(Malformed::Phase(77)));
}

#[test]
fn what_is_too_long_is_cut_and_the_record_says_so() {
    let actor = "é".repeat(ACTOR_BYTES_MAX);
    let option = vec![0x80; PUSH_OPTION_BYTES_MAX + 1];
    let long = Facts {
        actor: &actor.as_bytes()[1..],
        push_options: vec![&option; PUSH_OPTIONS_MAX + 1],
        worktree: b"",
        ..facts()
    };
    let bytes = encoded(&long, b"line\n");
    let record = decode(check(&bytes).expect("whole").payload).expect("within its limits");
    assert!(record.facts.cut);
    assert_eq!(record.facts.actor, &actor.as_bytes()[1..ACTOR_BYTES_MAX], "no half character at the end");
    assert_eq!(record.facts.push_options, vec![&option[..PUSH_OPTION_BYTES_MAX]; PUSH_OPTIONS_MAX]);
    assert_eq!(record.input, Input::Whole(b"line\n"));
}

#[test]
fn an_input_beyond_its_limit_is_left_out_whole() {
    let mut encoder = Encoder::new(&facts());
    let room = encoder.input().len();
    encoder.input().resize(room + INPUT_BYTES_MAX + 1, b'x');
    let bytes = encoder.finish();
    assert!(bytes.len() < 1024);
    let record = decode(check(&bytes).expect("whole").payload).expect("within its limits");
    assert_eq!(record, Record { facts: facts(), input: Input::LeftOut, outcome: None });
}
