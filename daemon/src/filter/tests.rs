use refwatch_core::{Event, EventType, Origin, RefChange, RefName};
use refwatch_proto::limits;
use refwatch_proto::v1::{EventFilter, GitEventType, RefNamespace};
use refwatch_store::Logged;

use super::{Budget, Filter, Refs, Repositories, Seen, View};
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
    let whole = limits::GLOB_WILDCARDS_MAX as usize;
    let worst = ["*", "?", "a*", "**/", "/**/", "[a-z]", "{a,b}", "{**/,}", "{a*,b?}*", "*/{**/a,[!b]?}/"];
    for piece in worst {
        // As many pieces as all globs may hold together, in long globs, over all three lists.
        let cost = piece.matches(limits::GLOB_WILDCARDS).count();
        let a_glob = (limits::GLOB_BYTES_MAX as usize - 2) / piece.len();
        let mut left = whole / cost;
        let mut globs = Vec::new();
        while left > 0 {
            let pieces = left.min(a_glob);
            globs.push(format!("{}{:02}", piece.repeat(pieces), globs.len()));
            left -= pieces;
        }
        let mut lists = globs.chunks(globs.len().div_ceil(3)).map(<[String]>::to_vec);
        let mut list = || lists.next().unwrap_or_default();
        let filter = EventFilter {
            repository_globs: list(),
            ref_include_globs: list(),
            ref_exclude_globs: list(),
            ..EventFilter::default()
        };
        let compile = |filter: &EventFilter| Filter::compile(Some(filter), View::default());
        let compiled = compile(&filter).unwrap_or_else(|error| panic!("{piece}: {error}"));
        let seen = compiled.look(&branch(long.as_bytes()), UID, long.as_bytes());
        assert!(matches!(seen, Seen::Nothing), "{piece}");
        // One more is one too many, whichever list it is in; literal ones are none.
        let mut more = filter.clone();
        more.ref_exclude_globs.push("refs/heads/literal".to_owned());
        compile(&more).unwrap_or_else(|error| panic!("{piece}: {error}"));
        more.ref_exclude_globs.push("*".repeat(whole % cost + 1));
        let failure = compile(&more).unwrap_err();
        let Failure::Glob { field, detail, .. } = &failure else { panic!("{failure:?}") };
        assert_eq!(*field, format!("filter.ref_exclude_globs[{}]", more.ref_exclude_globs.len() - 1));
        assert!(detail.contains("more than 4096 of the characters *?[{,"), "{detail}");
    }
}

#[test]
fn lists_of_one_request_share_what_their_globs_may_cost() {
    let half = vec!["*".repeat(limits::GLOB_BYTES_MAX as usize); 2];
    let mut budget = Budget::default();
    Repositories::compile("", &[], &half, &mut budget).unwrap();
    Refs::compile("", &half, &[], &[], false, &mut budget).unwrap();
    let failure = Refs::compile("", &["*".to_owned()], &[], &[], false, &mut budget).unwrap_err();
    assert!(
        matches!(&failure, Failure::Glob { field, .. } if field == "ref_include_globs[0]"),
        "{failure:?}"
    );
}
