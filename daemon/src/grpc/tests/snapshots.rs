//! Snapshot, then watch.

use std::collections::BTreeMap;
use std::sync::Arc;

use refwatch_core::{RefName, Target};
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{self, EventFilter, GitEventType, OnGap, RefChange};
use tokio::task::JoinSet;

use super::harness::*;
use crate::log::{Log, STORE_READS_MAX, read_in_turn};

/// What a client holds: the refs of each repository.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Replica {
    refs: BTreeMap<(String, String), String>,
    sequence: u64,
    snapshots: usize,
    open: bool,
}

impl Replica {
    pub(super) fn take(&mut self, kind: Kind) {
        match kind {
            Kind::Started(_) | Kind::Reset(_) => {}
            Kind::SnapshotBegin(begin) => {
                self.refs.clear();
                self.sequence = begin.sequence;
                self.open = true;
            }
            Kind::SnapshotRefs(part) => {
                assert!(self.open);
                for item in part.refs {
                    assert_eq!(item.repository_id, part.repository.as_ref().unwrap().id);
                    let twice = self.refs.insert((item.repository_id, item.name), item.oid);
                    assert_eq!(twice, None);
                }
            }
            Kind::SnapshotEnd(end) => {
                assert_eq!(end.ref_count as usize, self.refs.len());
                self.open = false;
                self.snapshots += 1;
            }
            Kind::Events(batch) => batch.events.into_iter().for_each(|event| self.apply(event)),
            Kind::Progress(progress) if self.open => assert!(progress.cursor.is_empty()),
            Kind::Progress(progress) => assert!(progress.draining || progress.sequence >= self.sequence),
        }
    }

    fn apply(&mut self, event: v1::GitEvent) {
        assert!(!self.open && event.sequence > self.sequence);
        self.sequence = event.sequence;
        let id = event.repository.clone().unwrap().id;
        let at = (id, event.ref_name.clone());
        let zero = "0".repeat(40);
        match event.change() {
            RefChange::Unspecified => return,
            RefChange::Created => assert_eq!(self.refs.insert(at, event.new_oid.clone()), None),
            RefChange::Updated => {
                assert_eq!(self.refs.insert(at, event.new_oid.clone()), Some(event.old_oid.clone()));
            }
            RefChange::Deleted => assert_eq!(self.refs.remove(&at), Some(event.old_oid.clone())),
        }
        assert_eq!(event.new_oid == zero, event.change() == RefChange::Deleted);
    }
}

pub(super) fn held(repos: &[&Repo]) -> BTreeMap<(String, String), String> {
    let of = |repo: &&Repo| {
        let id = crate::wire::hex16(repo.uid);
        let entry = move |(name, target): (&RefName, &Target)| {
            ((id.clone(), name.to_text().into_owned()), target.oid().unwrap().to_string())
        };
        repo.refs.iter().map(entry).collect::<Vec<_>>()
    };
    repos.iter().flat_map(of).collect()
}

