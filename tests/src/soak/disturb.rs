//! What happens to the daemon while others write.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use rustix::process::Signal;

use crate::client::Client;
use crate::daemon::{Daemon, Options};
use crate::http;
use crate::random::Random;

use super::judge::Judge;
use super::yard::{Kind, Yard};

/// How long a change waits for its record, in milliseconds: a machine that is busy with eight writers and a debug build
/// needs longer than the default.
const HOOK_WAIT_MS: &str = "1500";

/// Between two looks by polling, in milliseconds.
const POLL_MS: &str = "50";

/// Renames made while the daemon hangs. With the temporary file, each is five notifications; the kernel keeps 16,384.
const FLOOD: usize = 4_000;

/// The daemon, and what has to be remembered of those before it.
#[derive(Debug)]
pub(super) struct Watch {
    daemon: Daemon,
    options: Options,
    polls: bool,
    overflows: f64,
    log: Vec<String>,
}

impl Watch {
    pub(super) fn start(yard: &Yard) -> Self {
        let options =
            Options::new(&yard.world).set("baseline", "emit").set("hooks.wait_ms_max", HOOK_WAIT_MS);
        let daemon = options.clone().start();
        Self { daemon, options, polls: false, overflows: 0.0, log: Vec::new() }
    }

    pub(super) fn client(&self) -> Client {
        self.daemon.client()
    }

    pub(super) fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Notifications that overflowed, of all daemons.
    pub(super) fn overflows(&self) -> u64 {
        let now = http::metric(self.daemon.http(), "refwatch_watch_overflows_total").unwrap_or_default();
        // A count is a whole number that is far below 2^53.
        format!("{:.0}", self.overflows + now).parse().unwrap_or_default()
    }

    /// Ends it by SIGTERM or SIGKILL.
    pub(super) fn end(&mut self, signal: Signal) {
        self.overflows +=
            http::metric(self.daemon.http(), "refwatch_watch_overflows_total").unwrap_or_default();
        if signal == Signal::KILL {
            self.daemon.kill9();
        } else {
            let status = self.daemon.stop();
            assert!(status.success(), "it ends well when asked to: {status}");
        }
        self.keep_log();
    }

    /// Starts it anew, in this mode.
    pub(super) fn restart(&mut self, polls: bool) {
        self.polls = polls;
        self.daemon = self.options().start();
    }

    /// Starts it, and kills it before it has looked at everything.
    fn restart_and_kill(&mut self) {
        self.daemon = self.options().launch();
        self.daemon.kill9();
        self.keep_log();
    }

    fn options(&self) -> Options {
        if !self.polls {
            return self.options.clone();
        }
        self.options.clone().set("watch.mode", "poll").set("watch.poll_interval_ms", POLL_MS)
    }

    fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    /// It has not panicked.
    pub(super) fn check_log(&self) {
        let lines = self.daemon.log_lines();
        let panicked = lines.iter().find(|line| line.contains("panicked"));
        assert!(panicked.is_none(), "the daemon panicked: {panicked:?}");
    }

    fn keep_log(&mut self) {
        self.check_log();
        self.log = self.daemon.log_lines();
    }

    /// Writes what the daemon and the one before it said.
    pub(super) fn write_log(&self, path: &Path) {
        let mut file = fs::File::create(path).expect("a file");
        for line in self.log.iter().chain(&self.daemon.log_lines()) {
            writeln!(file, "{line}").expect("written");
        }
    }
}

/// Does one thing to the daemon, or to its subscribers.
pub(super) fn disturb(yard: &Yard, watch: &mut Watch, judge: &mut Judge, random: &mut Random) {
    let choice = random.below(10);
    let pause = random.below(20);
    let polls = watch.polls;
    match choice {
        0 | 1 => {
            yard.diary.note("the subscribers resume");
            judge.resume(watch);
        }
        2 | 3 => {
            yard.diary.note("SIGKILL");
            watch.end(Signal::KILL);
            yard.wait_steps(pause);
            watch.restart(polls);
            judge.resume(watch);
        }
        4 => {
            yard.diary.note("SIGTERM");
            watch.end(Signal::TERM);
            yard.wait_steps(pause);
            watch.restart(polls);
            judge.resume(watch);
        }
        5 => {
            yard.diary.note("SIGKILL, and again while it starts");
            watch.end(Signal::KILL);
            yard.wait_steps(pause / 2);
            watch.restart_and_kill();
            yard.wait_steps(pause / 2);
            watch.restart(polls);
            judge.resume(watch);
        }
        6 | 7 => {
            yard.diary.note("SIGSTOP, and a flood");
            watch.signal(Signal::STOP);
            flood(yard, random);
            watch.signal(Signal::CONT);
        }
        8 => {
            yard.diary.note(if polls {
                "from polling to notifications"
            } else {
                "from notifications to polling"
            });
            watch.end(Signal::TERM);
            watch.restart(!polls);
            judge.resume(watch);
        }
        _ => yard.diary.note("undisturbed"),
    }
    yard.diary.note("disturbed no longer");
}

/// More changes of one ref than there is room for notifications.
fn flood(yard: &Yard, random: &mut Random) {
    let places = yard.there();
    let files = places
        .iter()
        .filter(|place| place.kind != Kind::Recorded && place.repo.flavour.ref_format == "files");
    let files: Vec<_> = files.collect();
    if files.is_empty() {
        return;
    }
    let repo = &random.of(&files).repo;
    let commits = yard.commits(repo);
    for commit in commits.iter().cycle().take(FLOOD) {
        if repo.try_replace("refs/heads/flood", format!("{commit}\n")).is_err() {
            return;
        }
    }
    yard.diary.act(&repo.path, "Flooded", "refs/heads/flood", Ok(()));
}
