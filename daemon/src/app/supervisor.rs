//! What the service manager is told (`sd_notify(3)`). Where there is none, nothing happens.

use std::time::{Duration, Instant};

use refwatch_ops::ReadinessReport;
use sd_notify::NotifyState;

/// The start may take this much longer, in microseconds; asked for again every [`EXTENSION_INTERVAL`].
const EXTENSION_US: u32 = 30_000_000;
const EXTENSION_INTERVAL: Duration = Duration::from_secs(5);

/// The service manager, and what it knows already.
#[derive(Debug, Default)]
pub(super) struct Supervisor {
    told_ready: bool,
    status: String,
    extended_at: Option<Instant>,
}

impl Supervisor {
    /// The first scan goes on: a start that takes long and gets on is not to be given up.
    pub(super) fn starting(&mut self, done: u64, all: u64) {
        if self.extended_at.is_some_and(|at| at.elapsed() < EXTENSION_INTERVAL) {
            return;
        }
        self.extended_at = Some(Instant::now());
        tell(&[NotifyState::ExtendTimeoutUsec(EXTENSION_US)]);
        self.say(format!("first scan: {done} of {all} repositories"));
    }

    /// All sockets listen, and the first scan is over. True the first time.
    pub(super) fn started(&mut self) -> bool {
        if std::mem::replace(&mut self.told_ready, true) {
            return false;
        }
        tell(&[NotifyState::Ready]);
        true
    }

    /// Every thread turns, or waits for work.
    pub(super) fn alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }

    /// What `systemctl status` shows.
    pub(super) fn readiness(&mut self, report: &ReadinessReport) {
        let failing = report.checks.iter().filter_map(|(name, check)| {
            let state = &check.state;
            (state.as_str() != "ok").then(|| format!("{name}: {}", state.message().unwrap_or(state.as_str())))
        });
        let failing: Vec<String> = failing.collect();
        self.say(if failing.is_empty() { "ready".to_owned() } else { failing.join("; ") });
    }

    fn say(&mut self, status: String) {
        if status != self.status {
            // A line break would begin another message.
            tell(&[NotifyState::Status(&status.replace(['\n', '\r'], " "))]);
            self.status = status;
        }
    }
}

/// The drain begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Nobody to tell is no error.
fn tell(states: &[NotifyState<'_>]) {
    drop(sd_notify::notify(states));
}
