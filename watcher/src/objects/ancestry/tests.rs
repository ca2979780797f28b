//! The walk over small made-up histories, next to what counting every ancestor gives.

use super::*;

const ROOMY: Budget = Budget { commits_max: 1 << 20, deadline: None };

/// A history of at most 32 commits: parents have smaller numbers than their children.
#[derive(Clone, Debug, Default)]
struct Made {
    parents: Vec<Vec<usize>>,
    dates: Vec<i64>,
    /// Commits that cannot be read.
    holes: u32,
    /// Commits in the index; closed under parents.
    indexed: u32,
    reads_before_index: u32,
    /// A wrong level for one commit of the index.
    wrong_level: Option<(usize, u32)>,
    rejected: bool,
    reads: u32,
}

fn id(number: usize) -> ObjectId {
    let mut raw = [0x11; 20];
    raw[0] = u8::try_from(number + 1).expect("a small history");
    ObjectId::Sha1(raw)
}

fn number(id: &gix::hash::oid) -> usize {
    usize::from(id.as_bytes()[0]) - 1
}

impl Made {
    fn of(parents: &[&[usize]]) -> Self {
        let parents: Vec<_> = parents.iter().map(|parents| parents.to_vec()).collect();
        let dates = (0..).take(parents.len()).collect();
        Self { parents, dates, reads_before_index: u32::MAX, ..Self::default() }
    }

    /// The commit and its ancestors.
    fn ancestors(&self, of: usize) -> u32 {
        self.parents[of].iter().fold(1 << of, |set, parent| set | self.ancestors(*parent))
    }

    fn level(&self, of: usize) -> u32 {
        match self.wrong_level {
            Some((wrong, level)) if wrong == of => level,
            _ => 1 + self.parents[of].iter().map(|parent| self.level(*parent)).max().unwrap_or(0),
        }
    }

    fn close_index(&mut self) {
        self.indexed = (0..self.parents.len())
            .filter(|at| self.indexed & 1 << at != 0)
            .fold(0, |set, at| set | self.ancestors(at));
    }

    fn truth(&self, old: usize, new: usize) -> Relation {
        if self.ancestors(new) & 1 << old != 0 {
            Relation::FastForward
        } else if self.ancestors(new) & self.ancestors(old) != 0 {
            Relation::Forced
        } else {
            Relation::Unrelated
        }
    }

    /// Whether `new` leads to `old` over commits that can be read.
    fn is_readable_way(&self, new: usize, old: usize) -> bool {
        self.holes & 1 << new == 0
            && self.parents[new].iter().any(|parent| *parent == old || self.is_readable_way(*parent, old))
    }

    fn ask(&self, old: usize, new: usize, budget: &Budget) -> (Relation, Made) {
        let mut made = self.clone();
        (relation(&mut made, id(old), id(new), budget), made)
    }

    /// Whatever is claimed must be true; where nothing is missing, everything must be claimed.
    fn check(&self, old: usize, new: usize, budget: &Budget) {
        let (told, _) = self.ask(old, new, budget);
        let truth = self.truth(old, new);
        match told {
            Relation::FastForward | Relation::Forced | Relation::Unrelated => {
                assert_eq!(told, truth, "{old} -> {new} of {self:?}");
            }
            Relation::Unknown(reason) => {
                assert!(self.holes != 0 || *budget != ROOMY, "{reason:?}: {old} -> {new} of {self:?}");
                if reason == UnknownReason::Diverged {
                    assert_ne!(truth, Relation::FastForward, "{old} -> {new} of {self:?}");
                }
            }
        }
        if *budget == ROOMY && self.is_readable_way(new, old) {
            assert_eq!(told, Relation::FastForward, "{old} -> {new} of {self:?}");
        }
    }

    fn check_all(&self, budget: &Budget) {
        for old in 0..self.parents.len() {
            for new in (0..self.parents.len()).filter(|new| *new != old) {
                self.check(old, new, budget);
            }
        }
    }
}

impl Commits for Made {
    fn read(&mut self, id: &gix::hash::oid, parents: &mut Vec<ObjectId>) -> Result<i64, Hole> {
        self.reads += 1;
        let at = number(id);
        if self.holes & 1 << at != 0 {
            return Err(Hole::Missing);
        }
        parents.clear();
        parents.extend(self.parents[at].iter().map(|parent| super::tests::id(*parent)));
        Ok(self.dates[at])
    }

