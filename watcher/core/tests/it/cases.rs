//! Text cases: `tests/cases/*.case`, everything a pass hands in above a line of dashes, the result below.
//! `UPDATE_CASES=1` rewrites the results. The format is told in `tests/cases/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use refwatch_core::classify::Bareness;
use refwatch_core::describe::{Facts, Rules, describe};
use refwatch_core::event::Stage;
use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::reconcile::{Emitted, Reconciled, Step, reconcile_patiently};
use refwatch_core::{Event, EventType, Forward, Look, ObjectId, Origin, RefName, RefState, Snapshot, Target};

use crate::given::{looks_after, looks_before, name};

/// Events of one transaction that are written out; of more, the last.
const SHOWN_MAX: u32 = 8;

#[derive(Default)]
struct Case {
    looks: BTreeMap<RefName, (Option<RefState>, Option<RefState>, bool)>,
    journal: Vec<Transaction>,
    emitted: Vec<Emitted>,
    facts: Vec<(Step, Facts)>,
    again: Vec<u64>,
    patient: BTreeSet<RefName>,
    worktree: bool,
    mirror: bool,
    bulk: Option<u32>,
}

pub(crate) fn target(text: &str) -> Option<Target> {
    match text.strip_prefix("ref:") {
        Some(link) => Some(Target::Symbolic(name(link))),
        None => oid(text).map(Target::Direct),
    }
}

fn oid(text: &str) -> Option<ObjectId> {
    let num: u8 = text.parse().unwrap_or_else(|_| panic!("not a value: {text}"));
    (num != 0).then_some(ObjectId::Sha1([num; 20]))
}

fn state(text: &str) -> Option<RefState> {
    match text.strip_prefix("broken:") {
        Some(last_good) => Some(RefState::Broken { last_good: target(last_good) }),
        None => target(text).map(RefState::Good),
    }
}

pub(crate) fn value(text: &str) -> Value {
    match target(text) {
        None => Value::Zero,
        Some(Target::Direct(oid)) => Value::Oid(oid),
        Some(Target::Symbolic(link)) => Value::Symbolic(link),
    }
}

