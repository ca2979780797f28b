//! `proto/GUIDE.md`, followed from top to bottom in an empty folder.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use refwatch_tests::{Document, Flavour, Printing, World, binary, tools};

use super::stage::{bash, executable};

const GUIDE: &str = "proto/GUIDE.md";

#[test]
fn docs_the_guide_leads_from_nothing_to_two_controllers() {
    let world = World::new();
    let (here, source, programs) = (world.beside("here"), world.beside("source"), world.beside("programs"));
    let built = source.join("target/debug");
    for folder in [&here, &programs, &built.join("examples")] {
        fs::create_dir_all(folder).expect("made");
    }
    // What its first block builds is built: together with the tests.
    executable(&programs.join("cargo"), "#!/bin/sh\ntest \"$1\" = build\n");
    for (program, name) in [
        (binary::refwatch().to_owned(), "refwatch"),
        (binary::refwatch_hook(), "refwatch-hook"),
        (binary::guide_sync(), "examples/sync-controller"),
        (binary::guide_release(), "examples/release-controller"),
    ] {
        symlink(program, built.join(name)).expect("linked");
    }
    // Both at once, or they might be the same.
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [grpc, http] = listeners.each_ref().map(|listener| listener.local_addr().expect("bound").to_string());
    drop(listeners);

    let blocks = Document::read(GUIDE).commands();
    let mut script = String::new();
    for block in blocks.iter().filter(|block| block.needs().is_none()) {
        let commands = block.text.replace("/path/to/refwatch", source.to_str().expect("text"));
        script += &format!("{commands}echo '{{\"done\": {}}}'\n", block.line);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path)));
    let mut command = bash(&script);
    command
        .env_clear()
        .env("PATH", path.expect("no colon in it"))
        .env("HOME", &here)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("REFWATCH_GRPC__ADDRESS", &grpc)
        .env("REFWATCH_HTTP__ADDRESS", http)
        .env("REFWATCH_SERVER", &grpc)
        .current_dir(&here)
        .stderr(Stdio::inherit());
    let running = Printing::start(&mut command);
    for block in blocks.iter().filter(|block| block.needs().is_none()) {
        let is_done = |printed: &[serde_json::Value]| printed.iter().any(|line| line["done"] == block.line);
        running.wait_until(&format!("{GUIDE}:{} is done", block.line), is_done);
    }
    let (status, _) = running.wait_end();
    assert!(status.success(), "{status}");
    let names = fs::read_dir(here.join("archives")).expect("listed");
    let archives = names.filter(|name| {
        let name = name.as_ref().expect("listed").file_name();
        name.to_string_lossy().ends_with(".tar")
    });
    assert_eq!(archives.count(), 2, "each release once");
}

/// What a program of a language says of a release: `repository`, `tag` and object id are its arguments.
fn answers(mut judge: impl FnMut(&str, &str, &str) -> Output) {
    let world = World::new();
    let repo = world.repo_exactly("app.git", Flavour::PLAIN);
    let [one, two] = repo.history();
    repo.update(&format!(
        "create refs/heads/main {one}\ncreate refs/tags/on {one}\ncreate refs/tags/off {two}\n"
    ));
    let missing = "e".repeat(40);
    repo.replace("refs/tags/missing", format!("{missing}\n"));
    let directory = repo.git_dir.to_str().expect("text");
    for (tag, oid, expected) in [
        ("on", &one, "yes"),
        ("on", &two, "no"),
        ("off", &two, "no"),
        ("gone", &one, "no"),
        ("missing", &missing, "unknown"),
    ] {
        let output = judge(directory, tag, oid);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), expected, "{tag} {oid}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn block(language: &str) -> String {
    let blocks = Document::read(GUIDE).blocks();
    let mut found = blocks.into_iter().filter(|block| block.language == language);
    let block = found.next().unwrap_or_else(|| panic!("a block of {language}"));
    assert_eq!(found.next(), None, "one block of {language}");
    block.text
}

#[test]
fn docs_the_guide_asks_git_in_python() {
    if tools::plain_python("hold.py").is_none() {
        return;
    }
    let program = format!(
        "import subprocess, sys\n{}\nprint({{True: 'yes', False: 'no', None: 'unknown'}}[is_publishable(*sys.argv[1:])])",
        block("python")
    );
    answers(|repository, tag, oid| {
        let mut python = Command::new("python3");
        python.args(["-c", &program, repository, tag, oid]).output().expect("python runs")
    });
}

#[test]
fn docs_the_guide_asks_git_in_go() {
    if !tools::has_go() {
        return;
    }
    let world = World::new();
    let main = "func main() {
\tif answer := isPublishable(os.Args[1], os.Args[2], os.Args[3]); answer == nil {
\t\tfmt.Println(\"unknown\")
\t} else {
\t\tfmt.Println(map[bool]string{true: \"yes\", false: \"no\"}[*answer])
\t}
}";
    let imports = "import (\"fmt\"; \"log\"; \"os\"; \"os/exec\"; \"strings\")";
    let (file, program) = (world.beside("main.go"), world.beside("judge"));
    fs::write(&file, format!("package main\n{imports}\n{}\n{main}\n", block("go"))).expect("written");
    let mut go = Command::new("go");
    go.arg("build").arg("-o").arg(&program).arg(&file).env("GO111MODULE", "off");
    let built = go.env("GOCACHE", std::env::temp_dir().join("refwatch-gocache")).output().expect("go runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    answers(|repository, tag, oid| {
        Command::new(&program).args([repository, tag, oid]).output().expect("it runs")
    });
}
