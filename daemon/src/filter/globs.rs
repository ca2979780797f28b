//! Globs as the contract describes them, over bytes.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use refwatch_proto::limits;

use crate::status::Failure;

/// What the globs of one request may still cost, in characters of [`limits::GLOB_WILDCARDS`].
///
/// Counted before anything is compiled: the automaton of a glob grows with them, and so does the time that it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: limits::GLOB_WILDCARDS_MAX as usize }
    }
}

impl Budget {
    /// Pays for a glob.
    ///
    /// # Errors
    /// What is wrong, where it costs more than is left.
    fn pay(&mut self, glob: &str) -> Result<(), String> {
        let cost = glob.matches(limits::GLOB_WILDCARDS).count();
        self.left = self.left.checked_sub(cost).ok_or_else(|| {
            let counted = String::from_iter(limits::GLOB_WILDCARDS);
            format!(
                "with it the globs of the request have more than {} of the characters {counted} together",
                limits::GLOB_WILDCARDS_MAX
            )
        })?;
        Ok(())
    }
}

/// One list of globs, of which any may match; `None` for an empty list.
#[derive(Clone, Debug)]
pub(super) struct Globs(GlobSet);

impl Globs {
    /// Compiles the list in the field of that name.
    pub(super) fn compile(
        field: &str,
        globs: &[String],
        budget: &mut Budget,
    ) -> Result<Option<Self>, Failure> {
        Failure::bounds(field, globs.len() as u64, 0, u64::from(limits::GLOBS_MAX))?;
        if globs.is_empty() {
            return Ok(None);
        }
        let mut set = GlobSetBuilder::new();
        for (index, glob) in globs.iter().enumerate() {
            let invalid = |detail: String| Failure::Glob {
                field: format!("{field}[{index}]"),
                value: glob.clone(),
                detail,
            };
            if glob.is_empty() {
                return Err(invalid("it is empty, and would match nothing".to_owned()));
            }
            if glob.len() > limits::GLOB_BYTES_MAX as usize {
                return Err(invalid(format!("it is longer than {} bytes", limits::GLOB_BYTES_MAX)));
            }
            if has_wide_set(glob) {
                let detail =
                    "a set in [] takes ASCII only: names are matched as bytes; write {ä,ö} for others";
                return Err(invalid(detail.to_owned()));
            }
            budget.pay(glob).map_err(invalid)?;
            let compiled = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
            set.add(compiled.map_err(|error| invalid(error.kind().to_string()))?);
        }
        let set = set.build().map_err(|error| Failure::Glob {
            field: field.to_owned(),
            value: error.glob().unwrap_or_default().to_owned(),
            detail: error.kind().to_string(),
        })?;
        Ok(Some(Self(set)))
    }

    /// True when one of the globs matches all of `bytes`.
    pub(super) fn match_bytes(&self, bytes: &[u8]) -> bool {
        self.0.is_match_candidate(&Candidate::from_bytes(bytes))
    }
}

/// True for a set with a character of several bytes: it would take each of them for a character of its own.
fn has_wide_set(glob: &str) -> bool {
    let mut characters = glob.chars();
    let mut within = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '[' => within = true,
            ']' => within = false,
            other if within && !other.is_ascii() => return true,
            _ => {}
        }
    }
    false
}
