//! Everything that can be set, with its default. `config.rs` fills it in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// All settings of the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `roots`: folders below which repositories are served.
    pub(crate) roots: Vec<PathBuf>,
    /// `baseline`: what a fresh database makes of what it finds at its first start.
    pub(crate) baseline: Baseline,
    pub(crate) store: StoreSettings,
    pub(crate) watch: WatchSettings,
    pub(crate) hooks: HookSettings,
    pub(crate) ancestry: AncestrySettings,
    pub(crate) classify: ClassifySettings,
    pub(crate) grpc: GrpcSettings,
    pub(crate) http: HttpSettings,
}

/// What a fresh database makes of the refs that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Baseline {
    /// They are known: no events but one `REPOSITORY_DISCOVERED` each.
    Known,
    /// They are created.
    Emit,
}

/// `[store]`
#[derive(Clone, Debug)]
pub(crate) struct StoreSettings {
    /// `store.path`
    pub(crate) path: PathBuf,
    /// `store.synchronous`: `full` (an event survives a power cut) or `normal` (it survives a crash of refwatch).
    pub(crate) durable: bool,
    /// `store.retention_age_s`: 0 keeps events whatever their age.
    pub(crate) retention_age: Option<Duration>,
    /// `store.retention_events_max`: 0 for no limit.
    pub(crate) retention_events_max: Option<u64>,
    /// `store.retention_bytes_max`: 0 for no limit.
    pub(crate) retention_bytes_max: Option<u64>,
    /// `store.retention_interval_s`: between two rounds of retention. 1 to 86,400.
    pub(crate) retention_interval: Duration,
    /// `store.on_corrupt`: `refuse` or `set-aside`.
    pub(crate) set_aside_corrupt: bool,
}

/// How repositories are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchMode {
    /// By notifications where they work, else by polling.
    Auto,
    /// By polling only.
    Poll,
}

/// `[watch]`
#[derive(Clone, Debug)]
pub(crate) struct WatchSettings {
    /// `watch.mode`: `auto` or `poll`.
    pub(crate) mode: WatchMode,
    /// `watch.poll_interval_ms`: 10 to 3,600,000.
    pub(crate) poll_interval: Duration,
    /// `watch.sweep_interval_s`: 1 to 86,400.
    pub(crate) sweep_interval: Duration,
    /// `watch.settle_ms_max`: how long the locks of a transaction are waited for. 0 to 60,000.
    pub(crate) settle_max: Duration,
    /// `watch.depth_max`: how deep below a root repositories are looked for. 1 to 64.
    pub(crate) depth_max: usize,
    /// `watch.workers`: passes at the same time. 1 to 64.
    pub(crate) workers: usize,
    /// `watch.stuck_timeout_s`: how long a thread may be at one thing before the daemon is not live. 1 to 86,400.
    pub(crate) stuck_timeout: Duration,
}

/// The hook that explains changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotificationPhase {
    /// Each transaction by itself.
    ReferenceTransaction,
    /// Each accepted push as a whole.
    PostReceive,
}

/// `[hooks]`
#[derive(Clone, Debug)]
pub(crate) struct HookSettings {
    /// `hooks.event_notification_phase`: `reference-transaction` or `post-receive`.
    pub(crate) phase: NotificationPhase,
    /// `hooks.wait_ms_max`: how long a change waits for its record. 0 to 60,000.
    pub(crate) wait_max: Duration,
}

impl HookSettings {
    /// True where accepted pushes are told as a whole.
    pub(crate) fn whole_pushes(&self) -> bool {
        self.phase == NotificationPhase::PostReceive
    }
}

/// `[ancestry]`
#[derive(Clone, Debug)]
pub(crate) struct AncestrySettings {
    /// `ancestry.commits_max`: commits walked for one update before the answer is UNKNOWN.
    pub(crate) commits_max: u32,
    /// `ancestry.time_ms_max`: time spent on one update before the answer is UNKNOWN.
    pub(crate) time_max: Duration,
}

/// `[classify]`
#[derive(Clone, Debug)]
pub(crate) struct ClassifySettings {
    /// `classify.release_patterns`: globs of tag names; empty for semantic versions with an optional `v`.
    pub(crate) release_patterns: Vec<String>,
    /// `classify.protected_refs`: globs of full ref names; a refused update of one is `PROTECTED_BRANCH_REJECTED`.
    pub(crate) protected_refs: Vec<String>,
    /// `classify.bulk_refs_min`: refs of one transaction from which on a `MIRROR_SYNCED` closes it.
    pub(crate) bulk_refs_min: u32,
}

