//! Repositories with hooks, over restarts of the daemon: nothing of a push is told twice or forgotten, and what happened
//! meanwhile is told as such.

use refwatch_proto::v1::{GitEvent, Origin};
use refwatch_tests::{Daemon, Flavour, Options, World, validate};

/// The events since a sequence, once all that is on disk has come.
fn events_since(daemon: &Daemon, base: u64) -> Vec<GitEvent> {
    let client = daemon.client();
    client.sync();
    client.events().into_iter().filter(|event| event.sequence > base).collect()
}

#[test]
fn what_a_writer_without_hooks_changed_while_no_daemon_ran_is_told_as_found_at_the_start() {
    for flavour in [Flavour::PLAIN, Flavour::REFTABLE] {
        let world = World::new();
        let repo = world.repo_as("team/app.git", flavour);
        repo.install_hooks();
        let [one, two] = repo.history();
        repo.update(&format!("create refs/heads/a {one}\ncreate refs/heads/b {one}\n"));
        let mut daemon = Options::new(&world).start();
        let base = daemon.client().sync().last_sequence;
        daemon.stop();
        // One with hooks, whose record is there, and one without.
        repo.git(&["update-ref", "refs/heads/a", &two]);
        repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/b", &two]);
        daemon.restart();
        let events = events_since(&daemon, base);
        let mut told: Vec<_> = events.iter().map(|event| (&*event.ref_name, event.origin())).collect();
        told.sort_unstable_by_key(|(name, _)| *name);
        assert_eq!(
            told,
            [("refs/heads/a", Origin::Hook), ("refs/heads/b", Origin::Startup)],
            "{flavour:?}: {events:#?}"
        );
        validate::unique(&events);
        // A writer without hooks that is seen at work is told as that.
        let base = daemon.client().sync().last_sequence;
        repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/b", &one]);
        let events = events_since(&daemon, base);
        let told: Vec<_> = events.iter().map(|event| (&*event.ref_name, event.origin())).collect();
        assert_eq!(told, [("refs/heads/b", Origin::Notify)], "{flavour:?}: {events:#?}");
    }
}
