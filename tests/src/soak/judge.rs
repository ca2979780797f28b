//! Holds what was told against what is on disk, what was written, and what others were told.

use std::collections::{BTreeMap, VecDeque, hash_map::DefaultHasher};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost::Message as _;
use refwatch_core::Cursor;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{Earliest, GitEvent, GitEventType, RefChange, WatchEventsRequest};
use rustix::process::Signal;

use crate::client::{Client, filter, request};
use crate::random::Random;
use crate::recorder::{Recorder, Recording};
use crate::state::State;
use crate::validate;
use crate::world::Repo;

use super::disturb::Watch;
use super::resources::Peak;
use super::yard::{Place, Yard};

/// Events kept to be shown.
const KEPT_MAX: usize = 20_000;

/// Between two messages, for the subscriber that is slow.
const SLOWNESS: Duration = Duration::from_millis(4);

/// Largest batch of the slow subscriber, in bytes: the least that is allowed.
const SLOW_BATCH_BYTES: u32 = 1_024;

/// One round in so many ends with a restart that nobody notices.
const RESTART_ONE_IN: usize = 4;

/// One round in so many ends with a replay of everything.
const REPLAY_ONE_IN: usize = 8;

/// Refs on a page, so that there are many pages.
const PAGE: u32 = 17;

/// A list of refs that was asked for while others wrote.
#[derive(Debug)]
struct Listed {
    state: State,
    sequence: u64,
}

#[derive(Debug)]
pub(super) struct Judge {
    /// Stays, and resumes by its cursor.
    steady: Recorder,
    /// Is slow, with small batches.
    slow: Recorder,
    /// What all events led to.
    state: State,
    last: Option<GitEvent>,
    /// Of the event of each sequence, from 1.
    digests: Vec<u64>,
    /// How far the slow subscriber is.
    slow_at: usize,
    /// What who is slow got of what has come since the other was asked: the end of a push is seen a moment later.
    ahead: Vec<GitEvent>,
    listed: Option<Listed>,
    values: usize,
    peak: Peak,
    kept: VecDeque<GitEvent>,
    /// Ids, and paths they had.
    names: BTreeMap<String, Vec<String>>,
}

impl Judge {
    pub(super) fn new(watch: &Watch) -> Self {
        let client = watch.client();
        let steady = client.record(Start::Earliest(Earliest {}));
        let small = WatchEventsRequest {
            max_batch_bytes: SLOW_BATCH_BYTES,
            ..request(Start::Earliest(Earliest {}), filter())
        };
        let slow = Recorder::start(&client, small);
        Self {
            steady,
            slow,
            state: State::default(),
            last: None,
            digests: Vec::new(),
            slow_at: 0,
            ahead: Vec::new(),
            listed: None,
            values: 0,
            peak: Peak::default(),
            kept: VecDeque::new(),
            names: BTreeMap::new(),
        }
    }

    pub(super) fn events(&self) -> usize {
        self.digests.len()
    }

    pub(super) fn values(&self) -> usize {
        self.values
    }

    pub(super) fn peak(&self) -> Peak {
        self.peak
    }

    /// Both subscribers go on from their cursors.
    pub(super) fn resume(&mut self, watch: &Watch) {
        let client = watch.client();
        self.steady.resume(&client);
        self.slow.resume(&client);
    }

    /// Lists all refs while others write.
    pub(super) fn list(&mut self, watch: &Watch) {
        self.slow.pause(SLOWNESS);
        let (refs, cursor) = watch.client().refs(PAGE);
        let sequence = Cursor::decode(&cursor).expect("a cursor").sequence;
        let mut state = State::default();
        refs.iter().for_each(|taken| state.put(taken));
        self.listed = Some(Listed { state, sequence });
    }

    /// Judges what a round brought, while nobody writes.
    pub(super) fn judge(&mut self, round: usize, yard: &Yard, watch: &mut Watch, random: &mut Random) {
        let places = yard.there();
        self.peak.look(watch.pid());
        let events = self.settle(watch);
        self.hold(&events, &places, &watch.client());
        self.hold_listed(&events);
        self.hold_lanes(yard, &events, &watch.client());
        let before = listing(&places);
        self.hold_lists(watch);
        if round.is_multiple_of(RESTART_ONE_IN) {
            watch.end(if random.below(2) == 0 { Signal::TERM } else { Signal::KILL });
            watch.restart(random.below(4) == 0);
            self.resume(watch);
            self.hold_silence("a restart", watch);
        }
        assert_eq!(before, listing(&places), "Harmless: repositories are written to by nobody but writers");
        if !places.is_empty() {
            for _ in 0..2 {
                let place = random.of(&places);
                rest(place);
                self.hold_silence(&format!("nothing in {}", place.repo.path), watch);
            }
        }
        if round.is_multiple_of(REPLAY_ONE_IN) {
            self.replay(watch);
        }
        self.peak.look(watch.pid());
        watch.check_log();
    }

