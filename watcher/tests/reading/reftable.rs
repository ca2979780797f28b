//! Tables, read without Git and compared with it.

use std::fs;

use refwatch_core::ObjectFormat;
use refwatch_watcher::layout::RefStorage;
use refwatch_watcher::scan::{self, From, ScanError};

use crate::support::{Repo, direct, name, run, symbolic};

fn updates(range: std::ops::Range<usize>, verb: &str, ids: &[String]) -> String {
    range.map(|index| format!("{verb} refs/heads/branch-{index:05} {}\n", ids[index % ids.len()])).collect()
}

#[test]
fn a_stack_of_tables_reads_as_git_reads_it() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let repo = Repo::bare(format, "reftable");
        assert_eq!(repo.layout().storage, RefStorage::Reftable);
        assert_eq!(
            repo.refs(),
            [(b"HEAD".to_vec(), symbolic("refs/heads/main"))].into(),
            "an unborn HEAD is there"
        );

        let ids: [String; 3] = repo.commits();
        // Many blocks, then an index over them.
        repo.update(&updates(0..5_000, "create", &ids));
        assert_eq!(repo.refs(), repo.refs_by_git());
        // Tables on top that change, delete and make again.
        repo.git(&["config", "reftable.geometricFactor", "0"]);
        repo.update(&updates(100..200, "update", &ids[1..]));
        repo.update(
            &(150..160).map(|index| format!("delete refs/heads/branch-{index:05}\n")).collect::<String>(),
        );
        repo.update(&updates(155..157, "create", &ids));
        repo.git(&["tag", "-a", "-m", "tag", "v1", &ids[0]]);
        repo.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/heads/branch-00001"]);
        assert_eq!(repo.refs(), repo.refs_by_git());
        assert_eq!(scan::one(&repo.layout(), &name("refs/heads/branch-00150")).expect("readable"), None);

        repo.git(&["pack-refs", "--all"]);
        assert_eq!(repo.refs(), repo.refs_by_git());
    }
}

#[test]
fn block_sizes_and_restarts_of_every_kind_are_read() {
    for (block, restarts, index) in [("256", "1", "true"), ("1024", "16", "false"), ("65536", "100", "true")]
    {
        let repo = Repo::bare(ObjectFormat::Sha1, "reftable");
        repo.git(&["config", "reftable.blockSize", block]);
        repo.git(&["config", "reftable.restartInterval", restarts]);
        repo.git(&["config", "reftable.indexObjects", index]);
        let ids: [String; 3] = repo.commits();
        repo.update(&updates(0..2_000, "create", &ids));
        repo.git(&["pack-refs", "--all"]);
        assert_eq!(repo.refs(), repo.refs_by_git(), "{block}");
    }
}

#[test]
fn logs_beside_the_refs_and_tables_of_nothing_but_logs_do_no_harm() {
    let repo = Repo::bare(ObjectFormat::Sha1, "reftable");
    repo.git(&["config", "core.logAllRefUpdates", "always"]);
    let ids: [String; 2] = repo.commits();
    repo.update(&updates(0..300, "create", &ids));
    repo.update(&updates(0..300, "update", &ids[1..]));
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    assert_eq!(repo.refs(), repo.refs_by_git());
}

#[test]
fn a_dangling_symbolic_ref_that_git_leaves_out_is_there() {
    let repo = Repo::bare(ObjectFormat::Sha1, "reftable");
    repo.git(&["symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/none"]);
    assert_eq!(repo.refs()[b"refs/remotes/origin/HEAD".as_slice()], symbolic("refs/remotes/origin/none"));
}

#[test]
fn damage_anywhere_is_an_error_or_changes_nothing() {
    let repo = Repo::bare(ObjectFormat::Sha1, "reftable");
    let ids: [String; 2] = repo.commits();
    repo.update(&updates(0..20, "create", &ids));
    repo.git(&["pack-refs", "--all"]);
    let layout = repo.layout();
    let list = fs::read_to_string(repo.git_dir.join("reftable/tables.list")).expect("a list");
    let table = repo.git_dir.join("reftable").join(list.trim());
    let sound = fs::read(&table).expect("a table");
    // Cut at every length: never fewer refs, always an error.
    for length in 0..sound.len() {
        fs::write(&table, &sound[..length]).expect("written");
        let found = scan::full(&layout, &mut |_| {});
        assert!(matches!(found, Err(ScanError::Reftable { .. })), "cut to {length}");
    }
    // Each byte flipped: no panic, and never a shorter list than a look at the blocks can tell.
    for offset in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[offset] ^= 0x55;
        fs::write(&table, damaged).expect("written");
        drop(scan::full(&layout, &mut |_| {}));
    }
    fs::write(&table, &sound).expect("written");
    assert_eq!(repo.refs(), repo.refs_by_git());
    fs::remove_file(&table).expect("removed");
    assert!(matches!(scan::full(&layout, &mut |_| {}), Err(ScanError::Raced { .. })));
    fs::remove_file(repo.git_dir.join("reftable/tables.list")).expect("removed");
    assert!(matches!(scan::full(&layout, &mut |_| {}), Err(ScanError::InFlux { .. })));
}

#[test]
fn a_repository_converted_under_a_known_layout_is_in_flux_not_empty() {
    for (from, to) in [("files", "reftable"), ("reftable", "files")] {
        let repo = Repo::bare(ObjectFormat::Sha1, from);
        let a = repo.commit("a");
        repo.update(&format!("create refs/heads/main {a}\n"));
        let layout = repo.layout();
        let before = repo.refs();
        run(&repo.git_dir, &["refs", "migrate", &format!("--ref-format={to}")]);
        let in_flux = |error| matches!(error, ScanError::InFlux { .. });
        assert!(scan::full(&layout, &mut |_| {}).is_err_and(in_flux), "{from}");
        assert!(scan::one(&layout, &name("HEAD")).is_err_and(in_flux), "{from}");
        assert_eq!(repo.refs(), before, "probed again");
        assert_eq!(repo.refs()[b"refs/heads/main".as_slice()], direct(&a));
    }
}

