//! The rows of the table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::super::LogFormat;
use super::super::kind::Kind;
use super::{Draft, Setting, millis, narrow};
use crate::settings::{Baseline, NotificationPhase, WatchMode};

/// Sections, in the order of the documentation.
pub(in super::super) const SECTIONS: &[(&str, &str)] = &[
    ("store", "Where the log is kept, and how much of it."),
    ("watch", "How changes are noticed."),
    ("hooks", "What is made of what Git's hooks record, where they are installed."),
    ("ancestry", "How far history is walked to tell a fast-forward from a forced update."),
    ("classify", "What events are called."),
    ("grpc", "The service that events are streamed from."),
    ("http", "Probes, metrics and the status page."),
    ("log", "What refwatch says of itself, on stderr."),
];

const COUNT_MAX: u64 = i64::MAX.unsigned_abs();

const fn row(key: &'static str, help: &'static str, kind: Kind) -> Setting {
    Setting { key, kind, help, example: None }
}

const fn number(
    key: &'static str,
    (min, max): (u64, u64),
    help: &'static str,
    get: fn(&Draft) -> u64,
    set: fn(&mut Draft, u64),
) -> Setting {
    row(key, help, Kind::Number { min, max, get, set })
}

const fn path(
    key: &'static str,
    example: &'static str,
    help: &'static str,
    get: fn(&Draft) -> Option<&Path>,
    set: fn(&mut Draft, PathBuf),
) -> Setting {
    Setting { key, kind: Kind::Path { get, set }, help, example: Some(example) }
}

const fn word(
    key: &'static str,
    words: &'static [&'static str],
    help: &'static str,
    get: fn(&Draft) -> &'static str,
    set: fn(&mut Draft, &str),
) -> Setting {
    row(key, help, Kind::Word { words, get, set })
}

