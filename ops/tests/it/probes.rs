//! `/livez`, `/readyz`, `/healthz`, and what is no path at all.

use std::time::Duration;

use crate::harness::{Answer, Server, agent};

#[test]
fn readyz_says_which_check_is_in_the_way() {
    let server = Server::start();
    let answer = server.get("/readyz");
    assert_eq!(answer.code, 503);
    assert_eq!(answer.json()["checks"]["store"]["state"], "pending");

    server.store.ok();
    server.grpc.failing("port 50052 is taken");
    let answer = server.get("/readyz");
    assert_eq!(answer.code, 503);
    let json = answer.json();
    assert_eq!(json["ready"], false);
    assert_eq!(json["checks"]["store"]["state"], "ok");
    assert_eq!(json["checks"]["grpc"]["state"], "failing");
    assert_eq!(json["checks"]["grpc"]["message"], "port 50052 is taken");
    json["checks"]["grpc"]["since"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    server.grpc.ok();
    let answer = server.get("/readyz");
    assert_eq!((answer.code, &answer.json()["ready"]), (200, &true.into()));
}

#[test]
fn a_draining_daemon_is_alive_but_not_ready() {
    let server = Server::start();
    server.store.ok();
    server.grpc.ok();
    server.readiness.drain();
    let answer = server.get("/readyz");
    assert_eq!((answer.code, &answer.json()["draining"]), (503, &true.into()));
    assert_eq!(server.get("/livez").code, 200);
    assert_eq!(server.get("/healthz").code, 503);
}

#[test]
fn livez_fails_when_a_loop_stops_beating() {
    let server = Server::start();
    assert_eq!(server.get("/livez").code, 200);
    let sweep = server.liveness.register("sweep", Duration::from_secs(3600));
    let stuck = server.liveness.register("commit", Duration::ZERO);
    let answer = server.get("/livez");
    assert_eq!(answer.code, 503);
    let json = answer.json();
    assert_eq!(json["loops"]["sweep"]["alive"], true);
    assert_eq!(json["loops"]["commit"]["alive"], false);
    assert_eq!(server.get("/healthz").json()["loops"]["commit"]["alive"], false);
    stuck.finish();
    sweep.beat();
    assert_eq!(server.get("/livez").code, 200);
}

#[test]
fn nothing_is_cached_and_nothing_unknown_is_served() {
    let server = Server::start();
    for path in ["/livez", "/readyz", "/healthz", "/metrics", "/status", "/nothing"] {
        let answer = server.get(path);
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
    let answer = server.get("/nothing");
    assert_eq!((answer.code, &answer.json()["error"]), (404, &"not found".into()));
    let answer = Answer::from(agent().post(server.url("/readyz")).send_empty().unwrap());
    assert_eq!((answer.code, &answer.json()["error"]), (405, &"method not allowed".into()));
    assert_eq!(answer.header("allow"), "GET,HEAD");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[test]
fn head_answers_like_get_without_a_body() {
    let server = Server::start();
    for path in ["/livez", "/readyz", "/metrics", "/status"] {
        let get = server.get(path);
        let head = Answer::from(agent().head(server.url(path)).call().unwrap());
        assert_eq!((head.code, head.body.as_str()), (get.code, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}
