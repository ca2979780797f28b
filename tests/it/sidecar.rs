//! The sidecar of the real binary, as probes, Prometheus and people see it.

use std::collections::BTreeSet;

use refwatch_tests::{Daemon, Variant, http, tools};
use serde_json::Value;

use crate::stage::Stage;

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";

fn json(daemon: &Daemon, path: &str) -> (u16, Value) {
    let (code, body) = http::get(daemon.http(), path, "application/json");
    (code, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")))
}

/// A stage on which something happened.
fn busy() -> Stage {
    let mut stage = Stage::of_files();
    let [one, two] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\n"));
    stage.events();
    stage.repo.update(&format!("update refs/heads/main {two}\ncreate refs/tags/v1.0.0 {two}\n"));
    stage.events();
    stage.daemon.wait_ready();
    stage
}

#[test]
fn probes_answer_with_what_is_well_and_what_is_not() {
    let stage = busy();
    let (code, ready) = json(&stage.daemon, "/readyz");
    assert_eq!((code, &ready["ready"]), (200, &Value::Bool(true)));
    let checks: BTreeSet<&str> =
        ready["checks"].as_object().expect("a map").keys().map(String::as_str).collect();
    assert_eq!(checks, BTreeSet::from(["first_scan", "grpc", "store", "watcher"]));
    for path in ["/livez", "/healthz"] {
        assert_eq!(http::get(stage.daemon.http(), path, "*/*").0, 200, "{path}");
    }
    assert_eq!(http::get(stage.daemon.http(), "/nowhere", "*/*").0, 404);
}

#[test]
fn a_root_that_goes_makes_the_daemon_unready_until_it_is_back_and_costs_nothing() {
    let stage = busy();
    let away = stage.world.beside("away");
    std::fs::rename(&stage.world.root, &away).expect("renamed");
    let unready = stage.daemon.wait_readyz(503);
    assert!(unready.contains(stage.world.root.to_str().expect("text")), "it says what is missing: {unready}");
    let refs = stage.client.refs(100).0;
    assert!(refs.iter().any(|taken| taken.name == "refs/heads/main"), "what is known stays known: {refs:?}");
    std::fs::rename(&away, &stage.world.root).expect("renamed back");
    stage.daemon.wait_ready();
    stage.validate();
}

#[test]
fn promtool_and_the_python_parser_read_the_metrics_of_the_real_daemon() {
    let stage = busy();
    let (code, text) = http::get(stage.daemon.http(), "/metrics", "text/plain");
    assert_eq!(code, 200);
    if let Some(mut promtool) = tools::promtool() {
        promtool.args(["check", "metrics"]);
        let output = tools::feed(promtool, &text);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
    for (format, body) in
        [("text", text), ("openmetrics", http::get(stage.daemon.http(), "/metrics", OPEN_METRICS).1)]
    {
        for secret in ["app.git", "refs/heads", "main", &stage.client.repository(&stage.repo).id] {
            assert!(!body.contains(secret), "no label grows with repositories or refs: {secret}");
        }
        let Some(mut parser) = tools::python("samples.py") else { return };
        parser.arg(format);
        let output = tools::feed(parser, &body);
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        let samples: Vec<Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let value = |name: &str, label: &str, of: &str| {
            let found = samples.iter().find(|sample| sample["name"] == name && sample["labels"][label] == of);
            found.unwrap_or_else(|| panic!("{name}{{{label}={of}}} in {format}"))["value"].as_f64()
        };
        assert_eq!(value("refwatch_events_total", "type", "BRANCH_CREATED"), Some(1.0));
        assert_eq!(value("refwatch_events_total", "type", "RELEASE_CREATED"), Some(1.0));
        let state = if Variant::now().polls { "polled" } else { "watched" };
        assert_eq!(value("refwatch_repositories", "state", state), Some(1.0));
    }
}

#[test]
fn the_status_is_there_for_scripts_and_for_people() {
    let stage = busy();
    stage.repo.write("refs/heads/torn", "");
    stage.client.sync();
    let (code, status) = json(&stage.daemon, "/status");
    assert_eq!((code, &status["ready"]), (200, &Value::Bool(true)));
    assert_eq!(status["log"]["last_sequence"], stage.client.sync().last_sequence);
    assert_eq!(status["repositories"]["list"][0]["path"], "team/app.git");
    assert_eq!(status["subscribers"]["total"], 1);
    let problem = &status["problems"]["list"][0];
    assert_eq!(problem["path"], stage.repo.git_dir.join("refs/heads/torn").to_str().expect("text"));
    let (code, page) = http::get(stage.daemon.http(), "/status", "text/html");
    assert_eq!(code, 200);
    assert!(
        page.starts_with("<!") && page.contains("team/app.git") && page.contains("refs/heads/torn"),
        "{page}"
    );
    for outside in ["src=", "<link", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs nothing but itself: {outside}");
    }
}
