//! A seeded simulation: several receive-packs at once, as measured in `refwatch_core::push::ledger`, under a daemon that
//! reads late, reads twice, and finds processes gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use refwatch_core::event::Stage;
use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::push::{Closed, Ledger, Process, Record, Refused, Said};
use refwatch_core::{ObjectId, RefName, Target};

use crate::given::name;
use crate::push_given::{close, process, said, transaction};
use crate::simulation::{Random, each_seed};

const REFS: usize = 5;
const STEPS: usize = 160;
const RUNNING_MAX: usize = 4;

/// What becomes of a push as far as nothing else interferes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// `pre-receive` refuses.
    Refused,
    /// receive-pack is killed before this update.
    Killed(usize),
    /// The reference-transaction hook refuses this update.
    Vetoed(usize),
    Runs,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Passes,
    /// `update` refuses it.
    Update,
    /// A setting of Git denies it.
    Setting,
}

struct Push {
    pid: u32,
    updates: Vec<(Update, Check)>,
    plan: Plan,
    atomic: bool,
    has_rival: bool,
    next: usize,
}

/// What became of an update in fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Not(Stage),
}

enum Line {
    Record(Record),
    Transaction(u32, Transaction),
}

struct Server {
    names: Vec<RefName>,
    refs: [u32; REFS],
    /// Objects are never pushed twice, but by two pushes that ask for the same at once.
    objects: u32,
    pids: u32,
    ids: u64,
    transactions_recorded: bool,
    running: Vec<Push>,
    journal: VecDeque<Line>,
    fates: BTreeMap<u32, BTreeMap<Update, Fate>>,
    killed: BTreeSet<u32>,
}

fn value(object: u32) -> Value {
    match target(object) {
        Some(Target::Direct(oid)) => Value::Oid(oid),
        Some(Target::Symbolic(_)) | None => Value::Zero,
    }
}

fn target(object: u32) -> Option<Target> {
    let mut raw = [0; 20];
    raw[..4].copy_from_slice(&object.to_be_bytes());
    ObjectId::from_raw(&raw).ok().map(Target::Direct)
}

impl Server {
    fn new(random: &mut Random) -> Self {
        Self {
            names: ["refs/heads/a", "refs/heads/b", "refs/heads/c", "refs/notes/n", "refs/tags/t"]
                .map(name)
                .to_vec(),
            refs: [0; REFS],
            objects: 0,
            pids: 0,
            ids: 0,
            transactions_recorded: !random.one_in(3),
            running: Vec::new(),
            journal: VecDeque::new(),
            fates: BTreeMap::new(),
            killed: BTreeSet::new(),
        }
    }

    fn now(&self, of: &RefName) -> Option<Target> {
        let at = self.names.iter().position(|known| known == of)?;
        target(self.refs[at])
    }

    fn record(&mut self, pid: u32, what: Said) {
        self.ids += 1;
        self.journal.push_back(Line::Record(said(pid, self.ids, what)));
    }

    fn transaction(&mut self, pid: u32, outcome: Outcome, updates: Vec<Update>) {
        if self.transactions_recorded {
            self.ids += 1;
            self.journal.push_back(Line::Transaction(pid, transaction(self.ids, outcome, updates)));
        }
    }

    fn step(&mut self, random: &mut Random) {
        if self.running.is_empty() || (self.running.len() < RUNNING_MAX && random.one_in(4)) {
            self.begin(random);
            return;
        }
        let at = random.below(self.running.len());
        let mut push = self.running.remove(at);
        let next = push.next;
        push.next += 1;
        if push.plan == Plan::Killed(next) {
            self.killed.insert(push.pid);
        } else if push.plan != Plan::Refused && self.carry_out(&push, next) {
            self.running.push(push);
        }
    }

