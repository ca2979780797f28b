use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::os::fd::AsFd;

use refwatch_core::{ObjectId, Target};

use super::*;
use crate::scan::packed::read;

const FORMAT: ObjectFormat = ObjectFormat::Sha1;

fn on_disk(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("at its start");
    file
}

fn kept(bytes: &[u8]) -> Option<Parts> {
    let size = bytes.len() as u64;
    let merged = read::merge(on_disk(bytes).as_fd(), size, FORMAT, &[], &mut Skips::default());
    merged.expect("sound").parts
}

fn compared(parts: &Parts, bytes: &[u8]) -> Option<Compared> {
    let compared = parts.compare(on_disk(bytes).as_fd(), FORMAT).expect("readable");
    assert!(compared.as_ref().is_none_or(|compared| compared.bytes == bytes.len() as u64));
    compared
}

fn file(refs: &BTreeMap<String, u32>) -> Vec<u8> {
    let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for (name, id) in refs {
        text += &format!("{id:040x} {name}\n");
        if id % 5 == 0 {
            text += &format!("^{id:040x}\n");
        }
    }
    text.into_bytes()
}

fn many(count: u32) -> BTreeMap<String, u32> {
    (1..=count).map(|at| (format!("refs/heads/b{at:06}"), at)).collect()
}

/// The names and ids of the parts that differ, checked to be complete: outside of them nothing changed.
fn differs(parts: &Parts, before: &BTreeMap<String, u32>, after: &BTreeMap<String, u32>) -> (Parts, usize) {
    let bytes = file(after);
    let Compared { parts: next, ranges: changed, .. } = compared(parts, &bytes).expect("comparable");
    let is_in = |name: &str| {
        changed.iter().any(|changed| {
            *changed.after < *name.as_bytes()
                && changed.last.as_deref().is_none_or(|last| name.as_bytes() <= last)
        })
    };
    for name in before.keys().chain(after.keys()) {
        assert!(is_in(name) || before.get(name) == after.get(name), "{name} changed unseen");
    }
    let mut entries = 0;
    for range in &changed {
        for (name, observed) in &range.packed {
            let name = std::str::from_utf8(name.as_bytes()).expect("text");
            let id = ObjectId::from_hex(format!("{:040x}", after[name]).as_bytes()).expect("an id");
            assert_eq!(*observed, Observed::Good(Target::Direct(id)));
            assert!(is_in(name));
            entries += 1;
        }
    }
    // What is kept now stands for this file, and is of the sizes that parts have.
    assert!(compared(&next, &bytes).expect("comparable").ranges.is_empty());
    assert!(next.0.iter().all(|part| part.length <= PART_BYTES_MAX + 200), "a part that is too long");
    let there = after.keys().filter(|name| is_in(name)).count();
    assert_eq!(entries, there, "each entry of a part that differs");
    (next, entries)
}

#[test]
fn one_change_differs_in_one_part_wherever_it_is() {
    let before = many(40_000);
    let parts = kept(&file(&before)).expect("long enough");
    assert!(parts.0.len() > 30, "{} parts", parts.0.len());
    for (name, id) in [
        ("refs/heads/b000001", Some(7)),
        ("refs/heads/b020000", Some(7)),
        ("refs/heads/b040000", Some(7)),
        ("refs/heads/a", Some(7)),
        ("refs/heads/b020000x", Some(5)),
        ("refs/tags/z", Some(10)),
        ("refs/heads/b000001", None),
        ("refs/heads/b040000", None),
    ] {
        let mut after = before.clone();
        match id {
            Some(id) => after.insert(name.to_owned(), id),
            None => after.remove(name),
        };
        let (_, entries) = differs(&parts, &before, &after);
        assert!(entries > 0 && entries < 2_500, "{name}: {entries} entries to compare");
    }
    let (_, entries) = differs(&parts, &before, &before);
    assert_eq!(entries, 0);
}

