use proptest::prelude::*;
use prost::Message as _;
use refwatch_core::event::{Extra, Summary};
use refwatch_core::{
    Cursor, Event, EventType, Forward, Namespace, ObjectFormat, ObjectId, Origin, RefChange, RefName, Target,
};
use refwatch_proto::v1;
use refwatch_store::{Identity, Logged};

use super::{Encoder, Place};
use crate::wire::{Batch, hex16};

const LOG: Identity = Identity { server: 0x1234, epoch: 0x5f0c_2a9b_e1d3_4478 };

/// The message that an event is, built field by field from the contract; the hand-written encoder must agree.
fn message(logged: &Logged, uid: u64, path: &[u8], format: ObjectFormat) -> v1::GitEvent {
    let event = &logged.event;
    let epoch = hex16(LOG.epoch);
    let own = [&event.new, &event.old].into_iter().flatten().find_map(Target::oid).map(|oid| oid.format());
    let format = own.unwrap_or(format);
    let zero = "0".repeat(format.hex_len());
    let oid = |target: &Option<Target>| match (&event.name, target) {
        (None, _) => String::new(),
        (Some(_), Some(Target::Direct(oid))) => oid.to_string(),
        (Some(_), Some(Target::Symbolic(_)) | None) => zero.clone(),
    };
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let exact = |bytes: &[u8]| if std::str::from_utf8(bytes).is_ok() { vec![] } else { bytes.to_vec() };
    let name = event.name.as_ref().map(RefName::as_bytes).unwrap_or_default();
    let symbolic = |target: &Option<Target>| match target {
        Some(Target::Symbolic(name)) => name.as_bytes().to_vec(),
        Some(Target::Direct(_)) | None => vec![],
    };
    let peeled = |oid: Option<ObjectId>| oid.map(|oid| oid.to_string()).unwrap_or_default();
    let two_objects = matches!((&event.old, &event.new), (Some(Target::Direct(_)), Some(Target::Direct(_))));
    let extra = event.extra.as_deref().cloned().unwrap_or_default();
    let reason = extra.reason.clone().unwrap_or_default();
    let previous = extra.previous.clone().unwrap_or_default();
    let rejected = matches!(event.kind, EventType::PushRejected | EventType::ProtectedBranchRejected);
    let has_extra = event.extra.is_some();
    v1::GitEvent {
        event_id: format!("{epoch}.{}", logged.sequence),
        sequence: logged.sequence,
        cursor: Cursor { server: LOG.server, epoch: LOG.epoch, sequence: logged.sequence }.encode(),
        r#type: v1::GitEventType::from_short_name(event.kind.as_str()).unwrap().into(),
        repository: Some(v1::EventRepository {
            id: hex16(uid),
            path: lossy(path),
            object_format: match format {
                ObjectFormat::Sha1 => v1::ObjectFormat::Sha1,
                ObjectFormat::Sha256 => v1::ObjectFormat::Sha256,
            }
            .into(),
        }),
        ref_name: lossy(name),
        change: event
            .change
            .map_or(0, |change| v1::RefChange::from_short_name(change.as_str()).unwrap().into()),
        old_oid: oid(&event.old),
        new_oid: oid(&event.new),
        forward: match event.forward {
            Forward::Unknown if event.change == Some(RefChange::Updated) && two_objects => {
                v1::Forward::Unknown
            }
            Forward::Unknown => v1::Forward::Unspecified,
            known => v1::Forward::from_short_name(known.as_str()).unwrap(),
        }
        .into(),
        ref_namespace: event
            .name
            .as_ref()
            .map_or(0, |name| crate::wire::namespace(Namespace::of(name)).into()),
        observed_at_us: logged.observed_at_us,
        transaction: Some(v1::Transaction {
            id: format!("{epoch}.{}", logged.sequence - u64::from(event.index)),
            index: event.index,
            size: event.size,
        }),
        origin: v1::Origin::from_short_name(event.origin.as_str()).unwrap().into(),
        actor: extra.actor.as_ref().map(|name| v1::Actor {
            name: name.clone(),
            source: match (&extra.actor_source, event.origin) {
                (Some(source), _) => source.clone(),
                (None, Origin::Report) => "report".to_owned(),
                (None, Origin::Hook | Origin::Notify | Origin::Sweep | Origin::Startup) => String::new(),
            },
            remote_address: extra.actor_address.clone().unwrap_or_default(),
        }),
        coalesced: event.coalesced,
        ref_name_bytes: exact(name),
        old_symbolic_target: lossy(&symbolic(&event.old)),
        new_symbolic_target: lossy(&symbolic(&event.new)),
        old_peeled_oid: peeled(event.old_peeled),
        new_peeled_oid: peeled(event.new_peeled),
        annotated: match &event.new {
            Some(Target::Direct(_)) => event.new_peeled.is_some(),
            Some(Target::Symbolic(_)) => false,
            None => event.old_peeled.is_some(),
        },
        push_options: extra.push_options.clone(),
        rejection: (rejected && has_extra).then(|| v1::Rejection {
            stage: extra.stage.unwrap_or_default().into(),
            reason: reason.clone(),
            message: extra.message.clone().unwrap_or_default(),
        }),
        summary: extra.summary.map(|summary| v1::Summary {
            created: summary.created,
            updated: summary.updated,
            deleted: summary.deleted,
            rejected: summary.rejected,
            cause: match (event.kind, reason.as_str()) {
                (EventType::PushReceived, _) => v1::SummaryCause::Push,
                (_, "mirror") => v1::SummaryCause::MirrorFetch,
                (EventType::MirrorSynced, _) => v1::SummaryCause::Bulk,
                _ => v1::SummaryCause::Unspecified,
            }
            .into(),
        }),
        previous_path: if event.kind == EventType::RepositoryMoved {
            lossy(&previous)
        } else {
            String::new()
        },
        renamed_from: if event.kind == EventType::BranchRenamed { lossy(&previous) } else { String::new() },
        broken: (event.kind == EventType::RefBroken && has_extra)
            .then(|| v1::BrokenRef { reason: reason.clone() }),
        old_symbolic_target_bytes: exact(&symbolic(&event.old)),
        new_symbolic_target_bytes: exact(&symbolic(&event.new)),
        renamed_from_bytes: if event.kind == EventType::BranchRenamed { exact(&previous) } else { vec![] },
    }
}

