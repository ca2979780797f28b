//! `/metrics`, judged by Prometheus' own linter.

use std::{
    env,
    io::{ErrorKind, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use refwatch_ops::{
    Metrics,
    metrics::{Ancestry, GrpcCode, LogSource, PassKind, RepositoryState, SubscriptionEnd},
};

use crate::harness::Server;

/// Accept header of Prometheus 2.42.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Gives every instrument a value.
fn record(metrics: &Metrics) {
    let took = Duration::from_millis(3);
    metrics.repositories.set(RepositoryState::Watched, 3);
    metrics.watches.set(12);
    metrics.wakes.declare(["notify", "journal"]);
    metrics.wakes.inc("notify");
    metrics.passes.inc(PassKind::Full);
    metrics.pass_duration.observe(PassKind::Full, took);
    metrics.sweep_duration.observe(took);
    metrics.refs_read.add(40);
    metrics.anomalies.inc("phantom");
    metrics.ancestry.inc(Ancestry::Forced);
    metrics.ancestry_duration.observe(took);
    metrics.events.add("BRANCH_UPDATED", 7);
    metrics.event_visible.observe(took);
    metrics.store_commit_duration.observe(took);
    metrics.store_commit_events.observe(7);
    metrics.store_errors.inc("disk_full");
    metrics.store_size_bytes.set(u64::MAX);
    metrics.checkpoint_duration.observe(took);
    metrics.subscriptions_ended.inc(SubscriptionEnd::SlowConsumer);
    metrics.log_reads.inc(LogSource::Memory);
    metrics.grpc_requests.inc("WatchEvents", GrpcCode::OutOfRange);
    metrics.queue_depth.set("commit", 2);
}

#[test]
fn prometheus_text_is_the_default() {
    let server = Server::start();
    record(&server.metrics);
    let answer = server.get("/metrics");
    assert_eq!(answer.code, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# TYPE refwatch_build_info gauge",
        "refwatch_build_info{version=\"1.2.3\"} 1",
        "# TYPE refwatch_passes_total counter",
        "# HELP refwatch_passes_total Looks at one repository, by kind.",
        "refwatch_passes_total{kind=\"full\"} 1",
        "refwatch_passes_total{kind=\"sweep\"} 0",
        "refwatch_pass_duration_seconds_bucket{le=\"0.005\",kind=\"full\"} 1",
        "refwatch_events_total{type=\"BRANCH_UPDATED\"} 7",
        "refwatch_wakes_total{reason=\"journal\"} 0",
        "refwatch_grpc_requests_total{method=\"WatchEvents\",code=\"OUT_OF_RANGE\"} 1",
        "refwatch_queue_depth{queue=\"commit\"} 2",
        "refwatch_store_size_bytes 9223372036854775807",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "no {line} in\n{}", answer.body);
    }
    assert!(!answer.body.contains("# EOF") && !answer.body.contains("# UNIT"));
}

#[test]
fn open_metrics_is_served_to_who_asks() {
    let server = Server::start();
    record(&server.metrics);
    let answer = server.get_as("/metrics", PROMETHEUS);
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(answer.header("vary").contains("Accept"));
    assert!(answer.body.contains("# TYPE refwatch_passes counter\n"));
    assert!(answer.body.contains("# UNIT refwatch_pass_duration_seconds seconds\n"));
    assert!(answer.body.contains("\nrefwatch_passes_total{kind=\"full\"} 1\n"));
    assert!(answer.body.ends_with("# EOF\n"));
}

#[test]
fn every_sample_has_help_and_the_prefix() {
    let server = Server::start();
    record(&server.metrics);
    let body = server.get("/metrics").body;
    let mut family = "";
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(text.ends_with('.') && !text.ends_with("..") && text.len() > 10, "{line}");
            family = name;
        } else {
            let name = line.strip_prefix("# TYPE ").unwrap_or(line);
            assert!(name.starts_with("refwatch_") && name.starts_with(family), "{line} under {family}");
        }
    }
}

/// Needs `promtool` (Debian package `prometheus`). Without it the test says so and passes, unless `CI=true`.
#[test]
fn promtool_finds_nothing_to_complain_about() {
    let server = Server::start();
    record(&server.metrics);
    let body = server.get("/metrics").body;
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound && env::var("CI").as_deref() != Ok("true") => {
            eprintln!("skipped: promtool is not on PATH (apt install prometheus)");
            return;
        }
        spawned => spawned.expect("promtool runs: apt install prometheus"),
    };
    promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\n{body}", String::from_utf8_lossy(&said));
}
