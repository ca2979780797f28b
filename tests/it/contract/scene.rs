//! Two repositories in which much happens, and a stream of every kind over them.

use refwatch_core::Cursor;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{Earliest, GitEvent, Now, SnapshotThenWatch, WatchEventsRequest};
use refwatch_tests::{
    Client, Daemon, Flavour, Lens, Mode, Options, Recorder, Recording, Repo, World, request,
};

/// Commits that refs point at: each the parent of the next.
const COMMITS: usize = 5;

pub(super) struct Scene {
    pub(super) client: Client,
    pub(super) daemon: Daemon,
    pub(super) repos: [Repo; 2],
    commits: [Vec<String>; 2],
    acts: usize,
    pub(super) world: World,
}

/// A stream, and where its events begin.
pub(super) struct Seen {
    pub(super) mode: Mode,
    pub(super) lens: Lens,
    pub(super) recorder: Recorder,
    /// The events after this sequence are due.
    pub(super) after: u64,
}

impl Seen {
    /// What it is called where it fails.
    pub(super) fn name(&self) -> String {
        format!("{:?}, {}", self.mode, self.lens.name)
    }
}

impl Scene {
    /// After a first act, and before anyone watches.
    pub(super) fn new() -> Self {
        Self::with(|options| options)
    }

    pub(super) fn with(set: impl FnOnce(Options) -> Options) -> Self {
        let world = World::new();
        let repos = ["team/app.git", "lib.git"].map(|path| world.repo_as(path, Flavour::PLAIN));
        let commits = [0, 1].map(|index: usize| {
            let mut commits: Vec<String> = repos[index].history::<COMMITS>().into();
            commits.push(repos[index].commit("apart", &[]));
            commits
        });
        let daemon = set(Options::new(&world)).start();
        let client = daemon.client();
        let mut scene = Self { client, daemon, repos, commits, acts: 0, world };
        scene.act();
        scene
    }

    /// Something of every kind; each act is another one. All of it is in the log afterwards.
    pub(super) fn act(&mut self) {
        let act = self.acts;
        self.acts += 1;
        // Both repositories at once.
        std::thread::scope(|scope| {
            for (repo, commits) in self.repos.iter().zip(&self.commits) {
                scope.spawn(move || play(act, repo, commits));
            }
        });
        self.client.sync();
    }

    /// All events that are retained.
    pub(super) fn log(&self) -> Vec<GitEvent> {
        self.client.sync();
        self.client.events()
    }

    /// How to start, and after which sequence events are due then, when nobody writes meanwhile.
    pub(super) fn start(&self, mode: Mode) -> (Start, u64) {
        let log = self.log();
        let last = log.last().map_or(0, |event| event.sequence);
        match mode {
            Mode::Cursor => {
                let in_midst = |event: &&GitEvent| event.transaction.as_ref().is_some_and(|of| of.index == 1);
                let event = log.iter().find(in_midst).expect("a transaction of several");
                (Start::Cursor(event.cursor.clone()), event.sequence)
            }
            Mode::Snapshot => (Start::Snapshot(SnapshotThenWatch {}), last),
            Mode::Earliest => {
                (Start::Earliest(Earliest {}), log.first().map_or(last, |event| event.sequence - 1))
            }
            Mode::Now => (Start::Now(Now {}), last),
            Mode::Since => {
                let time_us = log[log.len() / 2].observed_at_us;
                let first = log.iter().find(|event| event.observed_at_us >= time_us).expect("that one");
                (Start::SinceUs(time_us), first.sequence - 1)
            }
        }
    }

    pub(super) fn lenses(&self) -> Vec<Lens> {
        let second = &self.repos[1];
        Lens::all(&second.path, &self.client.repository(second).id)
    }

    /// A stream of every kind, while nobody writes.
    pub(super) fn watch(&self) -> Vec<Seen> {
        self.watch_as(|request| request)
    }

    pub(super) fn watch_as(&self, ask: impl Fn(WatchEventsRequest) -> WatchEventsRequest) -> Vec<Seen> {
        let mut seen = Vec::new();
        for mode in Mode::ALL {
            let (start, after) = self.start(mode);
            for lens in self.lenses() {
                let request = ask(request(start.clone(), lens.filter.clone()));
                let recorder = Recorder::start(&self.client, request);
                seen.push(Seen { mode, lens, recorder, after });
            }
        }
        seen
    }

    /// What a stream has recorded once everything has passed it.
    pub(super) fn settle(&self, seen: &Seen) -> Recording {
        seen.recorder.settle(&self.client)
    }

    /// What a recorder has once a sequence has passed it.
    pub(super) fn settle_at(&self, recorder: &Recorder, last: u64) -> Recording {
        recorder.wait(&format!("sequence {last} has passed"), |now| now.sequence >= last)
    }

    /// Checks of everybody's log that it leads to what is on disk.
    pub(super) fn hold_truth(&self, recording: &Recording) {
        let repos: Vec<&Repo> = self.repos.iter().collect();
        refwatch_tests::validate::all(recording, &self.client.on_disk(&repos));
    }
}

fn play(act: usize, repo: &Repo, commits: &[String]) {
    let (commit, next) = (&commits[act % COMMITS], &commits[(act + 1) % COMMITS]);
    let apart = &commits[COMMITS];
    repo.update(&format!(
        "update refs/heads/main {commit}\nupdate refs/heads/topic/{act} {commit}\n\
     update refs/tags/v1.{act}.0 {commit}\nupdate refs/tags/plain {commit}\n\
     update refs/keep-around/{act} {commit}\nupdate refs/pull/{act}/head {commit}\n"
    ));
    repo.update(&format!("update refs/heads/main {next}\n"));
    repo.update(&format!("update refs/heads/main {apart}\nupdate refs/notes/commits {commit}\n"));
    repo.git(&["tag", "-a", "-m", "annotated", &format!("annotated-{act}"), commit]);
    repo.git(&["symbolic-ref", "HEAD", &format!("refs/heads/topic/{act}")]);
    repo.git(&["symbolic-ref", "refs/heads/link", &format!("refs/tags/v1.{act}.0")]);
    repo.update(&format!(
        "start\ndelete refs/heads/topic/{act}\ncreate refs/heads/was-{act} {commit}\n\
     update refs/custom/{act} {commit}\ndelete refs/pull/{act}/head\nprepare\ncommit\n"
    ));
    // Deletions, one by one.
    repo.update("delete refs/tags/plain\n");
    repo.git(&["pack-refs", "--all"]);
}

/// Where a cursor stands.
pub(super) fn at(cursor: &str) -> u64 {
    Cursor::decode(cursor).expect("a cursor").sequence
}
