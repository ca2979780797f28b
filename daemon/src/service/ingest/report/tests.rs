use refwatch_core::{ObjectFormat, ObjectId, Target};
use refwatch_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::*;

const ONE: &str = "1111111111111111111111111111111111111111";

fn sound() -> v1::RejectionReport {
    v1::RejectionReport {
        ref_name: "refs/heads/main".to_owned(),
        old_oid: ONE.to_owned(),
        new_oid: ONE.replace('1', "A"),
        rejection: Some(v1::Rejection {
            stage: v1::RejectionStage::HostPolicy.into(),
            reason: "NON_FAST_FORWARD".to_owned(),
            message: "no".to_owned(),
        }),
        actor: Some(v1::Actor {
            name: "ada".to_owned(),
            source: "REMOTE_USER".to_owned(),
            remote_address: "2001:db8::7".to_owned(),
        }),
        push_options: vec!["ci.skip".to_owned(), String::new()],
        ..v1::RejectionReport::default()
    }
}

/// What the report is refused for: the reason and the field; `None` for one that is taken.
fn refused(change: impl FnOnce(&mut v1::RejectionReport)) -> Option<(String, String)> {
    let mut report = sound();
    change(&mut report);
    let failure = check("reports[3]", report, ObjectFormat::Sha1).err()?;
    let status = Status::from(failure);
    assert_eq!(status.code(), Code::InvalidArgument);
    let info = status.get_error_details().error_info().cloned().expect("every failure has one");
    Some((info.reason, info.metadata["field"].clone()))
}

#[test]
fn every_field_is_taken_over() {
    let refusal = check("report", sound(), ObjectFormat::Sha1).unwrap();
    assert_eq!(refusal.name.as_bytes(), b"refs/heads/main");
    let oid = |byte| Some(Target::Direct(ObjectId::Sha1([byte; 20])));
    assert_eq!((refusal.old, refusal.new), (oid(0x11), oid(0xaa)));
    let extra = refusal.extra;
    assert_eq!((extra.stage, extra.reason.as_deref()), (Some(8), Some("NON_FAST_FORWARD")));
    assert_eq!(extra.message.as_deref(), Some("no"));
    assert_eq!(extra.actor.as_deref(), Some("ada"));
    assert_eq!(extra.actor_source.as_deref(), Some("REMOTE_USER"));
    assert_eq!(extra.actor_address.as_deref(), Some("2001:db8::7"));
    assert_eq!(extra.push_options, ["ci.skip", ""]);
}

