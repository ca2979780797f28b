use refwatch_proto::v1::{Actor, BrokenRef, EventRepository, RefChange, Rejection, Summary, Transaction};

use super::*;

const PLAIN: Format = Format { paint: Paint::Plain, zone: TimeZone::UTC };

fn event(kind: GitEventType, name: &str) -> GitEvent {
    GitEvent {
        r#type: kind.into(),
        repository: Some(EventRepository { path: "team/app.git".to_owned(), ..EventRepository::default() }),
        ref_name: name.to_owned(),
        change: RefChange::Updated.into(),
        old_oid: "1".repeat(40),
        new_oid: "abcdef0123456789".repeat(4),
        observed_at_us: 1_767_225_600_123_456,
        transaction: Some(Transaction { id: "t".to_owned(), index: 0, size: 1 }),
        ..GitEvent::default()
    }
}

#[track_caller]
fn reads(event: &GitEvent, expected: &str) {
    assert_eq!(PLAIN.event(event), format!("2026-01-01 00:00:00.123 team/app.git {expected}"));
}

#[test]
fn a_branch_is_shown_short_with_both_values() {
    let mut moved = event(GitEventType::BranchUpdated, "refs/heads/feature/x");
    reads(&moved, "branch-updated feature/x 1111111111..abcdef0123");
    moved.coalesced = true;
    moved.transaction = Some(Transaction { id: "t".to_owned(), index: 1, size: 3 });
    moved.actor = Some(Actor { name: "ada".to_owned(), ..Actor::default() });
    reads(&moved, "branch-updated feature/x 1111111111..abcdef0123 [2/3] ~ by ada");
}

#[test]
fn a_forced_update_says_so() {
    let forced = GitEvent {
        forward: Forward::Forced.into(),
        ..event(GitEventType::BranchForcePushed, "refs/heads/m")
    };
    reads(&forced, "branch-force-pushed m 1111111111..abcdef0123 forced");
}

#[test]
fn tags_show_what_they_lead_to() {
    let tag = GitEvent {
        old_oid: "0".repeat(40),
        new_peeled_oid: "2".repeat(40),
        annotated: true,
        ..event(GitEventType::TagCreated, "refs/tags/v1")
    };
    reads(&tag, "tag-created v1 0000000000..abcdef0123 ^2222222222");
}

#[test]
fn symbolic_targets_stand_for_values() {
    let head = GitEvent {
        old_symbolic_target: "refs/heads/main".to_owned(),
        new_symbolic_target: "refs/heads/trunk".to_owned(),
        ..event(GitEventType::DefaultBranchChanged, "HEAD")
    };
    reads(&head, "default-branch-changed HEAD ref:refs/heads/main..ref:refs/heads/trunk");
}

#[test]
fn events_without_a_ref_say_what_they_are_about() {
    let bare = GitEvent {
        old_oid: String::new(),
        new_oid: String::new(),
        ..event(GitEventType::RepositoryMoved, "")
    };
    reads(&GitEvent { previous_path: "old.git".to_owned(), ..bare.clone() }, "repository-moved from old.git");
    let summary = Some(Summary { created: 2, deleted: 1, ..Summary::default() });
    let push = GitEvent { r#type: GitEventType::PushReceived.into(), summary, ..bare.clone() };
    reads(&push, "push-received 2 created 1 deleted");
    reads(&GitEvent { r#type: 4711, ..bare }, "type-4711");
}

#[test]
fn refusals_and_broken_refs_say_why() {
    let rejection = Rejection {
        stage: RejectionStage::PreReceive.into(),
        reason: "HOOK_DECLINED".to_owned(),
        message: "no\nway\x1b[2J\n".to_owned(),
    };
    let refused =
        GitEvent { rejection: Some(rejection), ..event(GitEventType::PushRejected, "refs/heads/main") };
    reads(
        &refused,
        "push-rejected refs/heads/main 1111111111..abcdef0123 at pre-receive HOOK_DECLINED no\\u{a}way\\u{1b}[2J",
    );
    let broken = GitEvent {
        broken: Some(BrokenRef { reason: "the file is empty".to_owned() }),
        new_oid: "1".repeat(40),
        ..event(GitEventType::RefBroken, "refs/heads/main")
    };
    reads(&broken, "ref-broken refs/heads/main 1111111111..1111111111 (the file is empty)");
}

#[test]
fn nothing_that_was_pushed_reaches_the_terminal_raw() {
    let evil = "\x1b]0;owned\x07\u{9b}2J\u{202e}\r\n".to_owned();
    let oid = format!("{evil}{}", "1".repeat(40));
    let event = GitEvent {
        repository: Some(EventRepository { path: evil.clone(), ..EventRepository::default() }),
        ref_name: format!("refs/heads/{evil}"),
        old_oid: oid.clone(),
        new_oid: oid,
        new_peeled_oid: evil.clone(),
        old_symbolic_target: evil.clone(),
        actor: Some(Actor { name: evil.clone(), ..Actor::default() }),
        previous_path: evil.clone(),
        renamed_from: evil.clone(),
        broken: Some(BrokenRef { reason: evil.clone() }),
        rejection: Some(Rejection { reason: evil.clone(), message: evil.clone(), ..Rejection::default() }),
        ..event(GitEventType::BranchUpdated, "")
    };
    let line = PLAIN.event(&event);
    assert!(line.chars().all(|char| !char.is_control() && char != '\u{202e}'), "{line:?}");
    let reference = Ref {
        name: evil.clone(),
        symbolic_target: evil.clone(),
        peeled_oid: evil.clone(),
        broken: Some(BrokenRef { reason: evil.clone() }),
        ..Ref::default()
    };
    let line = PLAIN.reference(&evil, &reference);
    assert!(line.chars().all(|char| !char.is_control() && char != '\u{202e}'), "{line:?}");
}

#[test]
fn colours_surround_words_and_nothing_else() {
    let format = Format { paint: Paint::Coloured, zone: TimeZone::UTC };
    let line = format.event(&event(GitEventType::BranchDeleted, "refs/heads/x"));
    assert_eq!(
        line,
        "\x1b[2m2026-01-01 00:00:00.123\x1b[0m team/app.git \x1b[31mbranch-deleted\x1b[0m \x1b[1mx\x1b[0m \
         1111111111..abcdef0123"
    );
}

#[test]
fn refs_are_shown_in_full() {
    let main = Ref { name: "refs/heads/main".to_owned(), oid: "1".repeat(40), ..Ref::default() };
    assert_eq!(PLAIN.reference("a.git", &main), format!("{} a.git refs/heads/main", "1".repeat(40)));
    let head =
        Ref { name: "HEAD".to_owned(), symbolic_target: "refs/heads/main".to_owned(), ..Ref::default() };
    assert_eq!(PLAIN.reference("a.git", &head), "ref:refs/heads/main a.git HEAD");
}
