//! Which refs are wanted.

use refwatch_core::{Namespace, RefName};

use super::globs::{Budget, Globs};
use crate::status::Failure;

/// Refs by name and namespace.
#[derive(Clone, Debug)]
pub(crate) struct Refs {
    include: Option<Globs>,
    exclude: Option<Globs>,
    /// By the bits of their discriminants.
    namespaces: u32,
}

const EVERY: u32 = u32::MAX;

const fn bit(namespace: Namespace) -> u32 {
    1 << namespace as u32
}

impl Refs {
    /// Compiles the fields of a request below a prefix.
    ///
    /// # Errors
    /// [`Failure`] that names the field.
    pub(crate) fn compile(
        prefix: &str,
        include: &[String],
        exclude: &[String],
        namespaces: &[i32],
        include_internal: bool,
        budget: &mut Budget,
    ) -> Result<Self, Failure> {
        let field = format!("{prefix}namespaces");
        super::bounded_list(&field, namespaces.len())?;
        let mut named = 0;
        for (index, number) in namespaces.iter().enumerate() {
            let namespace = super::namespace(*number)
                .ok_or_else(|| super::unknown_number(format!("{field}[{index}]"), *number))?;
            named |= bit(namespace);
        }
        let namespaces = match (namespaces.is_empty(), include_internal) {
            (true, true) => EVERY,
            (true, false) => EVERY & !bit(Namespace::Internal),
            (false, _) => named,
        };
        Ok(Self {
            include: Globs::compile(&format!("{prefix}ref_include_globs"), include, budget)?,
            exclude: Globs::compile(&format!("{prefix}ref_exclude_globs"), exclude, budget)?,
            namespaces,
        })
    }

    /// True for a ref that is wanted.
    pub(crate) fn pass(&self, name: &RefName) -> bool {
        (self.namespaces == EVERY || self.namespaces & bit(Namespace::of(name)) != 0)
            && self.include.as_ref().is_none_or(|globs| globs.match_bytes(name.as_bytes()))
            && !self.exclude.as_ref().is_some_and(|globs| globs.match_bytes(name.as_bytes()))
    }

    /// True when every ref is wanted, but perhaps those of internal namespaces.
    pub(crate) fn are_all_but_internal(&self) -> bool {
        self.include.is_none()
            && self.exclude.is_none()
            && self.namespaces | bit(Namespace::Internal) == EVERY
    }
}