fn names() -> impl Strategy<Value = RefName> {
    prop_oneof![
        Just(RefName::head()),
        proptest::collection::vec(
            prop_oneof![Just(b'a'), Just(b'-'), Just(0xff), Just(0xc3), Just(0xa4)],
            1..300
        )
        .prop_filter_map("a ref name", |tail| RefName::new(&[b"refs/heads/x".as_slice(), &tail].concat())
            .ok()),
        prop_oneof![
            "refs/tags/v[0-9]{1,3}",
            "refs/keep-around/[a-f]{2}",
            "worktrees/w/HEAD",
            "refs/custom/[a-z]{3}"
        ]
        .prop_map(|text| RefName::new(text.as_bytes()).unwrap()),
    ]
}

fn oids() -> impl Strategy<Value = ObjectId> {
    prop_oneof![
        any::<[u8; 20]>().prop_filter_map("not zero", |raw| ObjectId::from_raw(&raw).ok()),
        any::<[u8; 32]>().prop_filter_map("not zero", |raw| ObjectId::from_raw(&raw).ok()),
    ]
}

fn targets() -> impl Strategy<Value = Option<Target>> {
    proptest::option::of(prop_oneof![oids().prop_map(Target::Direct), names().prop_map(Target::Symbolic)])
}

fn extras() -> impl Strategy<Value = Option<Box<Extra>>> {
    let summary = any::<[u32; 4]>().prop_map(|[created, updated, deleted, rejected]| Summary {
        created,
        updated,
        deleted,
        rejected,
    });
    let text = || proptest::option::of("[a-zäöü ]{0,30}");
    let extra = (
        text(),
        proptest::collection::vec("[a-z=ß]{0,20}", 0..5),
        proptest::option::of(summary),
        proptest::option::of(prop_oneof![Just("mirror".to_owned()), Just("bulk".to_owned()), "[A-Z_]{0,20}"]),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..30)),
        proptest::option::of(0_u8..9),
        text(),
        (text(), text()),
    );
    proptest::option::of(extra.prop_map(
        |(actor, push_options, summary, reason, previous, stage, message, whence)| {
            Box::new(Extra {
                actor,
                push_options,
                summary,
                reason,
                previous: previous.map(Vec::into_boxed_slice),
                stage,
                message,
                actor_source: whence.0,
                actor_address: whence.1,
            })
        },
    ))
}

