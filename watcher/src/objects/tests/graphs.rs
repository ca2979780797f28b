//! The commit-graph: of use where it is right, of no harm where it is not.

use super::*;

/// 400 commits in a line, and one beside the last: an answer from the root takes the whole line.
fn repo() -> (Repo, Vec<ObjectId>) {
    let repo = Repo::new();
    let mut made = chain(400);
    made.push((vec![398], minute(500)));
    let ids = repo.import(&made);
    (repo, ids)
}

/// Few commits, but many of the graph.
const FEW: Budget = Budget { commits_max: 60, deadline: None };

fn eager(repo: &Repo) -> Objects {
    let mut objects = repo.open();
    objects.commits_before_graph = Some(1);
    objects
}

fn single(repo: &Repo) -> PathBuf {
    repo.path.join("objects/info/commit-graph")
}

#[test]
fn a_graph_makes_long_ways_cheap_and_one_written_later_is_found() {
    let (repo, ids) = repo();
    let mut objects = eager(&repo);
    assert_eq!(objects.relation(ids[0], ids[399], &FEW), Relation::Unknown(UnknownReason::BudgetSpent));
    repo.git(&["commit-graph", "write", "--reachable"]);
    assert_eq!(objects.relation(ids[0], ids[399], &FEW), Relation::FastForward);
    assert_eq!(objects.relation(ids[399], ids[0], &FEW), Relation::Forced);
    assert!(objects.graph.is_checked());
    objects.release();
    assert!(!objects.graph.is_checked());
    assert_eq!(objects.relation(ids[0], ids[399], &FEW), Relation::FastForward);
}

#[test]
fn layers_of_a_chain_are_used_also_from_an_alternate() {
    let (repo, ids) = repo();
    let write = |repo: &Repo, upto: usize| {
        let tips: String = ids[..upto].iter().map(|id| format!("{id}\n")).collect();
        repo.git_fed(&["commit-graph", "write", "--split=no-merge", "--stdin-commits"], tips.as_bytes());
    };
    write(&repo, 200);
    write(&repo, 300);
    let layers = |repo: &Repo| {
        let chain = repo.path.join("objects/info/commit-graphs/commit-graph-chain");
        std::fs::read_to_string(chain).expect("a chain").lines().count()
    };
    assert_eq!(layers(&repo), 2);
    assert_eq!(eager(&repo).relation(ids[0], ids[320], &FEW), Relation::FastForward);

    let fork = Repo::new();
    let alternates = format!("{}\n", repo.path.join("objects").display());
    std::fs::write(fork.path.join("objects/info/alternates"), alternates).expect("writable");
    let child = fork.commit(&[ids[300]], "@1700000000 +0000", "in the fork");
    assert_eq!(eager(&fork).relation(ids[0], child, &FEW), Relation::FastForward);
    fork.git_fed(
        &["commit-graph", "write", "--split=no-merge", "--stdin-commits"],
        format!("{child}\n").as_bytes(),
    );
    assert_eq!(layers(&fork), 3, "two of them in the alternate");
    assert_eq!(eager(&fork).relation(ids[0], child, &FEW), Relation::FastForward);
}

#[test]
fn a_missing_layer_costs_what_it_would_have_saved() {
    let (repo, ids) = repo();
    for upto in [100, 399] {
        let tips: String = ids[..upto].iter().map(|id| format!("{id}\n")).collect();
        repo.git_fed(&["commit-graph", "write", "--split=no-merge", "--stdin-commits"], tips.as_bytes());
    }
    let chain = repo.path.join("objects/info/commit-graphs/commit-graph-chain");
    let text = std::fs::read_to_string(&chain).expect("a chain");
    let top = text.lines().last().expect("two layers");
    std::fs::remove_file(repo.path.join(format!("objects/info/commit-graphs/graph-{top}.graph")))
        .expect("a layer");
    let mut objects = eager(&repo);
    assert_eq!(objects.relation(ids[0], ids[98], &FEW), Relation::FastForward, "the lower layer stands");
    assert_eq!(objects.relation(ids[0], ids[399], &FEW), Relation::Unknown(UnknownReason::BudgetSpent));
    assert_eq!(objects.relation(ids[0], ids[399], &ROOMY), Relation::FastForward);
}