#[tokio::test]
async fn a_snapshot_shows_every_repository_also_the_empty_ones() {
    let harness = Harness::start().await;
    let mut full = harness.repository("full.git");
    let empty = harness.repository("empty.git");
    harness.fill(&mut full, 3, 700);
    let last = harness.last();
    let request = v1::WatchEventsRequest { max_batch_bytes: 65_536, ..snapshot() };
    let mut watcher = harness.watch(request).await;
    let Kind::Started(started) = watcher.next().await.unwrap() else { panic!("not started") };
    assert_eq!(started.cursor, "");
    let Kind::SnapshotBegin(begin) = watcher.next().await.unwrap() else { panic!("no snapshot") };
    assert_eq!((begin.sequence, begin.repository_count), (last, 2));
    let mut parts = BTreeMap::<String, Vec<(usize, bool)>>::new();
    let end = loop {
        match watcher.next().await.unwrap() {
            Kind::SnapshotRefs(part) => {
                let id = part.repository.unwrap().id;
                parts.entry(id).or_default().push((part.refs.len(), part.last));
            }
            Kind::SnapshotEnd(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((end.cursor, end.repository_count, end.ref_count), (harness.cursor(last), 2, 2100));
    assert_eq!(parts[&crate::wire::hex16(empty.uid)], [(0, true)]);
    let of_full = &parts[&crate::wire::hex16(full.uid)];
    assert_eq!(of_full.iter().map(|(count, _)| count).sum::<usize>(), 2100);
    assert_eq!(of_full.iter().filter(|(_, last)| *last).count(), 1);
    assert!(of_full.last().unwrap().1 && of_full.len() > 1);
    harness.change(&mut full, &[("refs/heads/new", Some(1))]);
    assert_eq!(sequences(&watcher.batch().await.events), [last + 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_under_concurrent_commits_and_the_events_after_it_give_the_refs() {
    let harness = Arc::new(Harness::start().await);
    let mut left = harness.repository("left.git");
    let mut right = harness.repository("right.git");
    harness.fill(&mut left, 1, 1500);
    let writer = Arc::clone(&harness);
    let writing = tokio::task::spawn_blocking(move || {
        for round in 0..150_u64 {
            let (main, moved, gone) = (
                format!("refs/heads/r{}", round % 7),
                format!("refs/heads/branch-{round:07}"),
                format!("refs/heads/branch-{:07}", 1499 - round),
            );
            writer.change(&mut right, &[(&main, Some(round + 1))]);
            writer.change(&mut left, &[(&moved, Some(round + 9_000)), (&gone, None)]);
        }
        (left, right)
    });
    let mut replicas = JoinSet::new();
    for delay in 0..6_u64 {
        let harness = Arc::clone(&harness);
        replicas.spawn(async move {
            until("some commits", || harness.last() > 1502 + delay * 50).await;
            let request = v1::WatchEventsRequest { max_batch_bytes: 8_192, ..snapshot() };
            let mut watcher = harness.watch(request).await;
            let mut replica = Replica::default();
            while replica.open || replica.snapshots == 0 || replica.sequence < 1502 + 450 {
                replica.take(watcher.next().await.unwrap());
            }
            replica
        });
    }
    let (left, right) = writing.await.unwrap();
    while let Some(replica) = replicas.join_next().await {
        assert_eq!(replica.unwrap().refs, held(&[&left, &right]));
    }
}

#[tokio::test]
async fn a_snapshot_obeys_the_filter_but_for_types() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("team/a.git");
    let _other = harness.repository("other/b.git");
    harness.change(
        &mut repo,
        &[("refs/heads/main", Some(1)), ("refs/tags/v1", Some(2)), ("refs/keep-around/1", Some(3))],
    );
    let filter = EventFilter {
        repository_globs: vec!["team/**".to_owned()],
        ref_exclude_globs: vec!["refs/heads/**".to_owned()],
        types: vec![GitEventType::BranchDeleted.into()],
        ..EventFilter::default()
    };
    let mut watcher = harness.watch(v1::WatchEventsRequest { filter: Some(filter), ..snapshot() }).await;
    let mut names = Vec::new();
    loop {
        match watcher.next().await.unwrap() {
            Kind::SnapshotBegin(begin) => assert_eq!(begin.repository_count, 1),
            Kind::SnapshotRefs(part) => names.extend(part.refs.into_iter().map(|item| item.name)),
            Kind::SnapshotEnd(_) => break,
            _ => {}
        }
    }
    assert_eq!(names, ["refs/tags/v1"]);
}

#[tokio::test]
async fn a_gap_is_bridged_by_a_reset_and_a_snapshot_if_asked_for() {
    let harness = Harness::with(|settings| settings.store.retention_events_max = Some(5)).await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 20, 1);
    harness.store.retain(NOW_US).unwrap();
    let floor = harness.store.bounds().floor;
    assert!(floor > 10);
    let on_gap = i32::from(OnGap::Resnapshot);
    let mut watcher =
        harness.watch(v1::WatchEventsRequest { on_gap, ..from_cursor(harness.cursor(3)) }).await;
    let Kind::Started(started) = watcher.next().await.unwrap() else { panic!("not started") };
    assert_eq!(started.cursor, "");
    let Kind::Reset(reset) = watcher.next().await.unwrap() else { panic!("no reset") };
    assert_eq!(reset.reason(), v1::ResetReason::CursorExpired);
    assert_eq!((reset.lost_first_sequence, reset.lost_last_sequence), (4, floor - 1));
    let mut replica = Replica::default();
    while replica.snapshots == 0 {
        replica.take(watcher.next().await.unwrap());
    }
    assert_eq!(replica.refs, held(&[&repo]));

    let foreign =
        refwatch_core::Cursor { epoch: 9, ..harness.log.cursor(harness.log.bounds().last) }.encode();
    let mut watcher = harness.watch(v1::WatchEventsRequest { on_gap, ..from_cursor(foreign) }).await;
    watcher.next().await.unwrap();
    let Kind::Reset(reset) = watcher.next().await.unwrap() else { panic!("no reset") };
    assert_eq!((reset.reason(), reset.lost_first_sequence), (v1::ResetReason::ForeignEpoch, 0));
}

/// Takes every turn to read the store, in order with all others, until told to give them back.
struct Turns {
    taking: JoinSet<Result<(), crate::status::Failure>>,
    give_back: Vec<std::sync::mpsc::SyncSender<()>>,
}

impl Turns {
    async fn take(harness: &Harness) -> Self {
        let mut turns = Self { taking: JoinSet::new(), give_back: Vec::new() };
        for _ in 0..STORE_READS_MAX {
            let (sender, receiver) = std::sync::mpsc::sync_channel(1);
            let hold = move |_: &Log| {
                // An error says that the test is over.
                receiver.recv().ok();
                Ok(())
            };
            turns.taking.spawn(read_in_turn(Arc::clone(&harness.log), hold));
            turns.give_back.push(sender);
        }
        // The runtime has one thread: each has asked for its turn before this goes on.
        tokio::task::yield_now().await;
        turns
    }

    async fn give_back(mut self) {
        drop(self.give_back);
        while let Some(taken) = self.taking.join_next().await {
            taken.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_which_nothing_is_wanted_is_not_silent() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 1, 100);
    let first = Turns::take(&harness).await;
    let filter = EventFilter { ref_exclude_globs: vec!["**".to_owned()], ..EventFilter::default() };
    let request = v1::WatchEventsRequest { filter: Some(filter), progress_interval_ms: 100, ..snapshot() };
    let mut watcher = harness.watch(request).await;
    assert!(matches!(watcher.next().await.unwrap(), Kind::Started(_)));
    let silent = |kind: Kind| match kind {
        Kind::Progress(progress) => assert_eq!((progress.cursor.as_str(), progress.sequence), ("", 0)),
        other => panic!("the snapshot cannot go on, but {other:?}"),
    };
    for _ in 0..3 {
        silent(watcher.next().await.unwrap());
    }
    // The snapshot's turn to begin is before these, its turn to read the refs after them.
    let second = Turns::take(&harness).await;
    first.give_back().await;
    loop {
        match watcher.next().await.unwrap() {
            Kind::SnapshotBegin(begin) => break assert_eq!(begin.repository_count, 1),
            other => silent(other),
        }
    }
    for _ in 0..3 {
        silent(watcher.next().await.unwrap());
    }
    second.give_back().await;
    let mut replica = Replica { open: true, ..Replica::default() };
    while replica.snapshots == 0 {
        replica.take(watcher.next().await.unwrap());
    }
    assert!(replica.refs.is_empty());
}
