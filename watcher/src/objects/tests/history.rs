//! Shapes of history.

use super::*;

fn told(repo: &Repo, old: ObjectId, new: ObjectId) -> Relation {
    let told = repo.open().relation(old, new, &ROOMY);
    assert_eq!(told, repo.truth(old, new), "as git says");
    told
}

#[test]
fn a_line_of_commits_is_a_fast_forward_one_way_and_a_reset_the_other() {
    let repo = Repo::new();
    let ids = repo.import(&chain(20));
    assert_eq!(told(&repo, ids[3], ids[17]), Relation::FastForward);
    assert_eq!(told(&repo, ids[16], ids[17]), Relation::FastForward);
    assert_eq!(told(&repo, ids[17], ids[16]), Relation::Forced);
    assert_eq!(told(&repo, ids[17], ids[0]), Relation::Forced);
    assert_eq!(told(&repo, ids[5], ids[5]), Relation::FastForward);
}

#[test]
fn merges_amends_rebases_and_octopuses_are_told_as_git_tells_them() {
    let repo = Repo::new();
    let mut made = chain(10);
    made.push((vec![7], minute(11))); // 10: a branch
    made.push((vec![9, 10], minute(12))); // 11: merged
    made.push((vec![8], minute(13))); // 12: 9 amended
    made.push((vec![12, 11, 3], minute(14))); // 13: an octopus
    made.push((vec![9], minute(15))); // 14: 10 rebased
    made.push((vec![10, 9], minute(16))); // 15: criss
    made.push((vec![9, 10], minute(17))); // 16: cross
    made.push((vec![], minute(18))); // 17: another root
    made.push((vec![17], minute(19))); // 18
    let ids = repo.import(&made);
    assert_eq!(told(&repo, ids[10], ids[11]), Relation::FastForward);
    assert_eq!(told(&repo, ids[9], ids[12]), Relation::Forced);
    assert_eq!(told(&repo, ids[10], ids[13]), Relation::FastForward);
    assert_eq!(told(&repo, ids[10], ids[14]), Relation::Forced);
    assert_eq!(told(&repo, ids[15], ids[16]), Relation::Forced);
    assert_eq!(told(&repo, ids[18], ids[13]), Relation::Unrelated);
    assert_eq!(told(&repo, ids[13], ids[18]), Relation::Unrelated);
    assert_eq!(told(&repo, ids[17], ids[18]), Relation::FastForward);
}

#[test]
fn random_histories_are_told_as_git_tells_them_with_and_without_a_graph() {
    for (seed, format) in [(1, ObjectFormat::Sha1), (2, ObjectFormat::Sha1), (3, ObjectFormat::Sha256)] {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let repo = Repo::with(format);
        let ids = repo.import(&dice.history(150));
        let pairs: Vec<_> = (0..120).map(|_| (ids[dice.roll(150)], ids[dice.roll(150)])).collect();
        let truths: Vec<_> = pairs.iter().map(|(old, new)| repo.truth(*old, *new)).collect();
        for arrangement in ["loose or packed", "no graph", "graph", "stale chain"] {
            match arrangement {
                "no graph" => drop(repo.git(&["gc", "-q"])),
                "graph" => drop(repo.git(&["commit-graph", "write", "--reachable"])),
                "stale chain" => {
                    std::fs::remove_file(repo.path.join("objects/info/commit-graph")).expect("a graph");
                    for upto in [40, 60, 90] {
                        let tips: String = ids[..upto].iter().map(|id| format!("{id}\n")).collect();
                        let args = ["commit-graph", "write", "--split=no-merge", "--stdin-commits"];
                        repo.git_fed(&args, tips.as_bytes());
                    }
                }
                _ => {}
            }
            let mut objects = repo.open();
            for before_graph in [0, 5, 1_000] {
                objects.commits_before_graph = Some(before_graph);
                for ((old, new), truth) in pairs.iter().zip(&truths) {
                    let told = objects.relation(*old, *new, &ROOMY);
                    assert_eq!(
                        told, *truth,
                        "{arrangement}: {old} -> {new}, seed {seed}, graph after {before_graph}"
                    );
                }
            }
        }
    }
}

#[test]
fn lying_clocks_change_nothing() {
    let repo = Repo::new();
    let base = repo.commit(&[], "@1600000000 +0000", "base");
    let past = repo.commit(&[base], "@100 +0000", "made in 1970");
    let future = repo.commit(&[past], "@4000000000 +0000", "made in 2096");
    let tip = repo.commit(&[future], "@1500000000 +0000", "before its parents");
    let other = repo.commit(&[past], "@4100000000 +0000", "another");
    for (old, new) in [(base, tip), (past, tip), (future, tip), (tip, base), (other, tip), (tip, other)] {
        told(&repo, old, new);
    }
}