fn events() -> impl Strategy<Value = Logged> {
    let what = (
        proptest::sample::select(EventType::ALL),
        proptest::option::of(names()),
        proptest::option::of(proptest::sample::select(RefChange::ALL)),
        targets(),
        targets(),
        proptest::option::of(oids()),
        proptest::option::of(oids()),
    );
    let how = (
        proptest::sample::select(Forward::ALL),
        proptest::sample::select(Origin::ALL),
        any::<bool>(),
        0_u32..200,
        1_u32..1000,
        extras(),
    );
    (what, how, 1_u64..u64::MAX / 2, any::<i64>(), any::<i64>()).prop_map(
        |(
            (kind, name, change, old, new, old_peeled, new_peeled),
            how,
            sequence,
            observed_at_us,
            repository,
        )| {
            let (forward, origin, coalesced, index, size, extra) = how;
            let event = Event {
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
                size: size.max(index + 1),
                extra,
            };
            Logged { sequence: sequence.max(u64::from(index) + 1), repository, observed_at_us, event }
        },
    )
}

fn encoded(logged: &Logged, place: &Place) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(LOG).append(&mut out, logged, place);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_event_is_encoded_as_prost_would(
        logged in events(),
        uid in any::<u64>(),
        path in proptest::collection::vec(any::<u8>(), 1..40),
        format in prop_oneof![Just(ObjectFormat::Sha1), Just(ObjectFormat::Sha256)],
    ) {
        let expected = message(&logged, uid, &path, format);
        let batch = v1::EventBatch { events: vec![expected], cursor: String::new() };
        prop_assert_eq!(encoded(&logged, &Place::new(uid, &path, format)), batch.encode_to_vec());
    }

    #[test]
    fn a_batch_is_the_message_of_its_events(events in proptest::collection::vec(events(), 1..20)) {
        let place = Place::new(7, b"a.git", ObjectFormat::Sha1);
        let encoder = Encoder::new(LOG);
        let mut batch = Batch::after(0, 3 << 20);
        for logged in &events {
            prop_assert!(batch.take(logged, |out| encoder.append(out, logged, &place)).is_continue());
        }
        let cursor = encoder.cursor(events.last().unwrap().sequence);
        let frame = batch.finish(&encoder).unwrap();
        prop_assert_eq!(frame.events as usize, events.len());
        let events = events.iter().map(|logged| message(logged, 7, b"a.git", ObjectFormat::Sha1)).collect();
        let kind = v1::watch_events_response::Kind::Events(v1::EventBatch { events, cursor });
        let expected = v1::WatchEventsResponse { kind: Some(kind) };
        prop_assert_eq!(v1::WatchEventsResponse::decode(frame.bytes.clone()), Ok(expected.clone()));
        prop_assert_eq!(frame.bytes.to_vec(), expected.encode_to_vec());
    }
}