    fn is_shallow(&mut self, _: &gix::hash::oid) -> bool {
        false
    }

    fn reads_before_index(&self) -> u32 {
        self.reads_before_index
    }

    fn open_index(&mut self) -> bool {
        self.indexed != 0 && !self.rejected
    }

    fn reject_index(&mut self) {
        self.rejected = true;
    }

    fn look_up(&self, id: &gix::hash::oid) -> Option<Indexed> {
        let at = number(id);
        (self.indexed & 1 << at != 0).then(|| Indexed {
            position: u32::try_from(at).expect("small"),
            generation: self.level(at),
            time: self.dates[at],
        })
    }

    fn indexed_parents(&self, position: u32, parents: &mut Vec<(ObjectId, Indexed)>) -> bool {
        parents.clear();
        for parent in &self.parents[position as usize] {
            let id = super::tests::id(*parent);
            let Some(entry) = self.look_up(&id) else { return false };
            parents.push((id, entry));
        }
        true
    }
}

/// xorshift64*: enough to make histories, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    fn roll_small(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll(sides as u64)).expect("less than sides")
    }

    fn set(&mut self, size: usize, one_in: u64) -> u32 {
        (0..size).fold(0, |set, at| set | u32::from(self.roll(one_in) == 0) << at)
    }

    fn made(&mut self) -> Made {
        let size = 2 + self.roll_small(14);
        let reach = 1 + self.roll_small(size);
        let mut made = Made::default();
        for at in 0..size {
            let mut parents = Vec::new();
            if at > 0 && self.roll(12) != 0 {
                for _ in 0..=[0, 0, 0, 1, 1, 2][self.roll_small(6)] {
                    let parent = at - 1 - self.roll_small(at.min(reach));
                    if !parents.contains(&parent) {
                        parents.push(parent);
                    }
                }
            }
            made.parents.push(parents);
            // Some clocks are right, some are off, some stand still.
            let skew = self.roll(40);
            let at = i64::try_from(at).expect("small");
            made.dates.push([at * 10, at * 10, -at, 7, 10_000 - i64::from(skew > 20)][self.roll_small(5)]);
        }
        made.reads_before_index = u32::try_from(self.roll(5)).expect("small");
        if self.roll(3) != 0 {
            made.indexed = self.set(size, 4);
            made.close_index();
        }
        if self.roll(2) == 0 {
            made.holes = self.set(size, 6);
        }
        made
    }
}

#[test]
fn every_history_of_four_commits_is_told_right_whatever_is_missing_or_indexed() {
    for edges in 0..1_u32 << 6 {
        let mut bit = 0;
        let parents: Vec<Vec<usize>> = (0..4)
            .map(|at| {
                (0..at)
                    .filter(|_| {
                        bit += 1;
                        edges & 1 << (bit - 1) != 0
                    })
                    .collect()
            })
            .collect();
        for dates in [[0, 1, 2, 3], [3, 2, 1, 0], [5, 5, 5, 5], [2, 9, 0, 1]] {
            for holes in 0..16 {
                for indexed in 0..16 {
                    let mut made =
                        Made { parents: parents.clone(), dates: dates.to_vec(), ..Made::default() };
                    made.holes = holes;
                    made.indexed = indexed;
                    made.close_index();
                    if made.indexed == indexed {
                        made.check_all(&ROOMY);
                    }
                }
            }
        }
    }
}

#[test]
fn random_histories_are_told_right() {
    for seed in 1..=6_000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.made().check_all(&ROOMY);
    }
}

#[test]
fn no_budget_makes_a_wrong_answer() {
    for seed in 1..=3_000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0xd134_2543_de82_ef95));
        let made = dice.made();
        let commits_max = u32::try_from(dice.roll(8)).expect("small");
        made.check_all(&Budget { commits_max, deadline: None });
    }
}

