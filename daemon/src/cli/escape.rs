//! Makes text from repositories safe for terminals.
//!
//! Whoever may push can choose ref names and paths. Control characters would let them move the cursor, rename windows
//! or fake lines; bidirectional marks would let them show one name as another.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shows text with everything escaped that a terminal might act on.
pub(super) struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self(text.as_bytes())
    }

    /// The exact bytes where they are known, else the text.
    pub(super) fn name(text: &'a str, bytes: &'a [u8]) -> Self {
        if bytes.is_empty() { Self::text(text) } else { Self(bytes) }
    }

    /// A path, which is bytes.
    pub(super) fn path(path: &'a Path) -> Self {
        Self(path.as_os_str().as_bytes())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if is_hostile(char) {
                    write!(f, "{}", char.escape_unicode())?;
                } else {
                    f.write_char(char)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// JSON with the same characters escaped as JSON has it: it means the same. Outside of strings there are none.
pub(super) fn json(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_hostile) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len() + 16);
    let mut units = [0; 2];
    for char in line.chars() {
        if is_hostile(char) {
            for unit in char.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out)
}

/// C0, DEL and C1 controls; line and paragraph separators; marks that change direction; characters without width
/// that make two names look alike; tags.
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        for (name, shown) in [
            ("refs/heads/main", "refs/heads/main"),
            ("refs/heads/größe/日本", "refs/heads/größe/日本"),
            ("a\x1b[2Jb", "a\\u{1b}[2Jb"),
            ("a\u{9b}31mb", "a\\u{9b}31mb"),
            ("a\r\nb\tc\x07\x7f", "a\\u{d}\\u{a}b\\u{9}c\\u{7}\\u{7f}"),
            ("refs/heads/\u{202e}niam", "refs/heads/\\u{202e}niam"),
            ("ma\u{200b}in", "ma\\u{200b}in"),
        ] {
            assert_eq!(Escaped::text(name).to_string(), shown);
        }
        assert_eq!(Escaped::name("caf\u{fffd}", b"caf\xe9\x1b").to_string(), "caf\\xe9\\u{1b}");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{202e} \u{7f} \u{e0041} \u{1b}"});
        let line = value.to_string();
        let safe = json(&line);
        assert!(safe.is_ascii(), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).expect("JSON"), value);
        assert!(matches!(json("{\"a\":\"b\"}"), Cow::Borrowed(_)));
    }
}
