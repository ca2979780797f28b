//! Acts of writers upon refs: every kind of writer that a repository takes.

use std::io;
use std::process::Output;

use crate::library::Library;
use crate::random::Random;
use crate::world::Repo;

use super::life;
use super::yard::{Kind, Lanes, Place, Slot, Whereabouts, Yard};

/// One step in so many is about a whole repository.
const LIFE_ONE_IN: usize = 20;

/// Values that one lane gets in a burst.
const BURST: usize = 8;

/// Refs that anyone writes. The first is never deleted: symbolic refs lead to it, and `git for-each-ref` tells of none
/// that dangles.
const NAMES: [&str; 9] = [
    "refs/heads/main",
    "refs/heads/a/b",
    "refs/heads/topic",
    "refs/tags/t",
    "refs/tags/v1.2.3",
    "refs/notes/n",
    "refs/pull/1/head",
    "refs/changes/01/1/1",
    "refs/x/y",
];

/// Where HEAD may lead.
const BRANCHES: [&str; 4] = ["refs/heads/main", "refs/heads/a/b", "refs/heads/topic", "refs/heads/unborn"];

/// Why an act did not succeed.
type Refused = Result<(), String>;

/// What a writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    LaneUpdate,
    LaneBurst,
    LaneDelete,
    LanePush,
    LaneTransaction,
    Update,
    Transaction,
    Delete,
    Push,
    PushAtomic,
    PushForced,
    PushDelete,
    PushRefused,
    PushMirror,
    DefaultBranch,
    Alias,
    Tag,
    TagDelete,
    Notes,
    Replace,
    Rename,
    Nested,
    Abort,
    Pack,
    Collect,
    Fetch,
    Edit(Library),
    EditMany(Library),
    EditDelete(Library),
    EditDefaultBranch(Library),
    GixAbort,
    Editor,
    Rsync,
    Remove,
}

/// What git does, and how often.
const GIT: [(Act, usize); 17] = [
    (Act::Update, 8),
    (Act::Transaction, 6),
    (Act::Delete, 4),
    (Act::Push, 4),
    (Act::PushAtomic, 3),
    (Act::PushForced, 3),
    (Act::PushDelete, 2),
    (Act::DefaultBranch, 3),
    (Act::Alias, 3),
    (Act::Tag, 3),
    (Act::TagDelete, 2),
    (Act::Notes, 2),
    (Act::Replace, 1),
    (Act::Rename, 3),
    (Act::Nested, 3),
    (Act::Abort, 2),
    (Act::Fetch, 1),
];

/// What git does to lanes.
const LANES: [(Act, usize); 5] = [
    (Act::LaneUpdate, 12),
    (Act::LaneBurst, 4),
    (Act::LaneDelete, 5),
    (Act::LanePush, 6),
    (Act::LaneTransaction, 8),
];

/// What programs do that know nothing of Git.
const FILES: [(Act, usize); 3] = [(Act::Editor, 4), (Act::Rsync, 5), (Act::Remove, 3)];

/// One step of a writer.
pub(super) fn step(yard: &Yard, writer: usize, random: &mut Random) {
    let slot = random.of(&yard.slots);
    if random.below(LIFE_ONE_IN) == 0 {
        life::step(yard, slot, random);
    } else {
        let place = slot.read();
        if place.whereabouts == Whereabouts::There {
            let act = choose(yard, &place, random);
            let (detail, outcome) = Writing { yard, slot, place: &place, writer, random }.act(act);
            let refused = outcome.err();
            let outcome = refused.as_deref().map_or(Ok(()), Err);
            yard.diary.act(&place.repo.path, &format!("{act:?}"), &detail, outcome);
        }
    }
    yard.step_is_done();
}

