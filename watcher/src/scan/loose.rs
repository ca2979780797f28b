//! Reads one loose ref: a file that holds an object id or `ref: <name>` (gitrepository-layout(5), `refs`; the rules
//! for white space are those of `parse_loose_ref_contents` in Git's `refs/files-backend.c`).

use std::os::fd::BorrowedFd;

use refwatch_core::{InvalidObjectId, ObjectFormat, ObjectId, RefName, Target};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::{BrokenReason, Observed};
use crate::dir::{self, Links, Stamp};

/// Longest loose ref that is read, in bytes: `ref: ` and the longest path there can be. Git writes far less.
pub const LOOSE_BYTES_MAX: usize = 4096;

/// Times a file is looked at again that was a symbolic link when it was opened and none when it was read.
const LINK_TRIES_MAX: usize = 8;

/// Where a HEAD of a repository points that stores its refs in tables, for programs that do not know them.
pub(crate) const REFTABLE_STUB: &[u8] = b"refs/heads/.invalid";

/// What is at the place of a loose ref.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loose {
    /// A ref, and what its file looked like before it was read; no stamp for a file that could not be opened.
    Here(Observed, Option<Stamp>),
    /// The HEAD of a repository that stores its refs in tables.
    Stub,
    /// Nothing.
    Absent,
    Directory,
    /// A socket, pipe or device: Git does not see those.
    NotAFile,
}

/// Room for the content of any loose ref, and for one byte too many.
pub(crate) type Buffer = [u8; LOOSE_BYTES_MAX + 1];

/// Reads the file `name` in the directory `at`.
pub(crate) fn read(
    at: BorrowedFd<'_>,
    name: &[u8],
    format: ObjectFormat,
    buffer: &mut Buffer,
) -> Result<Loose, Errno> {
    let broken = |reason| Ok(Loose::Here(Observed::Broken(reason), None));
    for _ in 0..LINK_TRIES_MAX {
        let file = match dir::open_file(at, name, Links::Refuse) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => return Ok(Loose::Absent),
            Err(Errno::LOOP | Errno::MLINK) => match read_link(at, name)? {
                Some(found) => return Ok(found),
                None => continue,
            },
            Err(Errno::ACCESS | Errno::PERM) => return broken(BrokenReason::Denied),
            Err(Errno::NXIO) => return Ok(Loose::NotAFile),
            Err(error) => return Err(error),
        };
        // Metadata first: what is written after it can only make the stamp look old.
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Ok(Loose::Directory),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return Ok(Loose::NotAFile),
        }
        let stamp = Some(Stamp::of(&stat));
        let length = dir::fill(&file, buffer)?;
        if length > LOOSE_BYTES_MAX {
            return Ok(Loose::Here(Observed::Broken(BrokenReason::TooLong), stamp));
        }
        return Ok(match parse(&buffer[..length], format) {
            Some(observed) => Loose::Here(observed, stamp),
            None => Loose::Stub,
        });
    }
    Err(Errno::AGAIN)
}

