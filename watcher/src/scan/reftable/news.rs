//! What tables that came into a stack say, without a look at those that were there before.
//!
//! Tables never change, and each transaction has an update index of its own, one more than the one before: it is in a new
//! table of its own until that is compacted with others. So the transactions since a known list of tables are in those
//! that are not on it, in the order of their update indices.
//!
//! A table that was compacted holds the last value of each ref only. Where there are logs the values before it are taken
//! from them, as far as they lead without a gap to the value that the ref has. The oldest table of a stack does not even
//! hold deletions: it says what is there, and what is not in it is deleted.

use std::collections::BTreeMap;

use refwatch_core::{ObjectId, RefName, Target};

use super::stack::{Listed, Opened, Stack};
use super::table::Log;
use super::{MAIN, STACK_TRIES_MAX, is_followed, observe, peeled, raced};
use crate::layout::Layout;
use crate::scan::walk::GitDir;
use crate::scan::{Observed, ScanError};

/// Refs of all new tables; where there are more it is cheaper to read everything.
pub const NEWS_REFS_MAX: usize = 1 << 16;
/// Refs of an oldest table that is new.
pub const NEWS_OLDEST_REFS_MAX: usize = 4096;

/// Refs of a new table whose logs are read; where more have values that were compacted away, those are not told.
pub const NEWS_LOGGED_MAX: usize = 1024;

/// What came into the stacks of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// What changed together, oldest first. After the last of them the refs are those of `stacks`.
    pub steps: Vec<Step>,
    /// The tables that there are now.
    pub stacks: Vec<Stack>,
    /// What the refs are now that were asked for as well, in that order.
    pub also: Vec<Option<Observed>>,
}

/// Refs that changed together, or that cannot be told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Sorted by name, each once. A ref may have the value that it had before.
    pub changes: Vec<Change>,
    /// Besides, every ref is deleted that is not among these.
    pub left: Option<Left>,
}

/// A ref that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: RefName,
    /// Its value after it; `None` when it was deleted.
    pub observed: Option<Observed>,
    /// What it peels to, where the table says so.
    pub peeled: Option<ObjectId>,
    /// What is known of the values in between.
    pub from: From,
}

/// Where a change starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the value that was known before.
    Known,
    /// At this value: where another was known, those in between were not seen. `None` is no object.
    Value(Option<ObjectId>),
    /// Not known: there may have been values in between.
    Unknown,
}

/// The refs that are left in a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// What the names of its refs begin with; nothing for those of the repository itself, which are not below
    /// `worktrees/`.
    pub prefix: Box<[u8]>,
    /// The refs there are, sorted.
    pub names: Vec<RefName>,
    /// Where the deletions start, [`From::Known`] or [`From::Unknown`].
    pub from: From,
}

/// A table that holds something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fresh {
    /// Its place in the list.
    index: usize,
    /// What is new has a greater update index: up to this one everything is known.
    after: u64,
}

/// Finds the tables that hold something new; `None` when they cannot be told, because the stack is not what became of the
/// known one by transactions and compaction.
fn compare(known: &[Listed], now: &[Listed]) -> Option<Vec<Fresh>> {
    let seen = known.last().map_or(0, |table| table.updates.1);
    let (mut old, mut last, mut fresh) = (known, 0, Vec::new());
    for (index, table) in now.iter().enumerate() {
        let (first, end) = table.updates;
        if first > end || (index > 0 && first <= last) {
            return None;
        }
        if let Some(rest) = old.strip_prefix(std::slice::from_ref(table)) {
            old = rest;
        } else if first > seen {
            if !old.is_empty() {
                return None;
            }
            fresh.push(Fresh { index, after: last.max(seen) });
        } else {
            // Made of some that follow each other, to the end of the last of them or, with new ones, beyond.
            let parts = old.iter().take_while(|part| part.updates.1 <= end).count();
            let (parts, rest) = old.split_at(parts);
            let goes_beyond = end > seen && rest.is_empty();
            let is_whole = parts.last().is_some_and(|part| part.updates.1 == end) && parts.len() > 1;
            if parts.first().is_none_or(|part| part.updates.0 != first) || !(goes_beyond || is_whole) {
                return None;
            }
            if goes_beyond {
                fresh.push(Fresh { index, after: seen });
            }
            old = rest;
        }
        last = end;
    }
    old.is_empty().then_some(fresh)
}

