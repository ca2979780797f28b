//! What the status page tells.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use refwatch_ops::metrics::{RepositoryState, labels::Label as _};
use refwatch_ops::status::{
    Listed, LogStatus, Problem, RepositoriesStatus, Repository, Status, StatusSource, WatchesStatus,
};

use crate::directory::{Entry, Health, Watched};
use crate::engine::Engine;
use crate::subscriptions::Subscriptions;

/// Looks at the daemon when somebody asks.
pub(super) struct StatusPage {
    engine: Arc<Engine>,
    subscriptions: Arc<Subscriptions>,
    started_at: Timestamp,
}

impl StatusPage {
    pub(super) fn new(engine: Arc<Engine>, subscriptions: Arc<Subscriptions>) -> Self {
        Self { engine, subscriptions, started_at: Timestamp::now() }
    }
}

/// How a repository is followed; `None` for one that is gone.
pub(super) fn state_of(entry: &Entry) -> Option<RepositoryState> {
    match (&entry.health, entry.watched) {
        (Health::Deleted, _) => None,
        (Health::Unreadable(_), _) => Some(RepositoryState::Unreadable),
        (Health::InFlux(_), _) => Some(RepositoryState::Broken),
        (Health::Ready | Health::Discovering, Watched::Notify) => Some(RepositoryState::Watched),
        (Health::Ready | Health::Discovering, Watched::Poll) => Some(RepositoryState::Polled),
    }
}

/// Watches that this process holds, as the kernel counts them (proc_pid_fdinfo(5)).
pub(super) fn watches_used() -> u64 {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let of_inotify = descriptors.flatten().filter(|descriptor| {
        std::fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:inotify")
    });
    let count = of_inotify.map(|descriptor| {
        let info = std::path::Path::new("/proc/self/fdinfo").join(descriptor.file_name());
        std::fs::read_to_string(info)
            .map_or(0, |info| info.lines().filter(|line| line.starts_with("inotify ")).count() as u64)
    });
    count.sum()
}

fn watches_limit() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?.trim().parse().ok()
}

impl StatusSource for StatusPage {
    fn status(&self) -> Status {
        let engine = &self.engine;
        let identity = engine.store.identity();
        let bounds = engine.store.bounds();
        let stats = engine.store.stats();
        let mut oldest_at = None;
        let mut rows = Vec::new();
        if let Ok(reader) = engine.store.read() {
            let first = reader.events_after(bounds.floor.saturating_sub(1), 1, |logged| {
                oldest_at = Timestamp::from_microsecond(logged.observed_at_us).ok();
                std::ops::ControlFlow::Break(())
            });
            drop(first);
            rows = reader.repositories().unwrap_or_default();
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.last_change_us));
        let entries = engine.directory.all();
        let count = |state: RepositoryState| {
            entries.iter().filter(|entry| state_of(entry) == Some(state)).count() as u64
        };
        let listed = rows.iter().filter_map(|row| {
            let entry = engine.directory.get(row.key)?;
            Some(Repository {
                path: entry.path_text(),
                state: state_of(&entry)?.as_str().to_owned(),
                refs: row.ref_count,
                changed_at: Timestamp::from_microsecond(row.last_change_us).ok(),
            })
        });
        let total = entries.iter().filter(|entry| state_of(entry).is_some()).count() as u64;
        let problems = engine.problems.list();
        let subscribers = self.subscriptions.list();
        let watches = watches_used();
        engine.metrics.watches.set(watches);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            server_id: format!("{:016x}", identity.server),
            epoch: format!("{:016x}", identity.epoch),
            started_at: self.started_at,
            uptime_seconds: u64::try_from(Timestamp::now().duration_since(self.started_at).as_secs())
                .unwrap_or(0),
            log: LogStatus {
                last_sequence: bounds.last,
                floor_sequence: bounds.floor,
                events: stats.events,
                bytes: stats.log_bytes,
                oldest_at,
            },
            repositories: RepositoriesStatus {
                watched: count(RepositoryState::Watched),
                polled: count(RepositoryState::Polled),
                unreadable: count(RepositoryState::Unreadable),
                broken: count(RepositoryState::Broken),
                listed: Listed::of(total, listed),
            },
            watches: WatchesStatus { used: watches, limit: watches_limit() },
            subscribers: Listed::of(subscribers.len() as u64, subscribers),
            problems: Listed::of(
                problems.len() as u64,
                problems.into_iter().map(|problem| Problem {
                    at: problem.at,
                    message: problem.message,
                    path: Some(problem.path.display().to_string()),
                }),
            ),
        }
    }
}

/// Repositories whose first look is done, and all that are known.
pub(super) fn progress_of(engine: &Engine) -> (u64, u64) {
    (engine.looked.load(Ordering::Relaxed), engine.repositories().len() as u64)
}
