//! A disk that is full: nothing is lost, and nobody is told that all is well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use refwatch_proto::v1::{GetPositionRequest, GitEvent, GitEventType as Type};
use refwatch_tests::{Options, Refusal, Repo, World, validate};
use tonic::Code;

/// A small filesystem of its own. Gone when dropped.
struct Small(PathBuf);

impl Small {
    /// `None` where this process may not mount.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "refwatch-small"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(_) | Err(_) => {
                println!("skipped: a tmpfs cannot be mounted here");
                None
            }
        }
    }

    /// Leaves no room, but for what is there already.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        // Fails at the end, having taken what there was.
        drop(fs::write(&ballast, vec![1_u8; 4 << 20]));
        ballast
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_delays_everything_and_loses_nothing() {
    let world = World::new();
    let Some(small) = Small::mount(&world.beside("small")) else { return };
    let [stays, moves, goes] = ["stays.git", "moves.git", "goes.git"].map(|path| {
        let repo = world.repo(path);
        let [one] = repo.history();
        repo.update(&format!("create refs/heads/main {one}\n"));
        repo
    });
    let daemon = Options::new(&world).database(small.0.join("refwatch.db")).start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    daemon.wait_ready();
    let ballast = small.fill();
    let one = stays.git(&["rev-parse", "refs/heads/main"]);
    let lines: String =
        (0..3_000).map(|index| format!("create refs/heads/a-branch-{index} {one}\n")).collect();
    stays.update(&lines);
    let position = GetPositionRequest { sync: true, timeout_ms: 1_500, ..GetPositionRequest::default() };
    let refusal = Refusal::of(&client.position(position).expect_err("not all is in the log"));
    assert_eq!((refusal.code, &*refusal.reason), (Code::Unavailable, "STORE_UNAVAILABLE"), "{refusal:?}");
    assert!(refusal.retry);
    assert!(daemon.wait_readyz(503).contains("store"));
    fs::rename(&moves.git_dir, world.root.join("moved.git")).expect("renamed");
    fs::remove_dir_all(&goes.git_dir).expect("removed");
    let late = world.repo("late.git");
    // Long enough for each of them to be noticed, and to fail.
    std::thread::sleep(Duration::from_millis(800));
    fs::rename(&late.git_dir, world.root.join("later.git")).expect("renamed");
    fs::remove_file(ballast).expect("removed");
    let recording = recorder.settle(&client);
    daemon.wait_ready();
    for (kind, count) in [
        (Type::BranchCreated, 3_000),
        (Type::RepositoryMoved, 1),
        (Type::RepositoryDeleted, 1),
        (Type::RepositoryDiscovered, 1),
    ] {
        let told = recording.of_type(kind).len();
        // Depending on when `late` was first written, its renaming may be a move of its own.
        let more = usize::from(kind == Type::RepositoryMoved);
        assert!((count..=count + more).contains(&told), "{told} of {kind:?}");
    }
    let moved = Repo::at(world.root.join("moved.git"), "moved.git", moves.flavour);
    let later = Repo::at(world.root.join("later.git"), "later.git", late.flavour);
    validate::all(&recording, &client.on_disk(&[&stays, &moved, &later]));
    let paths: Vec<String> = client.repositories().into_iter().map(|repository| repository.path).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
}

#[test]
fn moves_around_a_full_disk_end_where_the_repository_is() {
    let world = World::new();
    let Some(small) = Small::mount(&world.beside("small")) else { return };
    let [repo, filler] = ["a.git", "filler.git"].map(|path| world.repo(path));
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let [of_filler] = filler.history();
    let daemon = Options::new(&world).database(small.0.join("refwatch.db")).start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    daemon.wait_ready();
    let ballast = small.fill();
    let lines: String =
        (0..3_000).map(|index| format!("create refs/heads/a-branch-{index} {of_filler}\n")).collect();
    filler.update(&lines);
    daemon.wait_readyz(503);
    let [b, c] = ["b.git", "c.git"].map(|path| Repo::at(world.root.join(path), path, repo.flavour));
    fs::rename(&repo.git_dir, &b.git_dir).expect("renamed");
    // Long enough for it to be noticed, and to fail: it is tried again when there is room.
    std::thread::sleep(Duration::from_millis(900));
    fs::remove_file(ballast).expect("removed");
    fs::rename(&b.git_dir, &c.git_dir).expect("renamed");
    c.update(&format!("update refs/heads/main {two}\n"));
    let recording = recorder.settle(&client);
    daemon.wait_ready();
    let place = |event: &GitEvent| event.repository.clone().map(|repository| repository.path);
    let moves = recording.of_type(Type::RepositoryMoved);
    let paths: Vec<_> = moves.iter().map(|event| place(event)).collect();
    assert_eq!(paths.last(), Some(&Some("c.git".to_owned())), "{moves:#?}");
    let updates: Vec<_> = recording.of_type(Type::BranchUpdated).into_iter().map(place).collect();
    assert_eq!(updates, [Some("c.git".to_owned())]);
    validate::all(&recording, &client.on_disk(&[&c, &filler]));
}
