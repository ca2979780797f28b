//! Damaged tables and `packed-refs`: reading them is an error or gives refs, with bounded memory and work.
//!
//! What is damaged are files that Git made. `REFWATCH_DAMAGE` is how many are read, `REFWATCH_SEED` the seed they follow
//! from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use refwatch_core::{ObjectFormat, RefName};
use refwatch_watcher::layout::Layout;
use refwatch_watcher::scan::{self, Observed, ScanError, Stack};

use crate::corpus::Corpus;
use crate::random::{Random, seed};
use crate::support::{Refs, Repo, name};

/// Files of each kind that are read where nothing else is asked for.
const CASES: usize = 1_500;
/// Address space of the process that reads them, in KiB. A block of a table is 16 MiB at most.
const ADDRESS_SPACE_KIB: usize = 600 << 10;
/// Processor time that one case may take on average, in milliseconds, where thousands are read: a loop without end is
/// what shows.
const CASE_MS: usize = 50;

/// Says that this is the process with little memory.
const INSIDE: &str = "REFWATCH_DAMAGE_INSIDE";

/// Runs a test once more in a process of its own, with little memory. True inside of it.
fn is_confined(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let seconds = 30 + cases() * CASE_MS / 1000;
    let status = Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE_KIB}; ulimit -t {seconds}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .status();
    assert!(status.expect("sh runs").success(), "see above");
    false
}

fn cases() -> usize {
    std::env::var("REFWATCH_DAMAGE").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

/// How often reading ended in which way.
#[derive(Debug, Default)]
struct Ends {
    refs: usize,
    errors: usize,
    found: usize,
    news: usize,
}

impl Ends {
    /// Reads everything, and some refs by name.
    fn read(&mut self, layout: &Layout, names: &[RefName]) {
        match scan::full(layout, &mut |_| {}) {
            Ok(scan) => {
                assert!(scan.refs.is_sorted_by(|left, right| left.0 < right.0), "sorted, each once");
                assert!(scan.peeled.iter().all(|(at, _)| *at < scan.refs.len()));
                self.refs += 1;
            }
            Err(error) => {
                assert_typed(&error);
                self.errors += 1;
            }
        }
        // Of a stack in which nothing is known everything is new, logs too.
        let nothing = Stack { path: b"reftable"[..].into(), tables: Vec::new() };
        match scan::news(layout, &[nothing], names) {
            Ok(news) => self.news += usize::from(news.is_some_and(|news| !news.steps.is_empty())),
            Err(error) => assert_typed(&error),
        }
        for name in names {
            match scan::one(layout, name) {
                Ok(found) => self.found += usize::from(found.is_some()),
                Err(error) => assert_typed(&error),
            }
        }
    }
}

fn assert_typed(error: &ScanError) {
    match error {
        ScanError::Reftable { .. } | ScanError::PackedRefs { .. } | ScanError::InFlux { .. } => {}
        ScanError::Unreadable { .. } | ScanError::Raced { .. } => panic!("not what is wrong: {error}"),
    }
}

/// Numbers that lie: small, large, and near what would be true.
fn lie(random: &mut Random, size: usize) -> u64 {
    let size = size as u64;
    let known = [0, 1, 2, 3, 4, 23, 24, 28, 68, 255, 256, 65_535, size, size / 2, 0xff_ffff, u64::MAX];
    match random.below(3) {
        0 => *random.pick(&known),
        1 => random.pick(&known).wrapping_add(random.below(9) as u64).wrapping_sub(4),
        _ => random.below(1 + usize::try_from(size).expect("small") * 2) as u64,
    }
}

/// Damages a file in one way or several.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..1 + random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => {
                bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, b'r', b'i', b'g', b'o', b'\n', b' ', b'^'])
            }
            2 => bytes.truncate(at),
            3 => {
                let other = random.pick(others);
                let from = random.below(other.len());
                let part = &other[from..other.len().min(from + 1 + random.below(300))];
                let replaced = if random.below(2) == 0 { 0 } else { part.len() };
                bytes.splice(at..bytes.len().min(at + replaced), part.iter().copied());
            }
            4 => drop(bytes.drain(at..bytes.len().min(at + 1 + random.below(100)))),
            _ => {
                // Of three bytes, as lengths and restart points, and often where one is.
                let blocks: Vec<usize> =
                    (0..bytes.len()).filter(|at| matches!(bytes[*at], b'r' | b'i' | b'g' | b'o')).collect();
                let at = if blocks.is_empty() || random.below(4) == 0 { at } else { *random.pick(&blocks) };
                let lie = lie(random, bytes.len()).to_be_bytes();
                let width = *random.pick(&[2, 3, 3, 8]);
                for (place, byte) in bytes.iter_mut().skip(at + 1).zip(&lie[8 - width..]) {
                    *place = *byte;
                }
            }
        }
    }
}