#[test]
fn what_may_be_left_out_may_be_left_out() {
    let zero = ObjectFormat::Sha1.zero_hex();
    type Change = fn(&mut v1::RejectionReport);
    let changes: [Change; 9] = [
        |report| report.old_oid.clear(),
        |report| report.new_oid.clear(),
        |report| report.new_oid = ObjectFormat::Sha1.zero_hex().to_owned(),
        |report| report.rejection = None,
        |report| report.rejection = Some(v1::Rejection::default()),
        |report| report.actor = None,
        |report| report.actor = Some(v1::Actor::default()),
        |report| report.push_options.clear(),
        |report| {
            report.ref_name = "not looked at".to_owned();
            report.ref_name_bytes = b"refs/heads/\xff".to_vec();
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        assert_eq!(refused(change), None, "change {at}");
    }
    let created = v1::RejectionReport { old_oid: zero.to_owned(), ..sound() };
    assert_eq!(check("report", created, ObjectFormat::Sha1).unwrap().old, None);
}

#[test]
fn what_is_malformed_is_named_by_its_field() {
    type Change = fn(&mut v1::RejectionReport);
    let rows: &[(Change, &str, &str)] = &[
        (|r| r.ref_name.clear(), "FIELD_INVALID", "ref_name"),
        (|r| r.ref_name = "main".to_owned(), "FIELD_INVALID", "ref_name"),
        (|r| r.ref_name = "refs/heads/a b".to_owned(), "FIELD_INVALID", "ref_name"),
        (|r| r.ref_name = format!("refs/{}", "a".repeat(4_092)), "FIELD_OUT_OF_BOUNDS", "ref_name"),
        (|r| r.ref_name_bytes = b"\xff".to_vec(), "FIELD_INVALID", "ref_name_bytes"),
        (|r| r.ref_name_bytes = vec![b'a'; 4_097], "FIELD_OUT_OF_BOUNDS", "ref_name_bytes"),
        (|r| r.old_oid = "1234".to_owned(), "FIELD_INVALID", "old_oid"),
        (|r| r.old_oid = "g".repeat(40), "FIELD_INVALID", "old_oid"),
        (|r| r.old_oid = "1".repeat(64), "FIELD_INVALID", "old_oid"),
        (|r| r.new_oid = "0".repeat(64), "FIELD_INVALID", "new_oid"),
        (|r| r.new_oid = "0".repeat(39), "FIELD_INVALID", "new_oid"),
        (
            |r| {
                r.old_oid.clear();
                r.new_oid = "0".repeat(40);
            },
            "FIELD_INVALID",
            "new_oid",
        ),
        (|r| r.rejection.as_mut().unwrap().stage = 99, "FIELD_INVALID", "rejection.stage"),
        (|r| r.rejection.as_mut().unwrap().stage = -1, "FIELD_INVALID", "rejection.stage"),
        (
            |r| r.rejection.as_mut().unwrap().reason = "declined".to_owned(),
            "FIELD_INVALID",
            "rejection.reason",
        ),
        (|r| r.rejection.as_mut().unwrap().reason = "A__B".to_owned(), "FIELD_INVALID", "rejection.reason"),
        (|r| r.rejection.as_mut().unwrap().reason = "_A".to_owned(), "FIELD_INVALID", "rejection.reason"),
        (|r| r.rejection.as_mut().unwrap().reason = "1A".to_owned(), "FIELD_INVALID", "rejection.reason"),
        (
            |r| r.rejection.as_mut().unwrap().reason = "A".repeat(65),
            "FIELD_OUT_OF_BOUNDS",
            "rejection.reason",
        ),
        (
            |r| r.rejection.as_mut().unwrap().message = "a".repeat(4_097),
            "FIELD_OUT_OF_BOUNDS",
            "rejection.message",
        ),
        (|r| r.actor.as_mut().unwrap().name = "a".repeat(257), "FIELD_OUT_OF_BOUNDS", "actor.name"),
        (|r| r.actor.as_mut().unwrap().source = "a".repeat(65), "FIELD_OUT_OF_BOUNDS", "actor.source"),
        (
            |r| r.actor.as_mut().unwrap().remote_address = "a".repeat(65),
            "FIELD_OUT_OF_BOUNDS",
            "actor.remote_address",
        ),
        (
            |r| r.actor.as_mut().unwrap().remote_address = "192.0.2.7:22".to_owned(),
            "FIELD_INVALID",
            "actor.remote_address",
        ),
        (
            |r| r.actor.as_mut().unwrap().remote_address = "[2001:db8::7]:22".to_owned(),
            "FIELD_INVALID",
            "actor.remote_address",
        ),
        (|r| r.push_options = vec![String::new(); 65], "FIELD_OUT_OF_BOUNDS", "push_options"),
        (|r| r.push_options = vec!["a".repeat(16_385); 2], "FIELD_OUT_OF_BOUNDS", "push_options"),
    ];
    for (at, (change, reason, field)) in rows.iter().enumerate() {
        let expected = ((*reason).to_owned(), format!("reports[3].{field}"));
        assert_eq!(refused(change), Some(expected), "row {at}");
    }
}

#[test]
fn an_object_id_is_as_long_as_its_repository_wants() {
    let long = "2".repeat(64);
    let report = v1::RejectionReport { old_oid: String::new(), new_oid: long.clone(), ..sound() };
    assert!(check("report", report.clone(), ObjectFormat::Sha1).is_err());
    let new = check("report", report, ObjectFormat::Sha256).unwrap().new;
    assert_eq!(new, ObjectId::from_hex(long.as_bytes()).ok().map(Target::Direct));
    assert!(check("report", sound(), ObjectFormat::Sha256).is_err());
}

#[test]
fn the_largest_of_everything_is_taken() {
    let rejection = v1::Rejection {
        stage: v1::RejectionStage::Update.into(),
        reason: "R".repeat(64),
        message: "m".repeat(4_096),
    };
    let actor = v1::Actor { name: "n".repeat(256), source: "s".repeat(64), remote_address: "r".repeat(64) };
    assert_eq!(
        refused(|report| {
            report.ref_name = format!("refs/{}", "a".repeat(4_091));
            report.rejection = Some(rejection);
            report.actor = Some(actor);
            report.push_options = vec!["o".repeat(512); 64];
        }),
        None
    );
}
