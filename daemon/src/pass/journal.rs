//! What hooks recorded: read before the refs are, it explains them. Hooks record after a ref has moved, so that a look
//! waits a moment for what is not recorded yet; the refs tell the truth all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use refwatch_core::journal::{Outcome, Transaction};
use refwatch_core::push::{self, Closed, Ledger, Process, PushRules};
use refwatch_core::reconcile::{Emitted, Mark, Reconciled, reconcile_patiently};
use refwatch_core::{Look, ObjectFormat, Origin, RefName, RefState, Target};
use refwatch_hook::DIRECTORY;
use refwatch_store::ReadError;
use refwatch_watcher::journal;
use refwatch_watcher::journal::{Beginning, Entry, Journal, PassedOver, Position, Recorded, Rest, Saved};
use refwatch_watcher::scan::{self, Observed};
use refwatch_watcher::wake::Named;

use super::{Seen, named};
use crate::engine::{Engine, Job, Repository, State, lock, now_us};
use crate::protected::is_protected;

/// Readings of one pass, of up to 8 MiB each.
const READINGS_MAX: usize = 4;
/// Changes that are told as observed and may still be explained by a late record.
const EMITTED_MAX: usize = 256;
/// Records of pushes that are not told: what the ledger holds of pushes with three hooks each.
const PUSH_RECORDS_MAX: usize = 3 * push::PUSHES_MAX;
/// How often a record is waited for in vain before none is waited for, until one comes again.
const VAIN_MAX: u32 = 2;
/// Records after which the position is written though nothing happened.
const UNSAVED_MAX: usize = 256;
/// How long after its last record a push is taken for over whose process cannot be looked up: it may be another
/// container's, or another machine's.
const PUSH_QUIET_MAX: Duration = Duration::from_secs(60);

/// What is held of the hooks of a repository.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// How far the journal is read.
    position: Position,
    /// Transactions that are read and not done with.
    waiting: Vec<Transaction>,
    /// Those of them that hang on a value a ref has, and since when: they may be followed by one that leads back to it.
    deferred: BTreeMap<u64, Instant>,
    /// Refs whose last change no record has explained yet.
    awaited: BTreeMap<RefName, Awaited>,
    /// Changes that were told as observed a short while ago.
    emitted: Vec<Emitted>,
    /// Records that were waited for in vain since the last one came.
    in_vain: u32,
    /// There is more to read.
    more: bool,
    watched: bool,
    pushes: Ledger,
    /// What the ledger was told of pushes that are not told yet.
    push_records: Vec<push::Record>,
    /// Processes of pushes that can be looked up here.
    visible: BTreeSet<Process>,
    /// Refs that pushes changed, as their own transactions recorded.
    committed: BTreeSet<(Process, RefName)>,
    /// Pushes that nobody knows the end of.
    unknown: BTreeSet<Process>,
    /// When the latest record that was taken was made, in microseconds since 1970.
    taken_us: u64,
    /// The journal is read from its beginning: what is older was taken before.
    again: bool,
    /// Processes that are known to have ended.
    gone: BTreeSet<Process>,
    /// Pushes that are over, until their last refs are told.
    closing: Vec<Closed>,
    /// What the log holds, or will.
    saved: Vec<u8>,
    /// Records since that was written.
    unsaved: usize,
}

/// Where hooks are explained.
pub(super) struct Place<'a> {
    pub(super) engine: &'a Engine,
    pub(super) repository: &'a Repository,
    pub(super) format: ObjectFormat,
}

#[derive(Clone, Copy, Debug)]
struct Awaited {
    since: Instant,
    named: Named,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            position: Position::oldest(),
            waiting: Vec::new(),
            deferred: BTreeMap::new(),
            awaited: BTreeMap::new(),
            emitted: Vec::new(),
            in_vain: 0,
            more: false,
            watched: false,
            pushes: Ledger::default(),
            push_records: Vec::new(),
            visible: BTreeSet::new(),
            committed: BTreeSet::new(),
            unknown: BTreeSet::new(),
            taken_us: 0,
            again: false,
            gone: BTreeSet::new(),
            closing: Vec::new(),
            saved: Vec::new(),
            unsaved: 0,
        }
    }
}

impl Hooks {
    /// Goes on from what the log holds; from the oldest record where that does not read.
    pub(crate) fn from_saved(bytes: Vec<u8>, format: ObjectFormat) -> Self {
        let mut hooks = Self::default();
        if let Ok(saved) = Saved::from_bytes(&bytes, format) {
            (hooks.position, hooks.taken_us) = (saved.position, saved.taken_us);
            for (entry, process_space) in saved.entries {
                match entry {
                    Entry::Transaction(transaction) => hooks.waiting.push(transaction),
                    Entry::Push(record) => hooks.take_push(record, process_space),
                }
            }
        }
        hooks.saved = bytes;
        hooks
    }