pub(crate) fn shown(target: Option<&Target>) -> String {
    match target {
        None => "0".to_owned(),
        Some(Target::Direct(oid)) => oid.as_raw()[0].to_string(),
        Some(Target::Symbolic(link)) => format!("ref:{link}"),
    }
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut case = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["look", of, before, after, ref flags @ ..] => {
                    let look = Look::new(name(of), state(before), state(after), flags == ["coalesced"]);
                    case.looks.insert(look.name, (look.before, look.after, look.coalesced));
                }
                ["look-many", of, count, before, after] => case.look_many(of, count, before, after),
                ["record", ref words @ ..] => case.record(words),
                ["patient", ref names @ ..] => case.patient.extend(names.iter().map(|of| name(of))),
                [old, new, of] => {
                    let update = Update { name: name(of), old: value(old), new: value(new) };
                    case.journal.last_mut().expect("an update follows its record").updates.push(update);
                }
                ["emitted", old, new, of] => {
                    case.emitted.push(Emitted { name: name(of), old: target(old), new: target(new) });
                }
                ["fact", old, new, of, ref facts @ ..] => case.fact(old, new, of, facts),
                ["again", ref ids @ ..] => {
                    case.again.extend(ids.iter().map(|id| id.parse::<u64>().expect("an id")));
                }
                ["worktree"] => case.worktree = true,
                ["mirror"] => case.mirror = true,
                ["bulk", min] => case.bulk = Some(min.parse().expect("a number")),
                _ => panic!("not understood: {line}"),
            }
        }
        case
    }

    fn look_many(&mut self, of: &str, count: &str, before: &str, after: &str) {
        for at in 0..count.parse::<u32>().expect("a number") {
            self.looks.insert(name(&format!("{of}{at:03}")), (state(before), state(after), false));
        }
    }

    fn record(&mut self, words: &[&str]) {
        let mut record = Transaction {
            at_ns: 0,
            id: u64::try_from(self.journal.len()).expect("few") + 1,
            outcome: Outcome::Committed,
            actor: None,
            push_options: Vec::new(),
            updates: Vec::new(),
        };
        for word in words {
            match word.split_once('=') {
                Some(("actor", actor)) => record.actor = Some(actor.to_owned()),
                Some(("option", option)) => record.push_options.push(option.to_owned()),
                None if *word == "aborted" => record.outcome = Outcome::Aborted,
                _ => record.at_ns = word.parse().unwrap_or_else(|_| panic!("not understood: {word}")),
            }
        }
        self.journal.push(record);
    }

    fn fact(&mut self, old: &str, new: &str, of: &str, words: &[&str]) {
        let mut facts = Facts::default();
        for word in words {
            match word.split_once('=') {
                Some(("old_peeled", peeled)) => facts.old_peeled = oid(peeled),
                Some(("new_peeled", peeled)) => facts.new_peeled = oid(peeled),
                _ => {
                    let known = Forward::ALL.iter().find(|forward| forward.as_str() == *word);
                    facts.forward = *known.unwrap_or_else(|| panic!("not understood: {word}"));
                }
            }
        }
        let step = Step {
            name: name(of),
            mark: refwatch_core::reconcile::Mark::Change,
            old: target(old),
            new: target(new),
            origin: Origin::Notify,
            coalesced: false,
        };
        self.facts.push((step, facts));
    }

    fn looks(&self) -> Vec<Look> {
        let look = |(name, (before, after, coalesced)): (&RefName, &(_, _, _))| Look {
            name: name.clone(),
            before: Clone::clone(before),
            after: Clone::clone(after),
            coalesced: *coalesced,
        };
        self.looks.iter().map(look).collect()
    }

    fn facts_of(&self, step: &Step) -> Facts {
        let same = |known: &Step| (&known.name, &known.old, &known.new) == (&step.name, &step.old, &step.new);
        self.facts.iter().find(|(known, _)| same(known)).map(|(_, facts)| *facts).unwrap_or_default()
    }

    /// The result as text. Checks on the way that the events lead to what was seen.
    fn run(&self) -> String {
        let looks = self.looks();
        let mut result =
            reconcile_patiently(Origin::Notify, &looks, &self.journal, &self.emitted, &self.patient);
        result.give_up(&self.again);
        let rules = Rules {
            bareness: if self.worktree { Bareness::Worktree } else { Bareness::Bare },
            is_release: &|tag| tag.first() == Some(&b'v'),
            bulk_refs_min: self.bulk.unwrap_or(100),
            mirror: self.mirror,
        };
        let mut out = String::new();
        let mut refs = looks_before(&looks);
        for draft in &result.drafts {
            let facts: Vec<Facts> = draft.steps.iter().map(|step| self.facts_of(step)).collect();
            let events = describe(&rules, draft, &facts);
            let _ = writeln!(out, "transaction");
            for event in &events {
                refs.apply(event).expect("each event starts where the last ended");
                match event.index {
                    SHOWN_MAX if event.size > SHOWN_MAX + 1 => out.push_str("  ...\n"),
                    index if index < SHOWN_MAX || index + 1 == event.size => write_event(&mut out, event),
                    _ => {}
                }
            }
        }
        assert_eq!(refs, reached(&looks, &result));
        write_rest(&mut out, &result);
        if out.is_empty() { "silence\n".to_owned() } else { out }
    }
}

pub(crate) fn write_event(out: &mut String, event: &Event) {
    let _ = write!(out, "  {}/{} {}", event.index, event.size, event.kind.as_str());
    if let Some(of) = &event.name {
        let _ = write!(out, " {of} {} -> {}", shown(event.old.as_ref()), shown(event.new.as_ref()));
    }
    if let Some(change) = event.change {
        let _ = write!(out, " {}", change.as_str());
    }
    if event.forward != Forward::Unknown {
        let _ = write!(out, " {}", event.forward.as_str());
    }
    for (label, peeled) in [("old_peeled", event.old_peeled), ("new_peeled", event.new_peeled)] {
        if let Some(peeled) = peeled {
            let _ = write!(out, " {label}={}", peeled.as_raw()[0]);
        }
    }
    let _ = write!(out, " {}", event.origin.as_str());
    if event.coalesced {
        out.push_str(" coalesced");
    }
    if let Some(extra) = event.extra.as_deref() {
        if let Some(actor) = &extra.actor {
            let _ = write!(out, " actor={actor}");
        }
        for option in &extra.push_options {
            let _ = write!(out, " option={option}");
        }
        if let Some(previous) = &extra.previous {
            let _ = write!(out, " previous={}", String::from_utf8_lossy(previous));
        }
        if let Some(summary) = extra.summary {
            let _ = write!(out, " +{} ~{} -{}", summary.created, summary.updated, summary.deleted);
            if event.kind == EventType::PushReceived {
                let _ = write!(out, " !{}", summary.rejected);
            }
        }
        if let Some(stage) = extra.stage {
            let stage = Stage::from_code(stage).expect("a stage of the contract");
            let _ = write!(out, " stage={}", stage.as_str());
        }
        if let Some(reason) = &extra.reason {
            let _ = write!(out, " reason={reason}");
        }
        if let Some(message) = &extra.message {
            let _ = write!(out, " ({message})");
        }
    }
    out.push('\n');
}

