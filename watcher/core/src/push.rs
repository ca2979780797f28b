//! What the hooks of a push recorded: who asked for what, what was refused, and what was changed.
//!
//! The hooks of one push are children of one `receive-pack`: [`Process`] is what their records have in common.

use alloc::string::String;
use alloc::vec::Vec;

use crate::journal::Update;
use crate::{RefName, RefState};

mod describe;
mod held;
mod judge;
mod ledger;

pub use describe::{PushRules, REASON_PUSH, describe};
pub use judge::{
    ATOMIC_PUSH_FAILED, DECLINED_BY_GIT, HOOK_DECLINED, LOCKED, PUSH_ABORTED, Rejected, STALE_OLD_VALUE,
};
pub use ledger::{Closed, Grouping, Ledger, Open, PUSHES_MAX, UPDATES_HELD_MAX};

/// Most bytes of a push's options that each event but its `PUSH_RECEIVED` carries, and each transaction that it explains:
/// a push of 100,000 refs would else multiply the longest options to gigabytes.
pub const OPTIONS_COPIED_BYTES_MAX: usize = 1024;

/// The first options of a push that are at most [`OPTIONS_COPIED_BYTES_MAX`] together; none is cut.
fn copied(options: &[String]) -> Vec<String> {
    let mut bytes_left = OPTIONS_COPIED_BYTES_MAX;
    let fits = |option: &&String| {
        let left = bytes_left.checked_sub(option.len());
        bytes_left = left.unwrap_or(0);
        left.is_some()
    };
    options.iter().take_while(fits).cloned().collect()
}

/// A process of the machine that the repository is on: the `git receive-pack` of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Its number, which is given to another process some time after it has ended.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did; 0 where that is not known. Tells processes of one
    /// number apart.
    pub start_ticks: u64,
}

/// What one hook of a push recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// When it was recorded, in microseconds of the wall clock since 1970.
    pub at_us: u64,
    /// Identity of the record, unique within the journal.
    pub id: u64,
    /// The push.
    pub process: Process,
    /// What the hook was told, and what came of it.
    pub said: Said,
    /// Who pushes.
    pub actor: Option<String>,
    /// Options of the push, in their order.
    pub push_options: Vec<String>,
}

/// What a hook of a push was told, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Said {
    /// `pre-receive`: all that the push asks for.
    Attempted {
        /// In the order of the hook's input; none where that was too long to be recorded.
        updates: Vec<Update>,
        /// Set where the hook refused, and with it the whole push.
        refused: Option<Refused>,
    },
    /// `update`: one ref was refused.
    UpdateRefused {
        /// The update that was asked for.
        update: Update,
        /// By what.
        refused: Refused,
    },
    /// `post-receive`: what the push changed.
    Accepted {
        /// In the order of the hook's input; none where that was too long to be recorded.
        updates: Vec<Update>,
    },
}

/// What is known of the process of a push that no record says is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs, or may run.
    Running,
    /// It is gone, and all that it recorded was read.
    Ended,
    /// It cannot be looked up, and was silent for so long that it is taken for over.
    Unknown,
}

/// The disk that a push is judged by, besides its records.
#[derive(Clone, Copy)]
pub struct Disk<'a> {
    /// The state of a ref, as fresh as can be; `None` where the ref does not exist.
    pub state: &'a dyn Fn(&RefName) -> Result<Option<RefState>, Unread>,
    /// Since when a lock is there that the update needs, in microseconds since 1970; `None` where there is none, or where
    /// nobody can tell.
    pub locked_since_us: &'a dyn Fn(&Update) -> Option<u64>,
}

/// A ref could not be read: it may hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

/// What becomes of a push whose refs cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is judged another time.
    PutOff,
    /// Nothing is told of what cannot be known without them.
    Doubt,
}

/// A hook's refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Exit status of the hook, never 0; 128 + n where signal n ended it, 126 or 127 where it could not be started.
    pub status: i32,
    /// Which hook: `former` for the one that stood there before refwatch's, `refwatch-hook` where that could not hand
    /// the push to the others, else a file's name, at most 255 bytes.
    pub by: String,
}
