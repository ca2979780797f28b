//! `refwatch hook`: what is installed records, and what is removed leaves everything as it was.

mod configured;
mod former;
mod refusals;
mod status;
mod support;

use std::fs;

use refwatch_tests::{Flavour, World};
use support::{Listing, Times, hook, listing, ran, refused, sink};

/// Installs, pushes, looks for the record, removes, and compares.
fn round_trip(flavour: Flavour, with_former: bool) {
    let world = World::new();
    let repo = world.repo_as("team/app.git", flavour);
    let source = world.source(flavour);
    let [one, _] = source.0.history();
    let said = world.beside("former");
    if with_former {
        for name in ["pre-receive", "post-receive", "reference-transaction"] {
            support::write_hook(&repo.git_dir, name, &format!("cat >>{}", said.display()));
        }
    }
    let before = sink(listing(&repo.git_dir, Times::OfFiles));
    let path = repo.git_dir.to_str().expect("text");
    let phases = "pre-receive,update,post-receive,reference-transaction";
    ran(&["install", path, "--phases", phases]);
    source.push(&repo, &[&format!("{one}:refs/heads/pushed")]);
    let journal = fs::read(repo.git_dir.join("refwatch/journal")).expect("a journal");
    let line = format!("{one} refs/heads/pushed\n");
    let records = journal.windows(line.len()).filter(|bytes| *bytes == line.as_bytes()).count();
    assert_eq!(records, 3, "what is asked for, the transaction, and what is taken");
    if with_former {
        let lines = fs::read_to_string(&said).expect("the former hooks ran");
        assert!(lines.matches(&line).count() >= 3, "{lines}");
    }
    ran(&["remove", path]);
    assert_eq!(sink(listing(&repo.git_dir, Times::OfFiles)), before, "{flavour:?} {with_former}");
    source.push(&repo, &[&format!("{one}:refs/heads/after")]);
    assert!(!repo.git_dir.join("refwatch").exists());
}

#[test]
fn a_bare_repository_records_and_is_as_it_was_once_they_are_removed() {
    round_trip(Flavour::PLAIN, false);
    round_trip(Flavour::PLAIN, true);
}

#[test]
fn so_does_one_with_a_working_tree() {
    round_trip(Flavour::WORKTREE, false);
    round_trip(Flavour::WORKTREE, true);
}

#[test]
fn so_does_one_with_reftables_and_one_with_long_ids() {
    round_trip(Flavour::REFTABLE, false);
    round_trip(Flavour::REFTABLE, true);
    round_trip(Flavour::SHA256, true);
}

#[test]
fn a_tree_of_twenty_repositories_is_one_command() {
    let world = World::new();
    let repos: Vec<_> = (0..20).map(|number| world.repo(&format!("{}/{number}.git", number % 3))).collect();
    support::write_hook(&repos[7].git_dir, "pre-receive", "cat >/dev/null");
    let root = world.root.to_str().expect("text");
    let before = sink(listing(&world.root, Times::OfFiles));
    assert!(ran(&["install", "--recursive", root]).ends_with("20 repositories: installed\n"));
    let source = world.source(Flavour::PLAIN);
    let [one, _] = source.0.history();
    for repo in &repos {
        source.push(repo, &[&format!("{one}:refs/heads/main")]);
        assert!(repo.git_dir.join("refwatch/journal").is_file(), "{}", repo.path);
    }
    let again = ran(&["install", "--recursive", root]);
    assert_eq!(again, "20 repositories: installed already, nothing to do\n");
    ran(&["remove", "--recursive", root]);
    let after = sink(listing(&world.root, Times::OfFiles));
    let is_kept = |path: &&String| !path.contains("/refs/") && !path.contains("/objects/");
    let (before, after): (Vec<_>, Vec<_>) =
        (before.keys().filter(is_kept).collect(), after.keys().filter(is_kept).collect());
    assert_eq!(before, after);
}

#[test]
fn a_second_installation_and_a_second_removal_change_nothing() {
    let world = World::new();
    let repo = world.repo("app.git");
    support::write_hook(&repo.git_dir, "pre-receive", "exit 0");
    let path = repo.git_dir.to_str().expect("text");
    let fresh = listing(&repo.git_dir, Times::OfFiles);
    ran(&["install", path]);
    let installed = listing(&repo.git_dir, Times::OfAll);
    assert_eq!(ran(&["install", path, path]), "1 repository: installed already, nothing to do\n");
    assert_eq!(listing(&repo.git_dir, Times::OfAll), installed);
    ran(&["remove", path]);
    let removed = listing(&repo.git_dir, Times::OfAll);
    assert_eq!(ran(&["remove", path]), "1 repository: nothing of ours to remove\n");
    assert_eq!(listing(&repo.git_dir, Times::OfAll), removed);
    assert_eq!(listing(&repo.git_dir, Times::OfFiles), fresh);
}

#[test]
fn a_dry_run_says_what_will_be_done_and_touches_nothing() {
    let world = World::new();
    let repo = world.repo("app.git");
    support::write_hook(&repo.git_dir, "pre-receive", "exit 0");
    let path = repo.git_dir.to_str().expect("text");
    for verb in ["install", "remove"] {
        let before = listing(&world.root, Times::OfAll);
        let would = ran(&[verb, path, "--dry-run"]);
        assert_eq!(listing(&world.root, Times::OfAll), before);
        let done = ran(&[verb, path]);
        let would: Vec<_> = would.lines().filter_map(|line| line.strip_prefix("would ")).collect();
        let done: Vec<_> = done.lines().collect();
        assert_eq!(would, done[..done.len() - 1], "all but the summary");
        assert!(would.len() >= 3, "{would:?}");
    }
}

