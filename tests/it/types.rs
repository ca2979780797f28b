//! Every type of event that a change of refs can show.

use refwatch_proto::v1::{
    EventRepository, Forward, GitEvent, GitEventType as Type, ObjectFormat, RefChange, RefNamespace,
    SummaryCause, Transaction,
};
use refwatch_tests::{Flavour, Library, Variant, git_in};

use crate::stage::{Stage, list};

#[test]
fn a_pushed_branch_is_created_with_every_field_in_full() {
    let mut stage = Stage::plain();
    let source = stage.world.source(Flavour::PLAIN);
    let [one] = source.0.history();
    let before = now_us();
    source.push(&stage.repo, &[&format!("{one}:refs/heads/main")]);
    let event = stage.event();
    let after = now_us();
    assert!((before..=after).contains(&event.observed_at_us), "{event:?}");
    let position = stage.client.sync();
    assert_eq!(event.event_id, format!("{}.{}", position.epoch, event.sequence));
    assert!(!event.cursor.is_empty() && event.cursor.len() <= 128);
    let transaction = event.transaction.clone().expect("always set");
    let format = match stage.repo.flavour.object_format {
        "sha1" => ObjectFormat::Sha1,
        _ => ObjectFormat::Sha256,
    };
    assert!(!transaction.id.is_empty() && transaction.id.len() <= 64);
    let expected = GitEvent {
        event_id: event.event_id.clone(),
        // With hooks an event that closes the push comes after it.
        sequence: position.last_sequence - u64::from(Variant::now().has_hooks),
        cursor: event.cursor.clone(),
        r#type: Type::BranchCreated.into(),
        repository: Some(EventRepository {
            id: stage.client.repository(&stage.repo).id,
            path: "team/app.git".to_owned(),
            object_format: format.into(),
        }),
        ref_name: "refs/heads/main".to_owned(),
        change: RefChange::Created.into(),
        old_oid: stage.repo.zero(),
        new_oid: one,
        ref_namespace: RefNamespace::Branch.into(),
        observed_at_us: event.observed_at_us,
        transaction: Some(Transaction { id: transaction.id, index: 0, size: 1 }),
        origin: Variant::now().origin().into(),
        coalesced: event.coalesced,
        // Only hooks know of one.
        actor: event.actor.clone().filter(|_| Variant::now().has_hooks),
        ..GitEvent::default()
    };
    assert_eq!(event, expected);
    stage.validate();
}

fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("before the year 294246")
}

