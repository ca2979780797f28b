//! What documents name: files, headings, and how long they may be.

use refwatch_tests::Document;

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
