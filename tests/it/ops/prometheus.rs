//! Rules, dashboard and runbook: they speak of what the daemon has, and of each other.

use std::collections::{BTreeMap, BTreeSet};

use refwatch_tests::{Daemon, World, http, tools};
use serde_json::Value;

use super::{content, file, text};

/// What is only there once it happened: the names of wakes, anomalies and calls are those of what was met.
const LATE: [&str; 2] = ["refwatch_wakes_total", "refwatch_grpc_requests_total"];

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let Some(mut promtool) = tools::promtool() else { return };
    content(promtool.args(["check", "rules"]).arg(file("prometheus/alerts.yaml")));
    let Some(mut promtool) = tools::promtool() else { return };
    content(promtool.args(["test", "rules"]).arg(file("prometheus/alerts_test.yaml")));
}

/// What stands behind a key in each line that has it.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| Some(line.split_once(key)?.1.trim().trim_matches('"'))).collect()
}

fn alerts(rules: &str) -> BTreeSet<String> {
    values(rules, "- alert:").into_iter().map(str::to_owned).collect()
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to() {
    let names = alerts(&text("prometheus/alerts.yaml"));
    let tests = text("prometheus/alerts_test.yaml");
    let fires: BTreeSet<String> = values(&tests, "- alertname:").into_iter().map(str::to_owned).collect();
    assert_eq!(names, fires);
    for name in &names {
        assert!(tests.contains(&format!("{{alertname: {name}, eval_time: 90m, exp_alerts: []}}")), "{name}");
    }
}

/// The metrics that a text names, without what histograms add to a name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':');
    words
        .filter(|word| word.starts_with("refwatch_") && *word != "refwatch_")
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_are_there() {
    let world = World::new();
    world.repo("app.git");
    let daemon = Daemon::start(&world);
    // A call, so that calls are counted; and something to wake it up.
    daemon.wait_ready();
    world.repo("site.git");
    daemon.client().sync();
    let (_, exposition) = http::get(daemon.http(), "/metrics", "text/plain");
    let there: BTreeSet<&str> = exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .chain(exposition.lines().filter_map(|line| line.split(['{', ' ']).next()))
        .collect();
    for source in ["prometheus/alerts.yaml", "prometheus/alerts_test.yaml", "grafana/refwatch.json"] {
        let wanted = named(&text(source));
        assert!(wanted.len() > 10, "{source} names metrics");
        for metric in wanted {
            assert!(there.contains(metric.as_str()), "{source}: there is no {metric}");
        }
    }
    for late in LATE {
        assert!(there.contains(late), "{late} has come by now");
    }
    for check in ["store", "watcher", "first_scan", "grpc"] {
        let series = format!("refwatch_readiness{{check=\"{check}\"}}");
        assert_eq!(http::metric(daemon.http(), &series), Some(1.0), "{series}");
    }
    // A rate misses an increase with which a series begins.
    let kinds = ["full", "io", "corrupt"].map(|kind| ("store_errors", "kind", kind));
    let failures = ["missing", "unknown", "scope", "signature", "late", "replayed", "limited"]
        .map(|reason| ("auth_failures", "reason", reason));
    let refusals = ["total", "peer", "tls", "user"].map(|reason| ("connections_refused", "reason", reason));
    for (metric, label, value) in kinds.into_iter().chain(failures).chain(refusals) {
        let series = format!("refwatch_{metric}_total{{{label}=\"{value}\"}}");
        assert_eq!(http::metric(daemon.http(), &series), Some(0.0), "{series}");
    }
}

#[test]
fn the_dashboard_shows_what_alerts_are_about() {
    let dashboard: Value = serde_json::from_str(&text("grafana/refwatch.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut shown = String::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "ids are unique: {panel}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().expect("x") + place["w"].as_u64().expect("w") <= 24, "{panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].as_array().expect("targets") {
            shown.push_str(target["expr"].as_str().expect("an expression"));
            shown.push('\n');
        }
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name);
    assert_eq!(variable("datasource").expect("there")["type"], "datasource");
    let shown = named(&shown);
    for metric in named(&text("prometheus/alerts.yaml")) {
        assert!(shown.contains(&metric), "an alert is about {metric}, and no panel shows it");
    }
    // The queries are PromQL.
    let Some(mut promtool) = tools::promtool() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let mut rules = String::from("groups:\n- name: panels\n  rules:\n");
    for (number, target) in panels.iter().flat_map(|panel| panel["targets"].as_array()).flatten().enumerate()
    {
        let query = target["expr"].as_str().expect("an expression").replace("$__rate_interval", "5m");
        rules.push_str(&format!("  - record: panel:{number}\n    expr: {}\n", Value::from(query)));
    }
    let path = directory.path().join("panels.yaml");
    std::fs::write(&path, rules).expect("written");
    content(promtool.args(["check", "rules", "--lint=none"]).arg(path));
}

/// Headings of a text in Markdown, each with the anchor that GitHub gives it.
fn anchors(markdown: &str) -> BTreeMap<String, &str> {
    let headings = markdown.lines().filter_map(|line| line.strip_prefix("## "));
    headings
        .map(|heading| {
            let letters = heading.to_lowercase();
            let kept = letters.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            (kept.collect::<String>().replace(' ', "-"), heading)
        })
        .collect()
}

#[test]
fn every_alert_has_a_section_of_the_runbook_that_says_what_to_do() {
    let runbook = text("RUNBOOK.md");
    let anchors = anchors(&runbook);
    let rules = text("prometheus/alerts.yaml");
    let links = values(&rules, "runbook:");
    assert_eq!(links.len(), alerts(&rules).len(), "one each");
    for link in links {
        let anchor = link.strip_prefix("ops/RUNBOOK.md#").expect("a section of the runbook");
        // One section a check of readiness.
        let wanted = match anchor.strip_suffix("{{ $labels.check }}") {
            Some(stem) => {
                ["store", "watcher", "first_scan", "grpc"].map(|check| format!("{stem}{check}")).to_vec()
            }
            None => vec![anchor.to_owned()],
        };
        for anchor in wanted {
            let heading =
                anchors.get(&anchor).unwrap_or_else(|| panic!("{link}: no section {anchor}: {anchors:#?}"));
            let section = runbook.split(&format!("## {heading}\n")).nth(1).expect("there");
            let section = section.split("\n## ").next().expect("there");
            for part in ["**Symptom:**", "**Diagnosis", "**Recovery", "**Verification:**"] {
                // Two parts may be one where each message has its own remedy.
                let there =
                    section.contains(part) || (part == "**Recovery" && section.contains("and recovery"));
                assert!(there, "{heading}: no {part}");
            }
        }
    }
    for alert in alerts(&rules) {
        assert!(runbook.contains(&format!("`{alert}`")), "the runbook lists {alert}");
    }
}
