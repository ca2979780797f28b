//! What the hook writes and the watcher reads: the journal's place, its limit and its records.
//!
//! **Architecture invariant:** the standard library only, no `unsafe`, and nothing here interprets what Git says. The
//! hook copies; whoever reads the journal parses.

pub mod crc;
pub mod former;
pub mod process;
pub mod record;
pub mod space;

/// The directory below the git directory that holds the journal, or a symbolic link to it. Where it is missing, hooks
/// record nothing: making it is what installs them.
pub const DIRECTORY: &str = "refwatch";

/// The file in [`DIRECTORY`] that hooks append to. A rotated one has a dot and a number after its name, and a higher
/// number than those rotated before it.
pub const JOURNAL: &str = "journal";

/// Longest journal that hooks append to, in bytes. At or over it they drop their records: the refs themselves still
/// tell every state that lasts, and a full disk would harm more than a missing intermediate value. Hooks neither
/// rename nor delete anything; rotation is the reader's.
pub const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// What a former hook's name has after that of the hook. Installing renames it so; the dispatcher runs it.
///
/// It is told that it was started as the hook, as before. A script is started by its interpreter, and learns its new
/// name all the same.
pub const FORMER_SUFFIX: &str = ".refwatch-former";

/// What the directory's name has after that of the hook, whose executable files the dispatcher runs as well.
pub const DIRECTORY_SUFFIX: &str = ".d";

/// Most programs in such a directory. With more the hook fails, and says so.
pub const PROGRAMS_MAX: usize = 64;