    /// True where something was recorded that is not read.
    pub(crate) fn has_news(&self, journal: &Journal) -> bool {
        self.more || journal.has_news(&self.position)
    }

    /// Refs that are to be looked at whatever notifications tell.
    pub(super) fn names(&self) -> BTreeMap<RefName, Named> {
        let recorded = Named { count: 0, locked: true };
        let of_transactions = self.waiting.iter().flat_map(|transaction| &transaction.updates);
        let of_pushes = self.closing.iter().flat_map(|closed| &closed.accepted);
        let mut names: BTreeMap<RefName, Named> =
            of_transactions.chain(of_pushes).map(|update| (update.name.clone(), recorded)).collect();
        for (name, awaited) in &self.awaited {
            names.insert(name.clone(), awaited.named);
        }
        names
    }

    fn take_push(&mut self, record: push::Record, process_space: u64) {
        if process_space != 0 && process_space == journal::process_space() {
            self.visible.insert(record.process);
        }
        self.push_records.push(record.clone());
        if self.push_records.len() > PUSH_RECORDS_MAX {
            // The ledger forgets them as well.
            let oldest = self.push_records[0].process;
            self.forget(oldest);
        }
        self.pushes.record(record);
    }

    /// Takes up what was read.
    fn take(&mut self, records: Vec<Recorded>, whole_pushes: bool) {
        self.unsaved += records.len();
        let mut transactions = Vec::new();
        for record in records {
            let process = Process { pid: record.parent_pid, start_ticks: record.parent_start_ticks };
            let at_us = match &record.entry {
                Entry::Push(push) => push.at_us,
                Entry::Transaction(transaction) => transaction.at_ns / 1000,
            };
            if self.again && at_us <= self.taken_us {
                continue;
            }
            self.taken_us = self.taken_us.max(at_us);
            match record.entry {
                Entry::Push(push) => self.take_push(push, record.process_space),
                Entry::Transaction(transaction) => transactions.push((process, transaction)),
            }
        }
        for (process, mut transaction) in transactions {
            let committed = transaction.outcome == Outcome::Committed;
            if committed && self.push_records.iter().any(|record| record.process == process) {
                let names = transaction.updates.iter().map(|update| (process, update.name.clone()));
                self.committed.extend(names);
            }
            if committed && whole_pushes {
                continue;
            }
            self.pushes.explain(process, &mut transaction);
            if committed {
                self.in_vain = 0;
                self.waiting.push(transaction);
            }
        }
    }

    /// Finds out which processes of pushes have ended, before the journal is read: what they recorded is read then.
    fn look_for_ended(&mut self) {
        let now_us = u64::try_from(now_us()).unwrap_or(0);
        for process in self.pushes.open().collect::<Vec<_>>() {
            if self.visible.contains(&process) {
                if !is_running(process) {
                    self.gone.insert(process);
                }
                continue;
            }
            let last = self.push_records.iter().filter(|record| record.process == process);
            let last_us = last.map(|record| record.at_us).max().unwrap_or(0);
            let is_quiet = Duration::from_micros(now_us.saturating_sub(last_us)) > PUSH_QUIET_MAX;
            if is_quiet {
                self.unknown.insert(process);
                self.gone.insert(process);
            }
        }
    }

    /// Ends pushes that are over.
    fn close(&mut self, now: &dyn Fn(&RefName) -> Option<Target>) {
        let gone = std::mem::take(&mut self.gone);
        for closed in self.pushes.close(&|process| gone.contains(&process), now) {
            if let Some(transaction) = closed.transaction.clone() {
                self.in_vain = 0;
                self.waiting.push(transaction);
            }
            self.closing.push(closed);
        }
    }

    /// Takes out what is not known for certain: an event that is wrong is worse than one that is missing. Only
    /// post-receive says what was accepted, and what a push's own transaction recorded was not refused.
    fn doubt(&self, closed: &mut Closed) {
        let is_accepted = |record: &push::Record| {
            record.process == closed.process && matches!(record.said, push::Said::Accepted { .. })
        };
        if !self.push_records.iter().any(is_accepted) {
            closed.accepted.clear();
            let process = closed.process;
            closed
                .rejected
                .retain(|rejected| !self.committed.contains(&(process, rejected.update.name.clone())));
        }
        if self.unknown.contains(&closed.process) {
            closed.rejected.clear();
        }
    }

