//! What the contract promises to those who generate code from it.

use std::collections::BTreeSet;

use prost_reflect::{Cardinality, Kind, MessageDescriptor};
use refwatch_proto::json::descriptor_pool;
use refwatch_proto::{limits, v1};

/// The types of DESIGN.md section 5.
const TYPES: &[&str] = &[
    "BRANCH_CREATED",
    "BRANCH_UPDATED",
    "BRANCH_FORCE_PUSHED",
    "BRANCH_DELETED",
    "BRANCH_RENAMED",
    "TAG_CREATED",
    "TAG_MOVED",
    "TAG_DELETED",
    "RELEASE_CREATED",
    "DEFAULT_BRANCH_CHANGED",
    "NOTES_UPDATED",
    "REPLACE_REF_UPDATED",
    "CHANGE_REQUEST_REF_UPDATED",
    "CUSTOM_REF_UPDATED",
    "SYMBOLIC_REF_UPDATED",
    "REF_BROKEN",
    "REF_REPAIRED",
    "PUSH_RECEIVED",
    "MIRROR_SYNCED",
    "PUSH_REJECTED",
    "PROTECTED_BRANCH_REJECTED",
    "REPOSITORY_DISCOVERED",
    "REPOSITORY_DELETED",
    "REPOSITORY_MOVED",
];

#[test]
fn each_event_type_stands_at_its_number() {
    for (name, number) in TYPES.iter().zip(1..) {
        let value = v1::GitEventType::from_short_name(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(i32::from(value), number, "{name}");
    }
    let kind = descriptor_pool().get_enum_by_name("refwatch.v1.GitEventType").expect("declared");
    assert_eq!(kind.values().len(), TYPES.len() + 2, "and UNSPECIFIED and REF_UPDATED, nothing else");
}

#[test]
fn the_services_have_these_methods() {
    let methods: BTreeSet<_> = descriptor_pool()
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| {
            assert!(!method.is_client_streaming());
            assert_eq!(method.is_server_streaming(), method.name() == "WatchEvents", "{}", method.name());
            assert_eq!(method.input().name(), format!("{}Request", method.name()));
            assert_eq!(method.output().name(), format!("{}Response", method.name()));
            method.full_name().to_owned()
        })
        .collect();
    let expected = [
        "refwatch.v1.GitEventService.GetPosition",
        "refwatch.v1.GitEventService.GetServerInfo",
        "refwatch.v1.GitEventService.ListEvents",
        "refwatch.v1.GitEventService.ListRefs",
        "refwatch.v1.GitEventService.ListRepositories",
        "refwatch.v1.GitEventService.WatchEvents",
        "refwatch.v1.IngestService.ReportRejection",
        "refwatch.v1.IngestService.ReportRejections",
    ];
    assert_eq!(methods, expected.into_iter().map(str::to_owned).collect());
}

#[test]
fn the_contract_stands_alone() {
    for file in descriptor_pool().files() {
        assert_eq!(file.package_name(), "refwatch.v1", "{}: needs nothing but itself", file.name());
    }
}

/// Field numbers below 16 cost one byte: they are for what nearly every event carries.
#[test]
fn the_common_fields_of_an_event_have_small_numbers() {
    let event = descriptor_pool().get_message_by_name("refwatch.v1.GitEvent").expect("declared");
    let numbers: Vec<_> = event.fields().map(|field| field.number()).collect();
    assert_eq!(numbers, (1..=31).collect::<Vec<_>>());
    for name in ["event_id", "cursor", "type", "repository", "ref_name", "old_oid", "new_oid", "transaction"]
    {
        assert!(event.get_field_by_name(name).expect(name).number() < 16, "{name}");
    }
}

/// A server joins pre-encoded events into one frame: that works as long as these fields are what they are.
#[test]
fn a_batch_can_be_put_together_from_encoded_events() {
    let field = |message: &str, field: &str| {
        let message: MessageDescriptor = descriptor_pool().get_message_by_name(message).expect("declared");
        let field = message.get_field_by_name(field).expect("declared");
        (field.number(), field.cardinality(), matches!(field.kind(), Kind::Message(_) | Kind::String))
    };
    assert_eq!(field("refwatch.v1.WatchEventsResponse", "events"), (5, Cardinality::Optional, true));
    assert_eq!(field("refwatch.v1.EventBatch", "events"), (1, Cardinality::Repeated, true));
    assert_eq!(field("refwatch.v1.EventBatch", "cursor"), (2, Cardinality::Optional, true));
    assert_eq!(field("refwatch.v1.ListEventsResponse", "events"), (1, Cardinality::Repeated, true));
}