fn choose(yard: &Yard, place: &Place, random: &mut Random) -> Act {
    let mut acts = GIT.to_vec();
    acts.extend([(Act::Pack, 5), (Act::Collect, 2)]);
    if place.repo.flavour.ref_format == "files" {
        acts.push((Act::PushRefused, 2));
    }
    if place.kind == Kind::Recorded {
        acts.extend(LANES);
    } else {
        acts.push((Act::PushMirror, 1));
        let flavour = place.repo.flavour;
        for library in yard.libraries.iter().copied().filter(|library| library.writes(flavour)) {
            // What starts slowly writes seldom; and dulwich takes no lock where it writes tables.
            let weight = match library {
                Library::Git => continue,
                Library::Dulwich if flavour.ref_format == "reftable" => continue,
                Library::Gix => 5,
                Library::OtherGit => 2,
                Library::Libgit2 | Library::Dulwich => 2,
                Library::Jgit => 1,
            };
            acts.push((Act::Edit(library), weight));
            acts.push((Act::EditMany(library), weight));
            acts.push((Act::EditDelete(library), weight));
            acts.push((Act::EditDefaultBranch(library), 1));
        }
        if flavour.ref_format == "files" {
            acts.extend(FILES);
            acts.push((Act::GixAbort, 1));
        }
    }
    let total = acts.iter().map(|(_, weight)| weight).sum();
    let mut at = random.below(total);
    for (act, weight) in acts {
        if at < weight {
            return act;
        }
        at -= weight;
    }
    Act::Update
}

/// A writer at one repository.
struct Writing<'a> {
    yard: &'a Yard,
    slot: &'a Slot,
    place: &'a Place,
    writer: usize,
    random: &'a mut Random,
}

