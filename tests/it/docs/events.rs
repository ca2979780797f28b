//! The catalogue of events: one of each type, as it is recorded here, today.
//!
//! `UPDATE_EVENTS=1` writes what was recorded into the catalogue: read it before you believe it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use refwatch_proto::json::{from_json, to_json, to_value};
use refwatch_proto::v1::{
    Actor, GitEvent, GitEventType, RefChange, Rejection, RejectionReport, RejectionStage,
};
use refwatch_tests::{
    Block, Client, Daemon, Document, Flavour, Options, Recorder, Reporter, Tail, World, refused,
};
use serde_json::{Map, Value, json};

use super::stage::executable;

const CATALOGUE: &str = "proto/EVENTS.md";

/// Types that are sent, by name.
fn types() -> BTreeMap<String, GitEventType> {
    let sent = (1..100).filter_map(|number| GitEventType::try_from(number).ok());
    sent.map(|kind| (kind.short_name().to_owned(), kind)).collect()
}

/// What can be different each time takes a fixed value: identities, positions, times, and who runs the test.
fn normalised(mut event: Value) -> Value {
    let object = event.as_object_mut().expect("an event is an object");
    for (key, fixed) in [("eventId", "E"), ("cursor", "C"), ("sequence", "1"), ("observedAtUs", "1")] {
        assert!(object.insert(key.to_owned(), fixed.into()).is_some(), "{key} is always set");
    }
    object["repository"]["id"] = json!("R");
    object["transaction"]["id"] = json!("T");
    if object["origin"] == "ORIGIN_NOTIFY" {
        // Whether nothing came in between can be proven only if the look was soon.
        object.remove("coalesced");
    }
    event
}

/// Each of its fields in a line.
fn by_field(event: &GitEvent) -> String {
    // In order of the fields' numbers, which a map of values does not keep.
    let text = to_json(event);
    let value = to_value(event);
    let object: &Map<String, Value> = value.as_object().expect("an event is an object");
    let mut keys: Vec<&String> = object.keys().collect();
    keys.sort_by_key(|key| text.find(&format!("\"{key}\":")));
    let mut lines = String::from("{\n");
    for (index, key) in keys.iter().enumerate() {
        let comma = if index + 1 == keys.len() { "" } else { "," };
        writeln!(lines, "  {}: {}{comma}", json!(key), object[*key]).expect("text takes everything");
    }
    lines + "}\n"
}

/// Each type's heading, with the event below it.
fn catalogue() -> BTreeMap<String, (GitEvent, Block)> {
    let document = Document::read(CATALOGUE);
    let blocks = document.blocks();
    let headings: Vec<(usize, &str)> = document
        .prose()
        .into_iter()
        .filter_map(|(line, text)| Some((line, text.strip_prefix("### ")?)))
        .collect();
    let mut found = BTreeMap::new();
    for (index, (line, heading)) in headings.iter().enumerate() {
        let end = headings.get(index + 1).map_or(usize::MAX, |(next, _)| *next);
        let mut below = blocks.iter().filter(|block| (*line..end).contains(&block.line));
        let block = below.find(|block| block.language == "json");
        let block = block.unwrap_or_else(|| panic!("{heading} has an example"));
        let event: GitEvent =
            from_json(&block.text).unwrap_or_else(|error| panic!("{heading} is a GitEvent: {error}"));
        found.insert((*heading).to_owned(), (event, block.clone()));
    }
    found
}

/// One event of each type, made in the ways that the catalogue tells.
struct Recording {
    world: World,
    daemon: Daemon,
    client: Client,
    recorder: Recorder,
}

impl Recording {
    fn start() -> Self {
        let world = World::new();
        let socket = world.beside("grpc.sock");
        let daemon = Options::new(&world)
            .set("grpc.socket", socket.to_str().expect("text"))
            .set("classify.protected_refs", "[\"refs/heads/release/*\"]")
            .start();
        let client = daemon.client();
        let recorder = client.record_earliest();
        Self { world, daemon, client, recorder }
    }

    /// Everything that is on disk is told.
    fn told(&self) {
        self.recorder.settle(&self.client);
    }

    /// A repository with all hooks: what becomes of it does not depend on how fast anybody looks.
    fn hooked(&self) {
        let repo = self.world.repo_exactly("app.git", Flavour::PLAIN);
        repo.install_hooks();
        repo.git(&["config", "receive.advertisePushOptions", "true"]);
        self.told();
        let source = self.world.source(Flavour::PLAIN);
        let [one, two] = source.0.history();
        let beside = source.0.commit("beside", &[&one]);
        source.0.git(&["tag", "-a", "-m", "First release", "v1.0.0", &two]);
        source.0.git(&["tag", "build-7", &one]);
        source.0.git(&["update-ref", "refs/notes/commits", &one]);
        source.0.git(&["update-ref", &format!("refs/replace/{one}"), &beside]);
        source.0.git(&["update-ref", "refs/pull/1/head", &beside]);
        source.0.git(&["update-ref", "refs/builds/7", &one]);
        // As a server does that knows who pushes.
        let receive = "--receive-pack=REMOTE_USER=ada git-receive-pack";
        let push = |arguments: &[&str]| {
            source.push(&repo, &[&[receive], arguments].concat());
            self.told();
        };
        push(&["-o", "ci.skip", &format!("{one}:refs/heads/main")]);
        push(&[&format!("{two}:refs/heads/main")]);
        push(&[&format!("{two}:refs/heads/topic")]);
        push(&[&format!("+{beside}:refs/heads/topic")]);
        push(&[":refs/heads/topic"]);
        push(&["refs/tags/v1.0.0"]);
        push(&["refs/tags/build-7"]);
        push(&[&format!("+{two}:refs/tags/build-7")]);
        push(&[":refs/tags/build-7"]);
        push(&["refs/notes/commits"]);
        push(&[&format!("refs/replace/{one}")]);
        push(&["refs/pull/1/head"]);
        push(&["refs/builds/7"]);
        fs::create_dir(repo.git_dir.join("hooks/pre-receive.d")).expect("made");
        executable(&repo.git_dir.join("hooks/pre-receive.d/policy"), "#!/bin/sh\nexit 1\n");
        let refused = source.try_push(&repo, &[receive, &format!("{one}:refs/heads/secret")]);
        assert!(!refused.status.success());
        self.recorder
            .wait("the refusal", |recording| !recording.of_type(GitEventType::PushRejected).is_empty());
        self.told();
    }