#[test]
fn phases_that_are_named_are_all_that_is_installed() {
    let world = World::new();
    let repo = world.repo("app.git");
    support::write_hook(&repo.git_dir, "update", "exit 0");
    let path = repo.git_dir.to_str().expect("text");
    let fresh = listing(&repo.git_dir, Times::OfFiles);
    let links = |listing: &Listing| {
        let names = listing.keys().filter_map(|path| path.strip_prefix("hooks/"));
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    ran(&["install", path, "--phases", "update,reference-transaction"]);
    let all = ["reference-transaction", "update", "update.refwatch-former"];
    assert_eq!(links(&listing(&repo.git_dir, Times::OfFiles)), all);
    let said = ran(&["install", path]);
    assert!(said.contains("note: ") && said.contains("and stays"), "{said}");
    ran(&["install", path, "--phases", "post-receive"]);
    assert_eq!(links(&listing(&repo.git_dir, Times::OfFiles)), ["post-receive", "update"]);
    ran(&["remove", path]);
    assert_eq!(listing(&repo.git_dir, Times::OfFiles), fresh);
}

#[test]
fn shared_hooks_are_installed_where_they_are_named_and_serve_all() {
    let world = World::new();
    let [one, two] = ["one.git", "two.git"].map(|path| world.repo(path));
    let shared = world.beside("shared hooks");
    fs::create_dir(&shared).expect("made");
    support::write_hook_in(&shared, "pre-receive", "cat >/dev/null");
    let named = shared.to_str().expect("text");
    for repo in [&one, &two] {
        repo.git(&["config", "core.hooksPath", named]);
    }
    let paths = [&one, &two].map(|repo| repo.git_dir.to_str().expect("text"));
    let fresh = listing(&shared, Times::OfFiles);
    assert!(refused(&["install", paths[0]]).contains("--hooks-path"));
    ran(&["install", paths[0], paths[1], "--hooks-path", named]);
    let source = world.source(Flavour::PLAIN);
    let [commit, _] = source.0.history();
    for repo in [&one, &two] {
        source.push(repo, &[&format!("{commit}:refs/heads/main")]);
        assert!(repo.git_dir.join("refwatch/journal").is_file());
    }
    let said = ran(&["remove", paths[0]]);
    assert!(said.contains("stay; --hooks-path"), "{said}");
    assert!(!one.git_dir.join("refwatch").exists());
    assert_ne!(listing(&shared, Times::OfFiles), fresh, "the other repository is still served");
    source.push(&two, &[&format!("{commit}:refs/heads/still")]);
    ran(&["remove", paths[1], "--hooks-path", named]);
    assert_eq!(listing(&shared, Times::OfFiles), fresh);
}

#[test]
fn a_spool_takes_the_journals_and_is_empty_again() {
    let world = World::new();
    let repo = world.repo("app.git");
    let fresh = sink(listing(&repo.git_dir, Times::OfFiles));
    let spool = world.beside("spool");
    fs::create_dir(&spool).expect("made");
    let [path, named] = [&repo.git_dir, &spool].map(|path| path.to_str().expect("text"));
    ran(&["install", path, "--spool", named]);
    assert_eq!(ran(&["install", path, "--spool", named]), "1 repository: installed already, nothing to do\n");
    let source = world.source(Flavour::PLAIN);
    let [one, _] = source.0.history();
    source.push(&repo, &[&format!("{one}:refs/heads/main")]);
    let place = fs::read_link(repo.git_dir.join("refwatch")).expect("a link");
    assert!(place.starts_with(spool.canonicalize().expect("there")) && place.join("journal").is_file());
    let another = world.beside("another");
    fs::create_dir(&another).expect("made");
    assert!(
        refused(&["install", path, "--spool", another.to_str().expect("text")]).contains("records already")
    );
    ran(&["remove", path]);
    assert_eq!(fs::read_dir(&spool).expect("read").count(), 0);
    assert_eq!(sink(listing(&repo.git_dir, Times::OfFiles)), fresh);
}

#[test]
fn a_shared_repository_has_a_journal_that_its_group_may_write() {
    use std::os::unix::fs::{MetadataExt, chown};
    let world = World::new();
    let repo = world.repo("app.git");
    repo.git(&["config", "core.sharedRepository", "group"]);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(&repo.git_dir, Some(65_534), Some(65_534)).expect("given away");
    }
    ran(&["install", repo.git_dir.to_str().expect("text"), "--hook-binary", support::reachable(&world)]);
    for name in ["refwatch", "hooks"] {
        let found = fs::metadata(repo.git_dir.join(name)).expect("made");
        assert_eq!(found.mode() & 0o7070, 0o2070, "{name}: {:o}", found.mode());
        assert!(!is_root || (found.uid(), found.gid()) == (65_534, 65_534), "{name} is its owner's");
    }
    // What a group of one user cannot show: a hook of somebody else in it finds the journal open to the group.
    let status = hook(&["status", repo.git_dir.to_str().expect("text")]);
    assert_eq!(status.status.code(), Some(0), "{status:?}");
}
