//! Every metric of the daemon, its name, its unit and its help, in one place.
//!
//! The library is `prometheus-client`, the Prometheus project's own for Rust. It speaks OpenMetrics natively, which
//! is the stricter format; the older text format follows from it by renaming two kinds of header
//! (`exposition::downgrade`, 25 lines). The other way round costs more: the `prometheus` crate writes only the
//! old format and `metrics-exporter-prometheus` also leaves the set of metrics open, keyed by strings.
//!
//! Labels are bounded by construction: either a closed enum of [`labels`], or a `&'static str` that the crate
//! that owns the word hands in, of which each metric keeps at most [`NAMES_MAX`]. No repository, ref or peer is ever one.

mod exposition;
mod instruments;
pub mod labels;

use std::{fmt, ops::Deref, sync::Arc};

use jiff::Timestamp;
use prometheus_client::{metrics::info::Info, registry::Registry};

pub use exposition::Exposition;
pub use instruments::{
    Counter, CounterBy, CounterByName, Durations, DurationsBy, Gauge, GaugeBy, GaugeByName, GrpcRequests,
    Held, NAMES_MAX, Sizes,
};
pub use labels::{
    Ancestry, AuthFailure, ConnectionRefusal, GrpcCode, LogSource, PassKind, ReportOutcome, RepositoryState,
    SubscriptionEnd,
};

/// Seconds, for what takes microseconds when all is well: one pass, one commit, one walk.
const WORK: &[f64] = &[
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];
/// Seconds, for what a person or a controller waits for.
const LATENCY: &[f64] = &[
    0.5e-3, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Seconds, for what looks at every repository.
const SWEEP: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// Events a commit.
const COMMIT: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4];

/// Declares each instrument once: its documentation is its HELP text.
macro_rules! instruments {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = ($($arg:expr),+);)*) => {
        /// The instruments that [`Metrics`] gives access to.
        pub struct Instruments {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)*
        }

        impl Instruments {
            fn in_registry(mut registry: Registry) -> Self {
                // The library ends every HELP text with a full stop of its own.
                $(let $field = <$kind>::register(
                    &mut registry, concat!($($help),+).trim().trim_end_matches('.'), $($arg),+
                );)*
                Self { registry, $($field),* }
            }
        }
    };
}