#[test]
fn one_ref_is_found_without_a_look_at_the_others() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        let repo = Repo::bare(format, "reftable");
        let ids: [String; 3] = repo.commits();
        repo.update(&updates(0..20_000, "create", &ids));
        repo.git(&["pack-refs", "--all"]);
        let layout = repo.layout();
        let refs = repo.refs();
        let list = fs::read_to_string(repo.git_dir.join("reftable/tables.list")).expect("a list");
        let table = repo.git_dir.join("reftable").join(list.trim());
        let mut bytes = fs::read(&table).expect("a table");
        // The blocks of refs in the midst are no such blocks any more.
        let blocks: Vec<usize> = (4096..bytes.len()).step_by(4096).filter(|at| bytes[*at] == b'r').collect();
        for at in &blocks[10..blocks.len() - 10] {
            bytes[*at] = b'x';
        }
        fs::write(&table, bytes).expect("written");
        assert!(matches!(scan::full(&layout, &mut |_| {}), Err(ScanError::Reftable { .. })));
        let at = |index: u32| format!("refs/heads/branch-{index:05}");
        for found in ["HEAD", &at(0), &at(500), &at(19_500), &at(19_999)] {
            let observed = scan::one(&layout, &name(found)).expect("its own block is sound");
            assert_eq!(observed.as_ref(), refs.get(found.as_bytes()), "{found}");
        }
        for absent in ["refs/heads/a", "refs/heads/branch-00000x", "refs/heads/branch-19999x", "refs/z"] {
            assert_eq!(scan::one(&layout, &name(absent)).expect("sound"), None, "{absent}");
        }
        let lost = scan::one(&layout, &name(at(10_000)));
        assert!(matches!(lost, Err(ScanError::Reftable { .. })), "{lost:?}");
    }
}

#[test]
fn logs_give_each_value_of_a_busy_ref_also_after_compaction() {
    for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
        for (refs, block) in [(1, "4096"), (3_000, "4096"), (1, "256"), (300, "256")] {
            let repo = Repo::bare(format, "reftable");
            repo.git(&["config", "core.logAllRefUpdates", "true"]);
            repo.git(&["config", "reftable.blockSize", block]);
            let ids: [String; 3] = repo.commits();
            repo.update(&updates(0..refs, "create", &ids));
            repo.git(&["pack-refs", "--all"]);
            let known = repo.scan().stacks;
            // The second is the value of the first ref, and the last one that of none.
            let values: Vec<&String> = ids.iter().cycle().skip(1).take(25).collect();
            for value in &values {
                repo.update(&format!("update refs/heads/branch-00000 {value}\ncreate refs/tags/t {value}\n"));
                repo.update("delete refs/tags/t\n");
            }
            let news = scan::news(&repo.layout(), &known, &[]).expect("readable").expect("told");
            let changes = news.steps.iter().flat_map(|step| &step.changes);
            let busy: Vec<_> =
                changes.filter(|change| change.name.as_bytes() == b"refs/heads/branch-00000").collect();
            let told: Vec<_> = busy.iter().map(|change| change.observed.clone().expect("there")).collect();
            assert_eq!(told, values.iter().map(direct).collect::<Vec<_>>());
            let mut before = direct(&ids[0]);
            for change in busy {
                match change.from {
                    From::Known => {}
                    From::Value(from) => assert_eq!(direct(from.expect("one").to_string()), before),
                    From::Unknown => panic!("the log knows it: {change:?}"),
                }
                before = change.observed.clone().expect("there");
            }
            assert_eq!(news.stacks, repo.scan().stacks);
        }
    }
}

#[test]
fn a_rename_is_one_step_however_it_is_compacted() {
    for (logs, refs) in [("false", 1), ("true", 1), ("false", 3_000), ("true", 3_000)] {
        let repo = Repo::bare(ObjectFormat::Sha1, "reftable");
        repo.git(&["config", "core.logAllRefUpdates", logs]);
        let ids: [String; 3] = repo.commits();
        repo.update(&updates(0..refs, "create", &ids));
        repo.git(&["pack-refs", "--all"]);
        for (from, to) in [("branch-00000", "new"), ("new", "even-newer")] {
            let known = repo.scan().stacks;
            repo.git(&["branch", "-m", from, to]);
            let news = scan::news(&repo.layout(), &known, &[]).expect("readable").expect("told");
            assert_eq!(news.steps.len(), 1, "{logs}, {refs}: {:#?}", news.steps);
        }
    }
}

#[test]
fn the_logs_of_the_last_ref_end_before_the_levels_of_their_index() {
    let repo = Repo::bare(ObjectFormat::Sha1, "reftable");
    repo.git(&["config", "core.logAllRefUpdates", "true"]);
    repo.git(&["config", "reftable.blockSize", "256"]);
    let ids: [String; 3] = repo.commits();
    let known = repo.scan().stacks;
    // Long names, so that an index block holds few.
    for value in &ids {
        let line = |at: u32| format!("update refs/heads/{at}{} {value}\n", "-long".repeat(20));
        repo.update(&(10..99).map(line).collect::<String>());
    }
    repo.git(&["pack-refs", "--all"]);
    let news = scan::news(&repo.layout(), &known, &[]).expect("readable").expect("told");
    assert_eq!(news.steps.len(), ids.len());
    assert!(news.steps.iter().all(|step| step.changes.len() == 89));
}
