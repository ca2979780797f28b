//! Where objects lie, and how they move about while they are looked at.

use super::*;

fn assert_send<T: Send>() {}

#[test]
fn objects_move_between_threads() {
    assert_send::<Objects>();
}

#[test]
fn what_is_no_repository_cannot_be_opened() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let opened = Objects::open(dir.path(), ObjectFormat::Sha1);
    assert!(matches!(opened.err(), Some(OpenError::NoObjects { .. })));
    std::fs::write(dir.path().join("objects"), b"").expect("writable");
    assert!(matches!(Objects::open(dir.path(), ObjectFormat::Sha1).err(), Some(OpenError::NoObjects { .. })));
}

#[test]
fn what_arrives_later_is_found_loose_or_packed() {
    let repo = Repo::new();
    let mut objects = repo.open();
    let mut old = repo.commit(&[], "@1600000000 +0000", "root");
    for round in 0..6 {
        let new = repo.commit(&[old], "@1600000060 +0000", &format!("loose {round}"));
        assert_eq!(objects.relation(old, new, &ROOMY), Relation::FastForward);
        // A push of its own pack: everything so far, but in one new pack.
        let pushed = repo.import_named(&chain(150), &format!("pushed{round}-"));
        assert_eq!(objects.relation(pushed[140], pushed[149], &ROOMY), Relation::FastForward);
        assert_eq!(objects.relation(new, pushed[149], &ROOMY), Relation::Unrelated);
        old = new;
    }
    assert_eq!(packs_of(&repo.path).len(), 6);
}

#[test]
fn repacking_under_a_mapped_pack_loses_nothing_and_lets_go_of_it() {
    let repo = Repo::new();
    let mut all = Vec::new();
    for round in 0..5 {
        all.extend(repo.import_named(&chain(120), &format!("round{round}-")));
    }
    let mut objects = repo.open();
    for tip in (119..all.len()).step_by(120) {
        assert_eq!(objects.relation(all[tip - 119], all[tip], &ROOMY), Relation::FastForward);
    }
    assert_eq!(objects.database.mapped_packs(), 5);
    for args in [&["repack", "-adq"][..], &["repack", "-Adfq", "--window=0"], &["gc", "-q", "--prune=now"]] {
        repo.git(args);
        for tip in (119..all.len()).step_by(120) {
            assert_eq!(objects.relation(all[tip - 119], all[tip], &ROOMY), Relation::FastForward);
        }
        assert_eq!(objects.database.mapped_packs(), 1);
        let new = repo.commit(&[all[119]], "@1700000000 +0000", &format!("after {args:?}"));
        assert_eq!(objects.relation(all[119], new, &ROOMY), Relation::FastForward);
        assert_eq!(mapped_of(&repo.path).iter().filter(|path| !Path::new(path).exists()).count(), 0);
    }
}

/// Files of a directory that this process has mapped.
fn mapped_of(directory: &Path) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let prefix = directory.display().to_string();
    maps.lines().filter_map(|line| line.find(&prefix).map(|at| line[at..].to_owned())).collect()
}

#[test]
fn repacking_while_asking_never_makes_an_object_missing() {
    let repo = Repo::new();
    let mut all = Vec::new();
    for round in 0..4 {
        all.push(repo.import_named(&chain(110), &format!("round{round}-")));
    }
    std::thread::scope(|scope| {
        let repacker = scope.spawn(|| {
            for round in 0..12 {
                match round % 3 {
                    0 => drop(repo.git(&["repack", "-adq"])),
                    1 => drop(repo.git(&["repack", "-adfq", "--window=0", "--max-pack-size=1m"])),
                    _ => {
                        repo.commit(&[all[0][109]], "@1700000000 +0000", &format!("{round}"));
                        repo.git(&["gc", "-q", "--prune=now"]);
                    }
                }
            }
        });
        let mut objects = repo.open();
        let mut asked = 0_u32;
        while !repacker.is_finished() || asked < 20 {
            for ids in &all {
                assert_eq!(objects.relation(ids[0], ids[109], &ROOMY), Relation::FastForward);
            }
            asked += 1;
            if asked.is_multiple_of(5) {
                objects.release();
            }
        }
    });
}

