//! `refwatch hook status` names what keeps hooks from recording.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use refwatch_tests::{Flavour, Repo, World};
use serde_json::Value;

use super::support::{hook, ran, write_hook};

/// The exit code, and the one line as JSON.
fn status(repo: &Repo) -> (Option<i32>, Value) {
    let output = hook(&["status", repo.git_dir.to_str().expect("text"), "--json"]);
    let line = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), serde_json::from_str(&line).expect("one line of JSON"))
}

fn states(report: &Value) -> Vec<&str> {
    report["hooks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|hook| hook["state"].as_str().expect("text"))
        .collect()
}

#[test]
fn it_tells_what_is_installed_and_when_the_last_record_came() {
    let world = World::new();
    let repo = world.repo("app.git");
    write_hook(&repo.git_dir, "pre-receive", "cat >/dev/null");
    write_hook(&repo.git_dir, "update", "exit 0");
    write_hook(&repo.git_dir, "pre-receive.d/20-more", "cat >/dev/null");
    let (code, report) = status(&repo);
    assert_eq!((code, &report["recording"]), (Some(0), &Value::Bool(false)));
    assert_eq!(states(&report), ["other", "other", "absent", "absent"]);
    ran(&["install", repo.git_dir.to_str().expect("text")]);
    let (code, report) = status(&repo);
    assert_eq!((code, &report["recording"]), (Some(0), &Value::Bool(true)), "{report}");
    assert_eq!(states(&report), ["installed", "other", "installed", "absent"]);
    assert_eq!(report["hooks"][0]["former"], true);
    assert!(report["hooks"][0]["also"][0].as_str().expect("one").ends_with("pre-receive.d/20-more"));
    let former = repo.git_dir.join("hooks/pre-receive.refwatch-former");
    let script = fs::read_to_string(&former).expect("read");
    fs::write(&former, format!("{script}# see pre-receive.d\n")).expect("written");
    assert_eq!(status(&repo).1["hooks"][0]["also"], Value::Array(vec![]), "it runs them by itself");
    fs::write(&former, script).expect("written");
    assert_eq!(
        (&report["journal"]["journals"], &report["journal"]["last_record_at"]),
        (&0.into(), &Value::Null)
    );
    let source = world.source(Flavour::PLAIN);
    let [one, _] = source.0.history();
    source.push(&repo, &[&format!("{one}:refs/heads/main")]);
    let journal = &status(&repo).1["journal"];
    assert_eq!(journal["journals"], 1);
    assert_eq!(journal["bytes"], journal["current_bytes"]);
    assert!(journal["last_record_at"].as_str().expect("a time").ends_with('Z'), "{journal}");
    let output = hook(&["status", repo.git_dir.to_str().expect("text")]);
    let text = String::from_utf8(output.stdout).expect("text");
    for part in
        ["app.git: recording", "runs the former hook", "20-more", "update: another hook", "last record 2"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn it_names_every_hindrance_and_ends_with_1() {
    type Hinder = fn(&World, &Repo);
    let cases: [(&str, Hinder); 8] = [
        ("No such file", |world, _| fs::remove_file(world.beside("refwatch-hook")).expect("removed")),
        ("is not executable", |world, _| {
            fs::set_permissions(world.beside("refwatch-hook"), Permissions::from_mode(0o644)).expect("set");
        }),
        ("is full", |_, repo| {
            let journal = File::create(repo.git_dir.join("refwatch/journal")).expect("made");
            journal.set_len(256 << 20).expect("long");
        }),
        ("is missing", |_, repo| fs::remove_dir(repo.git_dir.join("refwatch")).expect("removed")),
        ("leads to", |world, repo| {
            fs::remove_dir(repo.git_dir.join("refwatch")).expect("removed");
            symlink(world.beside("nowhere"), repo.git_dir.join("refwatch")).expect("linked");
        }),
        ("does not run the hooks in", |_, repo| drop(repo.git(&["config", "core.hooksPath", "/dev/null"]))),
        ("does not run the hooks in", |world, repo| {
            fs::create_dir(world.beside("shared")).expect("made");
            repo.git(&["config", "core.hooksPath", world.beside("shared").to_str().expect("text")]);
        }),
        ("is kept, but", |_, repo| {
            fs::remove_file(repo.git_dir.join("hooks/pre-receive")).expect("removed");
            fs::write(repo.git_dir.join("hooks/pre-receive.refwatch-former"), "x").expect("written");
        }),
    ];
    for (said, hinder) in cases {
        let world = World::new();
        let repo = world.repo("app.git");
        let program = super::support::reachable(&world);
        ran(&["install", repo.git_dir.to_str().expect("text"), "--hook-binary", program]);
        assert_eq!(status(&repo).0, Some(0), "{said}");
        hinder(&world, &repo);
        let (code, report) = status(&repo);
        assert_eq!((code, &report["recording"]), (Some(1), &Value::Bool(false)), "{said}: {report}");
        let hindrances = report["hindrances"].to_string();
        assert!(hindrances.contains(said), "{said} in {hindrances}");
    }
}