#[test]
fn commits_of_all_ages_and_dates_git_cannot_read_do_no_harm() {
    let repo = Repo::new();
    let tree = repo.git_fed(&["mktree"], b"");
    let write = |parents: &str, committer: &str| {
        let body = format!("tree {tree}\n{parents}author A <a@x> 1 +0000\ncommitter {committer}\n\nx\n");
        oid(&repo.git_fed(&["hash-object", "-t", "commit", "-w", "--stdin", "--literally"], body.as_bytes()))
    };
    let root = write("", "C <c@x> 99999999999999999999999 +0000");
    let middle = write(&format!("parent {root}\n"), "C <c@x> never");
    let tip = write(&format!("parent {middle}\n"), "nobody");
    assert_eq!(repo.open().relation(root, tip, &ROOMY), Relation::FastForward);
    assert_eq!(repo.open().relation(tip, root, &ROOMY), Relation::Forced);
}

#[test]
fn a_shallow_clone_claims_only_what_it_can_see() {
    let repo = Repo::new();
    let mut made = chain(30);
    made.push((vec![27], minute(40)));
    made.push((vec![3], minute(41)));
    let ids = repo.import(&made);
    repo.git(&["update-ref", "refs/heads/main", &ids[29].to_hex()]);
    repo.git(&["update-ref", "refs/heads/amended", &ids[30].to_hex()]);
    repo.git(&["update-ref", "refs/heads/old", &ids[31].to_hex()]);
    let shallow = Repo::new();
    let url = format!("file://{}", repo.path.display());
    shallow.git(&["fetch", "-q", "--depth=3", &url, "refs/heads/main:refs/heads/main"]);
    shallow.git(&["fetch", "-q", "--depth=3", &url, "refs/heads/amended:refs/heads/amended"]);
    shallow.git(&["fetch", "-q", "--depth=1", &url, "refs/heads/old:refs/heads/old"]);
    assert!(shallow.path.join("shallow").exists());
    let mut objects = shallow.open();
    assert_eq!(objects.relation(ids[27], ids[29], &ROOMY), Relation::FastForward);
    assert_eq!(objects.relation(ids[30], ids[29], &ROOMY), Relation::Forced, "both have 27");
    assert_eq!(objects.relation(ids[29], ids[27], &ROOMY), Relation::Forced);
    let cut = Relation::Unknown(UnknownReason::Shallow);
    assert_eq!(objects.relation(ids[31], ids[29], &ROOMY), cut);
    assert_eq!(objects.relation(ids[29], ids[31], &ROOMY), cut);
}

#[test]
fn replaced_and_grafted_history_is_told_as_it_is_stored() {
    let repo = Repo::new();
    let ids = repo.import(&chain(10));
    repo.git(&["replace", "--graft", &ids[5].to_hex()]);
    assert_eq!(repo.truth(ids[2], ids[8]), Relation::Unrelated, "git shows the replacement");
    assert_eq!(repo.open().relation(ids[2], ids[8], &ROOMY), Relation::FastForward);
}

#[test]
fn other_kinds_and_other_formats_are_no_commits() {
    let repo = Repo::new();
    let ids = repo.import(&chain(3));
    let tree = oid(&repo.git(&["rev-parse", &format!("{}^{{tree}}", ids[0])]));
    let mut objects = repo.open();
    let no_commit = Relation::Unknown(UnknownReason::NotACommit);
    assert_eq!(objects.relation(tree, ids[2], &ROOMY), no_commit);
    assert_eq!(objects.relation(ids[2], tree, &ROOMY), no_commit);
    let foreign = oid(&"ab".repeat(32));
    assert_eq!(objects.relation(foreign, ids[2], &ROOMY), Relation::Unknown(UnknownReason::MissingObject));
}

#[test]
fn a_budget_bounds_the_walk() {
    let repo = Repo::new();
    let ids = repo.import(&chain(3_000));
    let mut objects = repo.open();
    let spent = Relation::Unknown(UnknownReason::BudgetSpent);
    let few = Budget { commits_max: 100, deadline: None };
    assert_eq!(objects.relation(ids[0], ids[2_999], &few), spent);
    assert_eq!(objects.relation(ids[2_950], ids[2_999], &few), Relation::FastForward);
    let late = Budget { commits_max: u32::MAX, deadline: Some(Instant::now()) };
    assert_eq!(objects.relation(ids[0], ids[2_999], &late), spent);
    assert_eq!(objects.relation(ids[0], ids[2_999], &ROOMY), Relation::FastForward);
}