    /// Forgets the records of a push that is told.
    fn forget(&mut self, process: Process) {
        self.push_records.retain(|record| record.process != process);
        self.committed.retain(|(of, _)| *of != process);
        self.visible.remove(&process);
        self.unknown.remove(&process);
    }

    fn to_bytes(&self, format: ObjectFormat) -> Vec<u8> {
        let own = journal::process_space();
        let space = |process: &Process| if self.visible.contains(process) { own } else { 0 };
        let pushes =
            self.push_records.iter().map(|record| (Entry::Push(record.clone()), space(&record.process)));
        let waiting = self.waiting.iter().cloned().map(|transaction| (Entry::Transaction(transaction), 0));
        let entries: Vec<(Entry, u64)> = pushes.chain(waiting).collect();
        let each = entries.iter().map(|(entry, space)| (entry, *space));
        Saved::to_bytes(&self.position, self.taken_us, each, format)
    }
}

/// Reads what hooks recorded since the last look. Afterwards it is looked at the refs, which then show at least that.
pub(super) fn hear(engine: &Engine, repository: &Repository, state: &mut State) {
    let directory = state.git_dir().join(DIRECTORY);
    if !directory.is_dir() {
        // The hooks are removed, or out of reach: what they told last is lost as a hint, and not told again later.
        if let Some(hooks) = &mut state.hooks {
            hooks.waiting.clear();
            hooks.awaited.clear();
            hooks.emitted.clear();
            (hooks.more, hooks.watched) = (false, false);
            // No record is expected before one comes again.
            hooks.in_vain = VAIN_MAX;
            engine.board.await_records(repository.key, None);
        }
        lock(&engine.pushing).remove(&repository.key);
        return;
    }
    let mut hooks = state.hooks.take().unwrap_or_default();
    if !hooks.watched {
        engine.watch(repository.key, state, Path::new(DIRECTORY));
        hooks.watched = true;
    }
    hooks.look_for_ended();
    let journal = Journal::of(&state.layout);
    let is_new = state.create.is_some();
    let mut readings = 0;
    let mut at_end;
    hooks.more = loop {
        let batch = match journal.read(&hooks.position) {
            Ok(batch) => batch,
            Err(error) => {
                engine.problems.report(&error.path, format!("hooks cannot be heard: {}", error.source));
                at_end = false;
                break false;
            }
        };
        count(engine, &batch.passed_over, batch.beginning);
        if batch.beginning == Beginning::Lost {
            hooks.again = true;
        }
        hooks.position = batch.next;
        at_end = batch.rest == Rest::Nothing;
        if at_end && batch.records.is_empty() {
            hooks.again = false;
        }
        if !is_new {
            hooks.take(batch.records, engine.settings.hooks.whole_pushes());
            readings += 1;
        }
        // Of a repository that was not known nothing is to be explained.
        match batch.rest {
            Rest::More if readings < READINGS_MAX => {}
            Rest::More => break true,
            Rest::Nothing | Rest::Unfinished => break false,
        }
    };
    if let Err(error) = rotate(engine, repository, &journal, &hooks) {
        engine.problems.report(&directory, format!("the journal of hooks cannot be rotated: {error}"));
    }
    let value = |name: &RefName| match scan::one(&state.layout, name) {
        Ok(Some(Observed::Good(target))) => Some(target),
        Ok(Some(Observed::Broken(_)) | None) | Err(_) => None,
    };
    if !at_end {
        // What has ended may have recorded what is not read.
        hooks.gone.clear();
    }
    hooks.close(&value);
    let mut pushing = lock(&engine.pushing);
    if hooks.pushes.open().next().is_some() {
        pushing.insert(repository.key);
    } else {
        pushing.remove(&repository.key);
    }
    drop(pushing);
    state.hooks = Some(hooks);
}

/// Keeps the journal short. Only what the log has done with goes.
fn rotate(engine: &Engine, repository: &Repository, journal: &Journal, hooks: &Hooks) -> anyhow::Result<()> {
    if hooks.more || !journal.rotate(&hooks.position)? {
        return Ok(());
    }
    let row = engine.store.read()?.repository(repository.key)?;
    if let Some(row) = row
        && let Some(Ok(saved)) =
            row.journal_position.map(|bytes| Saved::from_bytes(&bytes, row.object_format))
    {
        journal.remove_before(&saved.position)?;
    }
    Ok(())
}