#[test]
fn changes_upon_changes_are_found_also_where_names_go_that_parts_end_with() {
    let mut refs = many(20_000);
    let mut parts = kept(&file(&refs)).expect("long enough");
    let mut seed = 0x2545_f491_u32;
    let mut random = |bound: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % bound
    };
    for round in 0..15 {
        let before = refs.clone();
        // Many at one place, so that parts grow and are cut, vanish and come again.
        let place = random(20_000);
        for _ in 0..1 + random(4) * random(3_000) {
            let at = place + random(3_000);
            if round % 3 == 0 {
                refs.remove(&format!("refs/heads/b{at:06}"));
            } else {
                refs.insert(format!("refs/heads/b{at:06}{}", random(3)), random(1_000) + 1);
            }
        }
        (parts, _) = differs(&parts, &before, &refs);
        assert_eq!(parts.0.iter().filter(|part| part.last.is_empty()).count(), 1, "the end is the last");
    }
}

#[test]
fn what_says_nothing_of_its_order_or_is_short_is_read_as_a_whole() {
    let refs = many(40_000);
    let parts = kept(&file(&refs)).expect("long enough");
    assert!(kept(&file(&many(10))).is_none());
    let headless = file(&refs).split_off(46);
    assert!(kept(&headless).is_none());
    assert!(compared(&parts, &headless).is_none());
    // One that only says so does not slip through.
    let mut lying = file(&refs);
    let at = lying.len() / 2;
    let line = at + 1 + lying[at..].windows(5).position(|bytes| bytes == b" refs").expect("a line");
    lying[line..line + 18].copy_from_slice(b"refs/heads/a000000");
    assert!(compared(&parts, &lying).is_none());
    // Of nothing nothing is known.
    assert!(compared(&Parts::default(), &file(&refs)).is_none());
}

/// A file of four parts at least, with what is kept of it and the name that ends its first part.
fn first_part() -> (BTreeMap<String, u32>, Parts, String) {
    let refs = many(40_000);
    let parts = kept(&file(&refs)).expect("long enough");
    let last = std::str::from_utf8(&parts.0[0].last).expect("text").to_owned();
    (refs, parts, last)
}

#[test]
fn what_comes_behind_the_lines_of_a_part_may_belong_to_it() {
    // Tags have a line more, from which on nothing of the part is another.
    let (before, parts, last) = first_part();
    let mut refs = before.clone();
    let id = refs[&last];
    assert!(id % 5 != 0, "no tag yet");
    let text = String::from_utf8(file(&refs)).expect("text");
    let line = format!("{id:040x} {last}\n");
    let text = text.replace(&line, &format!("{line}^{id:040x}\n"));
    let changed = compared(&parts, text.as_bytes()).expect("comparable").ranges;
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].last.as_deref(), Some(last.as_bytes()));

    // The last name goes and stays the limit. One comes between what is last now and the limit.
    refs.remove(&last);
    let (parts, _) = differs(&parts, &before, &refs);
    assert_eq!(&*parts.0[0].last, last.as_bytes());
    let before = refs.clone();
    let (now_last, _) = refs.range(..last.clone()).next_back().expect("others");
    refs.insert(format!("{now_last}x"), 3);
    let (parts, entries) = differs(&parts, &before, &refs);
    assert!(entries > 0 && entries < 2_500, "{entries} entries: one part");
    // And all parts go but the first.
    let before = refs.clone();
    refs.retain(|name, _| *name <= last);
    let fill: BTreeMap<_, _> = (1..40_000).map(|at| (format!("refs/heads/a{at:06}"), at)).collect();
    refs.extend(fill);
    differs(&parts, &before, &refs);
}

#[test]
fn a_part_that_grew_by_more_than_a_window_is_cut_anew() {
    for place in ["b000500", "b020000", "c"] {
        let (before, parts, _) = first_part();
        let mut refs = before.clone();
        refs.extend((1..30_000).map(|at| (format!("refs/heads/{place}x{at:06}"), at)));
        let (grown, entries) = differs(&parts, &before, &refs);
        assert!((30_000..35_000).contains(&entries), "{entries}");
        assert!(grown.0.len() > parts.0.len() + 20);
        let after = refs.clone();
        refs.insert(format!("refs/heads/{place}x015000y"), 7);
        let (_, entries) = differs(&grown, &after, &refs);
        assert!(entries < 6_000, "{entries}");
    }
}
