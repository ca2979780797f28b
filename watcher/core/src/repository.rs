//! What tells one repository from another, and how it keeps its refs.

/// How a repository stores its refs (`extensions.refStorage`, Git's `Documentation/config/extensions.adoc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefStorage {
    /// Loose files under `refs/` and one `packed-refs`.
    Files,
    /// A stack of tables in `reftable/`.
    Reftable,
}

/// Tells a git directory that was moved from one that was made anew at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FsIdentity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Birth time in nanoseconds since 1970, where the filesystem tells.
    pub birth_ns: Option<i64>,
}
