//! A program that prints lines of JSON.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::DEADLINE;

/// A running program, and whatever it started. Killed when dropped.
#[derive(Debug)]
pub struct Printing {
    child: Child,
    printed: Arc<(Mutex<Vec<Value>>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Printing {
    /// Runs a command.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let printed: Arc<(Mutex<Vec<Value>>, Condvar)> = Arc::default();
        let reader = std::thread::spawn({
            let printed = Arc::clone(&printed);
            move || {
                for line in stdout.lines().map_while(Result::ok) {
                    // The last line of one that was killed may be cut.
                    if let Ok(value) = serde_json::from_str(&line) {
                        lock(&printed.0).push(value);
                        printed.1.notify_all();
                    }
                }
            }
        });
        Self { child, printed, reader: Some(reader) }
    }

    /// Everything that it has printed so far.
    pub fn now(&self) -> Vec<Value> {
        lock(&self.printed.0).clone()
    }

    /// Waits until what is printed is as wanted; all of it until then.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + DEADLINE;
        let mut printed = lock(&self.printed.0);
        while !wanted(&printed) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it never came that {what}, but {printed:#?}");
            printed = self.printed.1.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        printed.clone()
    }

    /// Ends it by SIGKILL; everything that it printed.
    ///
    /// # Panics
    /// When reading failed.
    pub fn kill9(mut self) -> Vec<Value> {
        self.kill();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not fail");
        }
        self.now()
    }

    /// Waits until it ends by itself; everything that it printed.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait_end(mut self) -> (ExitStatus, Vec<Value>) {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end, but printed {:#?}", self.now());
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not fail");
        }
        (status, self.now())
    }

    fn kill(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended, and been waited for: then the number is not its any more.
        if let (Some(group), Ok(None)) = (group, self.child.try_wait()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.child.wait());
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
