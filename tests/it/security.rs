//! Who may know what, asked of the real binary; and that every threat that is written down has its test.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use refwatch_tests::{Daemon, Options, Refusal, Reporter, World, binary, http, refused};
use tonic::Code;

/// What `refwatch token` printed: the token, and its line.
fn token(arguments: &[&str]) -> (String, String) {
    let output = Command::new(binary::refwatch()).arg("token").args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (token, line) = text.trim_end().split_once('\n').expect("two lines");
    (token.to_owned(), line.to_owned())
}

/// A command of refwatch that talks to a daemon with a token.
fn ask(daemon: &Daemon, command: &str, token_file: &Path, arguments: &[&str]) -> Output {
    let address = format!("http://{}", daemon.grpc());
    Command::new(binary::refwatch())
        .args([command, "--grpc", &address, "--token-file"])
        .arg(token_file)
        .args(arguments)
        .output()
        .expect("it runs")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_token_that_was_made_is_let_in_by_its_line_and_sees_what_it_says() {
    let world = World::new();
    let (ours, theirs) = (world.repo("team/ours.git"), world.repo("secret/theirs.git"));
    let [one]: [String; 1] = ours.history();
    ours.update(&format!("create refs/heads/main {one}\n"));
    let [other]: [String; 1] = theirs.history();
    theirs.update(&format!("create refs/heads/hidden {other}\n"));

    let (limited, limited_line) = token(&["--repository", "team/**", "--name", "controller"]);
    let (host, host_line) = token(&["--scope", "watch,ingest"]);
    assert!(!limited_line.contains(&limited) && !host_line.contains(&host));
    let tokens = world.beside("tokens");
    fs::write(&tokens, format!("{limited_line}\n{host_line}\n")).expect("written");
    let (limited_file, host_file) = (world.beside("limited"), world.beside("host"));
    fs::write(&limited_file, &limited).expect("written");
    fs::write(&host_file, &host).expect("written");
    let daemon = Options::new(&world).set("grpc.token_file", tokens.to_str().expect("text")).launch();
    daemon.wait_ready();

    let seen =
        said(&ask(&daemon, "repos", &limited_file, &[])) + &said(&ask(&daemon, "refs", &limited_file, &[]));
    assert!(seen.contains("team/ours.git") && seen.contains("refs/heads/main"), "{seen}");
    assert!(!seen.contains("secret") && !seen.contains("hidden"), "{seen}");
    let all = said(&ask(&daemon, "repos", &host_file, &[]));
    assert!(all.contains("team/ours.git") && all.contains("secret/theirs.git"), "{all}");
    let report = refused(&theirs, "refs/heads/main", "", &"1".repeat(40));
    Reporter::by_tcp(daemon.grpc(), Some(&host)).report(report).expect("it may");
    assert_eq!(ask(&daemon, "repos", &tokens, &[]).status.code(), Some(77), "the line itself is no token");
}

#[test]
fn failures_are_counted_and_told_without_the_secret() {
    let world = World::new();
    let repo = world.repo("a.git");
    let tokens = world.beside("tokens");
    let secret = world.beside("secret");
    fs::write(&tokens, "the-right-token scope=ingest\n").expect("written");
    fs::write(&secret, "the-shared-secret\n").expect("written");
    let daemon = Options::new(&world)
        .set("grpc.token_file", tokens.to_str().expect("text"))
        .set("grpc.shared_secret_file", secret.to_str().expect("text"))
        .set("log.level", "trace")
        .launch();
    daemon.wait_ready();
    let report = || refused(&repo, "refs/heads/main", "", &"1".repeat(40));
    let refusal: Refusal =
        Reporter::by_tcp(daemon.grpc(), Some("a-wrong-token")).report(report()).expect_err("it is wrong");
    assert_eq!(refusal.code, Code::Unauthenticated);
    daemon.wait_metric("refwatch_auth_failures_total{reason=\"unknown\"}", 1.0);
    let line = daemon.wait_log("the failure", |line| line["message"] == "a call was refused");
    assert_eq!((&line["kind"], &line["method"]), (&"unknown".into(), &"ReportRejection".into()));
    assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    Reporter::by_tcp(daemon.grpc(), Some("the-right-token")).report(report()).expect("it is right");
    let log = daemon.log_lines().join("\n");
    for secret in ["a-wrong-token", "the-right-token", "the-shared-secret"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_secret_that_every_user_may_read_is_named_at_the_start_and_by_the_check() {
    let world = World::new();
    let secret = world.beside("secret");
    fs::write(&secret, "the-shared-secret\n").expect("written");
    let path = secret.to_str().expect("text");
    let checked = || {
        let mut check = Command::new(binary::refwatch());
        check.args(["config", "check", "--set", &format!("grpc.shared_secret_file={path}")]);
        said(&check.env_clear().env("REFWATCH_ROOTS", &world.root).output().expect("it runs"))
    };
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("ours");
    let told = checked();
    assert!(told.starts_with("warning: ") && told.ends_with("\nOK\n"), "{told}");
    assert!(told.contains(&format!("chmod o= {path}")) && !told.contains("the-shared-secret"), "{told}");
    let options = Options::new(&world).set("grpc.shared_secret_file", path);
    let is_warning = |line: &serde_json::Value| line["message"] == "a file with secrets is not private";
    let mut daemon = options.start();
    let line = daemon.wait_log("the warning", is_warning);
    assert_eq!(line["setting"], "grpc.shared_secret_file");
    assert!(line["detail"].as_str().is_some_and(|detail| detail.contains(path)), "{line}");
    let warnings = |daemon: &Daemon| {
        daemon.log_lines().iter().filter(|line| line.contains("a file with secrets is not private")).count()
    };
    assert_eq!(warnings(&daemon), 1);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).expect("ours");
    assert_eq!(checked(), "OK\n");
    daemon.stop();
    daemon.restart();
    assert_eq!(warnings(&daemon), 0, "of one that is private nothing is said");
}

#[test]
fn a_subscriber_by_the_socket_is_logged_with_its_user() {
    let world = World::new();
    let socket = world.beside("grpc.sock");
    let daemon = Options::new(&world).set("grpc.socket", socket.to_str().expect("text")).start();
    let mut tail = Command::new(binary::refwatch())
        .args(["tail", "--json", "--grpc", &format!("unix:{}", socket.display())])
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let line = daemon.wait_log("the subscriber", |line| line["message"] == "a subscriber has come");
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    assert_eq!(line["peer"], format!("unix, uid {user}, gid {group}, pid {}", tail.id()));
    tail.kill().expect("it runs");
    tail.wait().expect("it ends");
}

/// An address of this machine that is not loopback.
fn outside() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: it only asks which address would be used (RFC 5737's network for documentation).
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

#[test]
fn beyond_this_machine_the_sidecar_shows_probes_and_metrics_and_no_names() {
    let Some(address) = outside() else { return };
    let world = World::new();
    let repo = world.repo("team/a.git");
    let [one]: [String; 1] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    for exposed in [false, true] {
        let daemon = Options::new(&world)
            .set("http.address", "0.0.0.0:0")
            .set("http.expose_status", if exposed { "true" } else { "false" })
            .start();
        daemon.wait_ready();
        let there = SocketAddr::new(address, daemon.http().port());
        let here = SocketAddr::from(([127, 0, 0, 1], there.port()));
        for path in ["/livez", "/readyz", "/healthz", "/metrics"] {
            let (code, body) = http::get(there, path, "*/*");
            assert_eq!(code, 200, "{path}");
            assert!(!body.contains("a.git") && !body.contains("refs/heads"), "{path}: {body}");
        }
        let (code, body) = http::get(there, "/status", "application/json");
        assert_eq!((code, body.contains("team/a.git")), if exposed { (200, true) } else { (403, false) });
        assert_eq!(http::get(here, "/status", "application/json").0, 200);
    }
}

#[test]
fn nothing_of_a_repositorys_content_leaves_but_names_and_ids() {
    const MARK: &str = "xyzzy-content";
    let world = World::new();
    let repo = world.repo("a.git");
    let source = world.source(repo.flavour);
    let git = |arguments: &[&str]| source.0.git(arguments).trim().to_owned();
    let blob = source.0.feed(&["hash-object", "-w", "--stdin"], format!("{MARK} blob").as_bytes());
    let entry = format!("100644 blob {}\t{MARK}-file\n", blob.trim());
    let tree = source.0.feed(&["mktree"], entry.as_bytes()).trim().to_owned();
    let author = format!("user.name={MARK} author");
    let commit = git(&["-c", &author, "commit-tree", "-m", &format!("{MARK} message"), &tree]);
    git(&["update-ref", "refs/heads/main", &commit]);
    git(&["-c", &author, "tag", "-a", "-m", &format!("{MARK} tag"), "v1.0.0", &commit]);
    fs::write(repo.git_dir.join("description"), format!("{MARK} description")).expect("written");
    repo.git(&["config", "remote.x.url", &format!("https://{MARK}@example.org")]);

    let daemon = Options::new(&world).set("log.level", "debug").start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    source.push(&repo, &["main", "v1.0.0"]);
    client.sync();
    let events = client.events();
    assert!(events.iter().any(|event| event.ref_name == "refs/tags/v1.0.0"), "{events:?}");
    drop(recorder);
    let status =
        ["application/json", "text/html"].map(|accept| http::get(daemon.http(), "/status", accept).1);
    let told = [
        format!("{events:?}"),
        format!("{:?}", client.refs(100)),
        format!("{:?} {:?}", client.repositories(), client.info()),
        http::get(daemon.http(), "/metrics", "text/plain").1,
        status.concat(),
        daemon.log_lines().join("\n"),
    ];
    for told in told {
        assert!(!told.contains(MARK), "{told}");
    }
}

/// Names of the functions of all Rust files below a folder that are tests.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            tests_of(&fs::read_to_string(&path).expect("text"), names);
        }
    }
}

fn tests_of(text: &str, names: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            // proptest writes its own attribute before each function.
            if is_test {
                names.insert(name.to_owned());
            }
            is_test = false;
        } else if !line.is_empty() && !line.starts_with(['#', '/']) {
            is_test = false;
        }
    }
}

#[test]
fn every_threat_names_a_test_that_exists() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known = BTreeSet::new();
    for folder in ["daemon", "ops", "proto", "store", "tests", "watcher"] {
        tests_below(&root.join(folder), &mut known);
    }
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("text");
    let (_, table) = text.split_once("\n## Threats").expect("the section");
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 30, "the table has {} rows", rows.len());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, _, _, tests] = cells[..] else { panic!("not four cells: {row}") };
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            assert!(known.contains(name), "there is no test {name}: {row}");
        }
    }
    // The check itself can fail.
    let mut found = BTreeSet::new();
    tests_of("#[test]\nfn one() {}\nfn two() {}\n#[tokio::test]\nasync fn three() {}", &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["one", "three"]);
}