/// Every setting, those of a section together.
pub(in super::super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "roots",
        kind: Kind::Paths { get: |d| &d.settings.roots, set: |d, v| d.settings.roots = v },
        help: "Folders below which repositories are served. Needed. In a variable, separate them as in PATH.",
        example: Some("[\"/srv/git\"]"),
    },
    word(
        "baseline",
        &["known", "emit"],
        "What a fresh database makes of the refs that it finds: they were known before (no events for them), or \
         emit a creation of each.",
        |d| match d.settings.baseline {
            Baseline::Known => "known",
            Baseline::Emit => "emit",
        },
        |d, v| d.settings.baseline = if v == "emit" { Baseline::Emit } else { Baseline::Known },
    ),
    path(
        "store.path",
        "\"/var/lib/refwatch/refwatch.db\"",
        "The database. By default refwatch.db in $STATE_DIRECTORY (systemd), else in /var/lib/refwatch (root), else \
         in $XDG_STATE_HOME/refwatch or ~/.local/state/refwatch. On a local disk, not on NFS.",
        |d| d.database.as_deref(),
        |d, v| d.database = Some(v),
    ),
    word(
        "store.synchronous",
        &["full", "normal"],
        "What an event survives: full, a power cut; normal, a crash of refwatch only.",
        |d| if d.settings.store.durable { "full" } else { "normal" },
        |d, v| d.settings.store.durable = v == "full",
    ),
    number(
        "store.retention_age_s",
        (0, 3_153_600_000),
        "Events older than this are dropped, in seconds. 0 keeps them whatever their age.",
        |d| d.settings.store.retention_age.map_or(0, |age| age.as_secs()),
        |d, v| d.settings.store.retention_age = (v > 0).then(|| Duration::from_secs(v)),
    ),
    number(
        "store.retention_events_max",
        (0, COUNT_MAX),
        "The oldest events are dropped when there are more than this. 0 for no limit.",
        |d| d.settings.store.retention_events_max.unwrap_or(0),
        |d, v| d.settings.store.retention_events_max = (v > 0).then_some(v),
    ),
    number(
        "store.retention_bytes_max",
        (0, COUNT_MAX),
        "The oldest events are dropped when they take more than this, in bytes. 0 for no limit.",
        |d| d.settings.store.retention_bytes_max.unwrap_or(0),
        |d, v| d.settings.store.retention_bytes_max = (v > 0).then_some(v),
    ),
    number(
        "store.retention_interval_s",
        (1, 86_400),
        "Time between two looks at what is to be dropped, in seconds: a limit may be exceeded for so long.",
        |d| d.settings.store.retention_interval.as_secs(),
        |d, v| d.settings.store.retention_interval = Duration::from_secs(v),
    ),
    word(
        "store.on_corrupt",
        &["refuse", "set-aside"],
        "What to do with a database that cannot be trusted: refuse to start, or set it aside and start a fresh one, \
         so that every subscriber has to list again.",
        |d| if d.settings.store.set_aside_corrupt { "set-aside" } else { "refuse" },
        |d, v| d.settings.store.set_aside_corrupt = v == "set-aside",
    ),
    word(
        "watch.mode",
        &["auto", "poll"],
        "How changes are noticed: auto, by notifications where they work and else by polling; poll, by polling only.",
        |d| match d.settings.watch.mode {
            WatchMode::Auto => "auto",
            WatchMode::Poll => "poll",
        },
        |d, v| d.settings.watch.mode = if v == "poll" { WatchMode::Poll } else { WatchMode::Auto },
    ),
    number(
        "watch.poll_interval_ms",
        (10, 3_600_000),
        "Time between two looks at a repository that is polled, in milliseconds.",
        |d| millis(d.settings.watch.poll_interval),
        |d, v| d.settings.watch.poll_interval = Duration::from_millis(v),
    ),
    number(
        "watch.sweep_interval_s",
        (1, 86_400),
        "Time between two looks at every repository, in seconds: what notifications missed is found then.",
        |d| d.settings.watch.sweep_interval.as_secs(),
        |d, v| d.settings.watch.sweep_interval = Duration::from_secs(v),
    ),
    number(
        "watch.settle_ms_max",
        (0, 60_000),
        "How long a transaction may hold its locks before its refs are taken one by one, in milliseconds.",
        |d| millis(d.settings.watch.settle_max),
        |d, v| d.settings.watch.settle_max = Duration::from_millis(v),
    ),
    number(
        "watch.depth_max",
        (1, 64),
        "How deep below a root repositories are looked for, in directories.",
        |d| d.settings.watch.depth_max as u64,
        |d, v| d.settings.watch.depth_max = narrow(v),
    ),
    number(
        "watch.workers",
        (1, 64),
        "Repositories that are looked at at the same time.",
        |d| d.settings.watch.workers as u64,
        |d, v| d.settings.watch.workers = narrow(v),
    ),
    number(
        "watch.stuck_timeout_s",
        (1, 86_400),
        "How long a thread may be at one repository, or the store at one commit, before /livez fails and the watchdog \
         is told no more, in seconds.",
        |d| d.settings.watch.stuck_timeout.as_secs(),
        |d, v| d.settings.watch.stuck_timeout = Duration::from_secs(v),
    ),
    word(
        "hooks.event_notification_phase",
        &["reference-transaction", "post-receive"],
        "Which hook explains changes: `reference-transaction`, with every transaction by itself, or `post-receive`, with each accepted push as one.",
        |d| match d.settings.hooks.phase {
            NotificationPhase::ReferenceTransaction => "reference-transaction",
            NotificationPhase::PostReceive => "post-receive",
        },
        |d, v| {
            d.settings.hooks.phase = if v == "post-receive" {
                NotificationPhase::PostReceive
            } else {
                NotificationPhase::ReferenceTransaction
            };
        },
    ),
    number(
        "hooks.wait_ms_max",
        (0, 60_000),
        "How long a change waits for the record of its hook before it is told without, in milliseconds.",
        |d| millis(d.settings.hooks.wait_max),
        |d, v| d.settings.hooks.wait_max = Duration::from_millis(v),
    ),
    number(
        "ancestry.commits_max",
        (0, 1_000_000_000),
        "Commits walked for one update before the answer is UNKNOWN.",
        |d| u64::from(d.settings.ancestry.commits_max),
        |d, v| d.settings.ancestry.commits_max = narrow(v),
    ),
    number(
        "ancestry.time_ms_max",
        (0, 60_000),
        "Time spent on one update before the answer is UNKNOWN, in milliseconds.",
        |d| millis(d.settings.ancestry.time_max),
        |d, v| d.settings.ancestry.time_max = Duration::from_millis(v),
    ),
    row(
        "classify.release_patterns",
        "Globs of tag names (without refs/tags/) that are releases. Empty for semantic versions, with or without a \
         leading v.",
        Kind::Globs {
            get: |d| &d.settings.classify.release_patterns,
            set: |d, v| d.settings.classify.release_patterns = v,
        },
    ),
    row(
        "classify.protected_refs",
        "Globs of full ref names, such as refs/heads/release/**, whose refused updates are called \
         PROTECTED_BRANCH_REJECTED. * does not match a /. Protects nothing by itself.",
        Kind::Globs {
            get: |d| &d.settings.classify.protected_refs,
            set: |d, v| d.settings.classify.protected_refs = v,
        },
    ),
    number(
        "classify.bulk_refs_min",
        (2, 1_000_000),
        "Refs of one transaction from which on a MIRROR_SYNCED closes it.",
        |d| u64::from(d.settings.classify.bulk_refs_min),
        |d, v| d.settings.classify.bulk_refs_min = narrow(v),
    ),
    row(
        "grpc.address",
        "Where gRPC is served.",
        Kind::Address { get: |d| d.settings.grpc.address, set: |d, v| d.settings.grpc.address = v },
    ),
    path(
        "grpc.socket",
        "\"/run/refwatch/grpc.sock\"",
        "A Unix socket on which gRPC is served as well. Who can connect may watch and report: its owner and group, or \
         those that grpc.socket_users and grpc.socket_groups name.",
        |d| d.settings.grpc.socket.as_deref(),
        |d, v| d.settings.grpc.socket = Some(v),
    ),
    row(
        "grpc.socket_users",
        "Users, by name or number, that may connect to grpc.socket. Where this or grpc.socket_groups names somebody, the \
         socket's mode is 0666 and only those are let in, as the kernel tells who connects. In a variable, with commas.",
        Kind::Names { get: |d| &d.settings.grpc.socket_users, set: |d, v| d.settings.grpc.socket_users = v },
    ),
    row(
        "grpc.socket_groups",
        "Groups, by name or number, whose members may connect to grpc.socket.",
        Kind::Names {
            get: |d| &d.settings.grpc.socket_groups,
            set: |d, v| d.settings.grpc.socket_groups = v,
        },
    ),
    path(
        "grpc.tls_certificate",
        "\"/etc/refwatch/tls.crt\"",
        "PEM file of the server's certificate and those between it and its authority. Needs grpc.tls_key. Read again when \
         it changes, as all files of tokens, secrets, keys and certificates are.",
        |d| d.tls_certificate.as_deref(),
        |d, v| d.tls_certificate = Some(v),
    ),
    path(
        "grpc.tls_key",
        "\"/etc/refwatch/tls.key\"",
        "PEM file of the certificate's key.",
        |d| d.tls_key.as_deref(),
        |d, v| d.tls_key = Some(v),
    ),
    path(
        "grpc.tls_client_ca",
        "\"/etc/refwatch/clients.crt\"",
        "PEM file of the authority whose certificates clients must show. Needs grpc.tls_certificate.",
        |d| d.tls_client_ca.as_deref(),
        |d, v| d.tls_client_ca = Some(v),
    ),
    path(
        "grpc.token_file",
        "\"/etc/refwatch/tokens\"",
        "File with one bearer token a line, or its hash as `refwatch token` makes it; clients must send one of them. \
         scope=ingest behind a token lets it report and not watch, scope=watch,ingest both; repository=GLOB, as often as \
         wanted, limits it to repositories by their paths.",
        |d| d.settings.grpc.token_file.as_deref(),
        |d, v| d.settings.grpc.token_file = Some(v),
    ),
    path(
        "grpc.shared_secret_file",
        "\"/etc/refwatch/secret\"",
        "File with the secret that reports may be signed with, and in a second line the one before while hosts change \
         over.",
        |d| d.settings.grpc.shared_secret_file.as_deref(),
        |d, v| d.settings.grpc.shared_secret_file = Some(v),
    ),
    number(
        "grpc.connections_max",
        (1, 1_000_000),
        "Connections at a time.",
        |d| d.settings.grpc.connections_max as u64,
        |d, v| d.settings.grpc.connections_max = narrow(v),
    ),
    number(
        "grpc.connections_per_peer_max",
        (1, 1_000_000),
        "Connections at a time of one address (of IPv6, of one /64), and of one user of the Unix socket.",
        |d| d.settings.grpc.connections_per_peer_max as u64,
        |d, v| d.settings.grpc.connections_per_peer_max = narrow(v),
    ),
    row(
        "grpc.allow_plaintext",
        "Serves without TLS on an address that is not loopback: anyone on the way can read and change the stream.",
        Kind::Switch {
            get: |d| d.settings.grpc.allow_plaintext,
            set: |d, v| d.settings.grpc.allow_plaintext = v,
        },
    ),
    number(
        "grpc.subscribers_max",
        (1, 100_000),
        "Streams at a time.",
        |d| d.settings.grpc.subscribers_max as u64,
        |d, v| d.settings.grpc.subscribers_max = narrow(v),
    ),
    number(
        "grpc.progress_interval_ms",
        (100, 600_000),
        "Longest silence on a stream whose request names none, in milliseconds.",
        |d| millis(d.settings.grpc.progress_interval),
        |d, v| d.settings.grpc.progress_interval = Duration::from_millis(v),
    ),
    number(
        "grpc.stall_timeout_s",
        (1, 3_600),
        "How long a subscriber may take no message before its stream is ended, in seconds.",
        |d| d.settings.grpc.stall_timeout.as_secs(),
        |d, v| d.settings.grpc.stall_timeout = Duration::from_secs(v),
    ),
    number(
        "grpc.keepalive_s",
        (1, 3_600),
        "Silence after which a connection is asked whether it still lives, and how long it may take to answer before \
         it is closed, in seconds.",
        |d| d.settings.grpc.keepalive.as_secs(),
        |d, v| d.settings.grpc.keepalive = Duration::from_secs(v),
    ),
    number(
        "grpc.drain_timeout_s",
        (0, 600),
        "How long streams may take to end at shutdown, in seconds.",
        |d| d.settings.grpc.drain_timeout.as_secs(),
        |d, v| d.settings.grpc.drain_timeout = Duration::from_secs(v),
    ),
    row(
        "http.address",
        "Where probes, metrics and the status page are served; off for nowhere. Without TLS and tokens on any address: \
         probes and metrics name no repository, ref or peer.",
        Kind::AddressOrOff { get: |d| d.settings.http.address, set: |d, v| d.settings.http.address = v },
    ),
    row(
        "http.expose_status",
        "Shows /status, which names repositories and subscribers, to whoever reaches http.address. Without it only this \
         machine sees it, by a loopback address.",
        Kind::Switch {
            get: |d| d.settings.http.expose_status,
            set: |d, v| d.settings.http.expose_status = v,
        },
    ),
    word(
        "log.level",
        &["off", "error", "warn", "info", "debug", "trace"],
        "The least important lines that are still written.",
        |d| level_word(d.log.level),
        |d, v| d.log.level = v.parse().unwrap_or(LevelFilter::INFO),
    ),
    word(
        "log.format",
        &["text", "json"],
        "How lines look: text for people, json for one object a line.",
        |d| match d.log.format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        },
        |d, v| d.log.format = if v == "json" { LogFormat::Json } else { LogFormat::Text },
    ),
];

fn level_word(level: LevelFilter) -> &'static str {
    match level {
        LevelFilter::OFF => "off",
        LevelFilter::ERROR => "error",
        LevelFilter::WARN => "warn",
        LevelFilter::DEBUG => "debug",
        LevelFilter::TRACE => "trace",
        _ => "info",
    }
}