fn count(engine: &Engine, passed_over: &PassedOver, beginning: Beginning) {
    let anomalies = &engine.metrics.anomalies;
    anomalies.add("journal_torn", passed_over.torn);
    anomalies.add("journal_corrupt", passed_over.corrupt);
    anomalies.add("journal_newer", passed_over.newer);
    anomalies.add("journal_unparsable", passed_over.unparsable + passed_over.lines_bad);
    anomalies.add("journal_left_out", passed_over.inputs_left_out);
    anomalies.add("journal_lost", u64::from(beginning == Beginning::Lost));
}

/// Derives what happened, as [`refwatch_core::reconcile::reconcile`] does, with what hooks recorded. `seen` becomes what
/// is told: a ref that waits for its record is told up to where records lead.
pub(super) fn explain(
    at: &Place<'_>,
    hooks: &mut Hooks,
    origin: Origin,
    seen: &mut Vec<Seen>,
    unjudged: &BTreeSet<RefName>,
    job: &mut Job,
) -> Result<Reconciled, ReadError> {
    let Place { engine, repository, format } = *at;
    add_unchanged(engine, repository, hooks, seen, unjudged)?;
    let looks: Vec<Look> = seen.iter().map(|seen| seen.look.clone()).collect();
    let patient = patient(engine, hooks, &looks);
    let mut reconciled = reconcile_patiently(origin, &looks, &hooks.waiting, &hooks.emitted, &patient);
    let now = Instant::now();
    // A hook that is still starting may yet record what they lead to: a ref that returned to a value seems to have got
    // there at once.
    let is_over = |since: &Instant| now.duration_since(*since) >= engine.settings.hooks.wait_max;
    let over: Vec<u64> =
        hooks.deferred.iter().filter(|(_, since)| is_over(since)).map(|(id, _)| *id).collect();
    reconciled.give_up(&over);
    let is_looked_at = |name: &RefName| looks.binary_search_by(|look| look.name.cmp(name)).is_ok();
    let were_seen =
        |transaction: &&Transaction| transaction.updates.iter().all(|update| is_looked_at(&update.name));
    let deferred = reconciled.deferred.iter().filter(were_seen).map(|transaction| transaction.id);
    hooks.deferred = deferred.map(|id| (id, hooks.deferred.get(&id).copied().unwrap_or(now))).collect();
    hooks.waiting = std::mem::take(&mut reconciled.held);
    hooks.waiting.append(&mut reconciled.deferred);
    note_emitted(hooks, &reconciled);
    await_records(engine, repository, hooks, &reconciled, seen);
    tell_pushes(engine, hooks, &reconciled, unjudged, job);
    let is_told = !reconciled.drafts.is_empty() || !job.last.is_empty() || job.write.is_some();
    if is_told || hooks.unsaved >= UNSAVED_MAX {
        let bytes = hooks.to_bytes(format);
        if bytes != hooks.saved {
            hooks.saved.clone_from(&bytes);
            job.journal = Some(bytes);
        }
        hooks.unsaved = 0;
    }
    if hooks.more {
        engine.board.put_back_journal(repository.key);
    }
    Ok(reconciled)
}

/// Notes of a new repository that all that hooks have recorded is history.
pub(super) fn skip(state: &mut State, job: &mut Job) {
    let format = state.layout.format;
    if let Some(hooks) = &mut state.hooks {
        hooks.saved = hooks.to_bytes(format);
        job.journal = Some(hooks.saved.clone());
    }
}

/// Adds the refs that hooks speak of and that have the value that is known.
fn add_unchanged(
    engine: &Engine,
    repository: &Repository,
    hooks: &Hooks,
    seen: &mut Vec<Seen>,
    unjudged: &BTreeSet<RefName>,
) -> Result<(), ReadError> {
    let mut names = hooks.names();
    names.retain(|name, _| !unjudged.contains(name));
    for seen in &*seen {
        names.remove(&seen.look.name);
    }
    let names: Vec<RefName> = names.into_keys().collect();
    let known = named::known(engine, repository, names.iter())?;
    for (name, (state, peeled)) in names.into_iter().zip(known) {
        let look = Look::new(name, state.clone(), state, false);
        seen.push(Seen { look, before_peeled: peeled, after_peeled: None, broken: None });
    }
    seen.sort_by(|left, right| left.look.name.cmp(&right.look.name));
    Ok(())
}