#[test]
fn a_layer_on_another_base_than_its_own_is_left_out() {
    let (repo, ids) = repo();
    for upto in [200, 300, 400] {
        let tips: String = ids[..upto].iter().map(|id| format!("{id}\n")).collect();
        repo.git_fed(&["commit-graph", "write", "--split=no-merge", "--stdin-commits"], tips.as_bytes());
    }
    let chain = repo.path.join("objects/info/commit-graphs/commit-graph-chain");
    let text = std::fs::read_to_string(&chain).expect("a chain");
    let layers: Vec<_> = text.lines().collect();
    std::fs::remove_file(&chain).expect("a chain");
    std::fs::write(&chain, format!("{}\n{}\n", layers[0], layers[2])).expect("writable");
    let mut objects = eager(&repo);
    assert_eq!(objects.relation(ids[0], ids[399], &ROOMY), Relation::FastForward);
    assert!(objects.graph.is_checked(), "the base is of use");
}

#[test]
fn a_damaged_graph_is_as_if_it_were_not_there() {
    let (repo, ids) = repo();
    repo.git(&["commit-graph", "write", "--reachable"]);
    let good = std::fs::read(single(&repo)).expect("a graph");
    let mut dice = Dice(42);
    for damage in 0..150 {
        let mut bytes = good.clone();
        match damage {
            0 => bytes.clear(),
            1..20 => bytes.truncate(dice.roll(good.len())),
            20..30 => bytes.extend_from_slice(b"more"),
            _ => {
                let at = dice.roll(good.len());
                bytes[at] ^= 1 << dice.roll(8);
            }
        }
        std::fs::remove_file(single(&repo)).expect("a graph");
        std::fs::write(single(&repo), &bytes).expect("writable");
        let mut objects = eager(&repo);
        assert_eq!(objects.relation(ids[0], ids[399], &ROOMY), Relation::FastForward, "damage {damage}");
        assert_eq!(objects.relation(ids[399], ids[400], &ROOMY), Relation::Forced, "damage {damage}");
        assert_eq!(objects.relation(ids[399], ids[0], &ROOMY), Relation::Forced, "damage {damage}");
        assert!(!objects.graph.is_checked(), "damage {damage}");
    }
    std::fs::write(single(&repo), &good).expect("writable");
    assert_eq!(eager(&repo).relation(ids[0], ids[399], &FEW), Relation::FastForward, "good again");
}

#[test]
fn a_graph_of_another_history_is_found_out() {
    // The file is sound, but tells that a commit in the middle has no parents.
    let (repo, ids) = repo();
    repo.git(&["commit-graph", "write", "--reachable"]);
    let mut bytes = std::fs::read(single(&repo)).expect("a graph");
    let entry = 20 + 16;
    let table = 8 + 12 * (usize::from(bytes[6]) + 1);
    let offset_of = |name: &[u8]| {
        let at = bytes[8..table].chunks(12).find(|chunk| &chunk[..4] == name).expect("a chunk");
        usize::try_from(u64::from_be_bytes(at[4..].try_into().expect("8 bytes"))).expect("small")
    };
    let (ids_at, data_at) = (offset_of(b"OIDL"), offset_of(b"CDAT"));
    let count = (data_at - ids_at) / 20;
    let row = (0..count)
        .find(|row| &bytes[ids_at + row * 20..][..20] == ids[398].as_raw())
        .expect("the commit is in the graph");
    // No parents, level 1.
    let at = data_at + row * entry + 20;
    bytes[at..at + 4].copy_from_slice(&0x7000_0000_u32.to_be_bytes());
    bytes[at + 8..at + 12].copy_from_slice(&(1_u32 << 2).to_be_bytes());
    let end = bytes.len() - 20;
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&bytes[..end]);
    let sum = hasher.try_finalize().expect("no collision");
    bytes[end..].copy_from_slice(sum.as_bytes());
    std::fs::remove_file(single(&repo)).expect("a graph");
    std::fs::write(single(&repo), &bytes).expect("writable");
    assert_eq!(repo.truth(ids[0], ids[399]), Relation::Unrelated, "git believes it");
    let mut objects = eager(&repo);
    assert_eq!(objects.relation(ids[0], ids[399], &ROOMY), Relation::FastForward);
    assert!(!objects.graph.is_checked());
}

#[test]
fn a_graph_that_outlived_its_commits_still_tells_the_truth() {
    let repo = Repo::new();
    let root = repo.commit(&[], "@1600000000 +0000", "root");
    let middle = repo.commit(&[root], "@1600000060 +0000", "middle");
    let tip = repo.commit(&[middle], "@1600000120 +0000", "tip");
    let late = repo.commit(&[tip], "@1600000180 +0000", "late");
    repo.git_fed(&["commit-graph", "write", "--stdin-commits"], format!("{tip}\n").as_bytes());
    repo.lose(middle);
    assert_eq!(eager(&repo).relation(root, late, &ROOMY), Relation::FastForward);
    std::fs::remove_file(single(&repo)).expect("a graph");
    assert_eq!(eager(&repo).relation(root, late, &ROOMY), Relation::Unknown(UnknownReason::MissingObject));
}
