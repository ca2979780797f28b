//! `refwatch tail --json` as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::Value;

use crate::{DEADLINE, binary};

/// A running tail. Killed when dropped.
#[derive(Debug)]
pub struct Tail {
    child: Child,
    printed: Arc<(Mutex<Vec<Value>>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Tail {
    /// Follows a daemon.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn start(grpc: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = Command::new(binary::refwatch())
            .env_clear()
            .args(["tail", "--json", "--include-internal", "--grpc", &grpc.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("refwatch runs");
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

    /// Waits until so many lines are printed; all of them.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait(&self, lines: usize) -> Vec<Value> {
        self.wait_until(&format!("{lines} lines are printed"), |printed| printed.len() >= lines)
    }

    /// Waits until an event is printed; all lines until then.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait_event(&self, id: &str) -> Vec<Value> {
        self.wait_until(&format!("{id} is printed"), |printed| {
            printed.iter().any(|line| line["eventId"] == id)
        })
    }

    fn wait_until(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
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
    /// When it does not run.
    pub fn kill9(mut self) -> Vec<Value> {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not fail");
        }
        lock(&self.printed.0).clone()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
