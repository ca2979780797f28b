//! Ref names: validated bytes, not text.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// Longest name taken, in bytes: a path longer than this cannot be a loose ref on Linux (`PATH_MAX`).
pub const NAME_BYTES_MAX: usize = 4096;

/// A full ref name: `HEAD`, `refs/…`, or the same below `worktrees/<id>/`.
///
/// The bytes obey git-check-ref-format(1) and need not be UTF-8. Ordering is by bytes, as in `packed-refs`.
///
/// ```compile_fail
/// let name: refwatch_core::RefName = "refs/heads/main".into(); // only `RefName::new` makes one, and it checks
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(Box<[u8]>);

/// Why some bytes are no ref name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Empty, or longer than [`NAME_BYTES_MAX`].
    #[error("a ref name has 1 to 4096 bytes, found {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Neither `HEAD` nor under `refs/`, alone or below `worktrees/<id>/`.
    #[error("a ref name is HEAD or starts with refs/ (or either below worktrees/<id>/)")]
    Prefix,
    /// A component that is empty, starts with a dot, or ends in `.lock`.
    #[error("a path component is empty, starts with '.' or ends with '.lock'")]
    Component,
    /// A control character, a space, one of `~ ^ : ? * [ \`, or the sequences `..` and `@{`.
    #[error("forbidden character or sequence at offset {offset}")]
    Character {
        /// Byte offset.
        offset: usize,
    },
    /// Ends with a dot.
    #[error("a ref name does not end with '.'")]
    Ending,
}

impl RefName {
    /// Checks and takes a full ref name.
    ///
    /// # Errors
    /// [`InvalidName`] where git-check-ref-format(1) would refuse it, or where it is no name refwatch follows.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidName> {
        if bytes.is_empty() || bytes.len() > NAME_BYTES_MAX {
            return Err(InvalidName::Length { found: bytes.len() });
        }
        check_format(bytes)?;
        let name = Self(bytes.into());
        let local = name.within_worktree();
        if local == b"HEAD" || (local.starts_with(b"refs/") && local.len() > b"refs/".len()) {
            Ok(name)
        } else {
            Err(InvalidName::Prefix)
        }
    }

    /// `HEAD` of the repository itself.
    pub fn head() -> Self {
        Self(b"HEAD".as_slice().into())
    }

    /// True for the repository's own `HEAD`, not for that of a linked worktree.
    pub fn is_head(&self) -> bool {
        &*self.0 == b"HEAD"
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name without a leading `worktrees/<id>/`.
    pub fn within_worktree(&self) -> &[u8] {
        self.0
            .strip_prefix(b"worktrees/")
            .and_then(|rest| rest.iter().position(|byte| *byte == b'/').map(|slash| &rest[slash + 1..]))
            .unwrap_or(&self.0)
    }

    /// The name as text, with U+FFFD for what is not UTF-8.
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Box<[u8]> {
        self.0
    }
}

/// Checks the rules of git-check-ref-format(1) that hold for every name.
///
/// # Errors
/// See [`InvalidName`].
pub fn check_format(bytes: &[u8]) -> Result<(), InvalidName> {
    if is_plain(bytes) { Ok(()) } else { check_each_rule(bytes) }
}

/// What a byte may be to the rules: nothing, all by itself.
const PLAIN: u8 = 0;
/// The end of a component.
const SLASH: u8 = 1;
/// Something that a rule names.
const NAMED: u8 = 2;

/// What each byte is to the rules.
const KINDS: [u8; 256] = {
    let mut kinds = [PLAIN; 256];
    let mut control = 0;
    while control < 0x20 {
        kinds[control] = NAMED;
        control += 1;
    }
    let mut others = b"\x7f ~^:?*[\\.{".as_slice();
    while let [byte, rest @ ..] = others {
        kinds[*byte as usize] = NAMED;
        others = rest;
    }
    kinds[b'/' as usize] = SLASH;
    kinds
};

