use proptest::prelude::*;
use refwatch_core::{ObjectId, RefName, Target};

use super::*;

const PLACE: Place = Place { sequence: 7_000_000, repository: 4_321 };

fn oid() -> impl Strategy<Value = ObjectId> {
    prop_oneof![
        any::<[u8; 19]>().prop_map(|tail| {
            let mut raw = [1; 20];
            raw[1..].copy_from_slice(&tail);
            ObjectId::Sha1(raw)
        }),
        any::<[u8; 31]>().prop_map(|tail| {
            let mut raw = [1; 32];
            raw[1..].copy_from_slice(&tail);
            ObjectId::Sha256(raw)
        }),
    ]
}

fn ref_name() -> impl Strategy<Value = RefName> {
    prop::collection::vec(prop_oneof![b'a'..=b'z', 0x80_u8..=0xff], 1..200).prop_map(|tail| {
        let mut bytes = b"refs/heads/".to_vec();
        bytes.extend_from_slice(&tail);
        RefName::new(&bytes).expect("letters are allowed")
    })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![oid().prop_map(Target::Direct), ref_name().prop_map(Target::Symbolic)]
}

fn extra() -> impl Strategy<Value = Extra> {
    let summary = any::<[u32; 4]>().prop_map(|[created, updated, deleted, rejected]| Summary {
        created,
        updated,
        deleted,
        rejected,
    });
    (
        prop::option::of(".{0,20}"),
        prop::collection::vec(".{0,10}", 0..4),
        prop::option::of(summary),
        prop::option::of(".{0,20}"),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        any::<Option<u8>>(),
        prop::option::of(".{0,20}"),
        // An empty one is none.
        (prop::option::of(".{1,20}"), prop::option::of(".{1,20}")),
    )
        .prop_map(|(actor, push_options, summary, reason, previous, stage, message, whence)| Extra {
            actor,
            push_options,
            summary,
            reason,
            previous: previous.map(Into::into),
            stage,
            message,
            actor_source: whence.0,
            actor_address: whence.1,
        })
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = prop_oneof![Just((0, 1)), any::<(u32, u32)>()];
    (
        (
            prop::sample::select(EventType::ALL),
            prop::option::of(ref_name()),
            prop::option::of(prop::sample::select(RefChange::ALL)),
            prop::option::of(target()),
            prop::option::of(target()),
            prop::option::of(oid()),
            prop::option::of(oid()),
        ),
        (
            prop::sample::select(Forward::ALL),
            prop::sample::select(Origin::ALL),
            any::<bool>(),
            numbers,
            prop::option::of(extra()),
        ),
    )
        .prop_map(
            |(
                (kind, name, change, old, new, old_peeled, new_peeled),
                (forward, origin, coalesced, (index, size), extra),
            )| Event {
                kind,
                name,
                change,
                old,
                new,
                old_peeled,
                new_peeled,
                forward,
                origin,
                coalesced,
                index,
                size,
                extra: extra.map(Box::new),
            },
        )
}

/// The branch update that most logs consist of: SHA-1, a name of 30 bytes.
pub(crate) fn typical() -> Event {
    Event {
        kind: EventType::BranchUpdated,
        name: Some(RefName::new(b"refs/heads/feature/some-change").expect("valid")),
        change: Some(RefChange::Updated),
        old: Some(Target::Direct(ObjectId::Sha1([1; 20]))),
        new: Some(Target::Direct(ObjectId::Sha1([2; 20]))),
        forward: Forward::FastForward,
        ..Event::of_repository(EventType::BranchUpdated, Origin::Notify)
    }
}

proptest! {
    #[test]
    fn every_event_round_trips(event in event(), at in any::<i64>(), sequence: u64, repository: i64) {
        let place = Place { sequence, repository };
        let mut body = vec![9; 9];
        encode(&mut body, place, at, &event);
        prop_assert_eq!(decode(place, &body), Ok((at, event)));
    }

    #[test]
    fn no_damaged_body_is_taken(event in event(), cut: prop::sample::Index, at: prop::sample::Index, bit in 0..8_u8) {
        let mut body = Vec::new();
        encode(&mut body, PLACE, 5, &event);
        prop_assert!(decode(PLACE, &body[..cut.index(body.len())]).is_err());
        for elsewhere in [Place { sequence: 7_000_001, ..PLACE }, Place { repository: 4_322, ..PLACE }] {
            let decoded = decode(elsewhere, &body);
            prop_assert!(decoded.is_err());
        }
        let at = at.index(body.len());
        body[at] ^= 1_u8 << bit;
        prop_assert!(decode(PLACE, &body).is_err());
    }

    /// Past the checksum, too, every byte is judged and none panics.
    #[test]
    fn garbage_with_a_good_checksum_does_not_panic(mut body in prop::collection::vec(any::<u8>(), 0..120)) {
        body.insert(0, VERSION);
        if let Some(kind) = body.get_mut(1) {
            *kind %= 26;
        }
        if let Some(high) = body.get_mut(4) {
            *high &= 7;
        }
        let sum = checksum(PLACE, &body);
        body.extend_from_slice(&sum.to_le_bytes());
        if let Ok((at, event)) = decode(PLACE, &body) {
            let mut again = Vec::new();
            encode(&mut again, PLACE, at, &event);
            prop_assert_eq!(decode(PLACE, &again), Ok((at, event)));
        }
    }
}

/// The format of version 1, byte by byte: a change here needs a new version.
#[test]
fn the_typical_body_is_what_it_was() {
    let mut body = Vec::new();
    encode(&mut body, PLACE, 1_700_000_000_000_000, &typical());
    let hex: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "01",
        "02",
        "162402",
        "8080f9c0c1c48203",
        "1e",
        "726566732f68656164732f666561747572652f736f6d652d6368616e6765",
        "0101010101010101010101010101010101010101",
        "0202020202020202020202020202020202020202",
    );
    assert_eq!(&hex[..hex.len() - 8], expected);
    assert_eq!(&hex[hex.len() - 8..], "86205ba0");
}

#[test]
fn a_body_of_a_later_format_says_so() {
    assert!(matches!(decode(PLACE, &[2, 0, 0, 0, 0, 0]), Err(Malformed::Version(2))));
    assert!(matches!(decode(PLACE, &[]), Err(Malformed::Short)));
}
