//! `/status`, for scripts and for people.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use jiff::Timestamp;
use refwatch_ops::{
    Limits, Status, StatusSource,
    status::{
        Listed, LogStatus, Problem, REPOSITORIES_MAX, RepositoriesStatus, Repository, Subscriber,
        WatchesStatus,
    },
};

use crate::harness::{Server, Shown};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn repository(path: &str, state: &str) -> Repository {
    let changed_at = Some(Timestamp::now() - Duration::from_secs(4000));
    Repository { path: path.to_owned(), state: state.to_owned(), refs: 12_345, changed_at }
}

fn status(repositories: Vec<Repository>) -> Status {
    let now = Timestamp::now();
    let problem = Problem {
        at: now - Duration::from_secs(90),
        message: "packed-refs line 7 has no object id".to_owned(),
        path: Some("team/<img src=x onerror=alert(1)>.git".to_owned()),
    };
    let subscriber = Subscriber {
        peer: "10.0.0.7:43210".to_owned(),
        since: now - Duration::from_secs(7200),
        lag_events: 1204,
        filter: "repositories team/*, BRANCH_UPDATED".to_owned(),
    };
    Status {
        version: "1.2.3".to_owned(),
        server_id: "01J9ZS3".to_owned(),
        epoch: "7f3a".to_owned(),
        started_at: now - Duration::from_secs(273_600),
        uptime_seconds: 273_600,
        log: LogStatus {
            last_sequence: 1_234_567,
            floor_sequence: 234_568,
            events: 1_000_000,
            bytes: 3 << 29,
            oldest_at: Some(now - Duration::from_secs(604_800)),
        },
        repositories: RepositoriesStatus {
            watched: 4100,
            polled: 12,
            unreadable: 1,
            broken: 0,
            listed: Listed::of(4113, repositories),
        },
        watches: WatchesStatus { used: 52_000, limit: Some(65_536) },
        subscribers: Listed::of(1, [subscriber]),
        problems: Listed::of(1, [problem]),
    }
}

#[test]
fn scripts_get_json() {
    let server = Server::start();
    server.store.ok();
    *server.shown.0.lock().unwrap() = status(vec![repository("team/app.git", "watched")]);
    for accept in ["*/*", "application/json"] {
        let json = server.get_as("/status", accept).json();
        assert_eq!(json["ready"], false);
        assert_eq!(json["checks"]["store"]["state"], "ok");
        assert_eq!(json["log"]["last_sequence"], 1_234_567);
        assert_eq!(json["repositories"]["total"], 4113);
        assert_eq!(json["repositories"]["list"][0]["path"], "team/app.git");
        assert_eq!(json["subscribers"]["list"][0]["lag_events"], 1204);
        assert_eq!(json["watches"]["limit"], 65_536);
        json["started_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    }
}

#[test]
fn people_get_a_page_that_stands_alone() {
    let server = Server::start();
    server.store.ok();
    server.grpc.ok();
    *server.shown.0.lock().unwrap() = status(vec![repository("team/app.git", "watched")]);
    let answer = server.get_as("/status", BROWSER);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    for text in
        ["<title>Ready · refwatch</title>", "team/app.git", "1\u{202f}234\u{202f}567", "1.5 GiB", "3 d 4 h"]
    {
        assert!(answer.body.contains(text), "no {text} in\n{}", answer.body);
    }
    for foreign in ["<script", "<link", "src=\"", "http://", "https://"] {
        assert!(!answer.body.contains(foreign), "{foreign} in\n{}", answer.body);
    }
    let front = server.get("/");
    assert_eq!((front.code, front.header("location")), (307, "/status"));
}

#[test]
fn whatever_text_holds_stays_text() {
    let evil = "<script>alert(\"1\")</script>'&\u{202e}tig.\0";
    let server = Server::start();
    server.store.failing(evil);
    let mut status = status(vec![repository(evil, evil)]);
    (status.version, status.server_id, status.epoch) = (evil.to_owned(), evil.to_owned(), evil.to_owned());
    let text = evil.to_owned();
    status.subscribers = Listed::of(
        1,
        [Subscriber {
            peer: text.clone(),
            since: Timestamp::MIN,
            lag_events: u64::MAX,
            filter: text.clone(),
        }],
    );
    status.problems =
        Listed::of(1, [Problem { at: Timestamp::MAX, message: text.clone(), path: Some(text) }]);
    *server.shown.0.lock().unwrap() = status;
    let page = server.get_as("/status", BROWSER).body;
    for raw in ["<script", "\"1\"", "'&", "\u{202e}", "\0"] {
        assert!(!page.contains(raw), "{raw:?} in\n{page}");
    }
    // Version, server, epoch, check, peer, filter, message, path, and the path and state of the repository.
    assert_eq!(page.matches("&#60;script&#62;").count(), 10, "{page}");
    assert!(page.contains("\\u{202e}tig.\\u{0}"), "{page}");
}

#[test]
fn lists_are_capped_and_say_so() {
    let server = Server::start();
    *server.shown.0.lock().unwrap() = status(vec![repository("team/app.git", "watched"); 4113]);
    let json = server.get("/status").json();
    assert_eq!(json["repositories"]["list"].as_array().unwrap().len(), REPOSITORIES_MAX);
    assert_eq!(json["repositories"]["total"], 4113);
    assert!(server.get_as("/status", BROWSER).body.contains("200 of 4\u{202f}113"));
}

/// A source that hangs until the test lets it go.
struct Hanging(Mutex<Receiver<()>>);

impl StatusSource for Hanging {
    fn status(&self) -> Status {
        drop(self.0.lock().map(|gate| gate.recv()));
        panic!("the source fails")
    }
}

#[test]
fn a_source_that_hangs_or_panics_harms_no_probe() {
    let (release, gate) = sync_channel(0);
    let server = Server::with_source(
        Limits::default(),
        Arc::new(Hanging(Mutex::new(gate))),
        Arc::new(Shown::default()),
    );
    let answer = server.get("/status");
    assert_eq!((answer.code, &answer.json()["error"]), (503, &"taking the status took too long".into()));
    assert_eq!(server.get("/livez").code, 200);
    drop(release);
    assert_eq!(server.get("/status").json()["error"], "taking the status panicked");
    assert_eq!(server.get("/metrics").code, 200);
}
