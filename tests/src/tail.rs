//! `refwatch tail` as a process.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::binary;
use crate::printing::Printing;

/// A running tail. Killed when dropped.
#[derive(Debug)]
pub struct Tail(Printing);

impl Tail {
    /// Follows a daemon, as `tail --json`.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn start(grpc: SocketAddr, arguments: &[&str]) -> Self {
        Self::start_as(grpc, &[&["--json"], arguments].concat())
    }

    /// Follows a daemon, in a format that prints lines of JSON.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn start_as(grpc: SocketAddr, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary::refwatch());
        command.env_clear().args(["tail", "--include-internal", "--grpc", &grpc.to_string()]);
        Self(Printing::start(command.args(arguments).stderr(Stdio::null())))
    }

    /// Waits until so many lines are printed; all of them.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait(&self, lines: usize) -> Vec<Value> {
        self.0.wait_until(&format!("{lines} lines are printed"), |printed| printed.len() >= lines)
    }

    /// Waits until an event is printed; all lines until then.
    ///
    /// # Panics
    /// When the deadline passes before.
    pub fn wait_event(&self, id: &str) -> Vec<Value> {
        self.0.wait_until(&format!("{id} is printed"), |printed| {
            printed.iter().any(|line| line["eventId"] == id)
        })
    }

    /// Ends it by SIGKILL; everything that it printed.
    ///
    /// # Panics
    /// When reading failed.
    pub fn kill9(self) -> Vec<Value> {
        self.0.kill9()
    }
}