/// Bounds are written twice, for readers of the contract and for the server: both must say the same.
#[test]
fn the_comments_state_the_limits() {
    let files = [
        include_str!("../refwatch/v1/event.proto"),
        include_str!("../refwatch/v1/service.proto"),
        include_str!("../refwatch/v1/ingest.proto"),
    ];
    let text = files.concat().replace("//", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let stated = [
        format!("never more than {} bytes", limits::CURSOR_BYTES_MAX),
        format!("An event is at most {} KiB", limits::EVENT_BYTES_MAX / 1024),
        format!(
            "At most {}, together at most {} bytes",
            limits::PUSH_OPTIONS_MAX,
            grouped(limits::PUSH_OPTIONS_BYTES_MAX as u64)
        ),
        format!("At most {} bytes", grouped(limits::NAME_BYTES_MAX as u64)),
        format!(
            "at most {} of the characters {} and `,`, unless",
            grouped(limits::GLOB_WILDCARDS_MAX.into()),
            limits::GLOB_WILDCARDS[..4].iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ")
        ),
        format!("{} bytes each and {} a list", grouped(limits::GLOB_BYTES_MAX.into()), limits::GLOBS_MAX),
        format!(
            "default ({}), else {} to {}. uint32 progress_interval_ms",
            grouped(limits::PROGRESS_INTERVAL_MS_DEFAULT.into()),
            limits::PROGRESS_INTERVAL_MS_MIN,
            grouped(limits::PROGRESS_INTERVAL_MS_MAX.into())
        ),
        format!(
            "default ({}), else {} to {}. uint32 max_batch_bytes",
            grouped(limits::BATCH_BYTES_DEFAULT.into()),
            grouped(limits::BATCH_BYTES_MIN.into()),
            grouped(limits::BATCH_BYTES_MAX.into())
        ),
        format!(
            "default ({}), else 1 to {}.",
            limits::PAGE_SIZE_DEFAULT,
            grouped(limits::PAGE_SIZE_MAX.into())
        ),
        format!(
            "default ({}), else 1 to {}.",
            grouped(limits::REF_PAGE_SIZE_DEFAULT.into()),
            grouped(limits::REF_PAGE_SIZE_MAX.into())
        ),
        format!(
            "default ({}), else 1 to {}. The call's own deadline",
            grouped(limits::SYNC_TIMEOUT_MS_DEFAULT.into()),
            grouped(limits::SYNC_TIMEOUT_MS_MAX.into())
        ),
        format!(
            "1 to {} reports, together at most {} MiB",
            grouped(limits::REPORTS_MAX.into()),
            limits::REPORT_BYTES_MAX >> 20
        ),
        format!(
            "At most {}, of at most {} bytes each",
            grouped(limits::REPOSITORY_IDS_MAX.into()),
            limits::ID_BYTES_MAX
        ),
        format!("page before; empty for the first page. At most {} bytes", limits::PAGE_TOKEN_BYTES_MAX),
        format!(
            "page before; empty for the first page. At most {} bytes",
            grouped(limits::REF_PAGE_TOKEN_BYTES_MAX as u64)
        ),
    ];
    for sentence in stated {
        assert!(text.contains(&sentence), "no comment says: {sentence}");
    }
}

/// A reason that the table above the service leaves out is one that no client can act on.
#[test]
fn every_error_reason_is_in_the_table_of_statuses() {
    let text = include_str!("../refwatch/v1/service.proto");
    let table = &text[..text.find("service GitEventService").expect("declared")];
    let reasons = descriptor_pool().get_enum_by_name("refwatch.v1.ErrorReason").expect("declared");
    for value in reasons.values().filter(|value| value.number() != 0) {
        let reason = value.name().strip_prefix("ERROR_REASON_").expect("prefixed").to_owned();
        assert!(table.contains(&format!(" / {reason} {{")), "{reason} is not in the table");
    }
}

/// `12345` as `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
