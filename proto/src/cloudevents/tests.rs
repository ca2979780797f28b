use super::*;
use crate::v1::{EventRepository, RefChange};

const SERVER: &str = "0123456789abcdef";

fn event(kind: GitEventType, ref_name: &str) -> GitEvent {
    GitEvent {
        event_id: "5f0c2a9be1d34478.1024".to_owned(),
        sequence: 1024,
        r#type: kind.into(),
        repository: Some(EventRepository {
            id: "r1".to_owned(),
            path: "team/app.git".to_owned(),
            ..EventRepository::default()
        }),
        ref_name: ref_name.to_owned(),
        change: RefChange::Created.into(),
        observed_at_us: 1_767_225_600_000_042,
        ..GitEvent::default()
    }
}

#[test]
fn the_json_format_is_as_documented() {
    let event = event(GitEventType::BranchCreated, "refs/heads/main");
    let expected = json!({
        "specversion": "1.0",
        "id": "5f0c2a9be1d34478.1024",
        "source": "refwatch://0123456789abcdef/r1",
        "type": "io.github.refwatch.v1.branch_created",
        "subject": "refs/heads/main",
        "time": "2026-01-01T00:00:00.000042Z",
        "datacontenttype": "application/json",
        "dataschema": DATA_SCHEMA,
        "sequence": "00000000000000001024",
        "partitionkey": "r1",
        "data": json::to_value(&event),
    });
    assert_eq!(to_json(SERVER, &event), expected);
    let document = include_str!("../../CLOUDEVENTS.md");
    let (_, example) = document.split_once("```json\n").expect("an example");
    let (example, _) = example.split_once("```").expect("its end");
    assert_eq!(serde_json::from_str::<Value>(example).expect("JSON"), expected, "the documented example");
}

#[test]
fn what_has_no_ref_is_about_its_repository_and_odd_ids_make_no_odd_uri() {
    let mut event = event(GitEventType::RepositoryMoved, "");
    event.repository.as_mut().expect("set").id = "a/b c%".to_owned();
    let mapped = to_json(SERVER, &event);
    assert_eq!(mapped["subject"], "team/app.git");
    assert_eq!(mapped["source"], "refwatch://0123456789abcdef/a%2Fb%20c%25");
    assert_eq!(mapped["partitionkey"], "a/b c%");
    assert_eq!(to_json(SERVER, &GitEvent { r#type: 4711, ..event })["type"], "io.github.refwatch.v1.4711");
}

#[test]
fn the_protobuf_format_says_the_same_and_carries_the_message() {
    let event = event(GitEventType::TagCreated, "refs/tags/v1");
    let bytes = to_proto(SERVER, &event).encode_to_vec();
    let read = CloudEvent::decode(bytes.as_slice()).expect("whole");
    let mapped = to_json(SERVER, &event);
    let head = json!([read.id, read.source, read.spec_version, read.r#type]);
    assert_eq!(head, json!([mapped["id"], mapped["source"], mapped["specversion"], mapped["type"]]));
    let attribute = |name: &str| match read.attributes[name].attr.clone().expect("set") {
        Attr::CeString(text) | Attr::CeUri(text) => json!(text),
        Attr::CeTimestamp(time) => json!(time.to_string()),
        other @ (Attr::CeBoolean(_) | Attr::CeInteger(_) | Attr::CeBytes(_) | Attr::CeUriRef(_)) => {
            panic!("{name}: {other:?}")
        }
    };
    for name in ["subject", "time", "dataschema", "sequence", "partitionkey"] {
        assert_eq!(attribute(name), mapped[name], "{name}");
    }
    assert_eq!(attribute("datacontenttype"), "application/protobuf");
    assert_eq!(read.attributes.len(), 6);
    let Some(Data::ProtoData(any)) = read.data else { panic!("a message") };
    assert_eq!(any.type_url, "type.googleapis.com/refwatch.v1.GitEvent");
    assert_eq!(GitEvent::decode(any.value.as_slice()).expect("whole"), event);
}

/// Numbers that other implementations read: of the specification, not ours.
#[test]
fn the_wire_is_that_of_the_specification() {
    let event = CloudEvent {
        id: "i".to_owned(),
        source: "s".to_owned(),
        spec_version: "1".to_owned(),
        r#type: "t".to_owned(),
        attributes: [(
            "a".to_owned(),
            CloudEventAttributeValue { attr: Some(Attr::CeUriRef("u".to_owned())) },
        )]
        .into(),
        data: Some(Data::TextData("d".to_owned())),
    };
    let attribute = [0x0a, 1, b'a', 0x12, 3, 0x32, 1, b'u'];
    let mut expected = vec![0x0a, 1, b'i', 0x12, 1, b's', 0x1a, 1, b'1', 0x22, 1, b't', 0x2a, 8];
    expected.extend(attribute);
    expected.extend([0x3a, 1, b'd']);
    assert_eq!(event.encode_to_vec(), expected);
}

#[test]
fn cdevents_exist_for_three_types_and_carry_the_event() {
    let created = event(GitEventType::BranchCreated, "refs/heads/main");
    let mapped = to_cdevent(SERVER, &created).expect("a type");
    let data = &mapped["data"];
    assert_eq!(mapped["type"], "dev.cdevents.branch.created.0.2.0");
    assert_eq!(mapped["datacontenttype"], "application/cdevents+json");
    // The binding of CDEvents asks for these to be the same.
    for (attribute, field) in [("id", "id"), ("source", "source"), ("type", "type"), ("time", "timestamp")] {
        assert_eq!(mapped[attribute], data["context"][field], "{attribute}");
    }
    assert_eq!(mapped["subject"], data["subject"]["id"]);
    assert_eq!(data["subject"]["content"]["repository"]["id"], "r1");
    assert_eq!(data["customData"], json::to_value(&created));
    let deleted = to_cdevent(SERVER, &event(GitEventType::RepositoryDeleted, "")).expect("a type");
    assert_eq!(deleted["data"]["subject"]["content"], json!({"name": "team/app.git"}));
    let with = (0..=200).filter(|kind| {
        to_cdevent(SERVER, &GitEvent { r#type: *kind, ..event(GitEventType::Unspecified, "") }).is_some()
    });
    let three = [GitEventType::BranchCreated, GitEventType::BranchDeleted, GitEventType::RepositoryDeleted];
    assert_eq!(with.collect::<Vec<_>>(), three.map(i32::from));
}
