//! Following annotated tags to what they name.

use refwatch_core::ObjectId;

use super::database::{Database, Miss};
use super::to_gix;

/// Most tag objects to follow from one id: tags of tags are rare, a longer chain is somebody's joke.
pub const PEEL_DEPTH_MAX: u32 = 64;

/// Largest tag object that is read, in bytes.
const TAG_BYTES_MAX: u64 = 4 << 20;

/// What an object finally names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeled {
    /// The object at the end: the id asked for where that is no tag.
    pub oid: ObjectId,
    /// Whether the id asked for names a tag object.
    pub annotated: bool,
    /// What the object at the end is.
    pub kind: PeeledKind,
}

/// The kinds of object that are no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeeledKind {
    /// A commit.
    Commit,
    /// A tree.
    Tree,
    /// A blob.
    Blob,
}

/// Why an object cannot be peeled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeelError {
    /// An object on the way is not in the repository.
    #[error("object {oid} is missing")]
    Missing {
        /// The missing object.
        oid: ObjectId,
    },
    /// An object on the way cannot be read.
    #[error("object {oid} cannot be read")]
    Unreadable {
        /// The unreadable object.
        oid: ObjectId,
    },
    /// More than [`PEEL_DEPTH_MAX`] tags.
    #[error("more than {PEEL_DEPTH_MAX} tag objects from {oid}")]
    TooDeep {
        /// The id asked for.
        oid: ObjectId,
    },
}

pub(super) fn peel(database: &mut Database, asked: ObjectId) -> Result<Peeled, PeelError> {
    let mut body = Vec::new();
    let mut oid = asked;
    for _ in 0..=PEEL_DEPTH_MAX {
        let failed = |miss| match miss {
            Miss::Missing => PeelError::Missing { oid },
            Miss::Unreadable => PeelError::Unreadable { oid },
        };
        let (kind, size) = database.header(&to_gix(oid)).map_err(failed)?;
        let kind = match kind {
            gix::objs::Kind::Commit => PeeledKind::Commit,
            gix::objs::Kind::Tree => PeeledKind::Tree,
            gix::objs::Kind::Blob => PeeledKind::Blob,
            gix::objs::Kind::Tag => {
                if size > TAG_BYTES_MAX {
                    return Err(PeelError::Unreadable { oid });
                }
                database.object(&to_gix(oid), &mut body).map_err(failed)?;
                oid = target(&body, oid).ok_or(PeelError::Unreadable { oid })?;
                continue;
            }
        };
        return Ok(Peeled { oid, annotated: oid != asked, kind });
    }
    Err(PeelError::TooDeep { oid: asked })
}

/// The object that the tag in `body` names, of the same hash function as `tag`.
fn target(body: &[u8], tag: ObjectId) -> Option<ObjectId> {
    let line = body.split(|byte| *byte == b'\n').next()?;
    let target = ObjectId::from_hex(line.strip_prefix(b"object ")?).ok()?;
    (target.format() == tag.format()).then_some(target)
}
