//! Which refs are protected.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Compiles `classify.protected_refs`: globs of full names, spelt as those of the contract.
pub(crate) fn compile(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()?);
    }
    set.build()
}

/// True for the full name of a ref that one of the patterns matches; without any pattern, for none.
pub(crate) fn is_protected(patterns: &GlobSet, name: &[u8]) -> bool {
    patterns.is_match_candidate(&Candidate::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_full_names_and_stop_at_slashes() {
        let patterns = ["refs/heads/main", "refs/heads/release/*", "refs/tags/**"].map(str::to_owned);
        let patterns = compile(&patterns).expect("valid");
        for name in
            [b"refs/heads/main".as_slice(), b"refs/heads/release/1", b"refs/tags/v1", b"refs/tags/a/\xff"]
        {
            assert!(is_protected(&patterns, name), "{}", String::from_utf8_lossy(name));
        }
        for name in [b"main".as_slice(), b"refs/heads/mainly", b"refs/heads/release/1/x", b"refs/heads/tags"]
        {
            assert!(!is_protected(&patterns, name), "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn without_patterns_nothing_is_protected() {
        assert!(!is_protected(&compile(&[]).expect("no pattern"), b"refs/heads/main"));
    }
}
