//! Which tags are releases.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Compiles `classify.release_patterns`.
pub(crate) fn compile(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern)?);
    }
    set.build()
}

/// True for a tag name (without `refs/tags/`) that one of the patterns matches; without any pattern, for a semantic
/// version (semver.org, 2.0.0) with an optional `v` in front.
pub(crate) fn is_release(patterns: &GlobSet, tag: &str) -> bool {
    if !patterns.is_empty() {
        return patterns.is_match(tag);
    }
    let version = tag.strip_prefix('v').unwrap_or(tag);
    let (version, build) =
        version.split_once('+').map_or((version, None), |(left, right)| (left, Some(right)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(left, right)| (left, Some(right)));
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let identifier = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let numeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre
            .is_none_or(|pre| pre.split('.').all(|part| identifier(part) && (!numeric(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantic_versions_are_releases_by_default() {
        let none = compile(&[]).expect("no pattern");
        for tag in
            ["1.2.3", "v1.2.3", "v0.0.0", "v1.0.0-rc.1", "v1.0.0-0.3.7", "1.0.0+build.01", "v10.20.30-a-b"]
        {
            assert!(is_release(&none, tag), "{tag}");
        }
        for tag in
            ["1.2", "v1", "v1.2.3.4", "v01.2.3", "v1.2.x", "nightly", "v1.2.3-", "v1.2.3-01", "vv1.2.3", ""]
        {
            assert!(!is_release(&none, tag), "{tag}");
        }
    }

    #[test]
    fn patterns_replace_the_default() {
        let patterns = compile(&["release-*".to_owned()]).expect("valid");
        assert!(is_release(&patterns, "release-7"));
        assert!(!is_release(&patterns, "v1.2.3"));
    }
}
