//! What most tests begin with: one repository, a daemon over it, and a stream of everything.

use refwatch_proto::v1::{GitEvent, GitEventType};
use refwatch_tests::{Client, Daemon, Flavour, Options, Recorder, Recording, Repo, Variant, World, validate};

pub(crate) struct Stage {
    pub(crate) recorder: Recorder,
    pub(crate) client: Client,
    pub(crate) daemon: Daemon,
    pub(crate) repo: Repo,
    pub(crate) world: World,
    seen: usize,
}

impl Stage {
    /// A plain repository without refs.
    pub(crate) fn plain() -> Self {
        Self::of(Flavour::PLAIN, |_| {})
    }

    /// A repository, prepared before the daemon sees it.
    pub(crate) fn of(flavour: Flavour, prepare: impl FnOnce(&Repo)) -> Self {
        let world = World::new();
        let repo = world.repo_as("team/app.git", flavour);
        prepare(&repo);
        Self::over(Options::new(&world), world, repo)
    }

    /// A repository of ref files, without refs, for tests that write such files themselves.
    pub(crate) fn of_files() -> Self {
        let world = World::new();
        let repo = world.repo_of_files("team/app.git");
        Self::over(Options::new(&world), world, repo)
    }

    pub(crate) fn over(options: Options, world: World, repo: Repo) -> Self {
        let daemon = options.start();
        let client = daemon.client();
        let recorder = client.record_snapshot();
        Self { recorder, client, daemon, repo, world, seen: 0 }
    }

    /// The events since the last call, once all that is on disk has come.
    pub(crate) fn events(&mut self) -> Vec<GitEvent> {
        let mut events = self.recorder.settle(&self.client).events.split_off(self.seen);
        self.seen += events.len();
        if Variant::now().has_hooks {
            // In such a variant they close each push, also where a test is not about hooks.
            events.retain(|event| event.r#type() != GitEventType::PushReceived);
        }
        events
    }

    /// Their types and refs.
    pub(crate) fn told(&mut self) -> Vec<(GitEventType, String)> {
        self.events().iter().map(|event| (event.r#type(), event.ref_name.clone())).collect()
    }

    /// The one event since the last call.
    pub(crate) fn event(&mut self) -> GitEvent {
        let events = self.events();
        assert_eq!(events.len(), 1, "one event: {events:#?}");
        events.into_iter().next().expect("one")
    }

    /// Checks every guarantee that holds of any recording.
    pub(crate) fn validate(&self) -> Recording {
        let recording = self.recorder.settle(&self.client);
        validate::all(&recording, &self.client.on_disk(&[&self.repo]));
        recording
    }
}

/// Types and refs as [`Stage::told`] has them.
pub(crate) fn list<const N: usize>(told: [(GitEventType, &str); N]) -> Vec<(GitEventType, String)> {
    told.into_iter().map(|(kind, name)| (kind, name.to_owned())).collect()
}