/// What was seen, but for refs that are not told that far.
fn reached(looks: &[Look], result: &Reconciled) -> Snapshot {
    let mut looks = looks.to_vec();
    for short in &result.short {
        let look = looks.iter_mut().find(|look| look.name == short.name).expect("a ref that was looked at");
        look.after = short.reached.clone().map(RefState::Good);
    }
    looks_after(&looks)
}

fn write_rest(out: &mut String, result: &Reconciled) {
    for short in &result.short {
        let why = if short.awaited { "awaits a record" } else { "kept together" };
        let _ = writeln!(out, "short {} at {}: {why}", short.name, shown(short.reached.as_ref()));
    }
    let lists = result.deferred.iter().map(|record| ("deferred", record));
    for (what, record) in lists.chain(result.held.iter().map(|record| ("held", record))) {
        for Update { name, old, new } in &record.updates {
            let shown_value = |value: &Value| match value {
                Value::Zero => "0".to_owned(),
                Value::Oid(oid) => oid.as_raw()[0].to_string(),
                Value::Symbolic(link) => format!("ref:{link}"),
            };
            let (old, new) = (shown_value(old), shown_value(new));
            let _ = writeln!(out, "{what} #{} {old} {new} {name}", record.id);
        }
    }
    for anomaly in &result.anomalies {
        let _ = writeln!(out, "anomaly {} {} #{}", anomaly.kind.as_str(), anomaly.name, anomaly.transaction);
    }
    for index in &result.explained {
        let _ = writeln!(out, "explained emitted {index}");
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the cases are there")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "case"))
        .collect();
    files.sort();
    files
}

/// Runs what stands above the line in each case of a folder, and compares. Gives all results.
pub(crate) fn each_case(folder: &str, run: impl Fn(&str) -> String) -> String {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = String::new();
    let mut all = String::new();
    for path in files(folder) {
        let text = std::fs::read_to_string(&path).expect("a readable case");
        let (given, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let found = run(given);
        all.push_str(&found);
        if update {
            std::fs::write(&path, format!("{}\n\n---\n{found}", given.trim_end())).expect("a writable case");
        } else if found != expected {
            let _ = writeln!(wrong, "{}\nexpected:\n{expected}found:\n{found}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}(UPDATE_CASES=1 rewrites the results)");
    all
}

#[test]
fn every_case_gives_its_result() {
    let kinds = each_case("tests/cases", |given| Case::parse(given).run());
    let shown_by_snapshots = [
        "BRANCH_CREATED",
        "BRANCH_UPDATED",
        "BRANCH_FORCE_PUSHED",
        "BRANCH_DELETED",
        "BRANCH_RENAMED",
        "TAG_CREATED",
        "TAG_MOVED",
        "TAG_DELETED",
        "RELEASE_CREATED",
        "DEFAULT_BRANCH_CHANGED",
        "NOTES_UPDATED",
        "REPLACE_REF_UPDATED",
        "CHANGE_REQUEST_REF_UPDATED",
        "CUSTOM_REF_UPDATED",
        "SYMBOLIC_REF_UPDATED",
        "REF_BROKEN",
        "REF_REPAIRED",
        "MIRROR_SYNCED",
        "packing",
        "verify",
        "refused",
        "off_path",
        "late",
        "split",
    ];
    for kind in shown_by_snapshots {
        assert!(kinds.contains(&format!("{kind} ")), "no case shows {kind}");
    }
}