instruments! {
    /// Unix time at which the process started.
    process_start_time: Gauge = ("process_start_time_seconds");

    /// Whether a check of readiness passes, by check: 1, or 0.
    readiness: GaugeByName = ("readiness", "check");
    /// Repositories known, by how they are followed.
    repositories: GaugeBy<RepositoryState> = ("repositories");
    /// Directories under filesystem watch.
    watches: Gauge = ("watches");
    /// Times the watch budget was used up and a repository fell back to polling.
    watch_limit_reached: Counter = ("watch_limit_reached");
    /// Times the kernel dropped notifications and everything was looked at again.
    watch_overflows: Counter = ("watch_overflows");

    /// Reasons to look that arrived, by reason.
    wakes: CounterByName = ("wakes", "reason");
    /// Looks at one repository, by kind.
    passes: CounterBy<PassKind> = ("passes");
    /// Time one look at one repository took, by kind.
    pass_duration: DurationsBy<PassKind> = ("pass_duration", WORK);
    /// Looks at all repositories that completed.
    sweeps: Counter = ("sweeps");
    /// Time one look at all repositories took.
    sweep_duration: Durations = ("sweep_duration", SWEEP);
    /// Changes that only a sweep found. More than zero means that notifications are being lost.
    drift: Counter = ("drift");
    /// Ref values read from disk.
    refs_read: Counter = ("refs_read");
    /// Reads started over because the repository moved underneath.
    scan_retries: Counter = ("scan_retries");
    /// Passes that waited for the rest of a transaction to appear.
    settle_waits: Counter = ("settle_waits");
    /// Waits for the rest of a transaction that ran out of time.
    settle_timeouts: Counter = ("settle_timeouts");
    /// Things that should not be in a repository or a journal, by kind.
    anomalies: CounterByName = ("anomalies", "kind");
    /// Updates classified by whether the old value is an ancestor of the new one.
    ancestry: CounterBy<Ancestry> = ("ancestry");
    /// Time one classification took.
    ancestry_duration: Durations = ("ancestry_duration", WORK);
    /// Classifications that wait because they outgrew their budget.
    ancestry_slow_queue: Gauge = ("ancestry_slow_queue");

    /// Events committed to the log, by type.
    events: CounterByName = ("events", "type");
    /// Time from observing a change to its durable commit.
    event_visible: Durations = ("event_visible", LATENCY);
    /// Transactions committed to the store.
    store_commits: Counter = ("store_commits");
    /// Time one store transaction took, with its flush to disk.
    store_commit_duration: Durations = ("store_commit_duration", WORK);
    /// Events a store transaction carried.
    store_commit_events: Sizes = ("store_commit_events", COMMIT);
    /// Store operations that failed, by kind.
    store_errors: CounterByName = ("store_errors", "kind");
    /// Size of the database file.
    store_size_bytes: Gauge = ("store_size_bytes");
    /// Size of the write-ahead log.
    store_wal_bytes: Gauge = ("store_wal_bytes");
    /// Sequence of the newest event in the log.
    log_last_sequence: Gauge = ("log_last_sequence");
    /// Sequence of the oldest event in the log.
    log_floor_sequence: Gauge = ("log_floor_sequence");
    /// Events in the log.
    log_events: Gauge = ("log_events");
    /// Events that retention deleted from the log.
    retention_deleted: Counter = ("retention_deleted");
    /// Time one checkpoint of the write-ahead log took.
    checkpoint_duration: Durations = ("checkpoint_duration", WORK);

    /// Subscriptions that are open.
    subscribers: Gauge = ("subscribers");
    /// Subscriptions opened.
    subscriptions: Counter = ("subscriptions");
    /// Subscriptions that ended, by reason.
    subscriptions_ended: CounterBy<SubscriptionEnd> = ("subscriptions_ended");
    /// Events sent to subscribers.
    events_sent: Counter = ("events_sent");
    /// Bytes of messages sent to subscribers.
    bytes_sent: Counter = ("bytes_sent");
    /// Events that the slowest subscriber has still to read.
    subscriber_lag_events_max: Gauge = ("subscriber_lag_events_max");
    /// Reads of the log for subscribers, by where it was found.
    log_reads: CounterBy<LogSource> = ("log_reads");
    /// Connections to gRPC that are open.
    connections: Gauge = ("connections");
    /// Connections to gRPC that were turned away, by reason.
    connections_refused: CounterBy<ConnectionRefusal> = ("connections_refused");
    /// Calls refused for their credentials, by reason.
    auth_failures: CounterBy<AuthFailure> = ("auth_failures");
    /// Calls answered, by method and status.
    grpc_requests: GrpcRequests = ("grpc_requests");
    /// Refused updates that Git hosts reported, by what became of them.
    reports: CounterBy<ReportOutcome> = ("reports");
    /// Entries waiting in an internal queue, by queue.
    queue_depth: GaugeByName = ("queue_depth", "queue");
}

/// The daemon's metrics: a shared handle, cheap to clone, whose fields are those of [`Instruments`].
///
/// Every value that a closed label can take is present from the start at zero, so a rate never misses the first
/// increment. Recording is lock-free but for labels given by name, and never fails.
#[derive(Clone)]
pub struct Metrics(Arc<Instruments>);

impl Metrics {
    /// Makes the metrics of a process that starts now, with `version` in `refwatch_build_info`.
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("refwatch");
        let build = Info::new([("version", version.to_owned())]);
        registry.register("build", "The version that runs", build);
        let instruments = Instruments::in_registry(registry);
        instruments.process_start_time.set(Timestamp::now().as_second().unsigned_abs());
        Self(Arc::new(instruments))
    }

    /// Writes all metrics in one of the two formats.
    ///
    /// # Errors
    /// [`EncodeError`] where the library refuses a value, which no instrument of this crate can hold.
    pub fn encode(&self, format: Exposition) -> Result<String, EncodeError> {
        exposition::encode(&self.0.registry, format).map_err(|_| EncodeError)
    }
}

impl Deref for Metrics {
    type Target = Instruments;

    fn deref(&self) -> &Instruments {
        &self.0
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The metrics could not be written.
#[derive(Debug, thiserror::Error)]
#[error("a metric holds a value that the exposition format cannot carry")]
pub struct EncodeError;