    /// What came since the last time, once all that is on disk has come.
    fn settle(&mut self, watch: &Watch) -> Vec<GitEvent> {
        let client = watch.client();
        self.slow.pause(Duration::ZERO);
        for recorder in [&mut self.steady, &mut self.slow] {
            if recorder.has_ended() {
                recorder.resume(&client);
            }
        }
        self.steady.settle(&client);
        let events = self.steady.take();
        for event in &events {
            self.digests.push(digest(event));
            self.note(event);
        }
        self.slow.settle(&client);
        self.ahead.extend(self.slow.take());
        let due = self.digests.len() - self.slow_at;
        assert!(self.ahead.len() >= due, "Resumable: who is slow has {} of {due}", self.ahead.len());
        for event in self.ahead.drain(..due) {
            assert_eq!(
                digest(&event),
                self.digests[self.slow_at],
                "Resumable: another event for who is slow: {event:#?}"
            );
            self.slow_at += 1;
        }
        self.hold_order(&events);
        events
    }

    /// Ordered, Unique, Atomic.
    fn hold_order(&mut self, events: &[GitEvent]) {
        let with_last: Vec<GitEvent> = self.last.iter().chain(events).cloned().collect();
        validate::ordered(&with_last);
        validate::unique(events);
        validate::atomic(events);
        let whole = |event: Option<&GitEvent>, is_end: fn(u32, u32) -> bool| {
            let transaction = event.and_then(|event| event.transaction.as_ref());
            assert!(transaction.is_none_or(|of| is_end(of.index, of.size)), "Atomic: it is cut: {event:#?}");
        };
        whole(events.first(), |index, _| index == 0);
        whole(events.last(), |index, size| index + 1 == size);
        if let Some(last) = events.last() {
            self.last = Some(last.clone());
        }
    }

    fn note(&mut self, event: &GitEvent) {
        if let Some(repository) = &event.repository {
            let paths = self.names.entry(repository.id.clone()).or_default();
            if paths.last() != Some(&repository.path) {
                paths.push(repository.path.clone());
            }
        }
        self.kept.push_back(event.clone());
        if self.kept.len() > KEPT_MAX {
            self.kept.pop_front();
        }
    }

    /// Unbroken, Truthful.
    fn hold(
        &mut self,
        events: &[GitEvent],
        places: &[impl std::ops::Deref<Target = Place>],
        client: &Client,
    ) {
        let repos: Vec<&Repo> = places.iter().map(|place| &place.repo).collect();
        let mut paths: Vec<String> = repos.iter().map(|repo| repo.path.clone()).collect();
        let mut known: Vec<String> =
            client.repositories().into_iter().map(|repository| repository.path).collect();
        paths.sort_unstable();
        known.sort_unstable();
        assert_eq!(
            known, paths,
            "Truthful: the repositories that are followed (left) are those that are there"
        );
        let disk = client.on_disk(&repos);
        validate::truthful(&self.state, events, &disk);
        self.state = validate::unbroken(&self.state, events);
    }

    /// List-then-watch: what was listed while others wrote, and the events after its cursor, give the state.
    fn hold_listed(&mut self, events: &[GitEvent]) {
        let Some(Listed { mut state, sequence }) = self.listed.take() else { return };
        for event in events.iter().filter(|event| event.sequence > sequence) {
            if let Err(error) = state.apply(event) {
                panic!("List, then watch: listed at {sequence}: {error}");
            }
        }
        assert_eq!(told(&state), told(&self.state), "List, then watch: listed at {sequence} (left)");
    }

    /// Every committed value of a ref that only git wrote to, with hooks.
    fn hold_lanes(&mut self, yard: &Yard, events: &[GitEvent], client: &Client) {
        let ids: BTreeMap<String, String> =
            client.repositories().into_iter().map(|repository| (repository.path, repository.id)).collect();
        for slot in &yard.slots {
            let place = slot.read();
            let mut lanes = slot.lanes();
            let is_uncertain = std::mem::take(&mut lanes.is_uncertain);
            for (name, lane) in &mut lanes.by_name {
                let values = std::mem::take(&mut lane.values);
                let Some(id) = ids.get(&place.repo.path).filter(|_| !is_uncertain) else { continue };
                let of_lane = events.iter().filter(|event| {
                    event.ref_name == *name
                        && event.change() != RefChange::Unspecified
                        && event.repository.as_ref().is_some_and(|repository| repository.id == *id)
                });
                let told: Vec<&String> = of_lane.map(|event| &event.new_oid).collect();
                let path = &place.repo.path;
                assert_eq!(
                    told,
                    values.iter().collect::<Vec<_>>(),
                    "Complete: told (left) is not what git wrote (right) to {name} of {path}, {id}"
                );
                self.values += values.len();
            }
        }
    }

