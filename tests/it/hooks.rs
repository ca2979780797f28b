//! Repositories with hooks: every committed value, what changed together, who pushed, and what was refused.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use refwatch_proto::v1::{GitEvent, GitEventType as Type, Origin, RejectionStage, SummaryCause};
use refwatch_tests::{Daemon, Flavour, Options, Recording, Repo, World, binary, http, validate};

use crate::stage::{Stage, list};

const REFERENCE_TRANSACTION: &[&str] = &["reference-transaction"];
const PUSH: &[&str] = &["pre-receive", "update", "post-receive"];
const ALL: &[&str] = &["reference-transaction", "pre-receive", "update", "post-receive"];

/// Installs hooks as the installer does.
fn install(repo: &Repo, hooks: &[&str]) {
    let directory = repo.git_dir.join("hooks");
    fs::create_dir_all(&directory).expect("a directory for hooks");
    fs::create_dir_all(repo.git_dir.join("refwatch")).expect("a directory for the journal");
    for hook in hooks {
        symlink(binary::refwatch_hook(), directory.join(hook)).expect("a hook");
    }
}

/// What stood there before refwatch's hook.
fn former(repo: &Repo, hook: &str, script: &str) {
    let path = repo.git_dir.join("hooks").join(format!("{hook}.refwatch-former"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

fn commits(repo: &Repo, count: usize) -> Vec<String> {
    let tree = repo.git(&["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let mut parent: Option<String> = None;
    let mut commits = Vec::new();
    for number in 0..count {
        let mut arguments = vec!["commit-tree".to_owned(), tree.clone(), "-m".into(), number.to_string()];
        if let Some(parent) = parent {
            arguments.extend(["-p".to_owned(), parent]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let commit = repo.git(&arguments);
        commits.push(commit.clone());
        parent = Some(commit);
    }
    commits
}

fn is_recorded(event: &GitEvent) -> bool {
    event.origin() == Origin::Hook && !event.coalesced
}

/// The values of one ref, each by its own record.
fn values<'a>(events: &'a [GitEvent], name: &str) -> Vec<&'a str> {
    let of_ref = events.iter().filter(|event| event.ref_name == name && event.change != 0);
    of_ref.inspect(|event| assert!(is_recorded(event), "{event:#?}")).map(|event| &*event.new_oid).collect()
}

#[test]
fn every_value_of_a_busy_ref_is_told_in_order_by_its_record() {
    for flavour in [Flavour::PLAIN, Flavour::REFTABLE] {
        let mut stage = Stage::of(flavour, |repo| install(repo, REFERENCE_TRANSACTION));
        let commits = commits(&stage.repo, 100);
        for commit in &commits {
            stage.repo.git(&["update-ref", "refs/heads/main", commit]);
        }
        let events = stage.events();
        assert_eq!(values(&events, "refs/heads/main"), commits, "{flavour:?}");
        stage.validate();
    }
}

#[test]
fn every_value_is_told_whatever_eight_writers_do_at_once() {
    const EACH: usize = 25;
    let mut stage = Stage::of(Flavour::PLAIN, |repo| install(repo, REFERENCE_TRANSACTION));
    let commits = commits(&stage.repo, 8 * EACH);
    let had = write_at_once(&stage.repo, &commits, EACH);
    let events = stage.events();
    for (name, had) in had {
        assert_eq!(values(&events, &name), had, "{name}");
    }
    // All of them wanted `shared` too: those that took it, in the order of its values.
    let shared = values(&events, "refs/heads/shared").len();
    assert!(shared > 0);
    stage.validate();
}

/// Eight processes update a ref each, and one that they share, with its old value stated. Gives what each ref of its
/// own had.
fn write_at_once(repo: &Repo, commits: &[String], each: usize) -> Vec<(String, Vec<String>)> {
    thread::scope(|scope| {
        let writers: Vec<_> = commits
            .chunks(each)
            .enumerate()
            .map(|(number, commits)| {
                scope.spawn(move || {
                    let name = format!("refs/heads/own{number}");
                    for commit in commits {
                        repo.git(&["update-ref", &name, commit]);
                        let output = repo.try_git(&["rev-parse", "-q", "--verify", "refs/heads/shared"]);
                        let now = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                        let now = if now.is_empty() { repo.zero() } else { now };
                        repo.try_git(&["update-ref", "refs/heads/shared", commit, &now]);
                    }
                    (name, commits.to_vec())
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    })
}

#[test]
fn no_value_is_lost_or_told_twice_when_the_daemon_is_killed_meanwhile() {
    let world = World::new();
    let repo = world.repo("team/app.git");
    install(&repo, REFERENCE_TRANSACTION);
    let mut daemon = Options::new(&world).start();
    let commits = commits(&repo, 100);
    let base = daemon.client().sync().last_sequence;
    for (at, commit) in commits.iter().enumerate() {
        repo.git(&["update-ref", "refs/heads/main", commit]);
        if at % 20 == 10 {
            daemon.kill9();
            daemon.restart();
        }
    }
    let client = daemon.client();
    client.sync();
    let events: Vec<GitEvent> = client.events().into_iter().filter(|event| event.sequence > base).collect();
    assert_eq!(values(&events, "refs/heads/main"), commits);
    validate::unique(&events);
}

#[test]
fn refs_of_one_transaction_are_one_transaction_however_fast_they_follow_each_other() {
    let mut stage = Stage::of(Flavour::PLAIN, |repo| install(repo, REFERENCE_TRANSACTION));
    let commits = commits(&stage.repo, 30);
    for commit in &commits {
        let both = format!("update refs/heads/a {commit}\nupdate refs/heads/b {commit}\n");
        stage.repo.update(&both);
    }
    let events = stage.events();
    let sizes: Vec<u32> =
        events.iter().map(|event| event.transaction.as_ref().expect("always set").size).collect();
    assert_eq!(sizes, vec![2; 60]);
    assert_eq!(values(&events, "refs/heads/a"), commits);
    assert_eq!(values(&events, "refs/heads/b"), commits);
    stage.validate();
}

#[test]
fn packing_verifying_and_aborting_are_silent_with_hooks_too() {
    let mut stage = Stage::of(Flavour::PLAIN, |repo| {
        install(repo, REFERENCE_TRANSACTION);
        let [one, two] = repo.history();
        repo.update(&format!("create refs/heads/main {one}\ncreate refs/tags/v1 {two}\n"));
    });
    let [one, two] = stage.repo.history();
    stage.repo.git(&["pack-refs", "--all"]);
    stage.repo.update(&format!("verify refs/heads/main {one}\n"));
    stage.repo.git(&["update-ref", "refs/heads/main", &one]);
    stage.repo.try_update(format!("start\nupdate refs/heads/main {two}\nprepare\nabort\n").as_bytes());
    stage.repo.git(&["gc", "-q"]);
    assert_eq!(stage.told(), list([]));
    stage.repo.git(&["update-ref", "-d", "refs/tags/v1"]);
    assert_eq!(stage.told(), list([(Type::TagDeleted, "refs/tags/v1")]));
    stage.validate();
}

#[test]
fn a_link_of_jgit_to_a_lock_is_no_ref_until_git_packs_it() {
    let world = World::new();
    let repo = world.repo_of_files("team/app.git");
    install(&repo, REFERENCE_TRANSACTION);
    let mut stage = Stage::over(Options::new(&world), world, repo);
    let [one] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\n"));
    let link = "refs/heads/main.lock.55301103b72f4a459f0a42e07c14db0f";
    stage.repo.write(link, format!("{one}\n"));
    let told: Vec<String> = stage.events().into_iter().map(|event| event.ref_name).collect();
    assert_eq!(told, ["refs/heads/main"]);
    stage.repo.git(&["pack-refs", "--all"]);
    let event = stage.event();
    assert_eq!((&*event.ref_name, &event.new_oid), (link, &one));
    stage.validate();
}

#[test]
fn a_deletion_that_states_no_value_is_told_also_where_the_ref_is_made_anew_at_once() {
    let mut stage = Stage::of(Flavour::PLAIN, |repo| install(repo, REFERENCE_TRANSACTION));
    let [one, two] = stage.repo.history();
    stage.repo.git(&["branch", "topic", &one]);
    stage.events();
    for made in [&two, &two, &one] {
        stage.daemon.while_stopped(|| {
            stage.repo.git(&["branch", "-D", "topic"]);
            stage.repo.git(&["update-ref", "refs/heads/topic", made]);
        });
        let zero = stage.repo.zero();
        assert_eq!(values(&stage.events(), "refs/heads/topic"), [&*zero, &**made]);
    }
    stage.validate();
}

/// A directory of hooks that record once a file is there; both.
fn late_hook(stage: &Stage) -> (PathBuf, PathBuf) {
    let late = stage.world.beside("late");
    fs::create_dir(&late).expect("a directory");
    let go = late.join("go");
    let script = format!(
        "#!/bin/sh\n[ $1 = committed ] && until [ -e {go} ]; do sleep 0.01; done\nexec {hook} \"$@\"\n",
        go = go.display(),
        hook = stage.repo.git_dir.join("hooks/reference-transaction").display(),
    );
    let hook = late.join("reference-transaction");
    fs::write(&hook, script).expect("written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("executable");
    (late, go)
}

#[test]
fn what_a_ref_had_before_it_returned_to_a_value_is_told_also_where_that_is_recorded_late() {
    let world = World::new();
    let repo = world.repo_as("team/app.git", Flavour::PLAIN);
    install(&repo, REFERENCE_TRANSACTION);
    // Longer than the test takes.
    let options = Options::new(&world).set("hooks.wait_ms_max", "60000");
    let mut stage = Stage::over(options, world, repo);
    let commits = commits(&stage.repo, 3);
    let [x, y, z] = [&commits[0], &commits[1], &commits[2]];
    let (late, go) = late_hook(&stage);
    let hooks_path = format!("core.hooksPath={}", late.display());
    let back = ["-c", &*hooks_path, "update-ref", "refs/heads/main", x];
    let repo = stage.repo.clone();
    thread::scope(|scope| {
        let returning = stage.daemon.while_stopped(|| {
            for value in [x, y, z] {
                repo.git(&["update-ref", "refs/heads/main", value]);
            }
            let returning = scope.spawn(|| repo.git(&back));
            let main = repo.git_dir.join("refs/heads/main");
            while fs::read_to_string(&main).expect("a ref").trim_end() != x {
                thread::yield_now();
            }
            returning
        });
        // Two looks before it is recorded. No barrier is reached until then.
        for name in ["refs/heads/a", "refs/heads/b"] {
            repo.git(&["update-ref", name, y]);
            let is_told = |event: &GitEvent| event.ref_name == name;
            let told = stage.recorder.wait(name, |recording| recording.events.iter().any(is_told)).events;
            assert_eq!(values(&told, "refs/heads/main"), [x]);
        }
        fs::write(&go, "").expect("written");
        returning.join().expect("it ends");
    });
    assert_eq!(values(&stage.events(), "refs/heads/main"), [x, y, z, x]);
    stage.validate();
}

#[test]
fn what_runs_no_hook_is_told_all_the_same() {
    let mut stage = Stage::of(Flavour::PLAIN, |repo| install(repo, REFERENCE_TRANSACTION));
    let [one, two] = stage.repo.history();
    stage.repo.gix(&["edit", &format!("refs/heads/main={one}")]);
    let event = stage.event();
    assert_eq!((event.r#type(), event.origin()), (Type::BranchCreated, Origin::Notify));
    stage.repo.git(&["update-ref", "refs/heads/main", &two]);
    let event = stage.event();
    assert_eq!((event.r#type(), event.origin()), (Type::BranchUpdated, Origin::Hook));
    stage.validate();
}

#[test]
fn an_accepted_push_is_told_with_its_pusher_and_closed() {
    for hooks in [ALL, PUSH] {
        let mut stage = Stage::of(Flavour::PLAIN, |repo| {
            install(repo, hooks);
            repo.git(&["config", "receive.advertisePushOptions", "true"]);
        });
        let source = stage.world.source(Flavour::PLAIN);
        let [one, two] = source.0.history();
        source.push(
            &stage.repo,
            &["-o", "ci.skip", &format!("{one}:refs/heads/a"), &format!("{two}:refs/heads/b")],
        );
        let events = stage.events();
        let mut told: Vec<_> = events.iter().map(|event| (event.r#type(), &*event.ref_name)).collect();
        assert_eq!(told.pop(), Some((Type::PushReceived, "")), "{hooks:?} {events:#?}");
        told.sort_by_key(|(_, name)| *name);
        assert_eq!(told, [(Type::BranchCreated, "refs/heads/a"), (Type::BranchCreated, "refs/heads/b")]);
        assert!(events.iter().all(is_recorded), "{hooks:?} {events:#?}");
        assert!(events.iter().all(|event| event.push_options == ["ci.skip"]), "{hooks:?} {events:#?}");
        let summary = events.last().and_then(|event| event.summary).expect("a summary");
        assert_eq!((summary.created, summary.updated, summary.deleted, summary.rejected), (2, 0, 0, 0));
        assert_eq!(summary.cause(), SummaryCause::Push);
        stage.validate();
    }
}

#[test]
fn a_push_refused_at_any_stage_is_told_with_the_stage() {
    type Prepare = fn(&Repo);
    let stages: [(&str, Prepare, &str, RejectionStage); 6] = [
        ("pre-receive", |repo| former(repo, "pre-receive", "exit 3"), "topic", RejectionStage::PreReceive),
        ("update", |repo| former(repo, "update", "exit 4"), "topic", RejectionStage::Update),
        (
            "reference-transaction",
            |repo| {
                former(repo, "reference-transaction", "cat > /dev/null; test \"$1\" != prepared");
            },
            "topic",
            RejectionStage::ReferenceTransaction,
        ),
        (
            "denyNonFastForwards",
            |repo| drop(repo.git(&["config", "receive.denyNonFastForwards", "true"])),
            "main",
            RejectionStage::ReceivePack,
        ),
        (
            "a stale old value",
            |repo| {
                let move_it = "cat > /dev/null; unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main refs/heads/other";
                former(repo, "pre-receive", move_it);
            },
            "main",
            RejectionStage::StaleOldValue,
        ),
        (
            "a lock",
            |repo| fs::write(repo.git_dir.join("refs/heads/topic.lock"), "").expect("written"),
            "topic",
            RejectionStage::Lock,
        ),
    ];
    for (what, prepare, branch, expected) in stages {
        let world = World::new();
        let repo = world.repo("team/app.git");
        let source = world.source(Flavour::PLAIN);
        let [one, two] = source.0.history();
        let beside = source.0.commit("beside", &[&one]);
        source.push(&repo, &[&format!("{two}:refs/heads/main"), &format!("{one}:refs/heads/other")]);
        install(&repo, ALL);
        prepare(&repo);
        let options = Options::new(&world).set("classify.protected_refs", "[\"refs/heads/main\"]");
        let mut stage = Stage::over(options, world, repo);
        let name = format!("refs/heads/{branch}");
        let output = source.try_push(&stage.repo, &[&format!("+{beside}:{name}")]);
        assert!(!output.status.success(), "{what}");
        let kind = if branch == "main" { Type::ProtectedBranchRejected } else { Type::PushRejected };
        stage.recorder.wait(what, |recording| !recording.of_type(kind).is_empty());
        let events = stage.events();
        let event = events.iter().find(|event| event.r#type() == kind).expect("waited for");
        let rejection = event.rejection.clone().expect("a rejection says why");
        assert_eq!(rejection.stage(), expected, "{what}: {rejection:?}");
        assert!(!rejection.reason.is_empty());
        assert_eq!((&*event.ref_name, &*event.new_oid, event.change), (&*name, &*beside, 0), "{what}");
        assert_eq!(event.origin(), Origin::Hook);
        let of_type = |kind| events.iter().filter(|event| event.r#type() == kind).count();
        assert_eq!((of_type(kind), of_type(Type::PushReceived)), (1, 0), "{what}: {events:#?}");
        stage.validate();
    }
}

#[test]
fn whole_pushes_are_told_as_one_where_that_is_asked_for() {
    let world = World::new();
    let repo = world.repo("team/app.git");
    install(&repo, ALL);
    let options = Options::new(&world).set("hooks.event_notification_phase", "post-receive");
    let mut stage = Stage::over(options, world, repo);
    let source = stage.world.source(Flavour::PLAIN);
    let [one, two] = source.0.history();
    source.push(&stage.repo, &[&format!("{one}:refs/heads/a"), &format!("{two}:refs/heads/b")]);
    let events = stage.events();
    let changes: Vec<_> = events.iter().filter(|event| event.change != 0).collect();
    let transaction = |event: &GitEvent| event.transaction.clone().expect("always set");
    assert_eq!(changes.len(), 2);
    assert_eq!(transaction(changes[0]).id, transaction(changes[1]).id);
    assert!(changes.iter().all(|event| is_recorded(event)), "{events:#?}");
    assert_eq!(events.last().map(GitEvent::r#type), Some(Type::PushReceived));
    stage.validate();
}

#[test]
fn a_journal_that_is_damaged_costs_records_and_no_change() {
    let world = World::new();
    let repo = world.repo("team/app.git");
    install(&repo, REFERENCE_TRANSACTION);
    let mut stage = Stage::over(Options::new(&world), world, repo);
    let commits = commits(&stage.repo, 3);
    stage.repo.git(&["update-ref", "refs/heads/main", &commits[0]]);
    stage.events();
    append(&stage.repo.git_dir.join("refwatch/journal"), b"\x1dRW\x01 not a record");
    stage.repo.git(&["update-ref", "refs/heads/main", &commits[1]]);
    assert_eq!(stage.event().new_oid, commits[1]);
    fs::remove_dir_all(stage.repo.git_dir.join("refwatch")).expect("removed");
    stage.repo.git(&["update-ref", "refs/heads/main", &commits[2]]);
    assert_eq!(stage.event().new_oid, commits[2]);
    stage.validate();
}

fn append(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().append(true).open(path).expect("a journal");
    file.write_all(bytes).expect("written");
}

#[test]
fn records_of_the_time_when_no_daemon_ran_are_told_at_the_next_start() {
    let world = World::new();
    let repo = world.repo("team/app.git");
    install(&repo, REFERENCE_TRANSACTION);
    let commits = commits(&repo, 5);
    repo.git(&["update-ref", "refs/heads/main", &commits[0]]);
    // What a fresh log finds is known, records included.
    let mut daemon: Daemon = Options::new(&world).start();
    let base = daemon.client().sync().last_sequence;
    daemon.stop();
    for commit in &commits[1..] {
        repo.git(&["update-ref", "refs/heads/main", commit]);
    }
    daemon.restart();
    let client = daemon.client();
    client.sync();
    let events: Vec<GitEvent> = client.events().into_iter().filter(|event| event.sequence > base).collect();
    assert_eq!(values(&events, "refs/heads/main"), commits[1..]);
}

#[test]
fn what_waits_for_its_record_is_told_when_the_hooks_are_removed() {
    for ref_format in ["files", "reftable"] {
        let flavour = Flavour { ref_format, ..Flavour::PLAIN };
        let world = World::new();
        let repo = world.repo_exactly("team/app.git", flavour);
        install(&repo, REFERENCE_TRANSACTION);
        let [one, two] = repo.history();
        // Longer than any test: nobody gives up.
        let options = Options::new(&world).set("hooks.wait_ms_max", "60000");
        let mut stage = Stage::over(options, world, repo);
        stage.repo.update(&format!("create refs/heads/main {one}\n"));
        assert_eq!(stage.event().origin(), Origin::Hook);
        let looks = r#"refwatch_passes_total{kind="ref"}"#;
        let before = http::metric(stage.daemon.http(), looks).unwrap_or(0.0);
        let oid = &*two;
        stage.repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/main", oid]);
        // Seen, and not told yet.
        stage.daemon.wait_metric(looks, before + 1.0);
        fs::remove_dir_all(stage.repo.git_dir.join("refwatch")).expect("removed");
        let event = stage.event();
        assert_eq!((&*event.ref_name, &*event.new_oid), ("refs/heads/main", oid), "{ref_format}");
        assert_ne!(event.origin(), Origin::Hook);
        // Nothing is waited for any longer.
        stage.repo.update(&format!("update refs/heads/main {one}\n"));
        assert_eq!(stage.event().new_oid, one);
    }
}

/// Changes main without hooks, and has it recorded once that was seen.
fn change_and_record_late(stage: &Stage, git_dir: &Path, old: &str, new: &str) {
    let looks = r#"refwatch_passes_total{kind="ref"}"#;
    let before = http::metric(stage.daemon.http(), looks).unwrap_or(0.0);
    let repo = Repo::at(git_dir.to_owned(), "", stage.repo.flavour);
    repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/main", new]);
    stage.daemon.wait_metric(looks, before + 1.0);
    let mut hook = Command::new(binary::refwatch_hook());
    hook.args(["reference-transaction", "committed"]).current_dir(git_dir).env("GIT_DIR", ".");
    let mut hook = hook.stdin(Stdio::piped()).spawn().expect("it runs");
    let mut input = hook.stdin.take().expect("piped");
    input.write_all(format!("{old} {new} refs/heads/main\n").as_bytes()).expect("written");
    drop(input);
    assert!(hook.wait().expect("it ends").success());
}

#[test]
fn records_are_heard_at_once_also_where_the_repository_or_the_journal_came_anew() {
    let world = World::new();
    let repo = world.repo("team/app.git");
    install(&repo, REFERENCE_TRANSACTION);
    let [one, two] = repo.history();
    repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/main", &one]);
    // Longer than any test: nobody gives up.
    let stage = Stage::over(Options::new(&world).set("hooks.wait_ms_max", "60000"), world, repo);
    let told = |count: usize| -> Origin {
        let of_main = |recording: &Recording| -> Vec<Origin> {
            let of_main = recording.events.iter().filter(|event| event.ref_name == "refs/heads/main");
            of_main.map(GitEvent::origin).collect()
        };
        let recording = stage.recorder.wait("it is told", |recording| of_main(recording).len() >= count);
        stage.recorder.settle(&stage.client);
        of_main(&recording)[count - 1]
    };
    change_and_record_late(&stage, &stage.repo.git_dir, &one, &two);
    assert_eq!(told(1), Origin::Hook);
    let moved = stage.world.root.join("moved.git");
    fs::rename(&stage.repo.git_dir, &moved).expect("moved");
    stage.recorder.settle(&stage.client);
    change_and_record_late(&stage, &moved, &two, &one);
    assert_eq!(told(2), Origin::Hook);
    fs::remove_dir_all(moved.join("refwatch")).expect("removed");
    stage.recorder.settle(&stage.client);
    fs::create_dir(moved.join("refwatch")).expect("made");
    // A record is expected once one has come.
    let again = Repo::at(moved.clone(), "moved.git", stage.repo.flavour);
    again.git(&["update-ref", "refs/heads/main", &two]);
    told(3);
    change_and_record_late(&stage, &moved, &two, &one);
    assert_eq!(told(4), Origin::Hook);
}

/// A repository whose main came back to its first value, all of it recorded and told.
fn returned() -> (Stage, [String; 2]) {
    let world = World::new();
    let repo = world.repo("team/app.git");
    install(&repo, REFERENCE_TRANSACTION);
    let [one, two] = repo.history();
    let stage = Stage::over(Options::new(&world), world, repo);
    for oid in [&one, &two, &one] {
        stage.repo.git(&["update-ref", "refs/heads/main", oid]);
    }
    let events = stage.recorder.settle(&stage.client).events;
    assert_eq!(values(&events, "refs/heads/main"), [&one, &two, &one]);
    (stage, [one, two])
}

#[test]
fn what_was_recorded_is_told_once_however_often_the_repository_moves() {
    let (stage, [one, two]) = returned();
    let paths = [stage.repo.git_dir.clone(), stage.world.root.join("team/moved.git")];
    for round in 0..2000 {
        fs::rename(&paths[round % 2], &paths[(round + 1) % 2]).expect("moved");
        thread::sleep(Duration::from_micros(100 + 37 * (round as u64 % 50)));
    }
    stage.repo.git(&["update-ref", "refs/heads/main", &two]);
    let events = stage.recorder.settle(&stage.client).events;
    assert_eq!(values(&events, "refs/heads/main"), [&one, &two, &one, &two]);
}

#[test]
fn what_was_recorded_is_told_once_also_where_the_journal_was_put_away_and_back() {
    let (stage, [one, two]) = returned();
    let journal = stage.repo.git_dir.join("refwatch/journal");
    let away = stage.world.root.join("away");
    fs::rename(&journal, &away).expect("put away");
    // A look while it is away.
    stage.repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/other", &one]);
    stage.recorder.settle(&stage.client);
    fs::rename(&away, &journal).expect("put back");
    stage.repo.git(&["update-ref", "refs/heads/main", &two]);
    let events = stage.recorder.settle(&stage.client).events;
    assert_eq!(values(&events, "refs/heads/main"), [&one, &two, &one, &two]);
}

#[test]
fn a_record_from_which_none_leads_back_is_not_told_with_one_that_comes_later() {
    for restarts in [1, 2] {
        let (mut stage, [one, two]) = returned();
        stage.daemon.stop();
        stage.repo.git(&["update-ref", "refs/heads/main", &two]);
        stage.repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/main", &one]);
        for restart in 0..restarts {
            if restart > 0 {
                stage.daemon.kill9();
            }
            stage.daemon.restart();
        }
        stage.client = stage.daemon.client();
        // It may have been refused. Until it is decided, the barrier is not reached.
        let before = stage.client.sync().last_sequence;
        stage.repo.git(&["update-ref", "refs/heads/main", &one]);
        assert_eq!(stage.client.sync().last_sequence, before, "{restarts}: {:?}", stage.client.events());
    }
}

#[test]
fn a_barrier_waits_for_the_value_that_was_there_though_the_one_before_is_told_meanwhile() {
    let world = World::new();
    let repo = world.repo_as("team/app.git", Flavour::PLAIN);
    install(&repo, REFERENCE_TRANSACTION);
    let stage = Stage::over(Options::new(&world).set("hooks.wait_ms_max", "3000"), world, repo);
    let [one, two, three] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\n"));
    stage.recorder.settle(&stage.client);
    let (late, go) = late_hook(&stage);
    let hooks_path = format!("core.hooksPath={}", late.display());
    let main = stage.repo.git_dir.join("refs/heads/main");
    let last = |events: &[GitEvent]| {
        events.iter().rfind(|event| event.ref_name == "refs/heads/main").expect("told").new_oid.clone()
    };
    thread::scope(|scope| {
        let slow = ["-c", &*hooks_path, "update-ref", "refs/heads/main", &two, &one];
        let repo = &stage.repo;
        let slow = scope.spawn(move || repo.git(&slow));
        while fs::read_to_string(&main).expect("a ref").trim_end() != two {
            thread::yield_now();
        }
        stage.repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/main", &three]);
        let barrier = scope.spawn(|| stage.client.sync());
        thread::sleep(Duration::from_millis(500));
        fs::write(&go, "").expect("written");
        slow.join().expect("it ends");
        stage.recorder.wait("the first is told", |recording| last(&recording.events) == two);
        let reached = barrier.join().expect("reached").last_sequence;
        let told: Vec<GitEvent> =
            stage.client.events().into_iter().filter(|event| event.sequence <= reached).collect();
        assert_eq!(last(&told), three);
    });
}

#[test]
fn what_waits_for_its_record_where_nobody_can_look_any_more_keeps_no_barrier_waiting() {
    let world = World::new();
    let (repo, other) = (world.repo("team/app.git"), world.repo("other.git"));
    install(&repo, REFERENCE_TRANSACTION);
    let [one] = repo.history();
    let stage = Stage::over(Options::new(&world).set("hooks.wait_ms_max", "60000"), world, repo);
    stage.repo.update(&format!("create refs/heads/main {one}\n"));
    stage.recorder.settle(&stage.client);
    let looks = r#"refwatch_passes_total{kind="ref"}"#;
    let before = http::metric(stage.daemon.http(), looks).unwrap_or(0.0);
    stage.repo.git(&["-c", "core.hooksPath=/dev/null", "update-ref", "refs/heads/other", &one]);
    stage.daemon.wait_metric(looks, before + 1.0);
    let [head, away] = ["HEAD", "HEAD.away"].map(|name| stage.repo.git_dir.join(name));
    fs::rename(&head, &away).expect("away");
    let [elsewhere] = other.history();
    other.update(&format!("create refs/heads/main {elsewhere}\n"));
    let recording = stage.recorder.settle(&stage.client);
    assert_eq!(recording.events.last().expect("told").new_oid, elsewhere);
    fs::rename(&away, &head).expect("back");
    stage.repo.git(&["update-ref", "refs/heads/third", &one]);
    stage.recorder.wait("it is looked at again", |recording| {
        recording.events.iter().any(|event| event.ref_name == "refs/heads/third")
    });
}

#[test]
fn without_hooks_too_transactions_that_follow_each_other_are_told_whole() {
    let mut stage = Stage::plain();
    for commit in commits(&stage.repo, 50) {
        stage.repo.update(&format!("update refs/heads/a {commit}\nupdate refs/heads/b {commit}\n"));
    }
    let events = stage.events();
    let mut values: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for event in &events {
        let transaction = event.transaction.as_ref().expect("always set");
        values.entry(&transaction.id).or_default().push(&event.new_oid);
    }
    // Some may be told together, none in halves.
    for values in values.into_values() {
        assert!(matches!(values[..], [a, b] if a == b), "{values:?} of {}", events.len());
    }
    stage.validate();
}
