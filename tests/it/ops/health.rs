//! `refwatch health`, which stands in images where there is no other tool.

use std::process::{Command, Output};

use refwatch_tests::{Daemon, World, binary};

fn health(address: &str) -> Output {
    Command::new(binary::refwatch()).args(["health", "--grpc", address]).output().expect("refwatch runs")
}

#[test]
fn health_says_whether_the_daemon_is_ready() {
    let world = World::new();
    world.repo("app.git");
    let mut daemon = Daemon::start(&world);
    let address = daemon.grpc().to_string();
    daemon.wait_ready();
    // The service reports what readiness says a moment later.
    let deadline = std::time::Instant::now() + refwatch_tests::DEADLINE;
    let mut ready = health(&address);
    while !ready.status.success() && std::time::Instant::now() < deadline {
        ready = health(&address);
    }
    assert_eq!((ready.status.code(), ready.stdout.as_slice()), (Some(0), &b"serving\n"[..]));
    std::fs::rename(&world.root, world.beside("away")).expect("renamed");
    daemon.wait_readyz(503);
    let mut unready = health(&address);
    while unready.status.success() && std::time::Instant::now() < deadline {
        unready = health(&address);
    }
    assert_eq!(unready.status.code(), Some(1), "{}", String::from_utf8_lossy(&unready.stderr));
    daemon.stop();
    assert_eq!(health(&address).status.code(), Some(69));
}