/// Lies about sections, and makes the footer of a table agree with its header and its checksum.
fn mend(random: &mut Random, bytes: &mut [u8]) {
    let (header, footer) = if bytes.get(4) == Some(&2) { (28, 72) } else { (24, 68) };
    let Some(start) = bytes.len().checked_sub(footer).filter(|start| *start >= header) else { return };
    if random.below(3) == 0 {
        let at = start + header + 8 * random.below(5);
        let lie = lie(random, start).to_be_bytes();
        bytes[at..at + 8].copy_from_slice(&lie);
    }
    bytes.copy_within(..header, start);
    let sum = crc32fast::hash(&bytes[start..bytes.len() - 4]).to_be_bytes();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&sum);
}

/// The tables of a repository, as files.
fn tables(repo: &Repo) -> Vec<Vec<u8>> {
    let directory = repo.git_dir.join("reftable");
    let list = fs::read_to_string(directory.join("tables.list")).expect("a list");
    list.lines().map(|table| fs::read(directory.join(table)).expect("a table")).collect()
}

#[test]
fn damaged_tables_are_errors_or_refs() {
    if !is_confined("damage::damaged_tables_are_errors_or_refs") {
        return;
    }
    let mut random = Random(seed() ^ 0xda_3a6e);
    let (mut ends, mut read) = (Ends::default(), 0);
    while read < cases() {
        let mut corpus = Corpus::new(&mut random);
        let mut files = Vec::new();
        for _ in 0..12 {
            corpus.step(&mut random);
            files.extend(tables(&corpus.repo));
        }
        let layout = corpus.repo.layout();
        let names =
            ["HEAD", "refs/heads/1", "refs/heads/30", "refs/heads/é/00031/long-", "refs/tags/v7"].map(name);
        let directory: PathBuf = corpus.repo.git_dir.join("reftable");
        for _ in 0..500 {
            // One table, or one over another: what is in both is compared.
            let mut list = String::new();
            for at in 0..1 + random.below(2) {
                let mut bytes = random.pick(&files).clone();
                if at == 0 || random.below(2) == 0 {
                    damage(&mut random, &mut bytes, &files);
                    if random.below(4) > 0 {
                        mend(&mut random, &mut bytes);
                    }
                }
                fs::write(directory.join(format!("{at}.ref")), bytes).expect("written");
                list += &format!("{at}.ref\n");
            }
            fs::write(directory.join("tables.list"), list).expect("written");
            ends.read(&layout, &names);
            read += 1;
        }
    }
    report("tables", read, &ends);
}

