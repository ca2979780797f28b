//! Which repositories are wanted.

use std::collections::HashSet;

use refwatch_proto::limits;

use super::globs::{Budget, Globs};
use crate::status::Failure;
use crate::wire;

/// Repositories by id, by globs over their paths, or by either; all where neither is given.
#[derive(Clone, Debug)]
pub(crate) struct Repositories {
    ids: HashSet<u64>,
    globs: Option<Globs>,
}

impl Repositories {
    /// Compiles the fields `repository_ids` and `repository_globs` below a prefix.
    ///
    /// # Errors
    /// [`Failure`] that names the field.
    pub(crate) fn compile(
        prefix: &str,
        ids: &[String],
        globs: &[String],
        budget: &mut Budget,
    ) -> Result<Self, Failure> {
        Ok(Self {
            ids: parse_ids(&format!("{prefix}repository_ids"), ids)?.into_iter().collect(),
            globs: Globs::compile(&format!("{prefix}repository_globs"), globs, budget)?,
        })
    }

    /// True for a repository that is wanted.
    pub(crate) fn pass(&self, uid: u64, path: &[u8]) -> bool {
        self.are_all()
            || self.ids.contains(&uid)
            || self.globs.as_ref().is_some_and(|globs| globs.match_bytes(path))
    }

    /// True when every repository is wanted.
    pub(crate) fn are_all(&self) -> bool {
        self.ids.is_empty() && self.globs.is_none()
    }
}

/// Reads repository ids. Whether there are such repositories is not asked: they may yet come.
///
/// # Errors
/// [`Failure`] that names the field.
pub(crate) fn parse_ids(field: &str, ids: &[String]) -> Result<Vec<u64>, Failure> {
    Failure::bounds(field, ids.len() as u64, 0, u64::from(limits::REPOSITORY_IDS_MAX))?;
    let parse = |(index, id): (usize, &String)| {
        wire::from_hex16(id).ok_or_else(|| Failure::Invalid {
            field: format!("{field}[{index}]"),
            value: id.clone(),
            detail: "is no repository id: those are 16 lower-case hexadecimal digits, as ListRepositories \
                     gives them"
                .to_owned(),
        })
    };
    ids.iter().enumerate().map(parse).collect()
}
