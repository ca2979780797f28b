//! Reads the few keys of a repository's own config that say how to read it.
//!
//! The syntax is that of git-config(1), "Syntax". Git reads these keys from this one file and from no include
//! (`Documentation/technical/repository-version.adoc`), and so does this.

/// The keys that matter, as written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) format_version: Option<String>,
    pub(crate) bare: Option<bool>,
    /// `core.worktree` is set.
    pub(crate) worktree: bool,
    /// Some `remote.<name>.mirror` is true.
    pub(crate) mirror: bool,
    /// Every `extensions.<key>`, in order, lower-case keys.
    pub(crate) extensions: Vec<(String, String)>,
}

/// A line that does not parse.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) reason: &'static str,
}

/// The sections that matter.
enum Section {
    Core,
    Extensions,
    Remote,
    Other,
}

/// Parses a config file.
pub(crate) fn parse(text: &[u8]) -> Result<Config, BadLine> {
    let mut config = Config::default();
    let mut section = Section::Other;
    let mut lines = Lines { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text), number: 0 };
    while let Some(line) = lines.next() {
        let mut line = line.trim_ascii();
        let number = lines.number;
        if let Some(header) = line.strip_prefix(b"[") {
            let end = header_end(header)
                .ok_or(BadLine { line: number, reason: "a section header without its closing bracket" })?;
            section = section_of(&header[..end]);
            line = header[end + 1..].trim_ascii();
        }
        if line.is_empty() || line[0] == b'#' || line[0] == b';' {
            continue;
        }
        if !line[0].is_ascii_alphabetic() {
            return Err(BadLine { line: number, reason: "a line that is no section, no key and no comment" });
        }
        let equals = line.iter().position(|byte| *byte == b'=');
        let key = line[..equals.unwrap_or_else(|| comment_start(line))].trim_ascii().to_ascii_lowercase();
        let value = match equals {
            // The value may go on in further lines, after a backslash.
            Some(equals) => Some(value(&line[equals + 1..], &mut lines, number)?),
            None => None,
        };
        take(&mut config, &section, &key, value, number)?;
    }
    Ok(config)
}

fn take(
    config: &mut Config,
    section: &Section,
    key: &[u8],
    value: Option<String>,
    line: usize,
) -> Result<(), BadLine> {
    // A key without `=` is true.
    let flag = |value: Option<String>| match value {
        None => Ok(true),
        Some(value) => boolean(&value).ok_or(BadLine { line, reason: "not a boolean" }),
    };
    match (section, key) {
        (Section::Core, b"repositoryformatversion") => config.format_version = value,
        (Section::Core, b"bare") => config.bare = Some(flag(value)?),
        (Section::Core, b"worktree") => config.worktree = true,
        (Section::Remote, b"mirror") => config.mirror |= flag(value)?,
        (Section::Extensions, key) => config
            .extensions
            .push((String::from_utf8_lossy(key).into_owned(), value.unwrap_or_else(|| "true".to_owned()))),
        (Section::Core | Section::Remote | Section::Other, _) => {}
    }
    Ok(())
}

/// Lines with their numbers.
struct Lines<'a> {
    rest: &'a [u8],
    number: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        self.next_if(true)
    }

    fn next_if(&mut self, wanted: bool) -> Option<&'a [u8]> {
        if !wanted || self.rest.is_empty() {
            return None;
        }
        self.number += 1;
        let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// The bracket that closes a header; one inside of the quoted subsection does not.
fn header_end(header: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (offset, byte) in header.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted => return Some(offset),
            _ => {}
        }
    }
    None
}

fn section_of(header: &[u8]) -> Section {
    let name_end = header.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(header.len());
    let name = header[..name_end].to_ascii_lowercase();
    let plain = name_end == header.len();
    match name.as_slice() {
        b"core" if plain => Section::Core,
        b"extensions" if plain => Section::Extensions,
        b"remote" if !plain => Section::Remote,
        // The old spelling of a subsection.
        name if name.starts_with(b"remote.") => Section::Remote,
        _ => Section::Other,
    }
}

fn comment_start(line: &[u8]) -> usize {
    line.iter().position(|byte| *byte == b'#' || *byte == b';').unwrap_or(line.len())
}

/// Unquotes a value: quotes, the escapes, comments, and lines joined by a backslash at the end.
fn value(start: &[u8], lines: &mut Lines<'_>, number: usize) -> Result<String, BadLine> {
    let mut out = Vec::new();
    let mut line = start.trim_ascii_start();
    // Length of `out` up to the last byte that is no trailing white space.
    let mut kept = 0;
    let mut quoted = false;
    loop {
        let mut bytes = line.iter().copied();
        let mut goes_on = false;
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => quoted = !quoted,
                b'#' | b';' if !quoted => break,
                b'\\' => match bytes.next() {
                    Some(b'n') => out.push(b'\n'),
                    Some(b't') => out.push(b'\t'),
                    Some(b'b') => out.push(8),
                    Some(byte @ (b'"' | b'\\')) => out.push(byte),
                    None => goes_on = true,
                    Some(_) => return Err(BadLine { line: number, reason: "an unknown escape in a value" }),
                },
                byte => out.push(byte),
            }
            if quoted || !byte.is_ascii_whitespace() {
                kept = out.len();
            }
        }
        match lines.next_if(goes_on) {
            Some(next) => line = next,
            None => break,
        }
    }
    if quoted {
        return Err(BadLine { line: number, reason: "a quoted value that does not end on its line" });
    }
    out.truncate(kept);
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Git's booleans: words in any case, the empty value, and numbers.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "" | "false" | "no" | "off" => Some(false),
        number => number.parse::<i64>().ok().map(|number| number != 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_writes_is_read() {
        let config = parse(
            b"[core]\n\trepositoryformatversion = 1\n\tfilemode = true\n\tbare = true\n[extensions]\n\tobjectFormat = sha256\n\
              \trefstorage = reftable\n[remote \"or]ig\\\"in\"]\n\turl = /x\n\tmirror = true\n",
        )
        .expect("valid");
        assert_eq!(config.format_version.as_deref(), Some("1"));
        assert_eq!(config.bare, Some(true));
        assert!(config.mirror && !config.worktree);
        let expected = [("objectformat", "sha256"), ("refstorage", "reftable")];
        assert_eq!(config.extensions, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_odd_corners_of_the_syntax_are_known() {
        let config = parse(
            b"\xef\xbb\xbf[CORE] Bare ; comment\r\nworktree = a\\\n  bare = b\n# [extensions]\n[remote.x]\nmirror=\"tr\"ue # c\n\
              [core \"sub\"]\nbare = false\n[extensions]\na = \" x \" y  \n",
        )
        .expect("valid");
        assert_eq!(config.bare, Some(true), "neither a continued value nor a subsection is core.bare");
        assert!(config.worktree && config.mirror);
        assert_eq!(config.extensions, [("a".to_owned(), " x  y".to_owned())]);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, line) in [
            (b"[core\n".as_slice(), 1),
            (b"[core]\n= 3\n", 2),
            (b"[core]\nbare = maybe\n", 2),
            (b"\n[core]\nx = \"open\n", 3),
            (b"[core]\nx = \\q\n", 2),
        ] {
            assert_eq!(parse(text).expect_err("bad").line, line, "{}", String::from_utf8_lossy(text));
        }
    }
}
