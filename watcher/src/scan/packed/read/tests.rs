//! Reading through windows of every size, against reading all at once and against a naive reader.

use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::os::fd::AsFd;

use proptest::prelude::*;
use refwatch_core::Target;

use super::*;
use crate::scan::{BrokenReason, SkipReason};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const ZERO: &str = ObjectFormat::Sha1.zero_hex();

/// Merges through a window of so many bytes at first.
fn merged_in(
    room: usize,
    bytes: &[u8],
    loose: &[(RefName, Observed)],
) -> Result<(Merged, Skips), PackedError> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("at its start");
    let mut skips = Skips::default();
    let window = Window::of_file(file.as_fd(), room);
    let merged = merge_through(window, bytes.len() as u64, ObjectFormat::Sha1, loose, &mut skips)?;
    assert_eq!(merged.bytes, bytes.len() as u64);
    Ok((merged, skips))
}

fn merged(text: &str, loose: &[(RefName, Observed)]) -> Result<(Merged, Skips), PackedError> {
    merged_in(WINDOW_BYTES, text.as_bytes(), loose)
}

fn entry(name: &str, hex: &str) -> (RefName, Observed) {
    let id = ObjectId::from_hex(hex.as_bytes()).expect("valid");
    (RefName::new(name.as_bytes()).expect("valid"), Observed::Good(Target::Direct(id)))
}

#[test]
fn every_header_and_none_is_read() {
    let lines = format!("{A} refs/heads/a\n{A} refs/tags/t\n^{B}\n");
    for header in ["", "# pack-refs with: \n", "# pack-refs with: peeled fully-peeled sorted \n"] {
        let (merged, skips) = merged(&format!("{header}{lines}"), &[]).expect("valid");
        assert_eq!(merged.refs, [entry("refs/heads/a", A), entry("refs/tags/t", A)]);
        assert_eq!(merged.peeled, [(1, ObjectId::from_hex(B.as_bytes()).expect("valid"))]);
        assert!(skips.0.is_empty());
    }
}

#[test]
fn loose_refs_win_and_keep_their_place() {
    let text = format!("{A} refs/heads/b\n^{A}\n{A} refs/heads/d\n^{B}\n");
    let loose = ["refs/heads/a", "refs/heads/b", "refs/heads/c", "refs/heads/e"].map(|name| entry(name, B));
    let (merged, _) = merged(&text, &loose).expect("valid");
    let [a, b, c, e] = loose;
    assert_eq!(merged.refs, [a, b, c, entry("refs/heads/d", A), e]);
    assert_eq!(merged.peeled.len(), 1);
    assert_eq!(merged.peeled[0].0, 3);
}

#[test]
fn an_unsorted_file_is_sorted_and_the_last_of_equals_counts() {
    let header = "# pack-refs with: peeled fully-peeled sorted \n";
    let text = format!("{header}{A} refs/heads/b\n^{A}\n{A} refs/heads/a\n{B} refs/heads/b\n");
    let (merged, _) = merged(&text, &[]).expect("valid");
    assert_eq!(merged.refs, [entry("refs/heads/a", A), entry("refs/heads/b", B)]);
    assert!(merged.peeled.is_empty());
}

#[test]
fn bad_names_are_left_out_and_said() {
    let text = format!("{A} FOO\n{A} HEAD\n{A} refs/heads/a..b\n{ZERO} refs/heads/z\n");
    let (merged, skips) = merged(&text, &[]).expect("valid");
    assert_eq!(merged.refs.len(), 1);
    assert_eq!(merged.refs[0].1, Observed::Broken(BrokenReason::ZeroId));
    assert_eq!(skips.0.len(), 3);
}

#[test]
fn what_git_refuses_is_refused_as_a_whole() {
    let good = format!("{A} refs/heads/a\n");
    for bad in [
        format!("{A} refs/heads/c"),
        "\n".to_owned(),
        "# a comment\n".to_owned(),
        format!("{A}  refs/heads/c\n"),
        format!("{A} refs/heads/../../x\n"),
        format!("{A} ../x\n"),
        format!("{A} \n"),
        format!("{A} refs/heads/c\r\n"),
        format!("{} refs/heads/c\n", &A[1..]),
        format!("{}g refs/heads/c\n", &A[1..]),
        "^zz\n".to_owned(),
        format!("^{B}\n^{B}\n"),
        format!("{A}{A} refs/heads/c\n"),
    ] {
        assert!(merged(&format!("{good}{bad}"), &[]).is_err(), "{bad:?}");
    }
    let unknown = Bad { offset: 0, reason: "an unknown header" };
    assert_eq!(merged("# other\n", &[]).map(|_| ()), Err(unknown.into()));
}

