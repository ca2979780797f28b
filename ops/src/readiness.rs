//! Whether the daemon should be given work.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

/// Longest message of a failing check, in bytes; what is longer is cut.
const MESSAGE_BYTES_MAX: usize = 512;

/// A fixed set of named checks, all of which must pass for the daemon to be ready.
///
/// A shared handle, cheap to clone. Each check is set through its own [`Check`], so a name cannot be misspelt.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Checks>>);

#[derive(Debug)]
struct Checks {
    draining: bool,
    checks: Vec<(&'static str, CheckReport)>,
}

impl Checks {
    fn ready(&self) -> bool {
        !self.draining && self.checks.iter().all(|(_, check)| check.state == CheckState::Ok)
    }
}

/// What a check last found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CheckState {
    /// Not done for the first time.
    Pending,
    /// All is well.
    Ok,
    /// Something is wrong.
    Failing {
        /// What, in words for an operator.
        message: String,
    },
}

impl CheckState {
    /// Word for this state, as in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ok => "ok",
            Self::Failing { .. } => "failing",
        }
    }

    /// What is wrong, where something is.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Failing { message } => Some(message),
            Self::Pending | Self::Ok => None,
        }
    }
}

/// One check, and when it came to be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What it last found.
    #[serde(flatten)]
    pub state: CheckState,
    /// Since when; a failing check that changes its message keeps its time.
    pub since: Timestamp,
}

/// Whether the daemon should be given work, and why not.
#[derive(Debug, Clone, Serialize)]
pub struct ReadinessReport {
    /// Whether every check passes and the daemon is not draining.
    pub ready: bool,
    /// Whether the daemon is on its way out.
    pub draining: bool,
    /// Every check by name.
    pub checks: BTreeMap<&'static str, CheckReport>,
}

impl Readiness {
    /// Makes a set of checks, all pending, and the handle of each.
    ///
    /// # Panics
    /// Where a name occurs twice: that would be a bug of the caller.
    pub fn with_checks<const N: usize>(names: [&'static str; N]) -> (Self, [Check; N]) {
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "BUG: two readiness checks are named {name}");
        }
        let pending = CheckReport { state: CheckState::Pending, since: Timestamp::now() };
        let checks = names.iter().map(|name| (*name, pending.clone())).collect();
        let readiness = Self(Arc::new(watch::Sender::new(Checks { draining: false, checks })));
        let handles = std::array::from_fn(|index| Check { readiness: readiness.clone(), index });
        (readiness, handles)
    }

    /// Whether every check passes and the daemon is not draining.
    pub fn ready(&self) -> bool {
        self.0.borrow().ready()
    }

    /// Waits until [`Readiness::ready`].
    pub async fn until_ready(&self) {
        let mut checks = self.0.subscribe();
        let ready = checks.wait_for(Checks::ready).await;
        drop(ready.expect("the sender lives as long as self"));
    }

    /// Turns unready for good, whatever the checks say: the daemon is on its way out.
    pub fn drain(&self) {
        self.0.send_modify(|checks| checks.draining = true);
    }

    /// Whether [`Readiness::drain`] was called.
    pub fn draining(&self) -> bool {
        self.0.borrow().draining
    }

    /// Every check by name, and what follows from them.
    pub fn report(&self) -> ReadinessReport {
        let checks = self.0.borrow();
        ReadinessReport {
            ready: checks.ready(),
            draining: checks.draining,
            checks: checks.checks.iter().cloned().collect(),
        }
    }
}

/// Handle of one readiness check.
#[derive(Debug, Clone)]
pub struct Check {
    readiness: Readiness,
    index: usize,
}

impl Check {
    /// Says that all is well.
    pub fn ok(&self) {
        self.set(CheckState::Ok);
    }

    /// Says what is wrong.
    pub fn failing(&self, message: impl Into<String>) {
        let mut message = message.into();
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&end| message.is_char_boundary(end));
        message.truncate(end.unwrap_or_default());
        self.set(CheckState::Failing { message });
    }

    /// Says that it is not known, as at the start.
    pub fn pending(&self) {
        self.set(CheckState::Pending);
    }

    fn set(&self, state: CheckState) {
        self.readiness.0.send_if_modified(|checks| {
            let (name, check) = &mut checks.checks[self.index];
            if check.state == state {
                return false;
            }
            if check.state.as_str() != state.as_str() {
                check.since = Timestamp::now();
                let message = state.message().unwrap_or_default();
                tracing::info!(check = name, state = state.as_str(), message, "readiness check changed");
            }
            check.state = state;
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_check_passes() {
        let (readiness, [store, grpc]) = Readiness::with_checks(["store", "grpc"]);
        assert!(!readiness.ready());
        store.ok();
        assert!(!readiness.ready());
        grpc.ok();
        assert!(readiness.ready());
        store.failing("disk full");
        assert!(!readiness.ready());
        assert_eq!(readiness.report().checks["store"].state.message(), Some("disk full"));
    }

    #[test]
    fn draining_is_unready_for_good() {
        let (readiness, [store]) = Readiness::with_checks(["store"]);
        store.ok();
        readiness.drain();
        store.ok();
        assert!(!readiness.ready() && readiness.draining());
    }

    #[test]
    fn a_failing_check_keeps_the_time_it_began_to_fail() {
        let (readiness, [store]) = Readiness::with_checks(["store"]);
        store.failing("disk full, 1 try");
        let since = readiness.report().checks["store"].since;
        store.failing("disk full, 2 tries");
        assert_eq!(readiness.report().checks["store"].since, since);
        assert_eq!(readiness.report().checks["store"].state.message(), Some("disk full, 2 tries"));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let (readiness, [store]) = Readiness::with_checks(["store"]);
        store.failing("x".to_owned() + &"ß".repeat(MESSAGE_BYTES_MAX));
        let checks = readiness.report().checks;
        assert_eq!(checks["store"].state.message().unwrap().len(), MESSAGE_BYTES_MAX - 1);
    }

    #[tokio::test]
    async fn waiting_for_readiness_ends_when_it_comes() {
        let (readiness, [store]) = Readiness::with_checks(["store"]);
        let waiting = readiness.clone();
        let (waited, ()) = tokio::join!(
            tokio::time::timeout(std::time::Duration::from_secs(30), waiting.until_ready()),
            async { store.ok() },
        );
        waited.unwrap();
    }

    #[test]
    #[should_panic(expected = "two readiness checks are named store")]
    fn a_name_is_used_once() {
        drop(Readiness::with_checks(["store", "store"]));
    }
}
