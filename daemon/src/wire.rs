//! Core to proto: how an event, a ref and a repository look on the wire.
//!
//! An event is encoded once, by hand ([`event`]), and copied into the batches of all who want it ([`batch`]). What is
//! sent seldom is built as the generated messages ([`refs`]).

mod batch;
mod event;
mod put;
mod refs;

pub(crate) use batch::{Batch, Frame, page};
pub(crate) use event::{Encoder, Place};
pub(crate) use refs::{repository, repository_of_row, snapshot_ref};

use bytes::Bytes;
use refwatch_core::{Namespace, ObjectFormat};
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::{EncodedFrame, v1};

/// The encoding of one message of WatchEvents.
pub(crate) fn response(kind: Kind) -> Bytes {
    EncodedFrame::of(&v1::WatchEventsResponse { kind: Some(kind) }).0
}

/// Identities as people see them: 16 lower-case hexadecimal digits.
pub(crate) fn hex16(id: u64) -> String {
    format!("{id:016x}")
}

/// Reads what [`hex16`] wrote.
pub(crate) fn from_hex16(text: &str) -> Option<u64> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 16 || !text.bytes().all(digits) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

pub(crate) const fn object_format(format: ObjectFormat) -> v1::ObjectFormat {
    match format {
        ObjectFormat::Sha1 => v1::ObjectFormat::Sha1,
        ObjectFormat::Sha256 => v1::ObjectFormat::Sha256,
    }
}

pub(crate) const fn namespace(namespace: Namespace) -> v1::RefNamespace {
    match namespace {
        Namespace::Head => v1::RefNamespace::Head,
        Namespace::Branch => v1::RefNamespace::Branch,
        Namespace::Tag => v1::RefNamespace::Tag,
        Namespace::Notes => v1::RefNamespace::Notes,
        Namespace::Replace => v1::RefNamespace::Replace,
        Namespace::Remote => v1::RefNamespace::Remote,
        Namespace::ChangeRequest => v1::RefNamespace::ChangeRequest,
        Namespace::Worktree => v1::RefNamespace::Worktree,
        Namespace::Internal => v1::RefNamespace::Internal,
        Namespace::Custom => v1::RefNamespace::Custom,
    }
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends between two characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let end = (0..=bytes_max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::{cut, from_hex16, hex16};

    #[test]
    fn identities_are_sixteen_lower_case_digits() {
        for id in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(from_hex16(&hex16(id)), Some(id));
        }
        for text in ["", "1", "0123456789ABCDEF", "0123456789abcdef0", "+123456789abcdef", "0123456789abcdeg"]
        {
            assert_eq!(from_hex16(text), None, "{text}");
        }
    }

    #[test]
    fn a_cut_ends_between_characters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("", 0), "");
    }
}