/// `[grpc]`
#[derive(Clone, Debug)]
pub(crate) struct GrpcSettings {
    /// `grpc.address`
    pub(crate) address: SocketAddr,
    /// `grpc.socket`: path of a Unix socket to serve as well.
    pub(crate) socket: Option<PathBuf>,
    /// `grpc.socket_users` and `grpc.socket_groups`: names or numbers of who may connect to it; of all where both are
    /// empty.
    pub(crate) socket_users: Vec<String>,
    pub(crate) socket_groups: Vec<String>,
    /// `grpc.tls_certificate` and `grpc.tls_key`: PEM files.
    pub(crate) tls: Option<TlsSettings>,
    /// `grpc.token_file`: one bearer token a line, and what it is for.
    pub(crate) token_file: Option<PathBuf>,
    /// `grpc.shared_secret_file`: what reports may be signed with.
    pub(crate) shared_secret_file: Option<PathBuf>,
    /// `grpc.connections_max`
    pub(crate) connections_max: usize,
    /// `grpc.connections_per_peer_max`
    pub(crate) connections_per_peer_max: usize,
    /// `grpc.allow_plaintext`: serve without TLS on an address that is not loopback.
    pub(crate) allow_plaintext: bool,
    /// `grpc.subscribers_max`
    pub(crate) subscribers_max: usize,
    /// `grpc.progress_interval_ms`: the default of requests that name none.
    pub(crate) progress_interval: Duration,
    /// `grpc.stall_timeout_s`: how long a subscriber may take no message before its stream is ended.
    pub(crate) stall_timeout: Duration,
    /// `grpc.keepalive_s`: silence after which a connection is asked whether it still lives, and how long it may take
    /// to answer. 1 to 3,600.
    pub(crate) keepalive: Duration,
    /// `grpc.drain_timeout_s`: how long streams may take to end at shutdown.
    pub(crate) drain_timeout: Duration,
}

/// PEM files for TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// `grpc.tls_client_ca`: clients must show a certificate of this authority.
    pub(crate) client_ca: Option<PathBuf>,
}

/// `[http]`
#[derive(Clone, Debug)]
pub(crate) struct HttpSettings {
    /// `http.address`: `None` when it is set to `off`.
    pub(crate) address: Option<SocketAddr>,
    /// `http.expose_status`: show the status to others than this machine.
    pub(crate) expose_status: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            baseline: Baseline::Known,
            store: StoreSettings {
                path: PathBuf::new(),
                durable: true,
                retention_age: Some(Duration::from_secs(30 * 24 * 3600)),
                retention_events_max: Some(10_000_000),
                retention_bytes_max: Some(4 << 30),
                retention_interval: Duration::from_secs(60),
                set_aside_corrupt: false,
            },
            watch: WatchSettings {
                mode: WatchMode::Auto,
                poll_interval: Duration::from_secs(1),
                sweep_interval: Duration::from_secs(300),
                settle_max: Duration::from_secs(5),
                depth_max: 8,
                workers: 4,
                stuck_timeout: Duration::from_secs(300),
            },
            hooks: HookSettings {
                phase: NotificationPhase::ReferenceTransaction,
                wait_max: Duration::from_millis(500),
            },
            ancestry: AncestrySettings { commits_max: 1_000_000, time_max: Duration::from_secs(2) },
            classify: ClassifySettings {
                release_patterns: Vec::new(),
                protected_refs: Vec::new(),
                bulk_refs_min: 100,
            },
            grpc: GrpcSettings {
                address: SocketAddr::from(([127, 0, 0, 1], 50052)),
                socket: None,
                tls: None,
                socket_users: Vec::new(),
                socket_groups: Vec::new(),
                token_file: None,
                shared_secret_file: None,
                connections_max: 8_192,
                connections_per_peer_max: 2_048,
                allow_plaintext: false,
                subscribers_max: 1000,
                progress_interval: Duration::from_secs(10),
                stall_timeout: Duration::from_secs(60),
                keepalive: Duration::from_secs(20),
                drain_timeout: Duration::from_secs(5),
            },
            http: HttpSettings {
                address: Some(SocketAddr::from(([127, 0, 0, 1], 5002))),
                expose_status: false,
            },
        }
    }
}