#[test]
fn an_index_with_a_wrong_level_is_rejected_or_does_no_harm() {
    // 0 - 1 - 2 - 3, and 4 beside 3: the level of 2 is a lie that would cut the way from 3 to 1.
    let mut made = Made::of(&[&[], &[0], &[1], &[2], &[2]]);
    made.indexed = 0b11111;
    made.reads_before_index = 0;
    made.wrong_level = Some((2, 1));
    let (told, after) = made.ask(1, 4, &ROOMY);
    assert_eq!(told, Relation::FastForward);
    assert!(after.rejected);
    // A level that git has not computed.
    made.wrong_level = Some((2, 0));
    assert_eq!(made.ask(1, 4, &ROOMY).0, Relation::FastForward);
}

#[test]
fn an_amended_commit_takes_three_reads_on_any_clock() {
    let chain: Vec<Vec<usize>> = (0..30).map(|at: usize| at.checked_sub(1).into_iter().collect()).collect();
    let mut made = Made { parents: chain, reads_before_index: u32::MAX, ..Made::default() };
    made.parents.push(vec![28]);
    for (old_date, new_date) in [(100, 200), (200, 100), (0, 100), (100, 100)] {
        made.dates = (0..31).collect();
        (made.dates[29], made.dates[30]) = (old_date, new_date);
        let (told, after) = made.ask(29, 30, &ROOMY);
        assert_eq!(told, Relation::Forced);
        assert!(after.reads <= 3 + OTHER_SIDE_EVERY, "{} reads", after.reads);
    }
    made.dates = (0..31).collect();
    assert_eq!(made.ask(29, 30, &ROOMY).1.reads, 3);
    assert_eq!(made.ask(28, 30, &ROOMY).1.reads, 1, "a child of the old commit needs no look at it");
}

#[test]
fn a_side_that_never_ends_does_not_starve_the_other() {
    // The new commit bears the oldest date of all, so that by dates the old side would be walked to its root first.
    let chain: Vec<Vec<usize>> = (0..30).map(|at: usize| at.checked_sub(1).into_iter().collect()).collect();
    let mut made =
        Made { parents: chain, dates: (0..30).collect(), reads_before_index: u32::MAX, ..Made::default() };
    made.parents.push(vec![28]);
    made.dates.push(-1);
    let (told, after) = made.ask(29, 30, &ROOMY);
    assert_eq!(told, Relation::Forced);
    assert!(after.reads < 3 + 2 * OTHER_SIDE_EVERY, "{} reads", after.reads);
}

#[test]
fn what_is_cut_off_is_unknown_unless_both_sides_share_the_cut() {
    // 1 is missing. 3 and 4 are its children, 5 is a child of 0.
    let mut made = Made::of(&[&[], &[0], &[1], &[1], &[1], &[0]]);
    made.holes = 0b10;
    assert_eq!(made.ask(3, 4, &ROOMY).0, Relation::Forced, "an ancestor of old cannot contain it");
    assert_eq!(made.ask(5, 4, &ROOMY).0, Relation::Unknown(UnknownReason::MissingObject));
    assert_eq!(made.ask(4, 5, &ROOMY).0, Relation::Unknown(UnknownReason::Diverged));
    assert_eq!(made.ask(1, 4, &ROOMY).0, Relation::FastForward, "the way to it can be read");
    assert_eq!(made.ask(4, 1, &ROOMY).0, Relation::Unknown(UnknownReason::MissingObject));
}

#[test]
fn the_ends_of_a_budget_say_what_is_proven() {
    let made = Made::of(&[&[], &[0], &[1], &[2], &[3], &[]]);
    let budget = |commits_max| Budget { commits_max, deadline: None };
    assert_eq!(made.ask(0, 4, &budget(3)).0, Relation::Unknown(UnknownReason::BudgetSpent));
    assert_eq!(made.ask(0, 4, &budget(5)).0, Relation::FastForward);
    assert_eq!(made.ask(4, 5, &budget(3)).0, Relation::Unknown(UnknownReason::Diverged));
    assert_eq!(made.ask(4, 5, &budget(6)).0, Relation::Unrelated);
    let past = std::time::Instant::now();
    let late = Budget { commits_max: 100, deadline: Some(past) };
    assert_eq!(made.ask(0, 4, &late).0, Relation::Unknown(UnknownReason::BudgetSpent));
}