    /// A push asks for what its client saw when it began, and its pre-receive hook runs.
    fn begin(&mut self, random: &mut Random) {
        self.pids += 1;
        let mut updates: Vec<(Update, Check)> = Vec::new();
        // One rival a push: what was there before a push began, and closed, the ledger cannot know.
        let mut unrivalled = self.running.iter_mut().filter(|push| !push.has_rival);
        let rival = random.one_in(5).then(|| unrivalled.next()).flatten();
        let has_rival = rival.is_some();
        if let Some(rival) = rival {
            rival.has_rival = true;
            updates.extend(rival.updates.iter().map(|(update, _)| (update.clone(), Check::Passes)));
        }
        for of in 0..REFS {
            if !random.one_in(2) || updates.iter().any(|(update, _)| update.name == self.names[of]) {
                continue;
            }
            let deletes = self.refs[of] != 0 && random.one_in(4);
            self.objects += 1;
            let new = if deletes { Value::Zero } else { value(self.objects) };
            let check = match random.below(8) {
                0 => Check::Update,
                1 => Check::Setting,
                _ => Check::Passes,
            };
            updates.push((Update { name: self.names[of].clone(), old: value(self.refs[of]), new }, check));
        }
        if updates.is_empty() {
            return;
        }
        let at = random.below(updates.len());
        let plan = match random.below(10) {
            0 => Plan::Refused,
            1 => Plan::Killed(at),
            2 if self.transactions_recorded => Plan::Vetoed(at),
            _ => Plan::Runs,
        };
        let refused = (plan == Plan::Refused).then(|| Refused { status: 1, by: "former".to_owned() });
        let asked: Vec<Update> = updates.iter().map(|(update, _)| update.clone()).collect();
        let stage = if refused.is_some() { Stage::PreReceive } else { Stage::ReceivePack };
        let fates = asked.iter().map(|update| (update.clone(), Fate::Not(stage))).collect();
        self.fates.insert(self.pids, fates);
        self.record(self.pids, Said::Attempted { updates: asked, refused });
        let atomic = plan == Plan::Runs && random.one_in(4);
        self.running.push(Push { pid: self.pids, updates, plan, atomic, has_rival, next: 0 });
    }

    /// One step of receive-pack. False when it has ended.
    fn carry_out(&mut self, push: &Push, next: usize) -> bool {
        if push.atomic {
            self.all_or_nothing(push);
            self.end(push);
            return false;
        }
        let Some((update, check)) = push.updates.get(next) else {
            self.end(push);
            return false;
        };
        if !self.passes(push.pid, update, *check) {
            return true;
        }
        if push.plan == Plan::Vetoed(next) {
            self.transaction(push.pid, Outcome::Aborted, vec![update.clone()]);
            self.fate(push.pid, update, Fate::Not(Stage::ReferenceTransaction));
            return false;
        }
        self.commit(push.pid, std::slice::from_ref(update));
        true
    }

    fn all_or_nothing(&mut self, push: &Push) {
        // It ends at the first that is refused; old values are looked at when all have passed the hook.
        for (update, check) in &push.updates {
            if *check != Check::Passes {
                self.passes(push.pid, update, *check);
                return;
            }
        }
        let updates: Vec<Update> = push.updates.iter().map(|(update, _)| update.clone()).collect();
        let stale: Vec<&Update> =
            updates.iter().filter(|update| self.now(&update.name) != from(&update.old)).collect();
        match stale.first() {
            Some(first) => self.fate(push.pid, first, Fate::Not(Stage::StaleOldValue)),
            None => self.commit(push.pid, &updates),
        }
    }

    fn passes(&mut self, pid: u32, update: &Update, check: Check) -> bool {
        match check {
            Check::Setting => return false,
            Check::Update => {
                let refused = Refused { status: 1, by: "former".to_owned() };
                self.record(pid, Said::UpdateRefused { update: update.clone(), refused });
                self.fate(pid, update, Fate::Not(Stage::Update));
                return false;
            }
            Check::Passes => {}
        }
        let fresh = self.now(&update.name) == from(&update.old);
        if !fresh {
            self.fate(pid, update, Fate::Not(Stage::StaleOldValue));
        }
        fresh
    }

    fn commit(&mut self, pid: u32, updates: &[Update]) {
        for update in updates {
            let at = self.names.iter().position(|known| *known == update.name).expect("one of the refs");
            self.refs[at] = match from(&update.new).and_then(|target| target.oid()) {
                Some(oid) => u32::from_be_bytes(oid.as_raw()[..4].try_into().expect("four bytes")),
                None => 0,
            };
            self.fate(pid, update, Fate::Done);
        }
        self.transaction(pid, Outcome::Committed, updates.to_vec());
    }

    fn end(&mut self, push: &Push) {
        let done = |update: &Update| self.fates[&push.pid][update] == Fate::Done;
        let updates: Vec<Update> =
            push.updates.iter().map(|(update, _)| update.clone()).filter(done).collect();
        if !updates.is_empty() {
            self.record(push.pid, Said::Accepted { updates });
        }
    }

    fn fate(&mut self, pid: u32, update: &Update, fate: Fate) {
        self.fates.get_mut(&pid).expect("it began").insert(update.clone(), fate);
    }
}

