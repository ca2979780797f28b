//! Repositories with hooks, over restarts of the daemon: nothing of a push is told twice or forgotten, and what happened
//! meanwhile is told as such.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use refwatch_proto::v1::{GitEvent, GitEventType as Type, Origin, RefChange, RejectionStage};
use refwatch_tests::{DEADLINE, Daemon, Flavour, Options, Repo, Source, World, http, validate};

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

/// Refs of a push whose record is some twenty times as long as what the log keeps of transactions.
const REFS: usize = 5_000;

/// Ends a daemon.
type End = fn(&mut Daemon);

const ENDS: [(&str, End); 2] =
    [("SIGTERM", |daemon| assert!(daemon.stop().success())), ("SIGKILL", Daemon::kill9)];

/// Puts a hook beside refwatch's, as the one that was there before.
fn former(repo: &Repo, hook: &str, script: &str) {
    let path = repo.git_dir.join("hooks").join(format!("{hook}.refwatch-former"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

fn wait_for(path: &Path) {
    let deadline = Instant::now() + DEADLINE;
    while !path.exists() {
        assert!(Instant::now() < deadline, "{} never comes", path.display());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Refs that a push refuses, by stage, each told once.
fn refused(events: &[GitEvent], stage: RejectionStage) -> BTreeMap<&str, usize> {
    let mut told = BTreeMap::new();
    for event in events.iter().filter(|event| event.r#type() == Type::PushRejected) {
        let found = event.rejection.as_ref().expect("a rejection says why");
        assert_eq!(found.stage(), stage, "{event:#?}");
        *told.entry(&*event.ref_name).or_default() += 1;
    }
    told
}

/// A push of [`REFS`] refs that goes on while the daemon is ended and started again, and is refused then.
fn long_push(
    what: &str,
    end: End,
    prepare: impl Fn(&Repo, &Path, &Path),
    atomic: bool,
    stage: RejectionStage,
) {
    let world = World::new();
    let repo = world.repo("team/app.git");
    let source = world.source(Flavour::PLAIN);
    let [one, two] = source.0.history();
    let name = |at: usize| format!("refs/heads/{}/{at:04}", "long".repeat(50));
    let at_two: String = (0..REFS).map(|at| format!("create {} {two}\n", name(at))).collect();
    source.push(&repo, &[&format!("{two}:refs/heads/main")]);
    if !atomic {
        // Each is set back, which Git itself refuses.
        repo.update(&at_two);
        repo.git(&["pack-refs", "--all"]);
    }
    source.0.update(&at_two.replace(&two, &one));
    repo.install_hooks();
    let (held, go) = (world.beside("held"), world.beside("go"));
    prepare(&repo, &held, &go);
    let mut daemon = Options::new(&world).start();
    let base = daemon.client().sync().last_sequence;
    let refs = format!("+refs/heads/{}/*:refs/heads/{0}/*", "long".repeat(50));
    let to_hold = format!("{one}:refs/heads/a-hold");
    let specs: Vec<&str> = if atomic { vec!["--atomic", &refs] } else { vec!["-f", &to_hold, &refs] };
    thread::scope(|scope| {
        let push = scope.spawn(|| source.try_push(&repo, &specs));
        wait_for(&held);
        // What the log holds of the journal is behind the record of the push.
        repo.git(&["update-ref", "refs/heads/beside", &two]);
        assert!(events_since(&daemon, base).iter().any(|event| event.ref_name == "refs/heads/beside"));
        end(&mut daemon);
        daemon.restart();
        fs::write(&go, "").expect("written");
        assert!(!push.join().expect("git runs").status.success(), "{what}: refused");
    });
    daemon.wait_metric("refwatch_log_last_sequence", (base as f64) + (REFS as f64));
    let events = events_since(&daemon, base);
    let told = refused(&events, stage);
    assert_eq!(told.len(), REFS, "{what}");
    assert!(told.values().all(|count| *count == 1), "{what}: once each");
    assert!(told.contains_key(&*name(0)) && told.contains_key(&*name(REFS - 1)), "{what}");
    let received = events.iter().filter(|event| event.r#type() == Type::PushReceived);
    let summaries: Vec<u32> = received.map(|event| event.summary.expect("counts").rejected).collect();
    let expected = if atomic { vec![] } else { vec![u32::try_from(REFS).expect("few")] };
    assert_eq!(summaries, expected, "{what}");
    validate::unique(&events);
}

/// A script that says that it holds the push, and waits.
fn hold(held: &Path, go: &Path) -> String {
    format!(": >'{}'; while ! test -e '{}'; do sleep 0.01; done", held.display(), go.display())
}

#[test]
fn a_long_push_held_in_pre_receive_over_a_restart_is_refused_once() {
    for (what, end) in ENDS {
        let prepare = |repo: &Repo, held: &Path, go: &Path| {
            former(repo, "pre-receive", &format!("cat >/dev/null; {}; exit 1", hold(held, go)));
        };
        long_push(what, end, prepare, true, RejectionStage::PreReceive);
    }
}

#[test]
fn a_long_push_held_in_its_transaction_over_a_restart_is_refused_once() {
    for (what, end) in ENDS {
        let prepare = |repo: &Repo, held: &Path, go: &Path| {
            let mine = "test \"$1\" = prepared && grep -q /long";
            let script = format!("if {mine}; then {}; exit 1; fi", hold(held, go));
            former(repo, "reference-transaction", &script);
        };
        long_push(what, end, prepare, true, RejectionStage::ReferenceTransaction);
    }
}

#[test]
fn a_long_push_that_git_itself_refuses_after_a_restart_is_told_once() {
    for (what, end) in ENDS {
        let prepare = |repo: &Repo, held: &Path, go: &Path| {
            repo.git(&["config", "receive.denyNonFastForwards", "true"]);
            let mine = "test \"$1\" = prepared && grep -q a-hold";
            former(repo, "reference-transaction", &format!("if {mine}; then {}; fi", hold(held, go)));
        };
        long_push(what, end, prepare, false, RejectionStage::ReceivePack);
    }
}

/// A repository with hooks that refuses what is no fast-forward, the source of its pushes, and a daemon that has been
/// started again so late that it finds all files as they were.
fn found_unchanged(world: &World) -> (Repo, Source, Daemon, [String; 2]) {
    let repo = world.repo_exactly("team/app.git", Flavour::PLAIN);
    let source = world.source(Flavour::PLAIN);
    let [one, two] = source.0.history();
    repo.install_hooks();
    let mut daemon = Options::new(world).start();
    source.push(&repo, &[&format!("{two}:refs/heads/main")]);
    repo.git(&["config", "receive.denyNonFastForwards", "true"]);
    daemon.client().sync();
    daemon.stop();
    // What has just changed may change again within the granularity of its time: only later is a signature kept.
    thread::sleep(Duration::from_millis(2_500));
    daemon.restart();
    daemon.client().sync();
    daemon.stop();
    (repo, source, daemon, [one, two])
}

/// Holds that one push was refused since a sequence, and is told without a sweep.
fn wait_for_refusal(daemon: &Daemon, base: u64) {
    let deadline = Instant::now() + DEADLINE;
    while !events_since(daemon, base).iter().any(|event| event.r#type() == Type::PushRejected) {
        assert!(Instant::now() < deadline, "the refusal is not told");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_recorded_after_a_start_that_found_nothing_changed_is_told() {
    let world = World::new();
    let (repo, source, mut daemon, [one, _]) = found_unchanged(&world);
    daemon.restart();
    let base = daemon.client().sync().last_sequence;
    assert!(!source.try_push(&repo, &["-f", &format!("{one}:refs/heads/main")]).status.success());
    wait_for_refusal(&daemon, base);
}

#[test]
fn what_was_recorded_before_a_start_that_found_nothing_changed_is_told() {
    let world = World::new();
    let (repo, source, mut daemon, [one, _]) = found_unchanged(&world);
    assert!(!source.try_push(&repo, &["-f", &format!("{one}:refs/heads/main")]).status.success());
    daemon.restart();
    wait_for_refusal(&daemon, 0);
}

#[test]
fn what_a_push_was_refused_is_not_its_doing_where_another_brought_it_later() {
    let world = World::new();
    let repo = world.repo_exactly("team/app.git", Flavour::PLAIN);
    let source = world.source(Flavour::PLAIN);
    let [one, two, three] = source.0.history();
    repo.install_hooks();
    let mut daemon = Options::new(&world).start();
    source.push(&repo, &[&format!("{three}:refs/heads/main"), &format!("{one}:refs/heads/other")]);
    repo.git(&["config", "receive.denyNonFastForwards", "true"]);
    let base = daemon.client().sync().last_sequence;
    daemon.stop();
    assert!(!source.try_push(&repo, &["-f", &format!("{one}:refs/heads/main")]).status.success());
    for oid in [&two, &one] {
        repo.git(&["update-ref", "refs/heads/main", oid]);
    }
    daemon.restart();
    wait_for_refusal(&daemon, base);
    let events = events_since(&daemon, base);
    let moved = events.iter().filter(|event| event.change() != RefChange::Unspecified);
    let moved: Vec<_> = moved.map(|event| (&*event.old_oid, &*event.new_oid)).collect();
    assert_eq!(moved, [(&*three, &*two), (&*two, &*one)], "{events:#?}");
}

#[test]
fn what_was_recorded_is_told_once_where_the_device_has_another_number_at_the_next_start() {
    let world = World::new();
    let (repo, source, mut daemon, [_, two]) = found_unchanged(&world);
    daemon.restart();
    source.push(&repo, &[&format!("{two}:refs/heads/other")]);
    let last = daemon.client().sync().last_sequence;
    daemon.stop();
    let database = rusqlite::Connection::open(world.database()).expect("opened");
    let position = |row: &rusqlite::Row<'_>| row.get::<_, Vec<u8>>(0);
    let mut saved = database
        .query_row("SELECT journal_position FROM repositories", (), position)
        .expect("how far the journal was read");
    // Version and length of what is saved, version and flags of the position: next is what said the device once.
    saved[4] ^= 1;
    let changed = database.execute("UPDATE repositories SET dev = dev + 1, journal_position = ?1", [saved]);
    assert_eq!(changed.expect("altered"), 1);
    drop(database);
    daemon.restart();
    assert_eq!(events_since(&daemon, last), []);
    let refused = http::metric(daemon.http(), r#"refwatch_anomalies_total{kind="journal_lost"}"#);
    assert_eq!(refused.unwrap_or_default(), 0.0, "the journal is the one that was read");
    repo.update("delete refs/heads/other\n");
    let events = events_since(&daemon, last);
    assert_eq!(events.iter().map(|event| event.origin()).collect::<Vec<_>>(), [Origin::Hook], "{events:#?}");
}