#[test]
fn a_multi_pack_index_and_its_packs_are_read() {
    let repo = Repo::new();
    let mut tips = Vec::new();
    for round in 0..4 {
        tips.push(repo.import_named(&chain(110), &format!("round{round}-")));
    }
    repo.git(&["multi-pack-index", "write"]);
    let mut objects = repo.open();
    for ids in &tips {
        assert_eq!(objects.relation(ids[0], ids[109], &ROOMY), Relation::FastForward);
    }
    repo.git(&["repack", "-dq", "--geometric=2", "--write-midx"]);
    for ids in &tips {
        assert_eq!(objects.relation(ids[109], ids[0], &ROOMY), Relation::Forced);
    }
}

#[test]
fn alternates_are_followed_also_those_of_alternates_and_lost_ones_are_survived() {
    let base = Repo::new();
    let ids = base.import(&chain(200));
    let middle = Repo::new();
    let borrow = |repo: &Repo, lines: &str| {
        std::fs::write(repo.path.join("objects/info/alternates"), lines).expect("writable");
    };
    borrow(&middle, &format!("{}\n", base.path.join("objects").display()));
    let child = middle.commit(&[ids[199]], "@1700000000 +0000", "child");
    let fork = Repo::new();
    borrow(&fork, &format!("/nowhere/objects\n# a comment\n{}\n", middle.path.join("objects").display()));
    let mut objects = fork.open();
    assert_eq!(objects.relation(ids[0], child, &ROOMY), Relation::FastForward);
    let grandchild = fork.commit(&[child], "@1700000060 +0000", "grandchild");
    assert_eq!(objects.relation(ids[0], grandchild, &ROOMY), Relation::FastForward);
    // The alternate is gone: what was borrowed is missing, what is here is not.
    borrow(&fork, "");
    objects.release();
    assert_eq!(objects.relation(child, grandchild, &ROOMY), Relation::FastForward);
    assert_eq!(objects.relation(ids[0], grandchild, &ROOMY), Relation::Unknown(UnknownReason::MissingObject));
    // Two that borrow from each other.
    borrow(&fork, &format!("{}\n", middle.path.join("objects").display()));
    borrow(&middle, &format!("{}\n", fork.path.join("objects").display()));
    objects.release();
    assert_eq!(objects.relation(child, grandchild, &ROOMY), Relation::FastForward);
}

#[test]
fn missing_commits_are_unknown_unless_the_way_leads_around_them() {
    let repo = Repo::new();
    let root = repo.commit(&[], "@1600000000 +0000", "root");
    let left = repo.commit(&[root], "@1600000060 +0000", "left");
    let right = repo.commit(&[root], "@1600000061 +0000", "right");
    let merge = repo.commit(&[left, right], "@1600000120 +0000", "merge");
    let aside = repo.commit(&[root], "@1600000130 +0000", "aside");
    repo.lose(left);
    let mut objects = repo.open();
    let missing = Relation::Unknown(UnknownReason::MissingObject);
    assert_eq!(objects.relation(root, merge, &ROOMY), Relation::FastForward, "over the right one");
    assert_eq!(objects.relation(left, merge, &ROOMY), Relation::FastForward, "it is named");
    assert_eq!(objects.relation(aside, merge, &ROOMY), missing);
    assert_eq!(objects.relation(merge, left, &ROOMY), missing);
    let diverged = Relation::Unknown(UnknownReason::Diverged);
    assert_eq!(objects.relation(left, aside, &ROOMY), diverged, "the whole of the new one was seen");
    assert_eq!(objects.relation(merge, aside, &ROOMY), Relation::Forced);
}

#[test]
fn damaged_objects_are_unreadable_and_a_good_copy_is_found() {
    let repo = Repo::new();
    let root = repo.commit(&[], "@1600000000 +0000", "root");
    let child = repo.commit(&[root], "@1600000060 +0000", "child");
    let tip = repo.commit(&[child], "@1600000120 +0000", "tip");
    repo.git(&["update-ref", "refs/heads/main", &tip.to_hex()]);
    let spoil = |id: ObjectId, bytes: &[u8]| {
        repo.lose(id);
        std::fs::write(repo.loose_path(id), bytes).expect("writable");
    };
    let whole = std::fs::read(repo.loose_path(child)).expect("loose");
    let unreadable = Relation::Unknown(UnknownReason::Unreadable);
    for bytes in [&b""[..], b"garbage", &whole[..whole.len() / 2]] {
        spoil(child, bytes);
        assert_eq!(repo.open().relation(root, tip, &ROOMY), unreadable);
    }
    spoil(child, &whole);
    repo.git(&["repack", "-aq"]);
    spoil(child, b"garbage");
    assert_eq!(repo.open().relation(root, tip, &ROOMY), Relation::FastForward, "from the pack");
}

