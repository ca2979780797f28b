//! How a command ends when it does not end well.

use std::io;
use std::process::ExitCode;

use super::escape::Escaped;
use super::say;
use refwatch_proto::client::{CheckpointError, Failure, FailureKind, InvalidServer};

// The numbers are those of sysexits(3).

/// The command line or a setting is wrong (EX_USAGE).
pub(super) const USAGE: u8 = 64;
/// The cursor leads nowhere any more (EX_DATAERR).
pub(super) const GAP: u8 = 65;
/// The daemon is not there (EX_UNAVAILABLE).
pub(super) const UNAVAILABLE: u8 = 69;
/// The daemon is damaged (EX_SOFTWARE).
pub(super) const SERVER: u8 = 70;
/// Input or output failed (EX_IOERR).
pub(super) const IO: u8 = 74;
/// The daemon wants other credentials (EX_NOPERM).
pub(super) const DENIED: u8 = 77;

/// A command's bad end: a code, and what is said about it on stderr.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) code: u8,
    /// Nothing is said when it is empty.
    pub(super) message: String,
}

impl Exit {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }

    /// Says it.
    pub(super) fn tell(&self) -> ExitCode {
        if !self.message.is_empty() {
            say(&format!("error: {}", self.message));
        }
        ExitCode::from(self.code)
    }
}

/// Output that cannot be written. Whoever read it may have seen enough: then that is no error.
impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(0, "");
        }
        Self::new(IO, format!("output: {error}"))
    }
}

impl From<InvalidServer> for Exit {
    fn from(error: InvalidServer) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<CheckpointError> for Exit {
    fn from(error: CheckpointError) -> Self {
        let code = match error {
            CheckpointError::Io { .. } => IO,
            CheckpointError::Torn { .. } | CheckpointError::Foreign { .. } => GAP,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        let (code, remedy) = match failure.kind {
            FailureKind::Transient => (UNAVAILABLE, ""),
            FailureKind::Gap => (GAP, "; list again, or pass --on-gap resnapshot"),
            FailureKind::Request => (USAGE, ""),
            FailureKind::Denied => (DENIED, "; see --token-file, --certificate and --key"),
            FailureKind::Server => (SERVER, "; see the daemon's log"),
        };
        Self::new(code, format!("{}{remedy}", Escaped::text(&failure.to_string())))
    }
}
