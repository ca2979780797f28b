//! The daemon never writes into a repository, and never makes a push fail.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use refwatch_proto::v1::GitEventType as Type;
use refwatch_tests::{Daemon, Flavour, Options, Repo, Variant, World, validate};

use crate::stage::Stage;

/// Mode, size, inode, times of content and of inode, and content of everything below a folder.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u32, u64, [i64; 4], Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = path.symlink_metadata().expect("there");
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).expect("read").map(|entry| entry.expect("read").path()));
        }
        let content = if meta.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        found.insert(path, (meta.mode(), meta.ino(), times, content));
    }
    found
}

#[test]
fn guarantee_9_harmless() {
    let world = World::new();
    let kinds = [Flavour::PLAIN, Flavour::SHA256, Flavour::REFTABLE, Flavour::WORKTREE];
    let repos: Vec<Repo> =
        kinds.iter().enumerate().map(|(index, kind)| world.repo_as(&format!("r{index}"), *kind)).collect();
    let change = |name: &str| {
        for repo in &repos {
            let [one, two] = repo.history();
            repo.update(&format!("create refs/heads/{name} {one}\ncreate refs/tags/{name} {two}\n"));
            repo.update(&format!("update refs/heads/{name} {two}\n"));
            repo.git(&["pack-refs", "--all"]);
        }
    };
    change("before");
    let before = listing(&world.root);
    let mut daemon = Daemon::start(&world);
    let recorder = daemon.client().record_snapshot();
    assert_eq!(listing(&world.root), before, "it starts");
    change("during");
    let changed = listing(&world.root);
    let recording = recorder.settle(&daemon.client());
    validate::all(&recording, &daemon.client().on_disk(&repos.iter().collect::<Vec<_>>()));
    let forced = repos[0].commit("forced", &[]);
    repos[0].update(&format!("update refs/heads/during {forced}\n"));
    daemon.client().sync();
    daemon.stop();
    daemon.restart();
    daemon.client().sync();
    let mut after = listing(&world.root);
    for repo in &repos[1..] {
        let own = |path: &&PathBuf| path.starts_with(&repo.git_dir);
        let [left, right] =
            [&changed, &after].map(|all| all.iter().filter(|(path, _)| own(path)).collect::<Vec<_>>());
        assert_eq!(left, right, "{}", repo.path);
    }
    after.retain(|path, _| path.starts_with(&repos[0].git_dir));
    let names: Vec<_> = after.keys().filter_map(|path| path.file_name()?.to_str()).collect();
    assert!(!names.contains(&"logs") && !names.iter().any(|name| name.ends_with(".lock")), "{names:?}");
    assert!(Variant::now().has_hooks || !names.contains(&"hooks"), "no hook is installed unasked");
}

#[test]
fn guarantee_9_harmless_to_pushes_while_it_hangs() {
    let mut stage = Stage::plain();
    let source = stage.world.source(Flavour::PLAIN);
    let [one, two] = source.0.history();
    stage.daemon.while_stopped(|| {
        for oid in [&one, &two] {
            source.push(&stage.repo, &[&format!("{oid}:refs/heads/main")]);
        }
    });
    let events = stage.events();
    assert_eq!(events.last().map(|event| &event.new_oid), Some(&two));
    assert!(events.len() == 2 || events[0].coalesced, "{events:#?}");
    stage.validate();
}

/// A folder mounted once more, read-only. Unmounted when dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(from: &Path, to: PathBuf) -> Option<Self> {
        fs::create_dir(&to).expect("made");
        let run = |arguments: &[&str], paths: &[&Path]| {
            Command::new("mount")
                .args(arguments)
                .args(paths)
                .output()
                .is_ok_and(|output| output.status.success())
        };
        if !run(&["--bind"], &[from, &to]) {
            return None;
        }
        let mounted = Self(to);
        run(&["-o", "remount,bind,ro"], &[&mounted.0]).then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Lazily: the daemon may still be there.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn guarantee_9_harmless_on_a_read_only_mount() {
    let world = World::new();
    let repo = world.repo("team/app.git");
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let Some(mounted) = ReadOnly::mount(&world.root, world.beside("read-only")) else {
        println!("not tested: mounting needs root");
        return;
    };
    assert!(fs::write(mounted.0.join("x"), "").is_err(), "nobody can write there");
    let elsewhere = World::new();
    let daemon = Options::new(&elsewhere).root(mounted.0.clone()).start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    repo.update(&format!("update refs/heads/main {two}\n"));
    let recording = recorder.settle(&client);
    assert_eq!(recording.told(), [(Type::BranchUpdated, "refs/heads/main")]);
    validate::all(&recording, &client.on_disk(&[&repo]));
}