/// What one table says that is new.
#[derive(Debug, Default)]
struct Said {
    after: u64,
    /// Its last update index.
    end: u64,
    refs: Vec<SaidOf>,
    /// Where it is the oldest: its refs.
    left: Option<Left>,
}

/// What a table says of one ref.
#[derive(Debug)]
struct SaidOf {
    name: RefName,
    update: u64,
    observed: Option<Observed>,
    peeled: Option<ObjectId>,
    logs: Vec<Log>,
}

/// Puts what a table says in order: by update index where logs tell what each of them changed, else all of it at once.
fn steps(said: Said) -> Vec<Step> {
    let Said { after, end, refs, left } = said;
    let is_told_apart = refs.iter().any(|of| !of.logs.is_empty());
    let mut steps: BTreeMap<u64, Step> = BTreeMap::new();
    for SaidOf { name, update, observed, peeled, logs } in refs {
        let mut add = |update: u64, change: Change| {
            let at = if is_told_apart { update } else { end };
            steps.entry(at).or_default().changes.push(change);
        };
        let logged = values(&logs, update, observed.as_ref());
        // The log of a ref goes with it: one that comes may have come and gone before, which takes two indices.
        let from_logged = |index: u64, old: Option<ObjectId>| match old {
            None if index > after + 2 => From::Unknown,
            None | Some(_) => From::Value(old),
        };
        let (last, earlier) = match logged.split_last() {
            Some((last, earlier)) => (Some(*last), earlier),
            None => (None, &[][..]),
        };
        for (update, old, new) in earlier {
            let observed = new.map(|id| Observed::Good(Target::Direct(id)));
            let change =
                Change { name: name.clone(), observed, peeled: None, from: from_logged(*update, *old) };
            add(*update, change);
        }
        let from = match last {
            // Nothing else can have changed it since.
            _ if update == after + 1 => From::Known,
            Some((index, old, _)) => from_logged(index, old),
            None => From::Unknown,
        };
        add(update, Change { name, observed, peeled, from });
    }
    if let Some(left) = left {
        steps.entry(end).or_default().left = Some(left);
    }
    let mut joined: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps.into_values() {
        match joined.last_mut() {
            Some(before) if is_rename(before, &step) => {
                before.changes.extend(step.changes);
                before.changes.sort_by(|left, right| left.name.cmp(&right.name));
                before.left = step.left;
            }
            Some(_) | None => joined.push(step),
        }
    }
    joined
}

/// True for a ref that goes and one that comes: Git renames with two update indices in one table.
fn is_rename(first: &Step, second: &Step) -> bool {
    match (&first.changes[..], &second.changes[..]) {
        ([gone], [come]) => gone.observed.is_none() && come.observed.is_some() && gone.name != come.name,
        _ => false,
    }
}

type Logged = (u64, Option<ObjectId>, Option<ObjectId>);

/// The values that logs tell of a ref, oldest first, if they lead without a gap to the one that it has.
fn values(logs: &[Log], update: u64, observed: Option<&Observed>) -> Vec<Logged> {
    // All zeroes is no object.
    let value = |raw: &[u8]| ObjectId::from_raw(raw).ok();
    let mut values: Vec<Logged> =
        logs.iter().map(|log| (log.index, value(&log.old), value(&log.new))).collect();
    // The log of a ref goes with it: one that ends is that of the other name of a rename.
    if let Some(end) = values.iter().rposition(|log| log.2.is_none()) {
        values.drain(..=end);
    }
    let target = match observed {
        Some(Observed::Good(Target::Direct(id))) => Some(*id),
        Some(Observed::Good(Target::Symbolic(_)) | Observed::Broken(_)) | None => return Vec::new(),
    };
    let is_linked = values.windows(2).all(|pair| pair[0].2 == pair[1].1 && pair[0].0 < pair[1].0);
    let leads_there = values.last().is_some_and(|last| last.2 == target && last.0 == update);
    if is_linked && leads_there { values } else { Vec::new() }
}

/// Reads what came since `known` was seen, and the refs in `also` at the same moment; `None` when everything is to be
/// read.
///
/// # Errors
/// [`ScanError`].
pub(crate) fn read(layout: &Layout, known: &[Stack], also: &[RefName]) -> Result<Option<News>, ScanError> {
    if known.iter().all(|stack| &*stack.path != MAIN) {
        return Ok(None);
    }
    for _ in 0..STACK_TRIES_MAX {
        let git = GitDir::open(layout)?;
        let reading = Reading { git: &git, refs: 0, news: News::default(), opened: Vec::new() };
        match reading.read(known, also)? {
            Outcome::Read(news) => {
                git.check_whole()?;
                return Ok(Some(news));
            }
            Outcome::Unclear => return Ok(None),
            Outcome::Gone => {}
        }
    }
    Err(raced(layout))
}