#[test]
fn damaged_packs_never_give_a_wrong_answer() {
    let repo = Repo::new();
    let mut made = chain(150);
    made.push((vec![140], minute(200)));
    let ids = repo.import(&made);
    repo.git(&["repack", "-adfq", "--depth=20"]);
    let pack = packs_of(&repo.path).pop().expect("a pack");
    let mut dice = Dice(7);
    for path in [pack.clone(), pack.with_extension("idx")] {
        let good = std::fs::read(&path).expect("readable");
        for damage in 0..60 {
            let mut bytes = good.clone();
            match damage {
                0 => bytes.clear(),
                1..10 => bytes.truncate(dice.roll(good.len())),
                _ => {
                    let at = dice.roll(good.len());
                    bytes[at] ^= 1 << dice.roll(8);
                }
            }
            std::fs::remove_file(&path).expect("removable");
            std::fs::write(&path, &bytes).expect("writable");
            let mut objects = repo.open();
            for (old, new, truth) in
                [(ids[0], ids[149], Relation::FastForward), (ids[149], ids[150], Relation::Forced)]
            {
                let told = objects.relation(old, new, &ROOMY);
                assert!(told == truth || matches!(told, Relation::Unknown(_)), "damage {damage}: {told:?}");
            }
        }
        std::fs::remove_file(&path).expect("removable");
        std::fs::write(&path, &good).expect("writable");
    }
    assert_eq!(repo.open().relation(ids[0], ids[149], &ROOMY), Relation::FastForward);
}

#[test]
fn a_pack_that_is_not_its_indexs_is_not_read() {
    let repo = Repo::new();
    let root = repo.commit(&[], "@1600000000 +0000", "root");
    let stranger = repo.commit(&[], "@1600000000 +0000", "stranger");
    let pack = |parent| {
        let commit = repo.commit(&[parent], "@1600000060 +0000", "child");
        let name = repo.git_fed(
            &["pack-objects", "-q", &repo.path.join("objects/pack/pack").display().to_string()],
            format!("{commit}\n").as_bytes(),
        );
        repo.lose(commit);
        (commit, repo.path.join(format!("objects/pack/pack-{name}.pack")))
    };
    let ((child, path), (_, other_path)) = (pack(root), pack(stranger));
    assert_eq!(repo.open().relation(root, child, &ROOMY), Relation::FastForward);
    // Both have one commit, at the same offset.
    std::fs::rename(other_path, path).expect("renamed");
    assert_eq!(repo.open().relation(root, child, &ROOMY), Relation::Unknown(UnknownReason::Unreadable));
}

#[test]
fn a_repository_that_vanishes_is_unknown_and_may_come_back() {
    let repo = Repo::new();
    let ids = repo.import(&chain(150));
    let mut objects = repo.open();
    assert_eq!(objects.relation(ids[0], ids[149], &ROOMY), Relation::FastForward);
    let aside = repo.path.with_extension("aside");
    std::fs::rename(&repo.path, &aside).expect("renamed");
    assert_eq!(objects.relation(ids[0], ids[149], &ROOMY), Relation::Unknown(UnknownReason::Unreadable));
    assert_eq!(objects.peel(ids[0]), Err(PeelError::Unreadable { oid: ids[0] }));
    assert_eq!(objects.database.mapped_packs(), 0);
    std::fs::rename(&aside, &repo.path).expect("renamed");
    assert_eq!(objects.relation(ids[0], ids[149], &ROOMY), Relation::FastForward);
}

#[test]
fn no_file_stays_open() {
    let repo = Repo::new();
    for round in 0..5 {
        repo.import_named(&chain(110), &format!("round{round}-"));
    }
    let ids = repo.import(&chain(120));
    repo.git(&["commit-graph", "write", "--reachable"]);
    let mut objects = repo.open();
    objects.commits_before_graph = Some(0);
    assert_eq!(objects.relation(ids[0], ids[119], &ROOMY), Relation::FastForward);
    let prefix = repo.path.display().to_string();
    let open = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|path| path.starts_with(&prefix))
        .count();
    assert_eq!(open, 0);
    objects.release();
    assert_eq!(mapped_of(&repo.path), Vec::<String>::new());
}
