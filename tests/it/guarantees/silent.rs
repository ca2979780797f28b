//! Silent when nothing changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, SystemTime};

use refwatch_tests::{DEADLINE, Options, World, http};

use crate::stage::Stage;

#[test]
fn guarantee_4_silent() {
    let world = World::new();
    let repo = world.repo_of_files("a.git");
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\ncreate refs/heads/a/b {two}\n"));
    repo.git(&["tag", "-a", "-m", "m", "v1.0.0", &two]);
    let options = Options::new(&world).set("watch.sweep_interval_s", "1").set("watch.settle_ms_max", "100");
    let mut stage = Stage::over(options, world, repo);
    let repo = stage.repo.clone();
    let main = repo.git_dir.join("refs/heads/main");
    let nothing: [(&str, &dyn Fn()); 15] = [
        ("touching", &|| touch(&main)),
        ("chmod", &|| fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).expect("changed")),
        ("the same value by git", &|| repo.update(&format!("update refs/heads/main {one}\n"))),
        ("the same value by gitoxide", &|| drop(repo.gix(&["edit", &format!("refs/heads/main={one}")]))),
        ("the same value by an editor", &|| repo.write("refs/heads/main", format!("{one}\n"))),
        ("the same value by rsync", &|| repo.replace("refs/heads/main", format!("{one}\n"))),
        ("the same HEAD", &|| drop(repo.git(&["symbolic-ref", "HEAD", "refs/heads/main"]))),
        ("an aborted transaction", &|| {
            repo.update(&format!(
                "start\nupdate refs/heads/main {two}\ncreate refs/heads/x {two}\nprepare\nabort\n"
            ));
        }),
        ("a rolled back transaction of gitoxide", &|| {
            drop(repo.gix(&["abort", &format!("refs/heads/main={two}"), "refs/heads/a/b=delete"]));
        }),
        ("a lock of a crash", &|| repo.write("refs/heads/crashed.lock", format!("{two}\n"))),
        ("packing", &|| drop(repo.git(&["pack-refs", "--all"]))),
        ("packing again", &|| drop(repo.git(&["pack-refs", "--all", "--prune"]))),
        ("a loose ref beside its packed value", &|| repo.write("refs/heads/main", format!("{one}\n"))),
        ("garbage collection", &|| drop(repo.git(&["gc", "--quiet", "--prune=now"]))),
        ("configuration and files that are no refs", &|| {
            repo.git(&["config", "x.y", "z"]);
            repo.write("description", "another one");
            fs::create_dir_all(repo.git_dir.join("refs/heads/empty/folder")).expect("made");
        }),
    ];
    for (what, act) in nothing {
        act();
        let told = stage.told();
        assert_eq!(told, [], "{what}");
    }
    // Nor does the sweep find anything, nor the first look of a new process.
    let sweeps = || http::metric(stage.daemon.http(), "refwatch_sweeps_total").unwrap_or_default();
    let before = sweeps();
    let began = Instant::now();
    while sweeps() < before + 2.0 {
        assert!(began.elapsed() < DEADLINE, "it sweeps every second");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(stage.told(), [], "a sweep");
    assert_eq!(http::metric(stage.daemon.http(), "refwatch_drift_total"), Some(0.0));
    stage.daemon.stop();
    repo.git(&["pack-refs", "--all"]);
    stage.daemon.restart();
    stage.client = stage.daemon.client();
    stage.recorder.resume(&stage.client);
    assert_eq!(stage.told(), [], "a restart");
    stage.validate();
}

fn touch(path: &std::path::Path) {
    let file = fs::File::options().append(true).open(path).expect("there");
    file.set_modified(SystemTime::now()).expect("touched");
}