/// Refs of which records are still expected.
fn patient(engine: &Engine, hooks: &Hooks, looks: &[Look]) -> BTreeSet<RefName> {
    let settings = &engine.settings.hooks;
    let names = looks.iter().map(|look| &look.name);
    let is_patient = |name: &&RefName| {
        let young =
            |max: Duration| hooks.awaited.get(*name).is_none_or(|awaited| awaited.since.elapsed() < max);
        if hooks.more {
            true
        } else if settings.whole_pushes() {
            hooks.pushes.attempted(name) && young(engine.settings.watch.settle_max)
        } else {
            hooks.in_vain < VAIN_MAX && young(settings.wait_max)
        }
    };
    names.filter(is_patient).cloned().collect()
}

/// Keeps in mind what is told as observed, until late records have explained it.
fn note_emitted(hooks: &mut Hooks, reconciled: &Reconciled) {
    for index in reconciled.explained.iter().rev() {
        hooks.emitted.remove(*index);
    }
    let steps = reconciled.drafts.iter().flat_map(|draft| &draft.steps);
    let mut in_vain = false;
    for step in steps.filter(|step| step.mark == Mark::Change && step.origin != Origin::Hook) {
        in_vain |= hooks.awaited.contains_key(&step.name);
        let (name, old, new) = (step.name.clone(), step.old.clone(), step.new.clone());
        hooks.emitted.push(Emitted { name, old, new });
    }
    hooks.in_vain += u32::from(in_vain);
    let excess = hooks.emitted.len().saturating_sub(EMITTED_MAX);
    hooks.emitted.drain(..excess);
}

/// Has refs that are not told to the end looked at again.
fn await_records(
    engine: &Engine,
    repository: &Repository,
    hooks: &mut Hooks,
    reconciled: &Reconciled,
    seen: &mut Vec<Seen>,
) {
    let now = Instant::now();
    let stepped: BTreeSet<&RefName> =
        reconciled.drafts.iter().flat_map(|draft| &draft.steps).map(|step| &step.name).collect();
    let mut awaited = BTreeMap::new();
    for short in &reconciled.short {
        let at = seen.binary_search_by(|seen| seen.look.name.cmp(&short.name));
        let seen = &mut seen[at.expect("BUG: only refs that were seen are told short")];
        let count = if seen.look.coalesced { 2 } else { 1 };
        seen.look.after = short.reached.clone().map(RefState::Good);
        seen.after_peeled = None;
        if short.awaited {
            // It is the value seen now that waits, and not the one before.
            let since = match hooks.awaited.get(&short.name) {
                Some(before) if !stepped.contains(&short.name) => before.since,
                Some(_) | None => now,
            };
            let named = Named { count, locked: true };
            awaited.insert(short.name.clone(), Awaited { since, named });
        }
    }
    hooks.awaited = awaited;
    seen.retain(|seen| seen.look.before != seen.look.after || stepped.contains(&seen.look.name));
    let wait = if engine.settings.hooks.whole_pushes() {
        engine.settings.watch.settle_max
    } else {
        engine.settings.hooks.wait_max
    };
    let first = hooks.awaited.values().map(|awaited| awaited.since).min();
    engine.board.await_records(repository.key, first.map(|first| (first, first + wait)));
}

/// Tells what became of pushes whose refs are told.
fn tell_pushes(
    engine: &Engine,
    hooks: &mut Hooks,
    reconciled: &Reconciled,
    unjudged: &BTreeSet<RefName>,
    job: &mut Job,
) {
    let is_untold =
        |name: &RefName| unjudged.contains(name) || reconciled.short.iter().any(|short| short.name == *name);
    let rules =
        PushRules { is_protected: &|name: &RefName| is_protected(&engine.protected, name.as_bytes()) };
    for closed in std::mem::take(&mut hooks.closing) {
        if closed.accepted.iter().any(|update| is_untold(&update.name)) {
            hooks.closing.push(closed);
            continue;
        }
        let mut closed = closed;
        hooks.doubt(&mut closed);
        job.last.extend(push::describe(&closed, &rules));
        hooks.forget(closed.process);
    }
}

/// True unless a process is known to have ended: its number is nobody's, or that of one that started at another time, or
/// it only waits to be asked for its status (proc(5), `stat`, fields 3 and 22).
fn is_running(process: Process) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    if rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return false;
    }
    // Where it cannot be read, as with `hidepid`, there is somebody all the same.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)) else { return true };
    // The name in parentheses may hold anything.
    let Some((_, fields)) = stat.rsplit_once(')') else { return true };
    let mut fields = fields.split_ascii_whitespace();
    let has_ended = fields.next().is_some_and(|state| matches!(state, "Z" | "X"));
    let started = fields.nth(18).and_then(|ticks| ticks.parse::<u64>().ok());
    !has_ended && (process.start_ticks == 0 || started.is_none_or(|started| started == process.start_ticks))
}