impl Writing<'_> {
    /// What was done in detail, and what came of it.
    fn act(&mut self, act: Act) -> (String, Refused) {
        let repo = &self.place.repo;
        let main = NAMES[0];
        match act {
            Act::LaneUpdate | Act::LaneBurst | Act::LaneDelete | Act::LanePush | Act::LaneTransaction => {
                self.lane(act)
            }
            Act::Update => {
                let (name, oid) = (self.name(), self.oid());
                (format!("{name} {oid}"), of(&repo.try_git(&["update-ref", "--no-deref", name, &oid])))
            }
            Act::Transaction => {
                let lines = self.lines();
                (lines.replace('\n', ", "), of(&repo.try_update(lines.as_bytes())))
            }
            Act::Delete => {
                let name = self.mortal();
                (name.to_owned(), of(&repo.try_git(&["update-ref", "--no-deref", "-d", name])))
            }
            Act::Push => self.push(&[], ""),
            Act::PushAtomic => self.push(&["--atomic"], "+"),
            Act::PushForced => self.push(&[], "+"),
            Act::PushDelete => {
                let name = self.mortal();
                (name.to_owned(), of(&self.yard.source(repo).try_push(repo, &[&format!(":{name}")])))
            }
            Act::PushRefused => self.push_refused(),
            Act::PushMirror => (String::new(), of(&self.yard.source(repo).try_push(repo, &["--mirror"]))),
            Act::DefaultBranch => {
                let branch = *self.random.of(&BRANCHES);
                (branch.to_owned(), of(&repo.try_git(&["symbolic-ref", "HEAD", branch])))
            }
            Act::Alias => {
                let alias = *self.random.of(&["refs/heads/alias", "refs/remotes/origin/HEAD"]);
                let arguments = match self.random.below(3) {
                    0 => vec!["symbolic-ref", "--delete", alias],
                    _ => vec!["symbolic-ref", alias, main],
                };
                (arguments.join(" "), of(&repo.try_git(&arguments)))
            }
            Act::Tag => {
                let (name, oid) = (*self.random.of(&["t", "v1.2.3", "v2.0.0-rc.1"]), self.oid());
                let message = self.yard.serial().to_string();
                (format!("{name} {oid}"), of(&repo.try_git(&["tag", "-f", "-a", "-m", &message, name, &oid])))
            }
            Act::TagDelete => {
                let name = *self.random.of(&["t", "v1.2.3", "v2.0.0-rc.1"]);
                (name.to_owned(), of(&repo.try_git(&["tag", "-d", name])))
            }
            Act::Notes => {
                let (oid, note) = (self.oid(), self.yard.serial().to_string());
                (oid.clone(), of(&repo.try_git(&["notes", "add", "-f", "-m", &note, &oid])))
            }
            Act::Replace => {
                // None that is replaced replaces another: git gives up on long ways.
                let commits = self.yard.commits(repo);
                let (replaced, by) = commits.split_at(commits.len() / 2);
                let oids = [self.random.of(replaced).clone(), self.random.of(by).clone()];
                let arguments = match self.random.below(2) {
                    0 => vec!["replace", "-d", &oids[0]],
                    _ => vec!["replace", "-f", &oids[0], &oids[1]],
                };
                (arguments.join(" "), of(&repo.try_git(&arguments)))
            }
            Act::Rename => {
                let names = ["topic", "renamed", "deep/er/renamed"];
                let [from, to] = [*self.random.of(&names), *self.random.of(&names)];
                (format!("{from} {to}"), of(&repo.try_git(&["branch", "-M", from, to])))
            }
            Act::Nested => {
                // A ref where there was a directory, and the other way.
                let (oid, zero) = (self.oid(), repo.zero());
                let [from, to] = match self.random.below(2) {
                    0 => ["refs/heads/d", "refs/heads/d/e"],
                    _ => ["refs/heads/d/e", "refs/heads/d"],
                };
                let removed = of(&repo.try_git(&["update-ref", "-d", from]));
                let outcome = removed.and_then(|()| of(&repo.try_git(&["update-ref", to, &oid, &zero])));
                (format!("{from} {to} {oid}"), outcome)
            }
            Act::Abort => {
                let lines = format!("start\n{}prepare\nabort\n", self.lines());
                (String::new(), of(&repo.try_update(lines.as_bytes())))
            }
            Act::Pack => {
                let arguments: &[&str] = if self.random.below(2) == 0 {
                    &["pack-refs", "--all"]
                } else {
                    &["pack-refs", "--all", "--no-prune"]
                };
                (String::new(), of(&repo.try_git(arguments)))
            }
            Act::Collect => (String::new(), of(&repo.try_git(&["gc", "-q"]))),
            Act::Fetch => {
                let from = self.yard.source(repo).0.git_dir.to_string_lossy().into_owned();
                let arguments =
                    ["fetch", "-q", "--no-auto-maintenance", &from, "+refs/heads/*:refs/remotes/s/*"];
                (String::new(), of(&repo.try_git(&arguments)))
            }
            Act::Edit(library) => {
                let edit = format!("{}={}", self.name(), self.oid());
                (edit.clone(), of(&library.edit(repo, &[edit])))
            }
            Act::EditMany(library) => {
                let edits: Vec<String> =
                    NAMES[..3].iter().map(|name| format!("{name}={}", self.oid())).collect();
                (edits.join(", "), of(&library.edit(repo, &edits)))
            }
            Act::EditDelete(library) => {
                let edit = format!("{}=delete", self.mortal());
                (edit.clone(), of(&library.edit(repo, &[edit])))
            }
            Act::EditDefaultBranch(library) => {
                let edit = format!("HEAD=ref:{}", self.random.of(&BRANCHES));
                (edit.clone(), of(&library.edit(repo, &[edit])))
            }
            Act::GixAbort => {
                let edit = format!("{main}={}", self.oid());
                (edit.clone(), of(&repo.try_gix(&["abort", &edit])))
            }
            Act::Editor => {
                let (name, oid) = (self.name(), self.oid());
                (format!("{name} {oid}"), by(repo.try_write(name, format!("{oid}\n"))))
            }
            Act::Rsync => {
                let (name, oid) = (self.name(), self.oid());
                (format!("{name} {oid}"), by(repo.try_replace(name, format!("{oid}\n"))))
            }
            Act::Remove => {
                let name = self.mortal();
                (name.to_owned(), by(std::fs::remove_file(repo.git_dir.join(name))))
            }
        }
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.random.below(NAMES.len())]
    }

    fn mortal(&mut self) -> &'static str {
        NAMES[1 + self.random.below(NAMES.len() - 1)]
    }

    fn oid(&mut self) -> String {
        self.random.of(self.yard.commits(&self.place.repo)).clone()
    }

    /// Commands of one transaction.
    fn lines(&mut self) -> String {
        let first = self.random.below(NAMES.len() - 3);
        NAMES[first..first + 3].iter().map(|name| format!("update {name} {}\n", self.oid())).collect()
    }

    fn push(&mut self, flags: &[&str], force: &str) -> (String, Refused) {
        let repo = &self.place.repo;
        let refspecs = [self.name(), self.name()].map(|name| format!("{force}{}:{name}", self.oid()));
        let mut arguments = flags.to_vec();
        arguments.push(&refspecs[0]);
        // Twice the same destination is no push.
        if refspecs[0].split(':').next_back() != refspecs[1].split(':').next_back() {
            arguments.push(&refspecs[1]);
        }
        (refspecs.join(" "), of(&self.yard.source(repo).try_push(repo, &arguments)))
    }

    /// The server refuses one ref of two, since a lock is in the way.
    fn push_refused(&mut self) -> (String, Refused) {
        let repo = &self.place.repo;
        let lock = format!("refs/heads/locked{}.lock", self.writer);
        if let Err(error) = repo.try_write(&lock, "") {
            return (lock, by(Err(error)));
        }
        let name = lock.trim_end_matches(".lock");
        let refspecs = [format!("+{}:{name}", self.oid()), format!("+{}:refs/x/y", self.oid())];
        let outcome = of(&self.yard.source(repo).try_push(repo, &[&refspecs[0], &refspecs[1]]));
        let removed = by(std::fs::remove_file(repo.git_dir.join(&lock)));
        (refspecs.join(" "), outcome.and(removed))
    }

    /// Writes to the lane of this writer, and keeps in mind what git says that it wrote.
    fn lane(&mut self, act: Act) -> (String, Refused) {
        let repo = &self.place.repo;
        let name = format!("refs/heads/lane{}", self.writer);
        let count = if act == Act::LaneBurst { BURST } else { 1 };
        let mut detail = name.clone();
        for _ in 0..count {
            let lane = self.slot.lanes().by_name.get(&name).cloned().unwrap_or_default();
            let (value, output) = if act == Act::LaneDelete {
                if lane.now.is_empty() || lane.now == repo.zero() {
                    return (detail, Err("there is nothing to delete".to_owned()));
                }
                // Without the old value the record says "0 0".
                let stated = [lane.now.as_str()];
                let old = &stated[..self.random.below(2)];
                (repo.zero(), repo.try_git(&[&["update-ref", "-d", &name], old].concat()))
            } else {
                let commits = self.yard.commits(repo);
                let fresh: Vec<&String> = commits.iter().filter(|commit| **commit != lane.last).collect();
                let oid = (*self.random.of(&fresh)).clone();
                let output = if act == Act::LanePush {
                    self.yard.source(repo).try_push(repo, &[&format!("+{oid}:{name}")])
                } else if act == Act::LaneTransaction {
                    let first = self.random.below(NAMES.len() - 1);
                    let other = self.random.of(self.yard.commits(repo));
                    let lines = format!("update {} {other}\nupdate {name} {oid}\n", NAMES[first + 1]);
                    repo.try_update(lines.as_bytes())
                } else {
                    repo.try_git(&["update-ref", &name, &oid])
                };
                (oid, output)
            };
            detail += &format!(" {value}");
            let mut lanes = self.slot.lanes();
            wrote(&mut lanes, repo, &name, value, &output);
            drop(lanes);
            if let Err(why) = of(&output) {
                return (detail, Err(why));
            }
        }
        (detail, Ok(()))
    }
}

/// Keeps in mind what became of one write to a lane.
fn wrote(lanes: &mut Lanes, repo: &Repo, name: &str, value: String, output: &Output) {
    let lane = lanes.by_name.entry(name.to_owned()).or_default();
    if output.status.success() {
        lane.set(&value, &repo.zero());
        lane.values.push(value);
        return;
    }
    // Git may have failed before or after.
    let shown = repo.try_git(&["rev-parse", "-q", "--verify", name]);
    let now = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
    let now = if now.is_empty() { repo.zero() } else { now };
    if now != lane.now && !(lane.now.is_empty() && now == repo.zero()) {
        lane.set(&now, &repo.zero());
        lanes.is_uncertain = true;
    }
}

fn of(output: &Output) -> Refused {
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn by(outcome: io::Result<()>) -> Refused {
    outcome.map_err(|error| error.to_string())
}
