//! How repositories are made and watched where a test does not say: the same tests over all combinations.
//!
//! `REFWATCH_TEST_VARIANT` names one, such as `reftable,sha256,poll,hooks`. What it does not name is as in
//! [`Variant::PLAIN`]. What a test states itself stands.

use std::sync::OnceLock;

use refwatch_proto::v1::Origin;

use crate::git::Flavour;

/// A combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Of the repositories.
    pub flavour: Flavour,
    /// Changes are polled for.
    pub polls: bool,
    /// All hooks are installed in the repositories that are watched.
    pub has_hooks: bool,
}

impl Variant {
    /// Ref files, SHA-1, notifications, no hooks.
    pub const PLAIN: Self = Self { flavour: Flavour::PLAIN, polls: false, has_hooks: false };

    /// All sixteen.
    pub fn all() -> [Self; 16] {
        std::array::from_fn(|bits| Self {
            flavour: Flavour {
                ref_format: if bits & 1 == 0 { "files" } else { "reftable" },
                object_format: if bits & 2 == 0 { "sha1" } else { "sha256" },
                bare: true,
            },
            polls: bits & 4 != 0,
            has_hooks: bits & 8 != 0,
        })
    }

    /// The one that the environment names.
    ///
    /// # Panics
    /// When it names something else.
    pub fn now() -> Self {
        static NOW: OnceLock<Variant> = OnceLock::new();
        *NOW.get_or_init(|| Self::parse(&std::env::var("REFWATCH_TEST_VARIANT").unwrap_or_default()))
    }

    fn parse(text: &str) -> Self {
        let mut variant = Self::PLAIN;
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "files" => variant.flavour.ref_format = "files",
                "reftable" => variant.flavour.ref_format = "reftable",
                "sha1" => variant.flavour.object_format = "sha1",
                "sha256" => variant.flavour.object_format = "sha256",
                "notify" => variant.polls = false,
                "poll" => variant.polls = true,
                "no-hooks" => variant.has_hooks = false,
                "hooks" => variant.has_hooks = true,
                other => panic!("REFWATCH_TEST_VARIANT: no such word: {other}"),
            }
        }
        variant
    }

    /// Where events say that they come from, of what git changes while the daemon runs.
    pub fn origin(self) -> Origin {
        match self {
            Self { has_hooks: true, .. } => Origin::Hook,
            Self { polls: true, .. } => Origin::Sweep,
            Self { .. } => Origin::Notify,
        }
    }

    /// The flavour that a test asks for, where it is a certain one; else the one of this variant.
    pub fn instead_of(self, asked: Flavour) -> Flavour {
        let is_plain = Flavour { bare: true, ..asked } == Flavour::PLAIN;
        if is_plain { Flavour { bare: asked.bare, ..self.flavour } } else { asked }
    }
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let watch = if self.polls { "poll" } else { "notify" };
        let hooks = if self.has_hooks { "hooks" } else { "no-hooks" };
        write!(f, "{},{},{watch},{hooks}", self.flavour.ref_format, self.flavour.object_format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_read_as_it_is_shown() {
        for variant in Variant::all() {
            assert_eq!(Variant::parse(&variant.to_string()), variant);
        }
        assert_eq!(Variant::parse(""), Variant::PLAIN);
        assert_eq!(Variant::parse("poll"), Variant { polls: true, ..Variant::PLAIN });
    }
}
