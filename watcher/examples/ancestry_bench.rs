//! Measures how long it takes to tell how two commits relate, beside `git merge-base --is-ancestor`.
//!
//! `cargo run --release -p refwatch-watcher --example ancestry_bench [COMMITS]` (100,000 by default; git in the path).

#![allow(clippy::print_stdout, reason = "a table for people")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use refwatch_core::{ObjectFormat, ObjectId};
use refwatch_watcher::objects::{Budget, Objects};

const ROOMY: Budget = Budget { commits_max: u32::MAX, deadline: None };

fn main() {
    let commits: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let repo = std::env::temp_dir().join(format!("refwatch-ancestry-{}", std::process::id()));
    git(&repo, &["init", "-q", "--bare", "."], b"");
    let ids = import(&repo, commits);
    let tip = ids[commits - 1];
    let at = |back: usize| ids[commits - 1 - back.min(commits - 1)];
    let amended = commit(&repo, &[at(1)], "amended");
    let child = commit(&repo, &[tip], "child");
    let stranger = commit(&repo, &[], "stranger");
    let cases = [
        ("adjacent, loose", tip, child),
        ("adjacent, packed", at(1), tip),
        ("amended", tip, amended),
        ("reset back by 1", tip, at(1)),
        ("forward by 100", at(100), tip),
        ("forward by 10,000", at(10_000), tip),
        ("reset back by 10,000", tip, at(10_000)),
        ("forward by all", ids[0], tip),
        ("unrelated", stranger, tip),
    ];
    for graph in ["no commit-graph", "commit-graph"] {
        println!("\n{commits} commits, {graph}: {:>38} {:>12} {:>14}", "first", "again", "git");
        for (name, old, new) in cases {
            let opened = Instant::now();
            let mut objects = open(&repo);
            let told = objects.relation(old, new, &ROOMY);
            let first = opened.elapsed();
            let again = best(|| objects.relation(old, new, &ROOMY));
            let git_took = best(|| is_ancestor(&repo, old, new));
            let told = format!("{told:?}");
            println!("{name:<24} {told:<14} {first:>17.1?} {again:>12.1?} {git_took:>14.1?}");
        }
        git(&repo, &["commit-graph", "write", "--reachable"], b"");
    }
    packs(&repo, tip);
    std::fs::remove_dir_all(&repo).expect("removable");
}

/// Pushes that each bring a pack, into a repository that has 50.
fn packs(repo: &Path, tip: ObjectId) {
    let mut last = tip;
    let mut push = || {
        let new = commit(repo, &[last], "pushed");
        git(repo, &["pack-objects", "-q", "objects/pack/pack"], format!("{new}\n").as_bytes());
        git(repo, &["prune-packed", "-q"], b"");
        (std::mem::replace(&mut last, new), new)
    };
    for _ in 0..50 {
        push();
    }
    let mut objects = open(repo);
    objects.relation(tip, last_of(repo), &ROOMY);
    let mut took = Vec::new();
    for _ in 0..20 {
        let (old, new) = push();
        let start = Instant::now();
        objects.relation(old, new, &ROOMY);
        took.push(start.elapsed());
    }
    took.sort_unstable();
    println!("\n50 packs and more:\na push that brings a pack {:>45.1?}", took[took.len() / 2]);
    let absent = ObjectId::from_hex("ab".repeat(20).as_bytes()).expect("an id");
    println!("a missing object {:>54.1?}", best(|| objects.peel(absent)));
    let cold = best(|| open(repo).relation(tip, last_of(repo), &ROOMY));
    println!("opened anew, with a look into the oldest pack {cold:>25.1?} (with one git process)");
    println!("git rev-parse alone {:>51.1?}", best(|| last_of(repo)));
}

fn last_of(repo: &Path) -> ObjectId {
    id(&git(repo, &["rev-parse", "refs/heads/last"], b""))
}

fn open(repo: &Path) -> Objects {
    Objects::open(repo, ObjectFormat::Sha1).expect("a repository")
}

/// The shortest of many runs.
fn best<T>(mut act: impl FnMut() -> T) -> Duration {
    let until = Instant::now() + Duration::from_millis(500);
    let mut best = Duration::MAX;
    for round in 0.. {
        let start = Instant::now();
        std::hint::black_box(act());
        best = best.min(start.elapsed());
        if round >= 2 && Instant::now() > until {
            break;
        }
    }
    best
}

fn import(repo: &Path, commits: usize) -> Vec<ObjectId> {
    let mut stream = String::new();
    for number in 1..=commits {
        // Messages as long as people's, and a merge of a short branch now and then.
        let message = format!(
            "Change number {number} of many\n\n{}",
            "Because it had to be changed. ".repeat(number % 9)
        );
        let date = 1_500_000_000 + 60 * number;
        stream.push_str(&format!(
            "commit refs/heads/main\nmark :{number}\ncommitter Some Body <some.body@example.com> {date} +0000\ndata {}\n{message}\n",
            message.len()
        ));
        if number > 1 {
            stream.push_str(&format!("from :{}\n", number - 1));
        }
        if number % 10 == 0 {
            stream.push_str(&format!("merge :{}\n", number - 5));
        }
        stream.push('\n');
    }
    git(repo, &["fast-import", "--quiet", "--export-marks=marks"], stream.as_bytes());
    git(repo, &["repack", "-adfq"], b"");
    let marks = std::fs::read_to_string(repo.join("marks")).expect("marks");
    let mut ids: Vec<_> = marks
        .lines()
        .map(|line| line[1..].split_once(' ').expect("a mark and an id"))
        .map(|(mark, hex)| (mark.parse::<usize>().expect("a number"), id(hex)))
        .collect();
    ids.sort_unstable_by_key(|(mark, _)| *mark);
    ids.into_iter().map(|(_, id)| id).collect()
}

fn commit(repo: &Path, parents: &[ObjectId], message: &str) -> ObjectId {
    let tree = git(repo, &["mktree"], b"");
    let parents: Vec<_> = parents.iter().map(ObjectId::to_hex).collect();
    let mut args = vec!["commit-tree", "-m", message, &tree];
    args.extend(parents.iter().flat_map(|parent| ["-p", parent]));
    let new = git(repo, &args, b"");
    git(repo, &["update-ref", "refs/heads/last", &new], b"");
    id(&new)
}

fn id(hex: &str) -> ObjectId {
    ObjectId::from_hex(hex.trim().as_bytes()).expect("git prints ids")
}

fn is_ancestor(repo: &Path, old: ObjectId, new: ObjectId) {
    let status = command(repo, &["merge-base", "--is-ancestor", &old.to_hex(), &new.to_hex()]).status();
    assert!(status.expect("git runs").code().is_some_and(|code| code < 2));
}

fn command(repo: &Path, args: &[&str]) -> Command {
    std::fs::create_dir_all(repo).expect("writable");
    let mut command = Command::new("git");
    command
        .current_dir(repo)
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@x"), ("GIT_COMMITTER_NAME", "C")]);
    command.env("GIT_COMMITTER_EMAIL", "c@x");
    command
}

fn git(repo: &Path, args: &[&str], input: &[u8]) -> String {
    let mut child =
        command(repo, args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git starts");
    child.stdin.take().expect("piped").write_all(input).expect("git reads");
    let output = child.wait_with_output().expect("git ends");
    assert!(output.status.success(), "git {args:?}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}