    /// A repository without hooks.
    fn plain(&self) {
        let repo = self.world.repo_exactly("tools.git", Flavour::PLAIN);
        self.told();
        let [one, two] = repo.history();
        let update = |commands: &str| {
            repo.update(commands);
            self.told();
        };
        update(&format!("create refs/heads/main {one}\n"));
        update(&format!("create refs/heads/next {two}\n"));
        update(&format!("start\ndelete refs/heads/next\ncreate refs/heads/trunk {two}\nprepare\ncommit\n"));
        repo.git(&["symbolic-ref", "HEAD", "refs/heads/trunk"]);
        self.told();
        repo.git(&["symbolic-ref", "refs/heads/stable", "refs/heads/main"]);
        self.told();
        let many: String =
            (0..100).map(|number| format!("create refs/heads/import/{number} {one}\n")).collect();
        update(&many);
        repo.replace("refs/heads/main", "");
        self.told();
        repo.replace("refs/heads/main", format!("{one}\n"));
        self.told();
        let reporter = Reporter::by_socket(&self.world.beside("grpc.sock"));
        let report = RejectionReport {
            rejection: Some(Rejection {
                stage: RejectionStage::HostPolicy.into(),
                reason: "REVIEW_REQUIRED".to_owned(),
                message: "release branches take reviewed changes only".to_owned(),
            }),
            actor: Some(Actor {
                name: "ada".to_owned(),
                source: String::new(),
                remote_address: "192.0.2.7".to_owned(),
            }),
            ..refused(&repo, "refs/heads/release/1.0", "", &two)
        };
        reporter.report(report).expect("taken");
        fs::rename(&repo.git_dir, self.world.root.join("site.git")).expect("renamed");
        self.told();
        fs::remove_dir_all(self.world.root.join("site.git")).expect("removed");
        self.told();
    }

    /// The first event of each type; of the default branch, that it changed, and not that it was there.
    fn events(&self) -> BTreeMap<String, GitEvent> {
        let events = self.client.events();
        let lines = Tail::start(self.daemon.grpc(), &["--since", "earliest"]).wait(events.len());
        for (event, line) in events.iter().zip(&lines) {
            assert_eq!(to_value(event), *line, "as `refwatch tail --json` prints it");
        }
        let mut first = BTreeMap::new();
        let is_first_head = |event: &GitEvent| {
            event.r#type() == GitEventType::DefaultBranchChanged && event.change() == RefChange::Created
        };
        for event in events.into_iter().filter(|event| !is_first_head(event)) {
            first.entry(event.r#type().short_name().to_owned()).or_insert(event);
        }
        first
    }
}

#[test]
fn docs_every_type_has_an_example_that_the_daemon_makes_today() {
    let recording = Recording::start();
    recording.hooked();
    recording.plain();
    let recorded = recording.events();
    let unseen: Vec<String> = types().into_keys().filter(|kind| !recorded.contains_key(kind)).collect();
    assert!(unseen.is_empty(), "not recorded: {unseen:?}");
    if std::env::var_os("UPDATE_EVENTS").is_some() {
        write(&recorded);
    }
    let shown = catalogue();
    let missing: Vec<&String> = recorded.keys().filter(|kind| !shown.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "not in {CATALOGUE}: {missing:?}");
    for (heading, (event, block)) in &shown {
        assert_eq!(event.r#type().short_name(), heading, "{CATALOGUE}:{}", block.line);
        assert_eq!(by_field(event), block.text, "{CATALOGUE}:{}: nothing but fields", block.line);
        let today = &recorded[heading];
        assert_eq!(
            normalised(to_value(event)),
            normalised(to_value(today)),
            "{CATALOGUE}:{}: UPDATE_EVENTS=1 writes what is told today",
            block.line
        );
        assert_eq!(
            event.event_id.split_once('.').map(|(_, sequence)| sequence.parse()),
            Some(Ok(event.sequence))
        );
    }
}

/// Puts the events in the places of those that are shown.
fn write(recorded: &BTreeMap<String, GitEvent>) {
    let document = Document::read(CATALOGUE);
    let mut text = String::new();
    let (mut heading, mut is_inside) = (None, false);
    for line in document.text.lines() {
        if let Some(kind) = line.strip_prefix("### ") {
            heading = Some(kind);
        }
        if line == "```json" {
            is_inside = true;
            let kind = heading.expect("an example is below its heading");
            let event = recorded.get(kind).unwrap_or_else(|| panic!("{kind} is a type"));
            text += &format!("```json\n{}", by_field(event));
        } else if line == "```" {
            is_inside = false;
        }
        if !is_inside {
            text += line;
            text.push('\n');
        }
    }
    fs::write(Document::root().join(CATALOGUE), text).expect("written");
}
