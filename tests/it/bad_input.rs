//! Bad input gets a clear answer, and costs nothing that was known.

use std::fs;
use std::os::unix::fs::symlink;

use refwatch_proto::v1::{
    GetPositionRequest, GitEventType as Type, ListEventsRequest, ListRefsRequest, ListRepositoriesRequest,
    Now, RepositoryState, WatchEventsRequest, watch_events_request::Start,
};
use refwatch_tests::{Options, Refusal, Repo, World, filter, refs_filter, request, validate};
use tonic::{Code, Status};

use crate::stage::Stage;

/// A repository with a loose branch, a packed one, and a tag.
fn prepared(world: &World, path: &str) -> Repo {
    let repo = world.repo(path);
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/packed {one}\n"));
    repo.git(&["pack-refs", "--all"]);
    repo.update(&format!("create refs/heads/main {two}\ncreate refs/tags/t {one}\n"));
    repo
}

/// One well repository, and one to be damaged.
fn two() -> (Stage, Repo) {
    let world = World::new();
    let well = prepared(&world, "well.git");
    let ill = prepared(&world, "ill.git");
    (Stage::over(Options::new(&world), world, well), ill)
}

/// Damages one repository; the other goes on, what is known of both is kept, and the log names the path.
fn damaged(damage: impl FnOnce(&Repo), said: &str, state: RepositoryState, mend: impl FnOnce(&Repo)) {
    let (mut stage, ill) = two();
    let before = stage.client.refs(100).0;
    damage(&ill);
    stage.client.sync();
    stage.repo.update(&format!("create refs/heads/still {}\n", stage.repo.git(&["rev-parse", "main"])));
    assert_eq!(stage.event().ref_name, "refs/heads/still");
    let listed = stage.client.repository(&ill);
    assert_eq!(listed.state(), state, "{listed:?}");
    assert!(listed.state_message.contains(said) && listed.state_message.contains("ill.git"), "{listed:?}");
    if state == RepositoryState::Unreadable {
        stage.daemon.wait_log(said, |line| {
            line["level"] == "WARN"
                && line["path"].as_str().is_some_and(|path| path.contains("ill.git"))
                && line["message"].as_str().is_some_and(|message| message.contains(said))
        });
    }
    let mut after = stage.client.refs(100).0;
    after.retain(|taken| taken.name != "refs/heads/still");
    assert_eq!(after, before, "nothing that was known is lost");
    mend(&ill);
    let recording = stage.recorder.wait("it is well again", |_| {
        stage.client.sync();
        stage.client.repository(&ill).state() == RepositoryState::Ready
    });
    assert_eq!(recording.events.len(), 1, "it is as it was: {:?}", recording.told());
    let disk = stage.client.on_disk(&[&stage.repo, &ill]);
    validate::all(&stage.recorder.settle(&stage.client), &disk);
}

#[test]
fn packed_refs_with_a_bad_line_are_not_read_in_part() {
    let packed = |repo: &Repo| repo.git_dir.join("packed-refs");
    damaged(
        |ill| {
            let text = fs::read_to_string(packed(ill)).expect("read");
            fs::copy(packed(ill), ill.git_dir.join("saved")).expect("copied");
            ill.replace("packed-refs", text.replacen("\n", "\nzz", 1));
        },
        "packed-refs:2",
        RepositoryState::Unreadable,
        |ill| fs::rename(ill.git_dir.join("saved"), packed(ill)).expect("renamed"),
    );
}

#[test]
fn a_configuration_that_cannot_be_parsed_says_where() {
    let well = std::cell::OnceCell::new();
    damaged(
        |ill| {
            well.set(fs::read(ill.git_dir.join("config")).expect("read")).expect("once");
            ill.replace("config", "[core\n");
        },
        "config:1",
        RepositoryState::Unreadable,
        |ill| ill.replace("config", well.get().expect("set")),
    );
}

#[test]
fn a_repository_that_is_half_there_is_waited_for() {
    damaged(
        |ill| fs::rename(ill.git_dir.join("objects"), ill.git_dir.join("away")).expect("renamed"),
        "objects is missing",
        RepositoryState::InFlux,
        |ill| fs::rename(ill.git_dir.join("away"), ill.git_dir.join("objects")).expect("renamed"),
    );
}