#[test]
fn damaged_packed_refs_are_errors_or_refs() {
    if !is_confined("damage::damaged_packed_refs_are_errors_or_refs") {
        return;
    }
    let mut random = Random(seed() ^ 0x9ac_4ed);
    let (mut ends, mut read) = (Ends::default(), 0);
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256].into_iter().cycle() {
        if read >= cases() {
            break;
        }
        let repo = Repo::bare(format, "files");
        let ids: [String; 3] = repo.commits();
        repo.git(&["tag", "-a", "-m", "t", "v1", &ids[0]]);
        let lines = (0..700).map(|at| format!("create refs/heads/{at} {}\n", ids[at % 3]));
        repo.update(&lines.collect::<String>());
        repo.git(&["pack-refs", "--all"]);
        let path = repo.git_dir.join("packed-refs");
        let whole = fs::read(&path).expect("packed");
        let short: Vec<u8> =
            whole.split_inclusive(|byte| *byte == b'\n').take(9).flatten().copied().collect();
        let files = [whole, short];
        let layout = repo.layout();
        let names = ["HEAD", "refs/heads/0", "refs/heads/345", "refs/heads/99", "refs/tags/v1"].map(name);
        for _ in 0..1_500 {
            let mut bytes = random.pick(&files).clone();
            damage(&mut random, &mut bytes, &files);
            write_anew(&path, &bytes);
            ends.read(&layout, &names);
            read += 1;
        }
    }
    report("packed-refs", read, &ends);
}

#[test]
fn what_differs_in_a_damaged_packed_refs_is_all_that_differs() {
    let mut random = Random(seed() ^ 0xd1_ff);
    let repo = Repo::bare(ObjectFormat::Sha1, "files");
    let ids: [String; 3] = repo.commits();
    let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
    for at in 0..20_000 {
        text += &format!("{} refs/heads/b{at:06}\n", ids[at % 3]);
    }
    let path = repo.git_dir.join("packed-refs");
    let whole = text.into_bytes();
    write_anew(&path, &whole);
    let layout = repo.layout();
    let before = repo.scan();
    let parts = before.parts.expect("a long file");
    let before: Refs = as_refs(before.refs);
    let (mut told, mut read) = (0, 0);
    for _ in 0..cases() / 20 {
        let mut bytes = whole.clone();
        if random.below(2) == 0 {
            damage(&mut random, &mut bytes, std::slice::from_ref(&whole));
        } else {
            // What Git might write: an id changes, a line comes or goes.
            let line = whole.len() / 61 * random.below(61);
            let line = whole[..line].iter().rposition(|byte| *byte == b'\n').map_or(46, |end| end + 1);
            match random.below(3) {
                0 => bytes[line..line + 40].copy_from_slice(random.pick(&ids).as_bytes()),
                1 => drop(bytes.drain(line..line + 60)),
                _ => {
                    let new = [&bytes[line..line + 59], b"x\n"].concat();
                    bytes.splice(line + 60..line + 60, new);
                }
            }
        }
        write_anew(&path, &bytes);
        let Some(repacked) = scan::repacked(&layout, &parts).expect("readable") else { continue };
        told += 1;
        // Where everything can be read, nothing but what is in the ranges is another.
        let Ok(scan) = scan::full(&layout, &mut |_| {}) else { continue };
        read += 1;
        let after = as_refs(scan.refs);
        let is_in = |name: &[u8]| {
            repacked
                .ranges
                .iter()
                .any(|range| *range.after < *name && range.last.as_deref().is_none_or(|last| name <= last))
        };
        for name in before.keys().chain(after.keys()) {
            assert!(is_in(name) || before.get(name) == after.get(name), "{}", String::from_utf8_lossy(name));
        }
        for (name, observed) in repacked.ranges.iter().flat_map(|range| &range.packed) {
            assert_eq!(after.get(name.as_bytes()), Some(observed), "{name}");
        }
    }
    assert!(told > cases() / 100 && read > cases() / 100, "{told} told, {read} read");
}

fn as_refs(refs: Vec<(RefName, Observed)>) -> Refs {
    refs.into_iter().map(|(name, observed)| (name.into_bytes().into_vec(), observed)).collect()
}

/// Replaces a file by a rename, as Git does.
fn write_anew(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).expect("written");
    fs::rename(new, path).expect("renamed");
}

#[expect(clippy::print_stdout, reason = "says what was tried")]
fn report(what: &str, read: usize, ends: &Ends) {
    println!("{read} damaged {what}: {ends:?}");
    assert!(ends.refs > read / 50 && ends.errors > read / 50, "both ends are met: {ends:?}");
}
