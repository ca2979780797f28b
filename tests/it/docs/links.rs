//! What documents name: files, headings, and how long they may be.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use refwatch_tests::{Daemon, Document, World, binary, http};

/// Lines of ARCHITECTURE.md: what is longer is not read.
const ARCHITECTURE_LINES_MAX: usize = 250;

/// What a path of ours begins with.
const FOLDERS: [&str; 6] = ["proto/", "daemon/", "watcher/", "store/", "ops/", "tests/"];

/// Where a link leads, from the root: the file, and the heading.
fn target(document: &Document, link: &str) -> (String, Option<String>) {
    let (file, anchor) =
        link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor.to_owned())));
    if file.is_empty() {
        return (document.path.clone(), anchor);
    }
    let mut parts: Vec<&str> = document.path.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            ".." => {
                let is_inside = parts.pop().is_some();
                assert!(is_inside, "{}: {link} leaves the repository", document.path);
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    (parts.join("/"), anchor)
}

#[test]
fn docs_links_lead_to_files_and_headings_that_exist() {
    let mut count = 0;
    let mut dead = Vec::new();
    for document in Document::all() {
        for (line, link) in document.links() {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (file, anchor) = target(&document, &link);
            let exists = Document::root().join(&file).exists();
            let has_heading = |anchor: String| Document::read(&file).anchors().contains(&anchor);
            if !exists || !anchor.is_none_or(has_heading) {
                dead.push(format!("{}:{line}: {link}", document.path));
            }
        }
    }
    assert!(count > 50, "links are found: {count}");
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn docs_paths_between_backticks_exist() {
    let mut count = 0;
    let mut missing = Vec::new();
    for document in Document::all() {
        for (line, code) in document.code() {
            // NNN stands for a number.
            let is_path = !code.contains("NNN")
                && FOLDERS.iter().any(|folder| code.starts_with(folder))
                && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            if is_path {
                count += 1;
                if !Document::root().join(code).exists() {
                    missing.push(format!("{}:{line}: {code}", document.path));
                }
            }
        }
    }
    assert!(count > 50, "paths are found: {count}");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn docs_architecture_is_short_enough_to_be_read() {
    let lines = Document::read("ARCHITECTURE.md").text.lines().count();
    assert!(lines <= ARCHITECTURE_LINES_MAX, "{lines}");
}

/// What is named with backticks in documents, and in the comments of the contract.
fn named() -> Vec<(String, String)> {
    let documents = Document::all().into_iter().flat_map(|document| {
        let named = document
            .code()
            .into_iter()
            .map(|(line, code)| (format!("{}:{line}", document.path), code.to_owned()));
        named.collect::<Vec<_>>()
    });
    let contract = ["event", "service", "ingest"].map(|name| format!("proto/refwatch/v1/{name}.proto"));
    let comments = contract.into_iter().flat_map(|path| {
        let text = fs::read_to_string(Document::root().join(&path)).expect("read");
        let spans = text.split('`').skip(1).step_by(2).map(|span| (path.clone(), span.to_owned()));
        spans.collect::<Vec<_>>()
    });
    documents.chain(comments).collect()
}

#[test]
fn docs_settings_that_are_named_exist() {
    let print = Command::new(binary::refwatch()).args(["config", "print", "--defaults"]).output();
    let defaults = String::from_utf8(print.expect("refwatch runs").stdout).expect("text");
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    for line in defaults.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            settings.insert(format!("{section}.{key}"));
        }
    }
    let sections: BTreeSet<&str> = settings.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let (mut count, mut unknown) = (0, Vec::new());
    for (place, name) in named() {
        let name = name.split([' ', '=']).next().unwrap_or_default();
        let is_key = |(section, key): (&str, &str)| {
            let is_word = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            !section.is_empty() && sections.contains(section) && is_word && key != "rs" && key != "sock"
        };
        if name.split_once('.').is_some_and(is_key) {
            count += 1;
            if !settings.contains(name) {
                unknown.push(format!("{place}: {name}"));
            }
        }
    }
    assert!(count > 50, "settings are found: {count}");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn docs_metrics_that_are_named_exist() {
    let world = World::new();
    let daemon = Daemon::start(&world);
    // Its labels come with the first look at it.
    daemon.wait_metric("refwatch_queue_depth{queue=\"board\"}", 0.0);
    let (_, text) = http::get(daemon.http(), "/metrics", "text/plain");
    let (mut count, mut unknown) = (0, Vec::new());
    for (place, name) in named() {
        let name = name.split(['{', ' ']).next().unwrap_or_default();
        let is_metric = name.starts_with("refwatch_") && !name.contains("::") && !name.contains('*');
        if is_metric && !["refwatch_proto", "refwatch_hook"].contains(&name) {
            count += 1;
            if !text.lines().any(|line| line.starts_with(&format!("# TYPE {name} "))) {
                unknown.push(format!("{place}: {name}"));
            }
        }
    }
    assert!(count > 30, "metrics are found: {count}");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn docs_the_runbook_has_every_part_of_every_section() {
    let runbook = Document::read("ops/RUNBOOK.md");
    let sections = runbook.text.split("\n## ").skip(1).filter(|section| section.contains("**Symptom:**"));
    let mut count = 0;
    for section in sections {
        let heading = section.lines().next().unwrap_or_default();
        for part in ["**Diagnosis", "**Verification:**"] {
            assert!(section.contains(part), "{heading}: {part}");
        }
        assert!(section.to_lowercase().contains("recovery"), "{heading}");
        count += 1;
    }
    assert!(count > 20, "sections are found: {count}");
}