fn from(value: &Value) -> Option<Target> {
    match value {
        Value::Zero => None,
        Value::Oid(oid) => Some(Target::Direct(*oid)),
        Value::Symbolic(name) => Some(Target::Symbolic(name.clone())),
    }
}

/// Reads as the contract of `Ledger` asks: processes first, then the journal, then what is over.
fn pass(server: &mut Server, ledger: &mut Ledger, random: &mut Random) -> Vec<Closed> {
    let runs: BTreeSet<Process> = server.running.iter().map(|push| process(push.pid)).collect();
    let mut again = Vec::new();
    for line in server.journal.drain(..) {
        match line {
            Line::Record(record) => {
                if random.one_in(4) {
                    again.push(record.clone());
                }
                ledger.record(record);
            }
            Line::Transaction(pid, mut transaction) => ledger.explain(process(pid), &mut transaction),
        }
    }
    for record in again {
        ledger.record(record);
    }
    close(ledger, &|of| !runs.contains(&of), &|of| server.now(of))
}

fn compare(server: &Server, closed: &Closed) {
    let pid = closed.process.pid;
    let fates = &server.fates[&pid];
    let killed = |pid: u32| server.killed.contains(&pid);
    let mut told: BTreeMap<Update, Option<Fate>> =
        closed.accepted.iter().map(|update| (update.clone(), Some(Fate::Done))).collect();
    let rejected =
        closed.rejected.iter().map(|rejected| (rejected.update.clone(), Some(Fate::Not(rejected.stage))));
    for (update, fate) in rejected.chain(closed.doubted.iter().map(|update| (update.clone(), None))) {
        assert_eq!(told.insert(update, fate), None, "told twice: {closed:#?}");
    }
    assert!(told.keys().eq(fates.keys()), "{closed:#?}\n{fates:#?}");
    for (update, told) in &told {
        let Some(told) = told else {
            // Without post-receive: the disk shows its value, or a transaction recorded it.
            let shown = server.now(&update.name) == from(&update.new);
            let is_done = fates[update] == Fate::Done && server.transactions_recorded;
            assert!(closed.accepted.is_empty() && (shown || is_done), "{update:?}\n{closed:#?}");
            continue;
        };
        let moved = server.now(&update.name) != from(&update.old);
        let others_did = |which: &dyn Fn(u32) -> bool| {
            let done = |fates: &BTreeMap<Update, Fate>| fates.get(update) == Some(&Fate::Done);
            server.fates.iter().any(|(other, fates)| *other != pid && which(*other) && done(fates))
        };
        let fits = match (fates[update], told) {
            (was, told) if was == *told => true,
            // Of two causes that no record tells apart, the disk shows one; and a ref may have moved since.
            (Fate::Not(Stage::ReceivePack), Fate::Not(Stage::StaleOldValue)) => moved,
            (Fate::Not(Stage::StaleOldValue), Fate::Not(Stage::ReceivePack)) => !moved,
            // Killed before its post-receive, and then the ref moved on, or came back to this value by another's doing.
            (Fate::Done, Fate::Not(stage)) if server.transactions_recorded => {
                panic!("{update:?} was done, is told {stage:?}\n{closed:#?}")
            }
            (Fate::Done, Fate::Not(Stage::StaleOldValue)) => {
                let back = update.new == Value::Zero || others_did(&|_| true);
                killed(pid) && moved && (back || server.now(&update.name) != from(&update.new))
            }
            (Fate::Done, Fate::Not(Stage::ReceivePack)) => killed(pid) && !moved,
            _ => false,
        };
        assert!(fits, "{update:?}: was {:?}, told {told:?}\n{closed:#?}", fates[update]);
    }
}

#[test]
fn every_push_ends_once_and_as_git_ended_it() {
    each_seed(|random| {
        let mut server = Server::new(random);
        let mut ledger = Ledger::default();
        let mut ended: BTreeSet<u32> = BTreeSet::new();
        let mut check = |server: &Server, all: Vec<Closed>| {
            for closed in all {
                assert!(ended.insert(closed.process.pid), "ended twice: {closed:#?}");
                compare(server, &closed);
            }
            ended.len()
        };
        for _ in 0..STEPS {
            server.step(random);
            if random.one_in(5) {
                let all = pass(&mut server, &mut ledger, random);
                check(&server, all);
            }
        }
        server.running.clear();
        server.killed.extend(1..=server.pids);
        let all = pass(&mut server, &mut ledger, random);
        let count = check(&server, all);
        assert_eq!(count, server.fates.len());
        assert_eq!((ledger.open().count(), ledger.forgotten()), (0, 0));
    });
}