/// Lines of every kind, sorted or not, with names that come again, and at times one that Git refuses.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => "refs/(heads|tags)/[a-c]{1,3}",
        1 => "refs/heads/x{300,900}",
        1 => Just("refs/heads/a..b".to_owned()),
        1 => Just("FOO".to_owned()),
    ];
    let line = (
        name,
        prop_oneof![9 => "[1-9a-f]{40}", 1 => Just(ZERO.to_owned())],
        prop::option::of("[1-9a-f]{40}"),
    );
    let odd = prop_oneof![
        Just("\n".to_owned()),
        Just(format!("^{B}\n")),
        Just("^\n".to_owned()),
        Just(format!("{A} refs/heads/../x\n")),
        Just(format!("{A} refs/heads/c\r\n")),
        Just(format!("{A} refs/heads/without-an-end")),
        Just(format!("{} refs/heads/short\n", &A[1..])),
        Just(format!("{A}{A}\n")),
    ];
    let header = prop_oneof![Just(""), Just("# pack-refs with: peeled fully-peeled sorted \n")];
    let lines = prop::collection::vec(line, 0..40);
    (
        header,
        lines,
        prop_oneof![Just(true), Just(false)],
        prop::option::weighted(0.4, (odd, any::<prop::sample::Index>())),
    )
        .prop_map(|(header, mut lines, is_sorted, odd)| {
            if is_sorted {
                lines.sort();
            }
            let mut lines: Vec<String> = lines
                .into_iter()
                .map(|(name, id, peeled)| {
                    format!("{id} {name}\n{}", peeled.map(|id| format!("^{id}\n")).unwrap_or_default())
                })
                .collect();
            if let Some((odd, at)) = odd {
                lines.insert(at.index(lines.len() + 1), odd);
            }
            (header.to_owned() + &lines.concat()).into_bytes()
        })
}

/// What a name has, and what it peels to.
type Held = (Observed, Option<ObjectId>);

/// What each name has, by the lines alone; `None` where one is odd.
fn naive(text: &[u8]) -> Option<BTreeMap<Vec<u8>, Held>> {
    let text = std::str::from_utf8(text).expect("text");
    let text = if text.starts_with('#') { text.split_once('\n')?.1 } else { text };
    let mut refs: BTreeMap<Vec<u8>, Held> = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in text.split_inclusive('\n') {
        let line = line.strip_suffix('\n')?;
        if let Some(peeled) = line.strip_prefix('^') {
            let id = ObjectId::from_hex(peeled.as_bytes()).ok()?;
            if let Some(entry) = refs.get_mut(last.take()?.as_bytes()) {
                entry.1 = Some(id);
            }
            continue;
        }
        let (id, name) = line.split_once(' ')?;
        let observed = match ObjectId::from_hex(id.as_bytes()) {
            Ok(id) => Observed::Good(Target::Direct(id)),
            Err(_) if id == ZERO => Observed::Broken(BrokenReason::ZeroId),
            Err(_) => return None,
        };
        if name.ends_with('\r') || name.contains("/../") {
            return None;
        }
        last = Some(name.to_owned());
        // One has spaces or `^` in it where a line lost its end.
        if name != "FOO" && name != "refs/heads/a..b" && !name.contains([' ', '^']) {
            refs.insert(name.as_bytes().to_vec(), (observed, None));
        }
    }
    Some(refs)
}

proptest! {
    #[test]
    fn a_window_of_any_size_reads_what_is_there_or_finds_the_same_damage(
        text in texts(),
        room in 1_usize..400,
        loose in prop::collection::btree_set("refs/(heads|tags)/[a-c]{1,2}", 0..6),
    ) {
        let loose: Vec<_> = loose.iter().map(|name| entry(name, B)).collect();
        let whole = merged_in(WINDOW_BYTES, &text, &loose);
        let cut = merged_in(room, &text, &loose);
        match (&whole, &cut) {
            (Ok((whole, skipped)), Ok((cut, skipped_cut))) => {
                prop_assert_eq!(&whole.refs, &cut.refs);
                prop_assert_eq!(&whole.peeled, &cut.peeled);
                prop_assert_eq!(&skipped.0, &skipped_cut.0);
                let mut expected = naive(&text).expect("what Git takes");
                expected.extend(loose.iter().map(|(name, observed)| (name.as_bytes().to_vec(), (observed.clone(), None))));
                let peeled: BTreeMap<usize, ObjectId> = whole.peeled.iter().copied().collect();
                let read: Vec<_> = whole.refs.iter().enumerate().map(|(index, (name, observed))| {
                    (name.as_bytes().to_vec(), (observed.clone(), peeled.get(&index).copied()))
                }).collect();
                prop_assert_eq!(read, expected.into_iter().collect::<Vec<_>>());
            }
            (Err(whole), Err(cut)) => {
                prop_assert_eq!(whole, cut);
                prop_assert!(naive(&text).is_none());
            }
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => prop_assert!(false, "only one of them: {:?}", error),
        }
    }
}

#[test]
fn names_that_are_left_out_are_said_once_also_where_the_file_is_not_sorted() {
    let (merged, skips) =
        merged(&format!("{A} FOO\n{A} refs/heads/a..b\n{A} refs/heads/a\n"), &[]).expect("valid");
    assert_eq!(merged.refs, [entry("refs/heads/a", A)]);
    let names: Vec<_> = skips.0.iter().map(|skipped| skipped.path.to_str().expect("text")).collect();
    assert_eq!(names, ["FOO", "refs/heads/a..b"]);
    assert!(skips.0.iter().all(|skipped| matches!(skipped.reason, SkipReason::Name(_))));
}