#[test]
fn each_bad_ref_file_is_named_and_the_others_go_on() {
    let mut stage = Stage::plain();
    let [one, two] = stage.repo.history();
    for name in ["garbage", "empty", "cut", "well"] {
        stage.repo.update(&format!("create refs/heads/{name} {one}\n"));
    }
    stage.events();
    stage.repo.write("refs/heads/garbage", "this is no ref\n");
    stage.repo.write("refs/heads/empty", "");
    stage.repo.write("refs/heads/cut", &one[..17]);
    let heads = stage.repo.git_dir.join("refs/heads");
    symlink("/etc/passwd", heads.join("outside")).expect("linked");
    symlink("/nowhere/at/all", heads.join("dangling")).expect("linked");
    let mut told = stage.told();
    told.sort();
    let mut broken = ["cut", "dangling", "empty", "garbage", "outside"]
        .map(|name| (Type::RefBroken, format!("refs/heads/{name}")));
    broken.sort();
    assert_eq!(told, broken);
    for name in ["cut", "dangling", "empty", "garbage", "outside"] {
        let path = heads.join(name).to_str().expect("text").to_owned();
        stage.daemon.wait_log(&path, |line| line["level"] == "WARN" && line["path"] == path.as_str());
    }
    let value = |name: &str| {
        let refs = stage.client.refs(100).0;
        refs.into_iter().find(|taken| taken.name == format!("refs/heads/{name}")).expect("listed")
    };
    for name in ["cut", "empty", "garbage"] {
        assert_eq!(
            (value(name).oid, value(name).broken.is_some()),
            (one.clone(), true),
            "its last good value is kept"
        );
    }
    // A loop of symbolic refs is two symbolic refs, as for Git.
    stage.repo.write("refs/heads/l1", "ref: refs/heads/l2\n");
    stage.repo.write("refs/heads/l2", "ref: refs/heads/l1\n");
    stage.repo.update(&format!("update refs/heads/well {two}\n"));
    let mut told = stage.told();
    told.sort();
    let expected =
        [(Type::BranchUpdated, "well"), (Type::SymbolicRefUpdated, "l1"), (Type::SymbolicRefUpdated, "l2")];
    assert_eq!(told, expected.map(|(kind, name)| (kind, format!("refs/heads/{name}"))));
    for name in ["garbage", "empty", "cut"] {
        stage.repo.replace(&format!("refs/heads/{name}"), format!("{one}\n"));
    }
    for name in ["outside", "dangling", "l1", "l2"] {
        fs::remove_file(heads.join(name)).expect("removed");
    }
    let mut told = stage.told();
    told.retain(|(kind, _)| *kind != Type::SymbolicRefUpdated);
    told.sort();
    assert_eq!(told, broken.map(|(_, name)| (Type::RefRepaired, name)));
    stage.validate();
}

#[test]
fn bad_settings_are_all_told_at_once_and_nothing_starts() {
    let world = World::new();
    let file = world.beside("a-file");
    fs::write(&file, "no directory").expect("written");
    let output = Options::new(&world)
        .root(world.beside("nowhere"))
        .root(file)
        .set("watch.worker", "3")
        .set("grpc.stall_timeout_s", "soon")
        .flag("--baseline", "perhaps")
        .command()
        .output()
        .expect("refwatch runs");
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for part in
        ["nowhere", "a-file", "watch.worker", "did you mean watch.workers", "grpc.stall_timeout_s", "perhaps"]
    {
        assert!(said.contains(part), "{part} is named in: {said}");
    }
    assert!(!world.database().exists());
}

#[test]
fn a_malformed_request_names_its_field() {
    let stage = Stage::plain();
    let client = &stage.client;
    let now = || request(Start::Now(Now {}), filter());
    let check = |status: Status, field: &str| {
        let refusal = Refusal::of(&status);
        assert_eq!(
            (refusal.code, &*refusal.metadata["field"]),
            (Code::InvalidArgument, field),
            "{refusal:?}"
        );
        assert!(refusal.message.contains(field), "{refusal:?}");
    };
    let watch = |request: WatchEventsRequest| match client.watch(request).and_then(|mut stream| stream.next())
    {
        Err(status) => status,
        Ok(kind) => panic!("it is refused, but begins with {kind:?}"),
    };
    check(watch(request(Start::Now(Now {}), refs_filter(&["["]))), "filter.ref_include_globs[0]");
    check(watch(WatchEventsRequest { max_batch_bytes: 1, ..now() }), "max_batch_bytes");
    check(watch(WatchEventsRequest { progress_interval_ms: 1, ..now() }), "progress_interval_ms");
    check(watch(WatchEventsRequest { on_gap: 99, ..now() }), "on_gap");
    check(watch(request(Start::SinceUs(-1), filter())), "since_us");
    check(watch(request(Start::Cursor("x".to_owned()), filter())), "cursor");
    let token = || "bm9uc2Vuc2U".to_owned();
    let listed =
        client.list_events(ListEventsRequest { page_token: token(), ..ListEventsRequest::default() });
    check(listed.expect_err("refused"), "page_token");
    let listed = client.list_refs(ListRefsRequest { page_token: token(), ..ListRefsRequest::default() });
    check(listed.expect_err("refused"), "page_token");
    let listed = ListRepositoriesRequest { page_token: token(), ..ListRepositoriesRequest::default() };
    check(client.list_repositories(listed).expect_err("refused"), "page_token");
    let late = GetPositionRequest { sync: true, timeout_ms: u32::MAX, ..GetPositionRequest::default() };
    check(client.position(late).expect_err("refused"), "timeout_ms");
}
