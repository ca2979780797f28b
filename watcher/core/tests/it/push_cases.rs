//! Text cases of pushes: `tests/cases/push/*.case`, told in `tests/cases/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::push::{
    Closed, Disk, Ledger, Life, Process, PushRules, Record, Refused, Said, Unread, Unreadable, describe,
};
use refwatch_core::{RefName, RefState, Target};

use crate::cases::{each_case, shown, target, value, write_event};
use crate::given::name;
use crate::push_given::{attempted, process, said, transaction};

enum Line {
    Record(Record),
    Transaction(u32, Transaction),
}

#[derive(Default)]
struct Case {
    journal: Vec<Line>,
    now: BTreeMap<RefName, Target>,
    gone: BTreeSet<u32>,
    unknown: BTreeSet<u32>,
    unread: BTreeSet<RefName>,
    broken: BTreeSet<RefName>,
    is_doubted: bool,
    locked: BTreeMap<RefName, u64>,
    protected: Option<String>,
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut case = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["pre-receive", pid, ref words @ ..] => case.record(pid, attempted(Vec::new()), words),
                ["post-receive", pid, ref words @ ..] => {
                    case.record(pid, Said::Accepted { updates: Vec::new() }, words);
                }
                ["update", pid, old, new, of, ref words @ ..] => {
                    let refused = Refused { status: 0, by: String::new() };
                    case.record(pid, Said::UpdateRefused { update: update(old, new, of), refused }, words);
                }
                ["committed", pid] => case.transaction(pid, Outcome::Committed),
                ["aborted", pid] => case.transaction(pid, Outcome::Aborted),
                ["now", of, value] => {
                    case.now.extend(target(value).map(|target| (name(of), target)));
                }
                ["gone", pid] => {
                    case.gone.insert(number(pid));
                }
                ["unknown", pid] => {
                    case.unknown.insert(number(pid));
                }
                ["now", of] => drop(case.broken.insert(name(of))),
                ["unread", of] => drop(case.unread.insert(name(of))),
                ["locked", of, since_us] => {
                    case.locked.insert(name(of), since_us.parse().expect("microseconds"));
                }
                ["doubt"] => case.is_doubted = true,
                ["protected", prefix] => case.protected = Some(prefix.to_owned()),
                [old, new, of] => case.updates().push(update(old, new, of)),
                _ => panic!("not understood: {line}"),
            }
        }
        case
    }

    fn id(&self) -> u64 {
        u64::try_from(self.journal.len()).expect("few") + 1
    }

    fn record(&mut self, pid: &str, what: Said, words: &[&str]) {
        let mut record = said(number(pid), self.id(), what);
        for word in words {
            match word.split_once('=') {
                Some(("actor", actor)) => record.actor = Some(actor.to_owned()),
                Some(("option", option)) => record.push_options.push(option.to_owned()),
                Some(("id", id)) => record.id = id.parse().expect("an id"),
                Some(("refused", by)) => {
                    let (status, by) = by.split_once(':').expect("STATUS:HOOK");
                    let by = Refused { status: status.parse().expect("a status"), by: by.to_owned() };
                    match &mut record.said {
                        Said::Attempted { refused, .. } => *refused = Some(by),
                        Said::UpdateRefused { refused, .. } => *refused = by,
                        Said::Accepted { .. } => panic!("post-receive refuses nothing"),
                    }
                }
                _ => panic!("not understood: {word}"),
            }
        }
        self.journal.push(Line::Record(record));
    }

    fn transaction(&mut self, pid: &str, outcome: Outcome) {
        let transaction = transaction(self.id(), outcome, Vec::new());
        self.journal.push(Line::Transaction(number(pid), transaction));
    }

    fn updates(&mut self) -> &mut Vec<Update> {
        match self.journal.last_mut().expect("an update follows its record") {
            Line::Transaction(_, transaction) => &mut transaction.updates,
            Line::Record(record) => match &mut record.said {
                Said::Attempted { updates, .. } | Said::Accepted { updates } => updates,
                Said::UpdateRefused { .. } => panic!("update is told of one ref"),
            },
        }
    }

    fn run(self) -> String {
        let mut ledger = Ledger::default();
        let mut out = String::new();
        for line in self.journal {
            match line {
                Line::Record(record) => ledger.record(record),
                Line::Transaction(pid, mut transaction) => {
                    let bare = transaction.clone();
                    ledger.explain(process(pid), &mut transaction);
                    if transaction != bare {
                        let actor = transaction.actor.as_deref().unwrap_or("nobody");
                        let options = transaction.push_options.join(",");
                        let _ = writeln!(out, "#{} by {actor} with {options}", transaction.id);
                    }
                }
            }
        }
        let rules = PushRules {
            is_protected: &|of: &[u8]| {
                self.protected.as_ref().is_some_and(|prefix| of.starts_with(prefix.as_bytes()))
            },
        };
        let life = |of: Process| match of.pid {
            pid if self.gone.contains(&pid) => Life::Ended,
            pid if self.unknown.contains(&pid) => Life::Unknown,
            _ => Life::Running,
        };
        let state = |of: &RefName| {
            if self.unread.contains(of) {
                return Err(Unread);
            }
            let broken = self.broken.contains(of).then_some(RefState::Broken { last_good: None });
            Ok(broken.or_else(|| self.now.get(of).cloned().map(RefState::Good)))
        };
        let locked = |update: &Update| self.locked.get(&update.name).copied();
        let unreadable = if self.is_doubted { Unreadable::Doubt } else { Unreadable::PutOff };
        for closed in ledger.close(&life, &Disk { state: &state, locked_since_us: &locked }, unreadable) {
            write_closed(&mut out, &closed, &rules);
        }
        for open in ledger.open() {
            let _ = writeln!(out, "open {}", open.process.pid);
        }
        if ledger.is_put_off() {
            out.push_str("put off\n");
        }
        out
    }
}