/// Whether there is nothing in a name that a rule could forbid, which is so of nearly all names there are: components that
/// are not empty, and none of the bytes that rules name. False says nothing.
fn is_plain(bytes: &[u8]) -> bool {
    let (mut all, mut before) = (PLAIN, SLASH);
    for byte in bytes {
        let kind = KINDS[usize::from(*byte)];
        // Two slashes in turn, or one in front.
        all |= kind | (kind & before) << 1;
        before = kind;
    }
    all & NAMED == 0 && before != SLASH
}

fn check_each_rule(bytes: &[u8]) -> Result<(), InvalidName> {
    if bytes.last() == Some(&b'.') {
        return Err(InvalidName::Ending);
    }
    for component in bytes.split(|byte| *byte == b'/') {
        if component.is_empty() || component[0] == b'.' || component.ends_with(b".lock") {
            return Err(InvalidName::Component);
        }
    }
    let mut before = 0;
    for (offset, byte) in bytes.iter().copied().enumerate() {
        let forbidden = byte < 0x20
            || byte == 0x7f
            || b" ~^:?*[\\".contains(&byte)
            || (byte == b'.' && before == b'.')
            || (byte == b'{' && before == b'@');
        if forbidden {
            return Err(InvalidName::Character { offset });
        }
        before = byte;
    }
    Ok(())
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl AsRef<[u8]> for RefName {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Lets a sorted map of names be asked with plain bytes.
impl core::borrow::Borrow<[u8]> for RefName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_takes_are_taken() {
        for name in [
            b"HEAD".as_slice(),
            b"refs/heads/main",
            b"refs/heads/feature/deep/y",
            b"refs/heads/@",
            b"refs/heads/\xff\xfe",
            b"refs/stash",
            b"worktrees/w1/HEAD",
            b"worktrees/w1/refs/bisect/bad",
        ] {
            assert!(RefName::new(name).is_ok(), "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn names_that_git_refuses_are_refused() {
        let cases: [(&[u8], InvalidName); 14] = [
            (b"", InvalidName::Length { found: 0 }),
            (b"refs/", InvalidName::Component),
            (b"refs", InvalidName::Prefix),
            (b"main", InvalidName::Prefix),
            (b"worktrees/w1/index", InvalidName::Prefix),
            (b"refs/heads/.hidden", InvalidName::Component),
            (b"refs/heads/x.lock", InvalidName::Component),
            (b"refs/heads/x.lock/y", InvalidName::Component),
            (b"refs/heads//x", InvalidName::Component),
            (b"refs/heads/a b", InvalidName::Character { offset: 12 }),
            (b"refs/heads/a..b", InvalidName::Character { offset: 13 }),
            (b"refs/heads/a@{b", InvalidName::Character { offset: 13 }),
            (b"refs/heads/a.", InvalidName::Ending),
            (b"refs/heads/a\x7f", InvalidName::Character { offset: 12 }),
        ];
        for (name, expected) in cases {
            assert_eq!(RefName::new(name), Err(expected), "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn a_name_is_plain_only_if_it_keeps_each_rule() {
        // All strings of up to five of these: every pair of neighbours at every place.
        let bytes = *b"a/.@{ \x1f\x7f";
        let mut names: std::vec::Vec<std::vec::Vec<u8>> = std::vec![std::vec![]];
        let mut from = 0;
        for _ in 0..5 {
            let until = names.len();
            for at in from..until {
                names.extend(bytes.map(|byte| [&names[at][..], &[byte]].concat()));
            }
            from = until;
        }
        let mut plain = 0;
        for name in &names {
            let checked = check_each_rule(name);
            assert_eq!(check_format(name), checked, "{name:?}");
            plain += usize::from(is_plain(name));
        }
        assert!(plain > 100 && names.len() > 30_000, "{plain} of {}", names.len());
        for byte in 0..=u8::MAX {
            let name = [b"refs/", &[byte][..], b"x"].concat();
            assert_eq!(check_format(&name), check_each_rule(&name), "{byte:#x}");
            // The slow way is for what may be wrong only.
            let may_be_wrong = matches!(byte, b'.' | b'{');
            assert!(check_format(&name).is_err() || may_be_wrong || is_plain(&name), "{byte:#x}");
        }
    }
}
