//! What the hooks of a push recorded: who asked for what, what was refused, and what was changed.
//!
//! The hooks of one push are children of one `receive-pack`: [`Process`] is what their records have in common.

use alloc::string::String;
use alloc::vec::Vec;

use crate::journal::Update;

mod describe;
mod held;
mod judge;
mod ledger;

pub use describe::{PushRules, REASON_PUSH, describe};
pub use judge::{
    ATOMIC_PUSH_FAILED, DECLINED_BY_GIT, HOOK_DECLINED, PUSH_ABORTED, Rejected, STALE_OLD_VALUE,
};
pub use ledger::{Closed, Ledger, PUSHES_MAX, UPDATES_HELD_MAX};

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

/// A hook's refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Exit status of the hook, never 0; 128 + n where signal n ended it, 126 or 127 where it could not be started.
    pub status: i32,
    /// Which hook: `former` for the one that stood there before refwatch's, `refwatch-hook` where that could not hand
    /// the push to the others, else a file's name, at most 255 bytes.
    pub by: String,
}
