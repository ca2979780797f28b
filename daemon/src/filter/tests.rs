use refwatch_core::{Event, EventType, Origin, RefChange, RefName};
use refwatch_proto::limits;
use refwatch_proto::v1::{EventFilter, GitEventType, RefNamespace};
use refwatch_store::Logged;

use super::{Filter, Seen, View};
use crate::status::Failure;

const UID: u64 = 0xabc;
const PATH: &[u8] = b"team/app.git";

fn logged(kind: EventType, name: Option<&[u8]>, change: Option<RefChange>) -> Logged {
    let name = name.map(|name| RefName::new(name).unwrap());
    let event = Event { name, change, ..Event::of_repository(kind, Origin::Notify) };
    Logged { sequence: 1, repository: 1, observed_at_us: 1, event }
}

fn branch(name: &[u8]) -> Logged {
    logged(EventType::BranchUpdated, Some(name), Some(RefChange::Updated))
}

fn passes(filter: EventFilter, logged: &Logged) -> bool {
    matches!(Filter::compile(Some(&filter), View::default()).unwrap().look(logged, UID, PATH), Seen::Event)
}

fn globs(include: &[&str], exclude: &[&str]) -> EventFilter {
    let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
    EventFilter {
        ref_include_globs: owned(include),
        ref_exclude_globs: owned(exclude),
        ..EventFilter::default()
    }
}

#[test]
fn globs_match_as_the_contract_says() {
    let table: [(&str, &[u8], bool); 22] = [
        ("refs/heads/**", b"refs/heads/main", true),
        ("refs/heads/**", b"refs/heads/a/b/c", true),
        ("refs/heads/**", b"refs/tags/v1", false),
        ("refs/heads/*", b"refs/heads/main", true),
        ("refs/heads/*", b"refs/heads/a/b", false),
        ("main", b"refs/heads/main", false),
        ("**", b"refs/heads/main", true),
        ("**/main", b"refs/heads/main", true),
        ("**/main", b"refs/heads/domain", false),
        ("refs/**/b", b"refs/b", true),
        ("refs/**/b", b"refs/heads/a/b", true),
        ("refs/heads/v?", b"refs/heads/v1", true),
        ("refs/heads/v?", b"refs/heads/v", false),
        ("refs/heads?main", b"refs/heads/main", false),
        ("refs/heads/[a-m]ain", b"refs/heads/main", true),
        ("refs/heads/[a-l]ain", b"refs/heads/main", false),
        ("refs/{heads,tags}/*", b"refs/tags/v1", true),
        ("refs/{heads,tags}/*", b"refs/notes/v1", false),
        ("refs/heads/Main", b"refs/heads/main", false),
        ("refs/heads/\\{a,b\\}", b"refs/heads/{a,b}", true),
        ("refs/heads/*", b"refs/heads/\xff\xfe", true),
        ("refs/heads/caf?", b"refs/heads/caf\xe9", true),
    ];
    for (glob, name, expected) in table {
        let shown = String::from_utf8_lossy(name);
        assert_eq!(passes(globs(&[glob], &[]), &branch(name)), expected, "{glob} on {shown}");
    }
}

#[test]
fn excluding_is_stronger_than_including() {
    let filter = globs(&["refs/heads/**"], &["refs/heads/tmp/**", "**/wip-*"]);
    assert!(passes(filter.clone(), &branch(b"refs/heads/main")));
    assert!(!passes(filter.clone(), &branch(b"refs/heads/tmp/x")));
    assert!(!passes(filter, &branch(b"refs/heads/wip-1")));
}

#[test]
fn events_without_a_ref_are_not_refused_for_their_ref() {
    let gone = logged(EventType::RepositoryDeleted, None, None);
    let filter =
        EventFilter { namespaces: vec![RefNamespace::Tag.into()], ..globs(&["refs/heads/main"], &["**"]) };
    assert!(passes(filter, &gone));
    let only_branches =
        EventFilter { types: vec![GitEventType::BranchUpdated.into()], ..EventFilter::default() };
    assert!(!passes(only_branches, &gone));
}

#[test]
fn ref_updated_stands_for_every_change() {
    let filter = |types: &[GitEventType]| EventFilter {
        types: types.iter().map(|kind| (*kind).into()).collect(),
        ..EventFilter::default()
    };
    let release = logged(EventType::ReleaseCreated, Some(b"refs/tags/v1"), None);
    let note = logged(EventType::NotesUpdated, Some(b"refs/notes/commits"), Some(RefChange::Created));
    for (types, event, expected) in [
        (vec![GitEventType::RefUpdated], &note, true),
        (vec![GitEventType::RefUpdated], &release, false),
        (vec![GitEventType::RefUpdated, GitEventType::ReleaseCreated], &release, true),
        (vec![GitEventType::ReleaseCreated], &note, false),
        (vec![], &release, true),
    ] {
        assert_eq!(passes(filter(&types), event), expected, "{types:?} on {:?}", event.event.kind);
    }
}