/// What came of reading.
enum Outcome<T> {
    Read(T),
    /// Everything is to be read.
    Unclear,
    /// A table was compacted away: the list is to be read again.
    Gone,
}

struct Reading<'a> {
    git: &'a GitDir<'a>,
    /// Records read.
    refs: usize,
    news: News,
    opened: Vec<Opened>,
}

impl Reading<'_> {
    fn read(mut self, known: &[Stack], also: &[RefName]) -> Result<Outcome<News>, ScanError> {
        for stack in known {
            let mut opened = Opened::list(self.git, stack.path.to_vec())?;
            match self.read_stack(stack, &mut opened)? {
                Outcome::Read(now) => self.news.stacks.push(now),
                Outcome::Unclear => return Ok(Outcome::Unclear),
                Outcome::Gone => return Ok(Outcome::Gone),
            }
            self.opened.push(opened);
        }
        for name in also {
            let local = name.within_worktree();
            let path = [&name.as_bytes()[..name.as_bytes().len() - local.len()], MAIN].concat();
            let at = match self.opened.iter().position(|opened| opened.path() == path) {
                Some(at) => at,
                None => {
                    self.opened.push(Opened::list(self.git, path)?);
                    self.opened.len() - 1
                }
            };
            let Some(found) = self.opened[at].find(self.git, local)? else { return Ok(Outcome::Gone) };
            let observed = found.and_then(|found| observe(found.value(), self.git.layout.format));
            self.news.also.push(observed);
        }
        Ok(Outcome::Read(self.news))
    }

    fn read_stack(&mut self, known: &Stack, opened: &mut Opened) -> Result<Outcome<Stack>, ScanError> {
        let mut now = Vec::with_capacity(opened.names.len());
        for index in 0..opened.names.len() {
            let name = opened.names[index].clone();
            let listed = match known.tables.iter().find(|table| table.name == name) {
                Some(table) => table.clone(),
                None => match opened.table(self.git, index)? {
                    Some(table) => Listed { name, updates: table.updates },
                    None => return Ok(Outcome::Gone),
                },
            };
            now.push(listed);
        }
        let Some(fresh) = compare(&known.tables, &now) else { return Ok(Outcome::Unclear) };
        for fresh in fresh {
            let is_oldest = fresh.index == 0 && !known.tables.is_empty();
            let end = now[fresh.index].updates.1;
            match self.read_table(opened, fresh, end, is_oldest)? {
                Outcome::Read(said) => self.news.steps.extend(steps(said)),
                Outcome::Unclear => return Ok(Outcome::Unclear),
                Outcome::Gone => return Ok(Outcome::Gone),
            }
        }
        Ok(Outcome::Read(Stack { path: known.path.clone(), tables: now }))
    }

    fn read_table(
        &mut self,
        opened: &mut Opened,
        fresh: Fresh,
        end: u64,
        is_oldest: bool,
    ) -> Result<Outcome<Said>, ScanError> {
        let format = self.git.layout.format;
        let Fresh { index, after } = fresh;
        let prefix = opened.prefix().to_vec();
        if opened.table(self.git, index)?.is_none() {
            return Ok(Outcome::Gone);
        }
        let opened = &*opened;
        let table = opened.opened(index);
        let failed = |error| opened.failed(self.git, index, error);
        let (mut said, mut names) = (Said { after, end, ..Said::default() }, Vec::new());
        let refs_max = if is_oldest { NEWS_OLDEST_REFS_MAX } else { NEWS_REFS_MAX };
        let (mut refs, mut met) = (table.refs(), 0);
        while refs.advance().map_err(failed)? {
            met += 1;
            self.refs += 1;
            if met > refs_max || self.refs > NEWS_REFS_MAX {
                return Ok(Outcome::Unclear);
            }
            let Ok(name) = RefName::new(&[&prefix, refs.name.as_slice()].concat()) else { continue };
            if !is_followed(&refs.name) {
                continue;
            }
            let (update, value) = refs.record();
            let observed = observe(value, format);
            if is_oldest && observed.is_some() {
                names.push(name.clone());
            }
            if update <= after {
                continue;
            }
            if matches!(observed, Some(Observed::Broken(_))) || (observed.is_none() && name.is_head()) {
                // What is doubted is looked at as a whole.
                return Ok(Outcome::Unclear);
            }
            said.refs.push(SaidOf { name, update, observed, peeled: peeled(value), logs: Vec::new() });
        }
        let has_logs = |of: &&mut SaidOf| {
            of.update > after + 1 && matches!(of.observed, Some(Observed::Good(Target::Direct(_))))
        };
        if said.refs.iter_mut().filter(has_logs).count() <= NEWS_LOGGED_MAX {
            for of in said.refs.iter_mut().filter(has_logs) {
                let local = &of.name.as_bytes()[prefix.len()..];
                of.logs = table.logs_of(local, after).map_err(failed)?;
            }
        }
        if is_oldest {
            if prefix.is_empty() && names.first().is_none_or(|name| !name.is_head()) {
                return Ok(Outcome::Unclear);
            }
            let from = if end == after + 1 { From::Known } else { From::Unknown };
            said.left = Some(Left { prefix: prefix.into(), names, from });
        }
        Ok(Outcome::Read(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack as `a1-3 b4 c5`: a name of one letter, then update indices.
    fn stack(text: &str) -> Vec<Listed> {
        let table = |word: &str| {
            let (name, range) = word.split_at(1);
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse().expect("a number");
            Listed { name: name.as_bytes().into(), updates: (number(first), number(last)) }
        };
        text.split_ascii_whitespace().map(table).collect()
    }

    fn fresh(known: &str, now: &str) -> Option<Vec<(usize, u64)>> {
        let fresh = compare(&stack(known), &stack(now))?;
        Some(fresh.iter().map(|fresh| (fresh.index, fresh.after)).collect())
    }

    #[test]
    fn what_is_new_is_in_tables_that_came() {
        for (known, now, expected) in [
            ("a1 b2", "a1 b2", vec![]),
            ("", "a1", vec![(0, 0)]),
            ("a1-7 b8", "a1-7 b8 c9 d10", vec![(2, 8), (3, 9)]),
            // Some transactions were compacted before they were seen.
            ("a1-7 b8", "a1-7 b8 c9-12 d13", vec![(2, 8), (3, 12)]),
            // Compacted with what was known.
            ("a1-7 b8", "a1-7 c8-9", vec![(1, 8)]),
            ("a1-7 b8 c9", "a1-7 d8-11 e12", vec![(1, 9), (2, 11)]),
            ("a1-7 b8", "c1-9", vec![(0, 8)]),
            ("a1-7", "c1-9", vec![(0, 7)]),
            // Nothing but compaction.
            ("a1-7 b8 c9", "a1-7 d8-9", vec![]),
            ("a1-7 b8 c9", "d1-9", vec![]),
            ("a1-7 b8 c9", "d1-8 c9 e10", vec![(2, 9)]),
            // An update index without a table: one that came to nothing.
            ("a1-7 b8", "a1-7 b8 c11", vec![(2, 8)]),
        ] {
            assert_eq!(fresh(known, now), Some(expected), "{known} -> {now}");
        }
    }

    #[test]
    fn what_did_not_become_of_the_known_stack_is_read_as_a_whole() {
        for (known, now) in [
            // Emptied, and begun anew.
            ("a1-7 b8", ""),
            ("a1-7 b8", "c1"),
            ("a1-7 b8", "c1 d2"),
            // An older state put back, and more transactions on top of it.
            ("a1-7 b8 c9", "a1-7 b8"),
            ("a1-7 b8 c9", "a1-7 b8 d9"),
            ("a1-7 b8 c9", "a1-7 b8 d9 e10"),
            ("a1-7 b8 c9", "a1-7 d8 e9"),
            ("a1-7 b8", "c1-7 b8"),
            ("a1-7 b8", "c1-8 b9-9 a1-7"),
            // Compacted across the edges of tables.
            ("a1-7 b8-9", "c1-8 d9"),
            ("a1-7 b8 c9-12", "a1-7 d8-11"),
            ("a1-7 b8", "c2-8"),
            // Not a stack.
            ("a1-7", "a1-7 b9-8"),
            ("a1-7", "a1-7 b9 c8"),
            ("a1-7", "a1-7 a1-7"),
        ] {
            assert_eq!(fresh(known, now), None, "{known} -> {now}");
        }
    }

    fn id(digit: u8) -> ObjectId {
        ObjectId::from_hex(&[digit; 40]).expect("an object id")
    }

    fn said(name: &str, update: u64, digit: u8, logs: &[(u64, u8, u8)]) -> SaidOf {
        // A digit twice is a byte.
        let raw = |digit: u8| -> Box<[u8]> {
            let digit = char::from(digit).to_digit(16).expect("a digit");
            vec![u8::try_from(digit * 0x11).expect("a byte"); 20].into()
        };
        let logs = logs.iter().map(|(index, old, new)| Log { index: *index, old: raw(*old), new: raw(*new) });
        SaidOf {
            name: RefName::new(name.as_bytes()).expect("a name"),
            update,
            observed: Some(Observed::Good(Target::Direct(id(digit)))),
            peeled: None,
            logs: logs.collect(),
        }
    }

    /// Steps as `main:b<known`, a line a step.
    fn told(after: u64, end: u64, refs: Vec<SaidOf>) -> String {
        let steps = steps(Said { after, end, refs, left: None });
        let digit = |id: ObjectId| id.to_string()[..1].to_owned();
        let change = |change: &Change| {
            let to = match &change.observed {
                Some(Observed::Good(Target::Direct(id))) => digit(*id),
                Some(Observed::Good(Target::Symbolic(_)) | Observed::Broken(_)) | None => "-".to_owned(),
            };
            let from = match change.from {
                From::Known => "known".to_owned(),
                From::Unknown => "?".to_owned(),
                From::Value(id) => id.map_or("0".to_owned(), digit),
            };
            format!("{}:{from}>{to}", String::from_utf8_lossy(&change.name.as_bytes()[11..]))
        };
        let line = |step: &Step| step.changes.iter().map(change).collect::<Vec<_>>().join(" ");
        steps.iter().map(line).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn one_transaction_changes_each_of_its_refs_once() {
        let refs = vec![said("refs/heads/a", 9, b'b', &[]), said("refs/heads/b", 9, b'c', &[])];
        assert_eq!(told(8, 9, refs), "a:known>b b:known>c");
    }

    #[test]
    fn without_logs_transactions_that_were_compacted_are_one() {
        let refs = vec![said("refs/heads/a", 9, b'b', &[]), said("refs/heads/b", 11, b'c', &[])];
        assert_eq!(told(8, 11, refs), "a:known>b b:?>c");
    }

    #[test]
    fn logs_tell_each_value() {
        let logs = [(9, b'a', b'b'), (10, b'b', b'c'), (12, b'c', b'd')];
        let refs = vec![said("refs/heads/a", 12, b'd', &logs), said("refs/heads/b", 10, b'e', &[])];
        assert_eq!(told(8, 12, refs), "a:a>b | a:b>c b:?>e | a:c>d");
        // Made meanwhile.
        let logs = [(10, b'0', b'b'), (12, b'b', b'd')];
        assert_eq!(told(8, 12, vec![said("refs/heads/a", 12, b'd', &logs)]), "a:0>b | a:b>d");
        // Or made, deleted and made anew: the log of the first went with it.
        let logs = [(11, b'0', b'b'), (12, b'b', b'd')];
        assert_eq!(told(8, 12, vec![said("refs/heads/a", 12, b'd', &logs)]), "a:?>b | a:b>d");
        // Renamed to it: the log says so by an end that was none.
        let logs = [(9, b'd', b'0'), (10, b'0', b'd')];
        assert_eq!(told(8, 10, vec![said("refs/heads/a", 10, b'd', &logs)]), "a:0>d");
    }

    #[test]
    fn a_ref_that_goes_and_one_that_comes_are_one_step() {
        let gone = SaidOf { observed: None, ..said("refs/heads/z", 9, b'b', &[]) };
        let refs = vec![said("refs/heads/a", 10, b'b', &[(10, b'0', b'b')]), gone];
        assert_eq!(told(8, 10, refs), "a:0>b z:known>-");
    }

    #[test]
    fn logs_that_do_not_lead_to_the_value_tell_nothing() {
        for logs in [
            vec![(9, b'a', b'b')],
            vec![(9, b'a', b'b'), (10, b'c', b'd')],
            vec![(9, b'a', b'd'), (10, b'd', b'e')],
            vec![(9, b'a', b'b'), (11, b'b', b'd')],
        ] {
            assert_eq!(told(8, 12, vec![said("refs/heads/a", 10, b'd', &logs)]), "a:?>d", "{logs:?}");
        }
    }
}
