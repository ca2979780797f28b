//! What a subscriber may ask for: every way to start, and filters of every kind with what they let pass.

use std::fmt;

use refwatch_proto::v1::{EventFilter, GitEvent, GitEventType, Ref, RefChange, RefNamespace};

use crate::client::{filter, refs_filter, repositories_filter, types_filter};

/// A way to start a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Right after a cursor.
    Cursor,
    /// With a snapshot.
    Snapshot,
    /// With the oldest retained event.
    Earliest,
    /// With what happens next.
    Now,
    /// With the first event of a time.
    Since,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cursor, Self::Snapshot, Self::Earliest, Self::Now, Self::Since];
}

type Passes = Box<dyn Fn(&GitEvent) -> bool>;
type Shows = Box<dyn Fn(&Ref) -> bool>;

/// A filter, and what it lets pass by the words of the contract, which here are written down once more.
pub struct Lens {
    /// What it is called where it fails.
    pub name: &'static str,
    /// As a request has it.
    pub filter: EventFilter,
    /// Whether an event passes.
    pub passes: Passes,
    /// Whether a ref of a snapshot does.
    pub shows: Shows,
}

impl fmt::Debug for Lens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Full names of a kind of refs that the filters below ask for.
const BRANCHES: &str = "refs/heads/";
const LEFT_OUT: &str = "refs/heads/topic/";

impl Lens {
    /// Everything, internal namespaces too.
    pub fn everything() -> Self {
        Self::new("everything", filter(), |_| true, |_| true)
    }

    /// A filter of every kind; of repositories by `path`, the path and the id of one of several.
    pub fn all(path: &str, id: &str) -> Vec<Self> {
        let is_open = |namespace: RefNamespace| namespace != RefNamespace::Internal;
        let is_branch = |name: &str| name.starts_with(BRANCHES) && !name.starts_with(LEFT_OUT);
        let is_tag = |namespace: RefNamespace| {
            matches!(namespace, RefNamespace::Tag | RefNamespace::Internal | RefNamespace::Head)
        };
        let (by_path, by_id, shown_id, also_id) =
            (path.to_owned(), id.to_owned(), id.to_owned(), id.to_owned());
        let repository = |event: &GitEvent| event.repository.clone().unwrap_or_default();
        vec![
            Self::everything(),
            Self::new(
                "the default, which hides internal refs",
                EventFilter::default(),
                move |event| is_open(event.ref_namespace()),
                move |shown| is_open(shown.ref_namespace()),
            ),
            Self::new(
                "branches but some",
                EventFilter {
                    ref_exclude_globs: vec![format!("{LEFT_OUT}**")],
                    ..refs_filter(&["refs/heads/**"])
                },
                move |event| event.ref_name.is_empty() || is_branch(&event.ref_name),
                move |shown| is_branch(&shown.name),
            ),
            Self::new(
                "a repository by its path",
                repositories_filter(&[path]),
                move |event| repository(event).path == by_path || event.previous_path == by_path,
                move |shown| shown.repository_id == shown_id,
            ),
            Self::new(
                "a repository by its id",
                EventFilter { repository_ids: vec![id.to_owned()], ..filter() },
                move |event| repository(event).id == by_id,
                move |shown| shown.repository_id == also_id,
            ),
            Self::new(
                "two types",
                types_filter(&[GitEventType::ReleaseCreated, GitEventType::DefaultBranchChanged]),
                |event| {
                    matches!(
                        event.r#type(),
                        GitEventType::ReleaseCreated | GitEventType::DefaultBranchChanged
                    )
                },
                |_| true,
            ),
            Self::new(
                "every change of a ref",
                types_filter(&[GitEventType::RefUpdated]),
                |event| event.change() != RefChange::Unspecified,
                |_| true,
            ),
            Self::new(
                "namespaces",
                EventFilter {
                    namespaces: [RefNamespace::Tag, RefNamespace::Internal, RefNamespace::Head]
                        .map(i32::from)
                        .to_vec(),
                    ..EventFilter::default()
                },
                move |event| event.ref_name.is_empty() || is_tag(event.ref_namespace()),
                move |shown| is_tag(shown.ref_namespace()),
            ),
            Self::nothing(),
        ]
    }

    /// Nothing that happens in the tests.
    pub fn nothing() -> Self {
        let never = EventFilter {
            ref_include_globs: vec!["refs/nothing/**".to_owned()],
            ..types_filter(&[GitEventType::ProtectedBranchRejected])
        };
        Self::new("nothing", never, |_| false, |_| false)
    }

    fn new(
        name: &'static str,
        filter: EventFilter,
        passes: impl Fn(&GitEvent) -> bool + 'static,
        shows: impl Fn(&Ref) -> bool + 'static,
    ) -> Self {
        Self { name, filter, passes: Box::new(passes), shows: Box::new(shows) }
    }

    /// Of these events those that pass.
    pub fn of<'a>(&self, events: &'a [GitEvent]) -> Vec<&'a GitEvent> {
        events.iter().filter(|event| (self.passes)(event)).collect()
    }
}