fn of_size(sequence: u64, index: u32, size: u32) -> Logged {
    let name = RefName::new(b"refs/heads/main").unwrap();
    let event = Event {
        name: Some(name),
        index,
        size,
        ..Event::of_repository(EventType::BranchUpdated, Origin::Hook)
    };
    Logged { sequence, repository: 1, observed_at_us: 1, event }
}

/// How events, each of 100 bytes, come out in batches of at most so many bytes: the last sequence of each.
fn cut(events: &[Logged], bytes_max: usize, keep: bool) -> Vec<u64> {
    let mut ends = Vec::new();
    let mut position = 0;
    let mut begun: Option<Batch> = None;
    while position < events.len() as u64 {
        let fresh = Batch::after(position, bytes_max);
        let mut batch = begun.take().unwrap_or(if keep { fresh.keeping_leftover() } else { fresh });
        assert_eq!(batch.start(), position);
        let from = batch.position();
        for logged in events.iter().filter(|logged| logged.sequence > from) {
            let mark = u8::try_from(logged.sequence).unwrap();
            if batch.take(logged, |out| out.extend_from_slice(&[mark; 100])).is_break() {
                break;
            }
        }
        assert!(batch.position() > position, "a batch takes one event at least");
        begun = batch.take_leftover();
        let after = std::mem::replace(&mut position, batch.position());
        let frame = batch.finish(&Encoder::new(LOG)).unwrap();
        assert!(frame.events == 1 || frame.bytes.len() <= bytes_max + 5);
        assert_eq!(u64::from(frame.events), position - after);
        let marks: Vec<u8> = (after + 1..=position).map(|sequence| u8::try_from(sequence).unwrap()).collect();
        let items: Vec<u8> = marks.iter().flat_map(|mark| [*mark; 100]).collect();
        assert!(frame.bytes.windows(items.len()).any(|window| window == items));
        ends.push(position);
    }
    ends
}

#[test]
fn a_batch_ends_within_a_transaction_only_if_it_must() {
    let transactions = |sizes: &[u32]| {
        let mut sequence = 0;
        let mut events = Vec::new();
        for size in sizes {
            for index in 0..*size {
                sequence += 1;
                events.push(of_size(sequence, index, *size));
            }
        }
        events
    };
    // Five events of 100 bytes fit.
    let table: [(&[u32], usize, &[u64]); 7] = [
        (&[1, 1, 1, 1, 1, 1, 1], 541, &[5, 7]),
        (&[3, 3], 541, &[3, 6]),
        (&[3, 2, 3], 541, &[5, 8]),
        (&[7, 1], 541, &[5, 8]),
        (&[12, 1], 541, &[5, 10, 13]),
        (&[3, 4, 9, 2], 541, &[3, 8, 13, 18]),
        (&[2, 2], 50, &[1, 2, 3, 4]),
    ];
    for (sizes, bytes_max, expected) in table {
        for keep in [false, true] {
            assert_eq!(cut(&transactions(sizes), bytes_max, keep), expected, "{sizes:?} {keep}");
        }
    }
}

#[test]
fn what_is_longer_than_the_contract_allows_is_cut() {
    let extra = Extra {
        actor: Some("a".repeat(1_000)),
        push_options: vec!["o".repeat(1_000); 100],
        reason: Some("R".repeat(1_000)),
        message: Some("m".repeat(100_000)),
        ..Extra::default()
    };
    let mut logged = of_size(1, 0, 1);
    logged.event.kind = EventType::PushRejected;
    logged.event.extra = Some(Box::new(extra));
    let bytes = encoded(&logged, &Place::new(7, b"a.git", ObjectFormat::Sha1));
    let event = v1::EventBatch::decode(bytes.as_slice()).unwrap().events.remove(0);
    assert_eq!(event.actor.unwrap().name.len(), 256);
    assert_eq!(event.push_options.len(), 33);
    assert_eq!(event.push_options.iter().map(String::len).sum::<usize>(), 32_768);
    let rejection = event.rejection.unwrap();
    assert_eq!((rejection.reason.len(), rejection.message.len()), (64, 4_096));
}
