//! Events as CloudEvents 1.0, in its JSON and its protobuf format.
//!
//! The mapping is documented in `CLOUDEVENTS.md`. It is a pure function of the event and of the server's id, so whoever
//! has these two can make it, and everybody makes the same: `id` and `source` together drop duplicates.

use std::fmt::Write as _;

use prost::Message as _;
use prost_types::{Any, Timestamp};
use serde_json::{Value, json};

use self::v1::CloudEvent;
use self::v1::cloud_event::cloud_event_attribute_value::Attr;
use self::v1::cloud_event::{CloudEventAttributeValue, Data};
use crate::json;
use crate::v1::{GitEvent, GitEventType};

/// Messages of the protobuf format, package `io.cloudevents.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::wildcard_enum_match_arm, rustdoc::all)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/io.cloudevents.v1.rs"));
}

/// Version of the CloudEvents specification.
pub const SPEC_VERSION: &str = "1.0";
/// What every `type` begins with; the event's own type in lower case follows.
pub const TYPE_PREFIX: &str = "io.github.refwatch.v1.";
/// Where the shape of the data is defined.
pub const DATA_SCHEMA: &str =
    "https://github.com/refwatch/refwatch/blob/main/proto/refwatch/v1/event.proto#refwatch.v1.GitEvent";
/// Version of the CDEvents specification that [`to_cdevent`] follows.
pub const CDEVENTS_VERSION: &str = "0.4.1";

const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_MICRO: i32 = 1_000;

/// The event in the JSON format; `data` is what [`json::to_value`] gives.
pub fn to_json(server_id: &str, event: &GitEvent) -> Value {
    envelope(server_id, event, &type_of(event), "application/json", Some(DATA_SCHEMA), json::to_value(event))
}

/// The event as a CDEvent in the JSON format of CloudEvents, where CDEvents has a type for it: branches created and
/// deleted, repositories deleted. Its `customData` is what [`json::to_value`] gives.
pub fn to_cdevent(server_id: &str, event: &GitEvent) -> Option<Value> {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "CDEvents has no type for others, nor for those to come"
    )]
    let (kind, predicate) = match event.r#type() {
        GitEventType::BranchCreated => ("branch", "created"),
        GitEventType::BranchDeleted => ("branch", "deleted"),
        GitEventType::RepositoryDeleted => ("repository", "deleted"),
        _ => return None,
    };
    let kind_and_version = format!("dev.cdevents.{kind}.{predicate}.0.2.0");
    let source = source_of(server_id, event);
    let (id, path) = event.repository.as_ref().map_or(("", ""), |it| (it.id.as_str(), it.path.as_str()));
    let content = match kind {
        "branch" => json!({"repository": {"id": id, "source": source}}),
        _ => json!({"name": path}),
    };
    let data = json!({
        "context": {
            "version": CDEVENTS_VERSION,
            "id": event.event_id,
            "source": source,
            "type": kind_and_version,
            "timestamp": timestamp_of(event).to_string(),
        },
        "subject": {"id": subject_of(event), "source": source, "type": kind, "content": content},
        "customData": json::to_value(event),
        "customDataContentType": "application/json",
    });
    Some(envelope(server_id, event, &kind_and_version, "application/cdevents+json", None, data))
}

/// The event in the protobuf format; the data is the `GitEvent` as a message.
pub fn to_proto(server_id: &str, event: &GitEvent) -> CloudEvent {
    let attributes = [
        ("subject", Attr::CeString(subject_of(event).to_owned())),
        ("time", Attr::CeTimestamp(timestamp_of(event))),
        ("datacontenttype", Attr::CeString("application/protobuf".to_owned())),
        ("dataschema", Attr::CeUri(DATA_SCHEMA.to_owned())),
        ("sequence", Attr::CeString(sequence_of(event))),
        ("partitionkey", Attr::CeString(repository_id(event).to_owned())),
    ];
    let attributes =
        attributes.map(|(name, attr)| (name.to_owned(), CloudEventAttributeValue { attr: Some(attr) }));
    let data =
        Any { type_url: "type.googleapis.com/refwatch.v1.GitEvent".to_owned(), value: event.encode_to_vec() };
    CloudEvent {
        id: event.event_id.clone(),
        source: source_of(server_id, event),
        spec_version: SPEC_VERSION.to_owned(),
        r#type: type_of(event),
        attributes: attributes.into(),
        data: Some(Data::ProtoData(data)),
    }
}

fn envelope(
    server_id: &str,
    event: &GitEvent,
    kind: &str,
    content_type: &str,
    schema: Option<&str>,
    data: Value,
) -> Value {
    let mut envelope = json!({
        "specversion": SPEC_VERSION,
        "id": event.event_id,
        "source": source_of(server_id, event),
        "type": kind,
        "subject": subject_of(event),
        "time": timestamp_of(event).to_string(),
        "datacontenttype": content_type,
        "sequence": sequence_of(event),
        "partitionkey": repository_id(event),
        "data": data,
    });
    if let Some(schema) = schema {
        envelope["dataschema"] = json!(schema);
    }
    envelope
}

/// A type that this version does not know has no name: then its number stands in its place.
fn type_of(event: &GitEvent) -> String {
    match GitEventType::try_from(event.r#type) {
        Ok(kind) => format!("{TYPE_PREFIX}{}", kind.short_name().to_ascii_lowercase()),
        Err(_) => format!("{TYPE_PREFIX}{}", event.r#type),
    }
}

/// The repository, not its path: that may change.
fn source_of(server_id: &str, event: &GitEvent) -> String {
    let mut source = String::from("refwatch://");
    percent_encode(server_id, &mut source);
    source.push('/');
    percent_encode(repository_id(event), &mut source);
    source
}

fn repository_id(event: &GitEvent) -> &str {
    event.repository.as_ref().map_or("", |repository| repository.id.as_str())
}

/// The ref, or the repository where there is none.
fn subject_of(event: &GitEvent) -> &str {
    let path = event.repository.as_ref().map_or("", |repository| repository.path.as_str());
    if event.ref_name.is_empty() { path } else { &event.ref_name }
}

fn timestamp_of(event: &GitEvent) -> Timestamp {
    let micros = event.observed_at_us.rem_euclid(MICROS_PER_SECOND);
    let nanos = i32::try_from(micros).unwrap_or_default() * NANOS_PER_MICRO;
    Timestamp { seconds: event.observed_at_us.div_euclid(MICROS_PER_SECOND), nanos }
}

/// Of the same length for all, so that order as text is order as numbers: the extension asks for that.
fn sequence_of(event: &GitEvent) -> String {
    format!("{:020}", event.sequence)
}

/// Keeps what RFC 3986 calls unreserved.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("a String takes everything"),
        }
    }
}

#[cfg(test)]
mod tests;