fn write_closed(out: &mut String, closed: &Closed, rules: &PushRules<'_>) {
    let _ = writeln!(out, "push {}", closed.process.pid);
    for event in describe(closed, rules) {
        write_event(out, &event);
    }
    for Update { name, .. } in &closed.doubted {
        let _ = writeln!(out, "  doubts {name}");
    }
    if let Some(transaction) = &closed.transaction {
        let _ = writeln!(out, "  explains #{} at {}", transaction.id, transaction.at_ns);
        for Update { name, old, new } in &transaction.updates {
            let [old, new] = [old, new].map(|value| match value {
                Value::Zero => "0".to_owned(),
                Value::Oid(oid) => shown(Some(&Target::Direct(*oid))),
                Value::Symbolic(link) => format!("ref:{link}"),
            });
            let _ = writeln!(out, "    {old} {new} {name}");
        }
    }
}

fn update(old: &str, new: &str, of: &str) -> Update {
    Update { name: name(of), old: value(old), new: value(new) }
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("not a process: {text}"))
}

#[test]
fn every_case_of_a_push_gives_its_result() {
    let all = each_case("tests/cases/push", |given| Case::parse(given).run());
    let tokens = [
        "PUSH_REJECTED",
        "PROTECTED_BRANCH_REJECTED",
        "PUSH_RECEIVED",
        "stage=PRE_RECEIVE reason=HOOK_DECLINED",
        "stage=UPDATE reason=HOOK_DECLINED",
        "stage=REFERENCE_TRANSACTION reason=HOOK_DECLINED",
        "stage=STALE_OLD_VALUE reason=STALE_OLD_VALUE",
        "stage=LOCK reason=LOCKED",
        "stage=RECEIVE_PACK reason=DECLINED_BY_GIT",
        "stage=RECEIVE_PACK reason=ATOMIC_PUSH_FAILED",
        "stage=RECEIVE_PACK reason=PUSH_ABORTED",
        "explains #",
        "open ",
        "doubts ",
        "put off",
    ];
    for token in tokens {
        assert!(all.contains(token), "no case shows {token}");
    }
}