#[test]
fn internal_namespaces_are_hidden_unless_asked_for() {
    let keep = logged(EventType::CustomRefUpdated, Some(b"refs/keep-around/1"), Some(RefChange::Created));
    assert!(!Filter::compile(None, View::default()).unwrap().passes(&keep, UID, PATH));
    assert!(passes(EventFilter { include_internal: true, ..EventFilter::default() }, &keep));
    let named = |namespaces: &[RefNamespace], include_internal| EventFilter {
        namespaces: namespaces.iter().map(|namespace| (*namespace).into()).collect(),
        include_internal,
        ..EventFilter::default()
    };
    assert!(passes(named(&[RefNamespace::Internal], false), &keep));
    assert!(!passes(named(&[RefNamespace::Branch], true), &keep), "every part must let it pass");
    assert!(!passes(named(&[RefNamespace::Internal], false), &branch(b"refs/heads/main")));
}

#[test]
fn repositories_pass_by_id_or_by_path() {
    let by = |ids: &[&str], globs: &[&str]| EventFilter {
        repository_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        repository_globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        ..EventFilter::default()
    };
    let event = branch(b"refs/heads/main");
    for (filter, expected) in [
        (by(&["0000000000000abc"], &[]), true),
        (by(&["0000000000000abd"], &[]), false),
        (by(&["0000000000000abd"], &["team/*"]), true),
        (by(&[], &["team/**"]), true),
        (by(&[], &["*"]), false),
        (by(&[], &["**"]), true),
    ] {
        assert_eq!(passes(filter.clone(), &event), expected, "{filter:?}");
    }
}

#[test]
fn what_most_ask_for_is_recognised() {
    let only_hides_internal =
        |filter: EventFilter| Filter::compile(Some(&filter), View::default()).unwrap().only_hides_internal();
    assert!(Filter::compile(None, View::default()).unwrap().only_hides_internal());
    assert!(only_hides_internal(EventFilter { include_internal: true, ..EventFilter::default() }));
    assert!(!only_hides_internal(globs(&["**"], &[])));
    let types = vec![GitEventType::RefUpdated.into()];
    assert!(!only_hides_internal(EventFilter { types, ..EventFilter::default() }));
    let namespaces = vec![RefNamespace::Branch.into()];
    assert!(!only_hides_internal(EventFilter { namespaces, ..EventFilter::default() }));
}

#[test]
fn a_mistake_is_blamed_on_its_field() {
    let many = |count: usize| vec!["refs/**".to_owned(); count];
    let table: [(EventFilter, &str); 10] = [
        (globs(&["a", "b", "["], &[]), "filter.ref_include_globs[2]"),
        (globs(&[], &["{a"]), "filter.ref_exclude_globs[0]"),
        (globs(&["a", ""], &[]), "filter.ref_include_globs[1]"),
        (globs(&[&"a".repeat(1025)], &[]), "filter.ref_include_globs[0]"),
        (EventFilter { ref_include_globs: many(65), ..EventFilter::default() }, "filter.ref_include_globs"),
        (
            EventFilter { repository_globs: vec!["\\".to_owned()], ..EventFilter::default() },
            "filter.repository_globs[0]",
        ),
        (
            EventFilter { repository_ids: vec!["ABC".to_owned()], ..EventFilter::default() },
            "filter.repository_ids[0]",
        ),
        (EventFilter { types: vec![1, 0], ..EventFilter::default() }, "filter.types[1]"),
        (EventFilter { types: vec![99], ..EventFilter::default() }, "filter.types[0]"),
        (EventFilter { namespaces: vec![1, 77], ..EventFilter::default() }, "filter.namespaces[1]"),
    ];
    for (filter, expected) in table {
        let failure = Filter::compile(Some(&filter), View::default()).unwrap_err();
        let (Failure::Glob { field: found, .. }
        | Failure::OutOfBounds { field: found, .. }
        | Failure::Invalid { field: found, .. }) = &failure
        else {
            panic!("{failure:?}")
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn a_filter_is_told_in_a_few_words() {
    assert_eq!(Filter::compile(None, View::default()).unwrap().summary(), "everything");
    let filter = EventFilter {
        types: vec![GitEventType::TagCreated.into()],
        include_internal: true,
        ..globs(&["a", "b", "c", "d"], &["x"])
    };
    assert_eq!(
        Filter::compile(Some(&filter), View::default()).unwrap().summary(),
        "refs a b c and 1 more; without x; types TAG_CREATED; internal too"
    );
}

#[test]
fn the_costliest_filters_within_the_bounds_are_compiled_and_answer() {
    let long = format!("refs/heads/{}", "a".repeat(limits::NAME_BYTES_MAX - 20));
    for piece in ["*", "?", "**/", "[a-z]", "{a,b}", "{{a,b},{c,d}}", "a*", "{a*,b?}*", "*/{**/a,[!b]?}/"] {
        // As many pieces as a glob may hold, as many globs as a list, in every list.
        let glob = piece.repeat((limits::GLOB_BYTES_MAX as usize - 2) / piece.len());
        let globs: Vec<_> = (0..limits::GLOBS_MAX).map(|number| format!("{glob}{number:02}")).collect();
        let filter = EventFilter {
            repository_globs: globs.clone(),
            ref_include_globs: globs.clone(),
            ref_exclude_globs: globs,
            ..EventFilter::default()
        };
        let filter = Filter::compile(Some(&filter), View::default())
            .unwrap_or_else(|error| panic!("{piece}: {error}"));
        assert!(
            matches!(filter.look(&branch(long.as_bytes()), UID, long.as_bytes()), Seen::Nothing),
            "{piece}"
        );
    }
}
