//! The canonical JSON of proto3, as grpcurl and buf print it.
//!
//! Names are lowerCamelCase, 64-bit integers are strings, enum values are their names, bytes are base64, and fields
//! that hold their default are left out. Fields come in order of their numbers.

use std::sync::OnceLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

/// Describes every message of the contract; decoded from [`crate::FILE_DESCRIPTOR_SET`] at first use.
pub fn descriptor_pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).expect("the build wrote a whole descriptor set")
    })
}

/// One line of JSON, without a line end.
///
/// # Panics
/// For a message that is not of this crate.
pub fn to_json<M: Message + Name>(message: &M) -> String {
    serde_json::to_string(&dynamic(message)).expect("a message has string keys and finite numbers")
}

/// JSON on several indented lines, without a line end.
///
/// # Panics
/// For a message that is not of this crate.
pub fn to_json_pretty<M: Message + Name>(message: &M) -> String {
    serde_json::to_string_pretty(&dynamic(message)).expect("a message has string keys and finite numbers")
}

/// JSON as a value, to be added to.
///
/// # Panics
/// For a message that is not of this crate.
pub fn to_value<M: Message + Name>(message: &M) -> serde_json::Value {
    serde_json::to_value(dynamic(message)).expect("a message has string keys and finite numbers")
}

/// Reads a message back: from [`to_json`], `refwatch tail --json`, grpcurl or buf.
///
/// # Errors
/// For text that is no JSON, or has fields or values that the message does not have.
///
/// # Panics
/// For a message that is not of this crate.
pub fn from_json<M: Message + Name + Default>(text: &str) -> Result<M, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(descriptor::<M>(), &mut deserializer)?;
    deserializer.end()?;
    Ok(message.transcode_to().expect("code and descriptors are generated from the same files"))
}

fn descriptor<M: Name>() -> MessageDescriptor {
    let name = M::full_name();
    let Some(descriptor) = descriptor_pool().get_message_by_name(&name) else {
        panic!("BUG: {name} is no message of the refwatch contract");
    };
    descriptor
}

fn dynamic<M: Message + Name>(message: &M) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic.transcode_from(message).expect("code and descriptors are generated from the same files");
    dynamic
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{from_json, to_json, to_json_pretty, to_value};
    use crate::v1::{
        Actor, EventBatch, EventRepository, GitEvent, GitEventType, ObjectFormat, Origin, RefChange,
        RefNamespace, Repository, Summary, SummaryCause, Transaction, WatchEventsResponse,
        watch_events_response::Kind,
    };

    fn created() -> GitEvent {
        GitEvent {
            event_id: "5f0c2a9be1d34478.1024".to_owned(),
            sequence: 1024,
            cursor: "AQ".to_owned(),
            r#type: GitEventType::BranchCreated.into(),
            repository: Some(EventRepository {
                id: "r1".to_owned(),
                path: "team/app.git".to_owned(),
                object_format: ObjectFormat::Sha1.into(),
            }),
            ref_name: "refs/heads/main".to_owned(),
            change: RefChange::Created.into(),
            old_oid: "0".repeat(40),
            new_oid: "a".repeat(40),
            ref_namespace: RefNamespace::Branch.into(),
            observed_at_us: 1_767_225_600_000_000,
            transaction: Some(Transaction { id: "t1".to_owned(), index: 0, size: 1 }),
            origin: Origin::Hook.into(),
            ..GitEvent::default()
        }
    }

    #[test]
    fn an_event_is_one_line_of_canonical_json_without_defaults() {
        let expected = concat!(
            r#"{"eventId":"5f0c2a9be1d34478.1024","sequence":"1024","cursor":"AQ","#,
            r#""type":"GIT_EVENT_TYPE_BRANCH_CREATED","#,
            r#""repository":{"id":"r1","path":"team/app.git","objectFormat":"OBJECT_FORMAT_SHA1"},"#,
            r#""refName":"refs/heads/main","change":"REF_CHANGE_CREATED","#,
            r#""oldOid":"0000000000000000000000000000000000000000","#,
            r#""newOid":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","#,
            r#""refNamespace":"REF_NAMESPACE_BRANCH","observedAtUs":"1767225600000000","#,
            r#""transaction":{"id":"t1","size":1},"origin":"ORIGIN_HOOK"}"#,
        );
        assert_eq!(to_json(&created()), expected);
        assert_eq!(from_json::<GitEvent>(expected).expect("the same"), created());
    }

    #[test]
    fn what_is_no_such_message_is_refused() {
        for wrong in [r#"{"noSuchField":1}"#, r#"{"type":"GIT_EVENT_TYPE_NO_SUCH"}"#, "{} {}", "[]", "{"] {
            assert!(from_json::<GitEvent>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_shows_replaced_and_as_base64() {
        let bytes = b"refs/heads/caf\xe9";
        let event = GitEvent {
            ref_name: String::from_utf8_lossy(bytes).into_owned(),
            ref_name_bytes: bytes.to_vec(),
            ..GitEvent::default()
        };
        assert_eq!(
            to_json(&event),
            "{\"refName\":\"refs/heads/caf\u{fffd}\",\"refNameBytes\":\"cmVmcy9oZWFkcy9jYWbp\"}"
        );
    }

    #[test]
    fn line_ends_and_quotes_stay_within_the_line() {
        let event = GitEvent {
            actor: Some(Actor { name: "a\n\"b\"".to_owned(), ..Actor::default() }),
            push_options: vec!["x\r\ny".to_owned()],
            ..GitEvent::default()
        };
        assert_eq!(to_json(&event), r#"{"actor":{"name":"a\n\"b\""},"pushOptions":["x\r\ny"]}"#);
    }

    #[test]
    fn a_value_that_this_version_does_not_know_shows_as_its_number() {
        assert_eq!(to_json(&GitEvent { r#type: 4711, ..GitEvent::default() }), r#"{"type":4711}"#);
    }

    #[test]
    fn nested_messages_and_set_optionals_are_mapped() {
        let summary = Summary { created: 2, cause: SummaryCause::Bulk.into(), ..Summary::default() };
        let event = GitEvent { summary: Some(summary), ..GitEvent::default() };
        let batch = EventBatch { events: vec![event], cursor: "c".to_owned() };
        assert_eq!(
            to_value(&WatchEventsResponse { kind: Some(Kind::Events(batch)) }),
            json!({"events": {"events": [{"summary": {"created": 2, "cause": "SUMMARY_CAUSE_BULK"}}], "cursor": "c"}})
        );
        assert_eq!(
            to_json_pretty(&Repository { ref_count: Some(0), ..Repository::default() }),
            "{\n  \"refCount\": \"0\"\n}"
        );
    }
}
