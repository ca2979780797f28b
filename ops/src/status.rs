//! What the daemon is doing now, for people and for scripts.

mod page;

use jiff::Timestamp;
use serde::Serialize;

use crate::{liveness::LivenessReport, readiness::ReadinessReport};

pub(crate) use page::page;

/// Subscribers that a status shows at most.
pub const SUBSCRIBERS_MAX: usize = 100;
/// Problems that a status shows at most.
pub const PROBLEMS_MAX: usize = 50;
/// Repositories that a status shows at most.
pub const REPOSITORIES_MAX: usize = 200;

/// Says what the daemon is doing now.
///
/// Called for each request of `/status`, on a thread that may block, a few at once at most. Text may hold anything: what
/// comes from a repository is escaped where it is shown.
pub trait StatusSource: Send + Sync + 'static {
    /// Takes a look at the daemon.
    fn status(&self) -> Status;
}

/// What the daemon is doing now; readiness and liveness are added by the router, which knows them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    /// Version that runs.
    pub version: String,
    /// Identity of the server.
    pub server_id: String,
    /// Identity of the log.
    pub epoch: String,
    /// When the process started.
    pub started_at: Timestamp,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// The event log.
    pub log: LogStatus,
    /// The repositories.
    pub repositories: RepositoriesStatus,
    /// The filesystem watches.
    pub watches: WatchesStatus,
    /// Who is subscribed, the furthest behind first.
    pub subscribers: Listed<Subscriber, SUBSCRIBERS_MAX>,
    /// What went wrong of late, the newest first.
    pub problems: Listed<Problem, PROBLEMS_MAX>,
}

/// State of the event log.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LogStatus {
    /// Sequence of the newest event.
    pub last_sequence: u64,
    /// Sequence of the oldest event.
    pub floor_sequence: u64,
    /// Events held.
    pub events: u64,
    /// Size of the database on disk, in bytes.
    pub bytes: u64,
    /// When the oldest event was observed.
    pub oldest_at: Option<Timestamp>,
}

/// State of all repositories together, and of some of them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RepositoriesStatus {
    /// How many are followed by notifications.
    pub watched: u64,
    /// How many are looked at again and again.
    pub polled: u64,
    /// How many cannot be read.
    pub unreadable: u64,
    /// How many are no sound repository.
    pub broken: u64,
    /// How many there are, and the ones shown: those in trouble first, then the latest changed.
    #[serde(flatten)]
    pub listed: Listed<Repository, REPOSITORIES_MAX>,
}

/// Filesystem watches, in directories.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WatchesStatus {
    /// Watches in use.
    pub used: u64,
    /// Watches that may be used, where there is a limit.
    pub limit: Option<u64>,
}

/// One repository.
#[derive(Debug, Clone, Serialize)]
pub struct Repository {
    /// Path, as text; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// How it is followed: a word of [`crate::metrics::RepositoryState`].
    pub state: String,
    /// Refs it has.
    pub refs: u64,
    /// When the last change was observed.
    pub changed_at: Option<Timestamp>,
}

/// One subscription.
#[derive(Debug, Clone, Serialize)]
pub struct Subscriber {
    /// Address or name of the client.
    pub peer: String,
    /// When it subscribed.
    pub since: Timestamp,
    /// Events it has still to read.
    pub lag_events: u64,
    /// What it asked for, in a few words.
    pub filter: String,
}

/// Something that went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// When.
    pub at: Timestamp,
    /// What, and what to do about it.
    pub message: String,
    /// Where, if it concerns one place.
    pub path: Option<String>,
}

/// The first `MAX` of a list at most, and how many there are in all.
#[derive(Debug, Clone, Serialize)]
pub struct Listed<T, const MAX: usize> {
    total: u64,
    list: Vec<T>,
}

impl<T, const MAX: usize> Listed<T, MAX> {
    /// Takes what fits from `items`, of which there are `total`.
    pub fn of(total: u64, items: impl IntoIterator<Item = T>) -> Self {
        Self { total, list: items.into_iter().take(MAX).collect() }
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The ones shown.
    pub fn list(&self) -> &[T] {
        &self.list
    }
}

impl<T, const MAX: usize> Default for Listed<T, MAX> {
    fn default() -> Self {
        Self { total: 0, list: Vec::new() }
    }
}

/// The two together.
#[derive(Debug, Serialize)]
pub(crate) struct HealthReport {
    #[serde(flatten)]
    pub(crate) readiness: ReadinessReport,
    #[serde(flatten)]
    pub(crate) liveness: LivenessReport,
}

/// All that `/status` answers.
#[derive(Debug, Serialize)]
pub(crate) struct StatusReport {
    pub(crate) at: Timestamp,
    #[serde(flatten)]
    pub(crate) health: HealthReport,
    #[serde(flatten)]
    pub(crate) status: Status,
}
