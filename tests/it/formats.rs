//! Object formats, ref formats, working trees, and where repositories may be.

use std::fs;

use refwatch_proto::v1::{GitEventType as Type, ObjectFormat, RefChange, RefFormat, RefNamespace};
use refwatch_tests::{Daemon, Flavour, Repo, World, git_in, refs_filter, request, validate};

use crate::stage::{Stage, list};

#[test]
fn sha256_has_ids_of_64_digits() {
    let mut stage = Stage::of(Flavour::SHA256, |_| {});
    let source = stage.world.source(Flavour::SHA256);
    let [one, two] = source.0.history();
    source.push(&stage.repo, &[&format!("{one}:refs/heads/main")]);
    let created = stage.event();
    assert_eq!((created.old_oid.as_str(), created.new_oid.as_str()), (&*"0".repeat(64), &*one));
    assert_eq!(created.repository.as_ref().map(|of| of.object_format()), Some(ObjectFormat::Sha256));
    let forced = source.0.commit("forced", &[]);
    for (oid, kind) in [(&two, Type::BranchUpdated), (&forced, Type::BranchForcePushed)] {
        source.push(&stage.repo, &[&format!("+{oid}:refs/heads/main")]);
        assert_eq!(stage.event().r#type(), kind);
    }
    stage.repo.git(&["tag", "-a", "-m", "m", "v1.0.0", &forced]);
    assert_eq!(stage.events()[0].new_peeled_oid, forced);
    // gitoxide too.
    let commit = stage.repo.gix(&["commit", "by gitoxide", &forced]);
    stage.repo.gix(&["edit", &format!("refs/heads/main={commit}")]);
    assert_eq!(stage.event().r#type(), Type::BranchUpdated);
    stage.validate();
}

#[test]
fn reftable_tells_the_same_types() {
    let mut stage = Stage::of(Flavour::REFTABLE, |_| {});
    let source = stage.world.source(Flavour::PLAIN);
    let [one, two] = source.0.history();
    source.push(&stage.repo, &[&format!("{one}:refs/heads/main"), &format!("{one}:refs/heads/topic")]);
    stage.events();
    source.push(&stage.repo, &[&format!("{two}:refs/heads/main")]);
    assert_eq!(stage.told(), list([(Type::BranchUpdated, "refs/heads/main")]));
    stage.repo.git(&["symbolic-ref", "HEAD", "refs/heads/topic"]);
    assert_eq!(stage.told(), list([(Type::DefaultBranchChanged, "HEAD")]));
    stage.repo.git(&["tag", "-a", "-m", "m", "v1.0.0", &two]);
    let told = list([(Type::TagCreated, "refs/tags/v1.0.0"), (Type::ReleaseCreated, "refs/tags/v1.0.0")]);
    assert_eq!(stage.told(), told);
    stage.repo.update("delete refs/tags/v1.0.0\n");
    assert_eq!(stage.told(), list([(Type::TagDeleted, "refs/tags/v1.0.0")]));
    let lines: String = (0..30).map(|index| format!("create refs/heads/b{index} {one}\n")).collect();
    stage.repo.update(&lines);
    let events = stage.events();
    assert!(events.iter().all(|event| event.transaction.as_ref().is_some_and(|of| of.size == 30)));
    // Compaction rewrites the tables and changes nothing.
    stage.repo.git(&["pack-refs", "--all"]);
    stage.repo.git(&["gc", "-q"]);
    assert_eq!(stage.told(), []);
    assert_eq!(stage.client.repository(&stage.repo).ref_format(), RefFormat::Reftable);
    stage.validate();
}

#[test]
fn conversion_to_reftable_and_back_changes_nothing() {
    let mut stage = Stage::of(Flavour::PLAIN, |repo| {
        let [one, two] = repo.history();
        repo.update(&format!("create refs/heads/main {one}\ncreate refs/tags/t {two}\n"));
    });
    for format in ["reftable", "files"] {
        stage.repo.git(&["refs", "migrate", &format!("--ref-format={format}")]);
        assert_eq!(stage.told(), [], "to {format}");
        let [_, two] = stage.repo.history();
        stage.repo.update(&format!("create refs/heads/after-{format} {two}\n"));
        assert_eq!(stage.event().r#type(), Type::BranchCreated);
        stage.validate();
    }
}

#[test]
fn a_working_tree_is_no_hindrance_and_its_head_is_no_default_branch() {
    let mut stage = Stage::of(Flavour::WORKTREE, |_| {});
    let tree = stage.repo.git_dir.parent().expect("the working tree").to_owned();
    git_in(&tree, &["commit", "-q", "--allow-empty", "-m", "one"]);
    assert_eq!(stage.told(), list([(Type::BranchCreated, "refs/heads/main")]));
    git_in(&tree, &["checkout", "-q", "-b", "topic"]);
    let mut told = stage.told();
    told.sort();
    assert_eq!(told, list([(Type::BranchCreated, "refs/heads/topic"), (Type::SymbolicRefUpdated, "HEAD")]));
    git_in(&tree, &["checkout", "-q", "--detach"]);
    assert_eq!(stage.event().ref_namespace(), RefNamespace::Head);
    git_in(&tree, &["commit", "-q", "--allow-empty", "-m", "detached"]);
    let event = stage.event();
    assert_eq!((event.r#type(), &*event.ref_name), (Type::CustomRefUpdated, "HEAD"));
    let stashed = tree.join("file");
    std::fs::write(&stashed, "x").expect("written");
    git_in(&tree, &["add", "file"]);
    git_in(&tree, &["stash", "-q"]);
    assert_eq!(stage.told(), list([(Type::CustomRefUpdated, "refs/stash")]));
    stage.validate();
}

#[test]
fn a_linked_worktree_has_a_head_of_its_own() {
    let mut stage = Stage::plain();
    let [one] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\ncreate refs/heads/topic {one}\n"));
    stage.events();
    // One below the same root: it is part of its repository, and none itself.
    let tree = stage.world.root.join("linked");
    stage.repo.git(&["worktree", "add", "-q", tree.to_str().expect("text"), "topic"]);
    let events = stage.events();
    let head = events.iter().find(|event| event.ref_name == "worktrees/linked/HEAD").expect("its HEAD");
    assert_eq!((head.ref_namespace(), head.change()), (RefNamespace::Worktree, RefChange::Created));
    assert_eq!(head.new_symbolic_target, "refs/heads/topic");
    git_in(&tree, &["checkout", "-q", "--detach"]);
    let event = stage.event();
    assert_eq!((&*event.ref_name, &*event.new_oid), ("worktrees/linked/HEAD", &*one));
    git_in(&tree, &["checkout", "-q", "topic"]);
    git_in(&tree, &["commit", "-q", "--allow-empty", "-m", "two"]);
    let told = stage.told();
    assert!(told.contains(&(Type::BranchUpdated, "refs/heads/topic".to_owned())), "{told:?}");
    assert_eq!(stage.client.repositories().len(), 1);
    stage.repo.git(&["worktree", "remove", "--force", tree.to_str().expect("text")]);
    let events = stage.events();
    let gone: Vec<_> = events.iter().map(|event| (event.change(), &*event.ref_name)).collect();
    assert!(gone.contains(&(RefChange::Deleted, "worktrees/linked/HEAD")), "{gone:?}");
    assert!(gone.iter().all(|(_, name)| name.starts_with("worktrees/linked/")), "{gone:?}");
    stage.validate();
}

#[test]
fn repositories_in_fan_out_directories_are_found_at_any_depth() {
    let world = World::new();
    let paths = [
        "ab/cd/0a1b2c3d-0000-4000-8000-000000000001.git",
        "ab/ce/0a1b2c3d-0000-4000-8000-000000000002.git",
        "plain",
        "a/b/c/d/e/deep.git",
    ];
    let first: Vec<_> = paths[..2].iter().map(|path| world.repo(path)).collect();
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    // And those of whom not even the folders were there.
    let later: Vec<_> = paths[2..].iter().map(|path| world.repo(path)).collect();
    let repos: Vec<_> = first.iter().chain(&later).collect();
    client.sync();
    for repo in &repos {
        let [one] = repo.history();
        repo.update(&format!("create refs/heads/main {one}\n"));
    }
    let recording = recorder.settle(&client);
    let mut followed: Vec<_> = client.repositories().into_iter().map(|repository| repository.path).collect();
    followed.sort_unstable();
    let mut expected = paths.map(str::to_owned);
    expected.sort_unstable();
    assert_eq!(followed, expected);
    assert_eq!(recording.of_type(Type::BranchCreated).len(), 4);
    validate::all(&recording, &client.on_disk(&repos));
}

#[test]
fn names_that_are_not_utf8_come_with_their_exact_bytes() {
    let mut stage = Stage::plain();
    let [one, two] = stage.repo.history();
    let name = b"refs/heads/caf\xe9";
    let line = |verb: &str, rest: &str| [verb.as_bytes(), b" ", name, rest.as_bytes(), b"\n"].concat();
    assert!(stage.repo.try_update(&line("create", &format!(" {one}"))).status.success());
    let event = stage.event();
    assert_eq!((&*event.ref_name, &*event.ref_name_bytes), ("refs/heads/caf\u{fffd}", &name[..]));
    let (refs, _) = stage.client.refs(1);
    let listed = refs.iter().find(|taken| !taken.name_bytes.is_empty()).expect("listed");
    assert_eq!((&*listed.name, &*listed.name_bytes), ("refs/heads/caf\u{fffd}", &name[..]));
    let start = refwatch_proto::v1::watch_events_request::Start::Cursor(event.cursor);
    let by_glob =
        refwatch_tests::Recorder::start(&stage.client, request(start, refs_filter(&["refs/heads/*"])));
    // Loose, packed, and as what a symbolic ref points to.
    stage.repo.git(&["pack-refs", "--all"]);
    assert!(stage.repo.try_update(&line("update", &format!(" {two}"))).status.success());
    assert_eq!(stage.event().ref_name_bytes, name);
    stage.repo.write("HEAD", [b"ref: ", &name[..], b"\n"].concat());
    assert_eq!(stage.event().new_symbolic_target_bytes, name);
    stage.validate();
    assert!(stage.repo.try_update(&line("delete", "")).status.success());
    assert_eq!(stage.event().change(), RefChange::Deleted);
    assert_eq!(by_glob.settle(&stage.client).types(), [Type::BranchUpdated, Type::BranchDeleted]);
}

#[test]
fn one_whose_configuration_comes_late_is_another_repository() {
    let mut stage = Stage::of_files();
    let elsewhere = World::new();
    let made = elsewhere.repo_exactly("made.git", Flavour::SHA256);
    let [one] = made.history();
    let config = fs::read(made.git_dir.join("config")).expect("read");
    // As whoever copies file by file leaves it for a moment: it reads like one of SHA-1.
    fs::write(made.git_dir.join("config"), "").expect("written");
    let late = Repo::at(stage.world.root.join("late.git"), "late.git", made.flavour);
    fs::rename(&made.git_dir, &late.git_dir).expect("it comes");
    stage.events();
    fs::write(late.git_dir.join("config"), config).expect("written");
    stage.events();
    late.update(&format!("create refs/heads/main {one}\n"));
    // What was told before stays as it was told, also to who reads it again.
    let told = stage.recorder.settle(&stage.client).events;
    let again = stage.client.record_earliest().settle(&stage.client).events;
    assert_eq!(again[again.len() - told.len()..], told);
    let formats: Vec<_> = told
        .iter()
        .filter(|event| event.r#type() != Type::DefaultBranchChanged)
        .map(|event| (event.r#type(), event.repository.as_ref().expect("set").object_format()))
        .collect();
    let expected = [
        (Type::RepositoryDiscovered, ObjectFormat::Sha1),
        (Type::RepositoryDeleted, ObjectFormat::Sha1),
        (Type::RepositoryDiscovered, ObjectFormat::Sha256),
        (Type::BranchCreated, ObjectFormat::Sha256),
    ];
    assert_eq!(formats, expected);
    validate::truthful(&stage.recorder.now().base, &told, &stage.client.on_disk(&[&stage.repo, &late]));
}