#[test]
fn a_branch_moves_forward_is_forced_and_is_deleted() {
    let mut stage = Stage::plain();
    let source = stage.world.source(Flavour::PLAIN);
    let [one, two] = source.0.history();
    let beside = source.0.commit("beside", &[&one]);
    let orphan = source.0.commit("orphan", &[]);
    let steps = [
        (format!("{one}:refs/heads/topic"), Type::BranchCreated, Forward::Unspecified),
        (format!("{two}:refs/heads/topic"), Type::BranchUpdated, Forward::FastForward),
        (format!("+{beside}:refs/heads/topic"), Type::BranchForcePushed, Forward::Forced),
        (format!("+{orphan}:refs/heads/topic"), Type::BranchForcePushed, Forward::Unrelated),
        (":refs/heads/topic".to_owned(), Type::BranchDeleted, Forward::Unspecified),
    ];
    for (refspec, kind, forward) in steps {
        source.push(&stage.repo, &[&refspec]);
        let event = stage.event();
        assert_eq!((event.r#type(), event.forward()), (kind, forward), "{refspec}");
        assert_eq!(event.ref_name, "refs/heads/topic");
    }
    stage.validate();
}

#[test]
fn an_update_to_an_object_that_is_missing_is_not_called_forced() {
    let mut stage = Stage::of_files();
    let [one] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\n"));
    stage.events();
    stage.repo.replace("refs/heads/main", format!("{}\n", stage.repo.zero().replace('0', "e")));
    let event = stage.event();
    assert_eq!((event.r#type(), event.forward()), (Type::BranchUpdated, Forward::Unknown));
}

#[test]
fn a_branch_deleted_and_created_at_the_same_commit_is_renamed() {
    let mut stage = Stage::plain();
    let [one] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/old {one}\n"));
    stage.events();
    stage
        .repo
        .update(&format!("start\ndelete refs/heads/old\ncreate refs/heads/new {one}\nprepare\ncommit\n"));
    let events = stage.events();
    let mut pair = events.iter().take(2).map(|event| (event.r#type(), &*event.ref_name)).collect::<Vec<_>>();
    pair.sort();
    assert_eq!(pair, [(Type::BranchCreated, "refs/heads/new"), (Type::BranchDeleted, "refs/heads/old")]);
    let [.., renamed] = events.as_slice() else { panic!("three events: {events:#?}") };
    assert_eq!((renamed.r#type(), renamed.change()), (Type::BranchRenamed, RefChange::Unspecified));
    assert_eq!((&*renamed.renamed_from, &*renamed.ref_name), ("refs/heads/old", "refs/heads/new"));
    assert_eq!(events.len(), 3, "{events:#?}");
    stage.validate();
}

#[test]
fn a_lightweight_tag_is_created_moved_and_deleted() {
    let mut stage = Stage::plain();
    let [one, two] = stage.repo.history();
    let steps = [
        (format!("create refs/tags/build {one}\n"), Type::TagCreated),
        (format!("update refs/tags/build {two}\n"), Type::TagMoved),
        ("delete refs/tags/build\n".to_owned(), Type::TagDeleted),
    ];
    for (command, kind) in steps {
        stage.repo.update(&command);
        let event = stage.event();
        assert_eq!((event.r#type(), event.annotated), (kind, false));
        assert_eq!((&*event.old_peeled_oid, &*event.new_peeled_oid), ("", ""));
    }
    stage.validate();
}

#[test]
fn an_annotated_tag_tells_the_commit_that_it_leads_to() {
    let mut stage = Stage::plain();
    let [one, two] = stage.repo.history();
    stage.repo.git(&["tag", "-a", "-m", "m", "inner", &one]);
    let created = stage.event();
    assert_eq!((created.r#type(), created.annotated), (Type::TagCreated, true));
    assert_eq!(created.new_oid, stage.repo.git(&["rev-parse", "refs/tags/inner"]));
    assert_eq!((&*created.old_peeled_oid, &*created.new_peeled_oid), ("", &*one));
    // A tag of a tag leads on.
    stage.repo.git(&["tag", "-a", "-m", "m", "outer", "inner"]);
    assert_eq!(stage.event().new_peeled_oid, one);
    stage.repo.git(&["tag", "-f", "-a", "-m", "m", "inner", &two]);
    let moved = stage.event();
    assert_eq!(
        (moved.r#type(), &*moved.old_peeled_oid, &*moved.new_peeled_oid),
        (Type::TagMoved, &*one, &*two)
    );
    stage.repo.git(&["tag", "-d", "inner"]);
    let deleted = stage.event();
    assert_eq!((deleted.r#type(), deleted.annotated), (Type::TagDeleted, true));
    assert_eq!((&*deleted.old_peeled_oid, &*deleted.new_peeled_oid), (&*two, ""));
    stage.validate();
}

#[test]
fn a_release_follows_its_tag_in_the_same_transaction() {
    let mut stage = Stage::plain();
    let [one] = stage.repo.history();
    stage.repo.update(&format!("create refs/tags/v1.2.3 {one}\n"));
    let events = stage.events();
    let [tag, release] = events.as_slice() else { panic!("two events: {events:#?}") };
    assert_eq!((tag.r#type(), release.r#type()), (Type::TagCreated, Type::ReleaseCreated));
    assert_eq!((&*release.ref_name, release.change()), ("refs/tags/v1.2.3", RefChange::Unspecified));
    assert_eq!(release.new_oid, one);
    let transaction = |event: &GitEvent| event.transaction.clone().expect("set");
    assert_eq!(transaction(release), Transaction { index: 1, size: 2, ..transaction(tag) });
    stage.repo.update(&format!("create refs/tags/not-a-release {one}\n"));
    assert_eq!(stage.event().r#type(), Type::TagCreated);
    stage.validate();
}

#[test]
fn the_default_branch_changes_also_to_an_unborn_branch_and_when_detached() {
    let mut stage = Stage::plain();
    let [one] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\ncreate refs/heads/next {one}\n"));
    stage.events();
    let told = |event: &GitEvent| {
        assert_eq!((event.r#type(), event.ref_namespace()), (Type::DefaultBranchChanged, RefNamespace::Head));
        (event.old_symbolic_target.clone(), event.new_symbolic_target.clone(), event.new_oid.clone())
    };
    let (main, next, unborn) = ("refs/heads/main", "refs/heads/next", "refs/heads/unborn");
    stage.repo.git(&["symbolic-ref", "HEAD", next]);
    assert_eq!(told(&stage.event()), (main.to_owned(), next.to_owned(), stage.repo.zero()));
    let library = if Library::Gix.writes(stage.repo.flavour) { Library::Gix } else { Library::Git };
    assert!(library.edit(&stage.repo, &[format!("HEAD=ref:{unborn}")]).status.success());
    assert_eq!(told(&stage.event()), (next.to_owned(), unborn.to_owned(), stage.repo.zero()));
    stage.repo.git(&["update-ref", "--no-deref", "HEAD", &one]);
    assert_eq!(told(&stage.event()), (unborn.to_owned(), String::new(), one));
    stage.repo.git(&["symbolic-ref", "HEAD", main]);
    assert_eq!(told(&stage.event()), (String::new(), main.to_owned(), stage.repo.zero()));
    stage.validate();
}

#[test]
fn other_namespaces_have_types_of_their_own() {
    let mut stage = Stage::plain();
    let [one, two] = stage.repo.history();
    let cases = [
        ("refs/notes/commits", Type::NotesUpdated, RefNamespace::Notes),
        ("refs/pull/1/head", Type::ChangeRequestRefUpdated, RefNamespace::ChangeRequest),
        ("refs/merge-requests/1/head", Type::ChangeRequestRefUpdated, RefNamespace::ChangeRequest),
        ("refs/changes/01/1/1", Type::ChangeRequestRefUpdated, RefNamespace::ChangeRequest),
        ("refs/remotes/origin/main", Type::CustomRefUpdated, RefNamespace::Remote),
        ("refs/keep-around/1", Type::CustomRefUpdated, RefNamespace::Internal),
        ("refs/x/y", Type::CustomRefUpdated, RefNamespace::Custom),
    ];
    for (name, kind, namespace) in cases {
        for command in
            [format!("create {name} {one}\n"), format!("update {name} {two}\n"), format!("delete {name}\n")]
        {
            stage.repo.update(&command);
            let event = stage.event();
            assert_eq!((event.r#type(), event.ref_namespace(), &*event.ref_name), (kind, namespace, name));
        }
    }
    stage.repo.git(&["replace", &one, &two]);
    assert_eq!(stage.told(), [(Type::ReplaceRefUpdated, format!("refs/replace/{one}"))]);
    stage.validate();
}

#[test]
fn internal_namespaces_are_left_out_unless_asked_for() {
    let mut stage = Stage::plain();
    let [one] = stage.repo.history();
    let mut ask = refwatch_tests::request(
        refwatch_proto::v1::watch_events_request::Start::Now(refwatch_proto::v1::Now {}),
        refwatch_tests::filter(),
    );
    ask.filter = None;
    let plain = refwatch_tests::Recorder::start(&stage.client, ask);
    stage.repo.update(&format!("create refs/keep-around/{one} {one}\n"));
    stage.repo.update(&format!("create refs/heads/main {one}\n"));
    assert_eq!(plain.settle(&stage.client).told(), [(Type::BranchCreated, "refs/heads/main")]);
    assert_eq!(stage.events().len(), 2);
}

#[test]
fn a_symbolic_ref_is_created_retargeted_made_direct_and_deleted() {
    let mut stage = Stage::plain();
    let [one] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\ncreate refs/heads/next {one}\n"));
    stage.events();
    let alias = "refs/heads/alias";
    let steps: [(&[&str], RefChange); 4] = [
        (&["symbolic-ref", alias, "refs/heads/main"], RefChange::Created),
        (&["symbolic-ref", alias, "refs/heads/next"], RefChange::Updated),
        (&["update-ref", "--no-deref", alias, &one], RefChange::Updated),
        (&["symbolic-ref", alias, "refs/heads/main"], RefChange::Updated),
    ];
    for (command, change) in steps {
        stage.repo.git(command);
        let event = stage.event();
        assert_eq!((event.r#type(), event.change()), (Type::SymbolicRefUpdated, change), "{command:?}");
    }
    stage.validate();
    stage.repo.git(&["symbolic-ref", "--delete", alias]);
    let event = stage.event();
    assert_eq!((event.r#type(), event.change()), (Type::SymbolicRefUpdated, RefChange::Deleted));
    // What a symbolic ref points to moves alone: its value is a name.
    let [_, two] = stage.repo.history();
    stage.repo.git(&["symbolic-ref", alias, "refs/heads/main"]);
    stage.repo.git(&["update-ref", alias, &two]);
    let told = stage.told();
    assert_eq!(told, list([(Type::SymbolicRefUpdated, alias), (Type::BranchUpdated, "refs/heads/main")]));
    stage.validate();
}

#[test]
fn a_bulk_transaction_is_closed_by_a_summary() {
    let mut stage = Stage::plain();
    let [one] = stage.repo.history();
    let lines: String = (0..99).map(|index| format!("create refs/heads/b{index} {one}\n")).collect();
    stage.repo.update(&lines);
    let events = stage.events();
    assert!(events.iter().all(|event| event.r#type() == Type::BranchCreated), "99 are no bulk");
    assert_eq!(events.len(), 99);
    let lines: String = (0..120).map(|index| format!("create refs/tags/t{index} {one}\n")).collect();
    stage.repo.update(&lines);
    let events = stage.events();
    assert_eq!(events.len(), 121, "one transaction");
    let last = events.last().expect("some");
    assert_eq!((last.r#type(), &*last.ref_name), (Type::MirrorSynced, ""));
    let summary = last.summary.as_ref().expect("a summary has one");
    assert_eq!((summary.created, summary.updated, summary.deleted), (120, 0, 0));
    assert_eq!(summary.cause(), SummaryCause::Bulk);
    assert_eq!(last.transaction.as_ref().map(|of| (of.index, of.size)), Some((120, 121)));
    stage.validate();
}

#[test]
fn a_mirror_fetch_is_closed_by_a_summary() {
    let world = refwatch_tests::World::new();
    let source = world.source(Flavour::PLAIN);
    let [one, two, three] = source.0.history();
    let lines =
        |oid: &str| (0..5).map(|index| format!("update refs/heads/b{index} {oid}\n")).collect::<String>();
    source.0.update(&lines(&one));
    let from = source.0.git_dir.to_str().expect("text");
    git_in(&world.root, &["clone", "-q", "--mirror", from, "mirror.git"]);
    let repo = refwatch_tests::Repo::at(world.root.join("mirror.git"), "mirror.git", Flavour::PLAIN);
    let mut stage = Stage::over(refwatch_tests::Options::new(&world), world, repo);
    source.0.update(&lines(&two));
    stage.repo.git(&["fetch", "-q", "--atomic", "origin"]);
    let mut events = stage.events();
    let synced = events.pop().expect("some");
    assert_eq!(synced.r#type(), Type::MirrorSynced);
    let summary = synced.summary.expect("a summary has one");
    assert_eq!((summary.updated, summary.cause()), (5, SummaryCause::MirrorFetch));
    assert!(events.iter().all(|event| event.r#type() == Type::BranchUpdated) && events.len() == 5);
    // Without `--atomic` Git writes each ref by itself: how many are seen at once is left to chance.
    source.0.update(&lines(&three));
    stage.repo.git(&["remote", "update"]);
    let events = stage.events();
    assert_eq!(events.iter().filter(|event| event.r#type() == Type::BranchUpdated).count(), 5);
    let mut summaries = events.iter().filter_map(|event| event.summary.as_ref());
    assert!(summaries.all(|summary| summary.cause() == SummaryCause::MirrorFetch), "{events:#?}");
    stage.validate();
}

#[test]
fn a_broken_ref_is_told_once_and_keeps_its_value_until_it_is_repaired() {
    let mut stage = Stage::of_files();
    let [one, two] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\n"));
    stage.events();
    stage.repo.write("refs/heads/main", "");
    let broken = stage.event();
    assert_eq!((broken.r#type(), broken.change()), (Type::RefBroken, RefChange::Unspecified));
    assert_eq!(broken.broken.as_ref().map(|broken| &*broken.reason), Some("the file is empty"));
    stage.repo.write("refs/heads/main", "garbage\n");
    assert_eq!(stage.told(), [], "once");
    let (refs, _) = stage.client.refs(0);
    let main = refs.iter().find(|taken| taken.name == "refs/heads/main").expect("still there");
    assert_eq!((&main.oid, main.broken.is_some()), (&one, true), "its last good value stands");
    stage.repo.write("refs/heads/main", format!("{one}\n"));
    assert_eq!(stage.event().r#type(), Type::RefRepaired);
    stage.repo.write("refs/heads/main", "garbage\n");
    assert_eq!(stage.event().r#type(), Type::RefBroken);
    stage.repo.write("refs/heads/main", format!("{two}\n"));
    let main = "refs/heads/main";
    assert_eq!(stage.told(), list([(Type::RefRepaired, main), (Type::BranchUpdated, main)]));
    stage.repo.write("refs/heads/main", "garbage\n");
    assert_eq!(stage.event().r#type(), Type::RefBroken);
    std::fs::remove_file(stage.repo.git_dir.join(main)).expect("removed");
    assert_eq!(stage.told(), list([(Type::BranchDeleted, main)]), "what is gone is not repaired");
    stage.validate();
}
