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

impl FsIdentity {
    /// True where nothing tells it from another one but the device number, which another mount or a start of the machine
    /// may give anew, or a birth time that one of the two was not told. To be asked of one path at two times: elsewhere
    /// another directory may have that number.
    pub fn resembles(&self, other: &Self) -> bool {
        let is_dated = self.birth_ns.is_some() && other.birth_ns.is_some();
        self.ino == other.ino && (!is_dated || self.birth_ns == other.birth_ns)
    }
}