    /// What is listed, and what a snapshot shows, is what the events led to.
    fn hold_lists(&self, watch: &Watch) {
        let client = watch.client();
        let mut state = State::default();
        client.refs(PAGE).0.iter().for_each(|taken| state.put(taken));
        assert_eq!(told(&state), told(&self.state), "ListRefs (left) is not what events led to");
        let snapshot = client.record_snapshot().now();
        assert_eq!(told(&snapshot.base), told(&self.state), "a snapshot (left) is not what events led to");
    }

    /// Nothing but the end of a push, which is seen up to a second later.
    fn hold_silence(&mut self, after: &str, watch: &Watch) {
        let mut events = self.settle(watch);
        events.retain(|event| !is_end_of_a_push(event));
        assert!(events.is_empty(), "Silent: after {after} {events:#?}");
    }

    /// All that is retained, once more, and at most the end of a push besides.
    pub(super) fn replay(&self, watch: &Watch) {
        let client = watch.client();
        let Recording { events, .. } = client.record_earliest().settle(&client);
        let (again, more) = events.split_at(events.len().min(self.digests.len()));
        assert_eq!(again.len(), self.digests.len(), "Resumable: a replay has as many events");
        for (event, first) in again.iter().zip(&self.digests) {
            assert_eq!(digest(event), *first, "Resumable: a replay has another event: {event:#?}");
        }
        assert!(more.iter().all(is_end_of_a_push), "Resumable: a replay has more events: {more:#?}");
    }

    /// Ids and paths of the repositories that a text names.
    pub(super) fn names_in(&self, text: &str) -> Vec<String> {
        let named = self
            .names
            .iter()
            .filter(|(id, paths)| text.contains(&**id) || paths.iter().any(|path| text.contains(&**path)));
        named.flat_map(|(_, paths)| paths.clone()).collect()
    }

    /// Writes the last events, and those that did not come to be judged.
    pub(super) fn write_events(&self, path: &Path) {
        let mut file = fs::File::create(path).expect("a file");
        for event in self.kept.iter().chain(&self.steady.now().events) {
            writeln!(file, "{}", line(event)).expect("written");
        }
    }
}

/// Without repositories that have no refs: a state has no place for them.
fn told(state: &State) -> State {
    let with_refs = state.0.iter().filter(|(_, refs)| !refs.0.is_empty());
    State(with_refs.map(|(id, refs)| (id.clone(), refs.clone())).collect())
}

fn is_end_of_a_push(event: &GitEvent) -> bool {
    matches!(
        event.r#type(),
        GitEventType::PushReceived | GitEventType::PushRejected | GitEventType::ProtectedBranchRejected
    )
}

fn digest(event: &GitEvent) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}

fn line(event: &GitEvent) -> String {
    let repository = event.repository.clone().unwrap_or_default();
    let transaction = event.transaction.clone().unwrap_or_default();
    format!(
        "{} {} {} {} {} {}{} -> {}{} {:?} coalesced={} transaction {} {}/{} at {}",
        event.sequence,
        repository.path,
        repository.id,
        event.r#type().as_str_name(),
        event.ref_name,
        event.old_oid,
        event.old_symbolic_target,
        event.new_oid,
        event.new_symbolic_target,
        event.origin(),
        event.coalesced,
        transaction.id,
        transaction.index,
        transaction.size,
        event.observed_at_us,
    )
}

/// Does what changes no ref.
fn rest(place: &Place) {
    let repo = &place.repo;
    repo.git(&["pack-refs", "--all"]);
    repo.git(&["gc", "-q"]);
    let main = repo.git(&["rev-parse", "refs/heads/main"]);
    repo.update(&format!("update refs/heads/main {main}\n"));
    repo.update(&format!(
        "start\nupdate refs/heads/main {main}\ncreate refs/heads/never {main}\nprepare\nabort\n"
    ));
    if repo.flavour.ref_format == "files" {
        repo.write("refs/heads/main", format!("{main}\n"));
    }
}

/// Everything in the repositories but the journals of hooks, which are rotated: inode, size, mode and times.
type Listing = BTreeMap<PathBuf, (u64, u64, u32, [i64; 4])>;

fn listing(places: &[impl std::ops::Deref<Target = Place>]) -> Listing {
    let mut listing = Listing::new();
    for place in places {
        add(&place.repo.git_dir, &mut listing);
    }
    listing
}

fn add(directory: &Path, listing: &mut Listing) {
    for entry in fs::read_dir(directory).expect("listed") {
        let path = entry.expect("listed").path();
        if path.ends_with("refwatch") {
            continue;
        }
        let found = fs::symlink_metadata(&path).expect("there");
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        listing.insert(path.clone(), (found.ino(), found.size(), found.mode(), times));
        if found.is_dir() {
            add(&path, listing);
        }
    }
}