/// Reads a symbolic link as Git's old way to write a symbolic ref; `None` when it is no link any more.
fn read_link(at: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Loose>, Errno> {
    let stat = dir::stat(at, name, Links::Refuse)?;
    let text = match rustix::fs::readlinkat(at, name, Vec::new()) {
        Ok(text) => text,
        Err(Errno::INVAL | Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let target = Some(text.to_bytes()).filter(|text| text.starts_with(b"refs/")).map(RefName::new);
    let observed = match target {
        Some(Ok(target)) => Observed::Good(Target::Symbolic(target)),
        Some(Err(_)) | None => Observed::Broken(BrokenReason::ForeignLink),
    };
    Ok(Some(Loose::Here(observed, stat.as_ref().map(Stamp::of))))
}

/// Reads the content of a loose ref; `None` for the stub that stands in for tables.
pub(crate) fn parse(content: &[u8], format: ObjectFormat) -> Option<Observed> {
    let content = trim_end(content);
    // Git handles it as a C string.
    let content = content.split(|byte| *byte == 0).next().unwrap_or_default();
    if content.is_empty() {
        return Some(Observed::Broken(BrokenReason::Empty));
    }
    if let Some(name) = content.strip_prefix(b"ref:") {
        let start = name.iter().position(|byte| !is_space(*byte)).unwrap_or(name.len());
        let name = &name[start..];
        if name == REFTABLE_STUB {
            return None;
        }
        return Some(match RefName::new(name) {
            Ok(name) => Observed::Good(Target::Symbolic(name)),
            Err(_) => Observed::Broken(BrokenReason::BadSymref),
        });
    }
    // What follows white space is Git's own affair: FETCH_HEAD has more there.
    let end = content.iter().position(|byte| is_space(*byte)).unwrap_or(content.len());
    Some(match object_id(&content[..end], format) {
        Ok(id) => Observed::Good(Target::Direct(id)),
        Err(reason) => Observed::Broken(reason),
    })
}

/// Reads an object id of one format.
pub(crate) fn object_id(hex: &[u8], format: ObjectFormat) -> Result<ObjectId, BrokenReason> {
    if hex.len() != format.hex_len() {
        let digits = !hex.is_empty() && hex.iter().all(u8::is_ascii_hexdigit);
        return Err(if digits { BrokenReason::WrongLength } else { BrokenReason::NotAnId });
    }
    ObjectId::from_hex(hex).map_err(|error| match error {
        InvalidObjectId::Zero => BrokenReason::ZeroId,
        InvalidObjectId::Digit { .. } => BrokenReason::NotAnId,
        InvalidObjectId::Length { .. } => BrokenReason::WrongLength,
    })
}

/// White space as Git's own `isspace` has it: no vertical tab, no form feed.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim_end(content: &[u8]) -> &[u8] {
    let end = content.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    &content[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn good(text: &str) -> Observed {
        parse(text.as_bytes(), ObjectFormat::Sha1).expect("no stub")
    }

    #[test]
    fn what_git_takes_is_taken() {
        let id = Observed::Good(Target::Direct(ObjectId::from_hex(ID.as_bytes()).expect("valid")));
        for text in [
            ID.to_owned(),
            format!("{ID}\n"),
            format!("{ID}\r\n"),
            format!("{ID}\tmore of it\n"),
            format!("{ID}\0more"),
            ID.to_ascii_uppercase(),
        ] {
            assert_eq!(good(&text), id, "{text:?}");
        }
        let symbolic = Observed::Good(Target::Symbolic(RefName::new(b"refs/heads/main").expect("valid")));
        for text in ["ref: refs/heads/main\n", "ref:refs/heads/main", "ref: \t refs/heads/main \n\n"] {
            assert_eq!(good(text), symbolic, "{text:?}");
        }
    }

    #[test]
    fn what_git_refuses_is_broken_and_says_why() {
        for (text, reason) in [
            (String::new(), BrokenReason::Empty),
            (" \n\t\r\n".to_owned(), BrokenReason::Empty),
            (format!(" {ID}"), BrokenReason::NotAnId),
            (format!("{ID}x"), BrokenReason::NotAnId),
            (ID.replace('0', "g"), BrokenReason::NotAnId),
            (ID[..39].to_owned(), BrokenReason::WrongLength),
            ("a".repeat(64), BrokenReason::WrongLength),
            ("0".repeat(40), BrokenReason::ZeroId),
            ("ref: ".to_owned(), BrokenReason::BadSymref),
            ("ref: refs/heads/a b".to_owned(), BrokenReason::BadSymref),
            ("ref: ../../etc/passwd".to_owned(), BrokenReason::BadSymref),
        ] {
            assert_eq!(good(&text), Observed::Broken(reason), "{text:?}");
        }
        assert_eq!(parse(b"ref: refs/heads/.invalid\n", ObjectFormat::Sha1), None);
    }
}
