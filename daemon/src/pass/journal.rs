//! What hooks recorded: read before the refs are, it explains them. Hooks record after a ref has moved, so that a look
//! waits a moment for what is not recorded yet; the refs tell the truth all the same.

mod pushes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use refwatch_core::journal::{Outcome, Transaction, Update, Value};
use refwatch_core::push::{self, Disk, Grouping, PushRules, Unread};
use refwatch_core::reconcile::{Emitted, Mark, Reconciled, reconcile_patiently};
use refwatch_core::{Look, ObjectFormat, Origin, RefName, RefState, Target};
use refwatch_hook::DIRECTORY;
use refwatch_store::ReadError;
use refwatch_watcher::journal::{
    Beginning, Entry, Found, Journal, JournalError, PassedOver, Position, Recorded, Rest, Saved,
};
use refwatch_watcher::scan::{self, Observed};
use refwatch_watcher::wake::{Named, Whole};

use super::{Seen, named};
use crate::engine::{Engine, Job, Repository, State, lock, now_us};
use crate::protected::is_protected;
use crate::settings::HookSettings;
use pushes::{Pushes, ReadAgain, process_of};

/// Readings of one pass, of up to 8 MiB each.
const READINGS_MAX: usize = 4;
/// Changes that are told as observed and may still be explained by a late record.
const EMITTED_MAX: usize = 256;
/// How often a record is waited for in vain before none is waited for, until one comes again.
const VAIN_MAX: u32 = 2;
/// Records after which the position is written though nothing happened.
const UNSAVED_MAX: usize = 256;
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
    pushes: Pushes,
    /// When the latest record that was taken was made, in microseconds since 1970.
    taken_us: u64,
    /// The journal is read from its beginning: what was made until then was taken before.
    again: Option<u64>,
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

#[derive(Clone, Debug)]
struct Awaited {
    /// The value that was seen and is not told, and since when: a barrier may wait for it.
    value: Option<Target>,
    since: Instant,
    named: Named,
    /// Of the look that first saw it: what waits is not what the wait ends with.
    origin: Origin,
}

impl Hooks {
    /// At the oldest record.
    pub(crate) fn new(settings: &HookSettings) -> Self {
        let grouping = if settings.whole_pushes() { Grouping::Pushes } else { Grouping::Transactions };
        Self {
            position: Position::oldest(),
            waiting: Vec::new(),
            deferred: BTreeMap::new(),
            awaited: BTreeMap::new(),
            emitted: Vec::new(),
            in_vain: 0,
            more: false,
            watched: false,
            pushes: Pushes::new(grouping),
            taken_us: 0,
            again: None,
            saved: Vec::new(),
            unsaved: 0,
        }
    }

    /// Goes on from what the log holds. Where that does not read, all that was recorded until now may have been told, and is
    /// passed over.
    pub(crate) fn from_saved(bytes: Vec<u8>, format: ObjectFormat, settings: &HookSettings) -> Self {
        let mut hooks = Self::new(settings);
        match Saved::from_bytes(&bytes, format) {
            Ok(Saved { position, taken_us, untold, transactions }) => {
                if position == Position::oldest() {
                    hooks.again = Some(taken_us);
                } else {
                    hooks.pushes.resume(untold, position);
                }
                (hooks.position, hooks.taken_us, hooks.waiting) = (position, taken_us, transactions);
            }
            Err(_) => hooks.again = u64::try_from(now_us()).ok(),
        }
        hooks.saved = bytes;
        hooks
    }

    /// Forgets all but how far was read, in case that comes back.
    fn hear_no_more(&mut self, settings: &HookSettings) {
        let new = Self::new(settings);
        *self = Self {
            position: self.position,
            taken_us: self.taken_us,
            again: self.again,
            saved: std::mem::take(&mut self.saved),
            unsaved: self.unsaved,
            // No record is expected before one comes again.
            in_vain: VAIN_MAX,
            ..new
        };
    }

    /// Has the journal watched anew: its watch goes with a repository that moves, or with its directory.
    pub(super) fn watch_again(&mut self) {
        self.watched = false;
    }

    /// True where something was recorded that is not read.
    pub(crate) fn has_news(&self, journal: &Journal) -> bool {
        self.more || journal.has_news(&self.position)
    }

    /// True where transactions that were read may still explain something.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Refs that are to be looked at whatever notifications tell.
    pub(super) fn names(&self) -> BTreeMap<RefName, Named> {
        let recorded = Named { count: 0, locked: true };
        let of_transactions = self.waiting.iter().flat_map(|transaction| &transaction.updates);
        let of_transactions = of_transactions.map(|update| &update.name);
        let mut names: BTreeMap<RefName, Named> =
            of_transactions.chain(self.pushes.names()).map(|name| (name.clone(), recorded)).collect();
        for (name, awaited) in &self.awaited {
            names.insert(name.clone(), awaited.named);
        }
        names
    }

    /// Takes up what was read.
    fn take(&mut self, records: Vec<Recorded>, whole_pushes: bool) {
        self.unsaved += records.len();
        let mut transactions = Vec::new();
        for record in records {
            let process = process_of(&record);
            if self.again.is_some_and(|until_us| record.entry.at_us() <= until_us) {
                continue;
            }
            match record.entry {
                Entry::Push(push) => self.pushes.record(push, record.at, record.process_space),
                Entry::Transaction(transaction) => transactions.push((process, transaction)),
            }
        }
        for (process, mut transaction) in transactions {
            self.pushes.explain(process, &mut transaction);
            if transaction.outcome == Outcome::Committed && !whole_pushes {
                self.in_vain = 0;
                self.waiting.push(transaction);
            }
        }
    }

    /// Ends pushes that are over.
    fn close(&mut self, disk: &Disk<'_>) {
        for transaction in self.pushes.close(disk) {
            self.in_vain = 0;
            // It waits already where its push was closed before a restart, and not told.
            if self.waiting.iter().all(|waiting| waiting.id != transaction.id) {
                self.waiting.push(transaction);
            }
        }
    }

    /// Reads what was recorded, and says whether that was all. Of a repository that is new nothing is to be explained.
    fn read(&mut self, engine: &Engine, journal: &Journal, is_new: bool) -> Result<bool, JournalError> {
        self.more = true;
        if self.pushes.read_again(journal, READINGS_MAX)? == ReadAgain::More {
            return Ok(false);
        }
        let mut readings = 0;
        loop {
            let batch = journal.read(&self.position)?;
            count(engine, &batch.passed_over, batch.beginning);
            if batch.beginning == Beginning::Lost {
                self.again.get_or_insert(self.taken_us);
            }
            self.position = batch.next;
            let newest_us = batch.records.iter().map(|record| record.entry.at_us()).max();
            self.taken_us = self.taken_us.max(newest_us.unwrap_or(0));
            if !is_new {
                self.take(batch.records, engine.settings.hooks.whole_pushes());
                readings += 1;
            }
            if batch.rest == Rest::Nothing && self.position != Position::oldest() {
                self.again = None;
            }
            match batch.rest {
                Rest::More if readings < READINGS_MAX => {}
                Rest::More => return Ok(false),
                Rest::Nothing | Rest::Unfinished => {
                    self.more = false;
                    return Ok(batch.rest == Rest::Nothing);
                }
            }
        }
    }

    fn to_bytes(&self, format: ObjectFormat) -> Vec<u8> {
        let saved = Saved {
            // What is read again is not read to its end.
            position: if self.again.is_some() { Position::oldest() } else { self.position },
            taken_us: self.taken_us,
            untold: self.pushes.untold(),
            transactions: self.waiting.clone(),
        };
        saved.to_bytes(format)
    }
}

/// Reads what hooks recorded since the last look. Afterwards it is looked at the refs, which then show at least that.
pub(super) fn hear(engine: &Engine, repository: &Repository, state: &mut State) {
    let journal = match Journal::find(&state.layout) {
        Ok(Found::Journal(journal)) => journal,
        Ok(Found::Nothing) => return hear_nothing(engine, repository, state),
        // What was read of the repository is as it was, and what this look finds is not believed.
        Ok(Found::Elsewhere) => return,
        Err(error) => {
            if let Some(hooks) = &mut state.hooks {
                hooks.more = false;
            }
            return report(engine, &error);
        }
    };
    let mut hooks = state.hooks.take().unwrap_or_else(|| Box::new(Hooks::new(&engine.settings.hooks)));
    if !hooks.watched {
        engine.watch(repository.key, state, Path::new(DIRECTORY));
        hooks.watched = true;
    }
    hooks.pushes.look_for_ended();
    let is_new = state.create.is_some();
    let at_end = match hooks.read(engine, &journal, is_new) {
        Ok(at_end) => at_end,
        Err(error) => {
            report(engine, &error);
            hooks.more = false;
            false
        }
    };
    if let Err(error) = rotate(engine, repository, &journal, &hooks) {
        let directory = state.git_dir().join(DIRECTORY);
        engine.problems.report(&directory, format!("the journal of hooks cannot be rotated: {error}"));
    }
    if !at_end {
        hooks.pushes.forget_ended();
    }
    let disk = |name: &RefName| match scan::one(&state.layout, name) {
        // Nothing is there, or something of another repository.
        _ if !state.is_itself() => Err(Unread),
        Ok(None) => Ok(None),
        Ok(Some(Observed::Good(target))) => Ok(Some(RefState::Good(target))),
        Ok(Some(Observed::Broken(_))) => Ok(Some(RefState::Broken { last_good: None })),
        Err(_) => Err(Unread),
    };
    let locked_since_us = |update: &Update| {
        let own = scan::lock_of(&state.layout, &update.name).ok().flatten();
        let is_deletion = update.new == Value::Zero;
        let packed = is_deletion.then(|| scan::lock_of_packed(&state.layout).ok().flatten()).flatten();
        let since_ns = own.into_iter().chain(packed).map(|lock| lock.mtime_ns).min()?;
        u64::try_from(since_ns / 1000).ok()
    };
    hooks.close(&Disk { state: &disk, locked_since_us: &locked_since_us });
    let mut pushing = lock(&engine.pushing);
    if hooks.pushes.is_waiting() {
        pushing.insert(repository.key);
    } else {
        pushing.remove(&repository.key);
    }
    drop(pushing);
    state.hooks = Some(hooks);
}

/// The hooks are removed: what they told last is lost as a hint, and not told again later.
fn hear_nothing(engine: &Engine, repository: &Repository, state: &mut State) {
    if let Some(hooks) = &mut state.hooks {
        if !hooks.waiting.is_empty() || !hooks.awaited.is_empty() {
            // What waits for its record was looked at, and is not told.
            engine.board.put_back_whole(repository.key, Whole::Notified, Duration::ZERO);
        }
        hooks.hear_no_more(&engine.settings.hooks);
        engine.board.await_records(repository.key, None);
    }
    lock(&engine.pushing).remove(&repository.key);
}

fn report(engine: &Engine, error: &JournalError) {
    engine.problems.report(&error.path, format!("hooks cannot be heard: {}", error.source));
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
        let keep = (!saved.untold.pushes.is_empty()).then_some(&saved.untold.from);
        journal.remove_before(&saved.position, keep)?;
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
    for step in reconciled.drafts.iter_mut().flat_map(|draft| &mut draft.steps) {
        if step.origin != Origin::Hook
            && let Some(awaited) = hooks.awaited.get(&step.name)
        {
            step.origin = awaited.origin;
        }
    }
    let is_looked_at = |name: &RefName| looks.binary_search_by(|look| look.name.cmp(name)).is_ok();
    let were_seen =
        |transaction: &&Transaction| transaction.updates.iter().all(|update| is_looked_at(&update.name));
    let deferred = reconciled.deferred.iter().filter(were_seen).map(|transaction| transaction.id);
    hooks.deferred = deferred.map(|id| (id, hooks.deferred.get(&id).copied().unwrap_or(now))).collect();
    hooks.waiting = std::mem::take(&mut reconciled.held);
    hooks.waiting.append(&mut reconciled.deferred);
    note_emitted(hooks, &reconciled);
    await_records(engine, repository, hooks, origin, &reconciled, seen);
    tell_pushes(engine, hooks, &reconciled, unjudged, job);
    let is_told =
        !reconciled.drafts.is_empty() || !job.last.is_empty() || job.write.is_some() || !over.is_empty();
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
    origin: Origin,
    reconciled: &Reconciled,
    seen: &mut Vec<Seen>,
) {
    let now = Instant::now();
    let steps = || reconciled.drafts.iter().flat_map(|draft| &draft.steps);
    let stepped: BTreeSet<&RefName> = steps().map(|step| &step.name).collect();
    let passed: BTreeSet<(&RefName, &Option<Target>)> = steps().map(|step| (&step.name, &step.new)).collect();
    let mut awaited = BTreeMap::new();
    for short in &reconciled.short {
        let at = seen.binary_search_by(|seen| seen.look.name.cmp(&short.name));
        let seen = &mut seen[at.expect("BUG: only refs that were seen are told short")];
        let count = if seen.look.coalesced { 2 } else { 1 };
        let after = std::mem::replace(&mut seen.look.after, short.reached.clone().map(RefState::Good));
        seen.after_peeled = None;
        if short.awaited {
            let (since, origin) = match hooks.awaited.get(&short.name) {
                // What was seen before is not told yet.
                Some(before) if !passed.contains(&(&short.name, &before.value)) => {
                    (before.since, before.origin)
                }
                Some(_) | None => (now, origin),
            };
            let value = after.as_ref().and_then(RefState::target).cloned();
            let named = Named { count, locked: true };
            awaited.insert(short.name.clone(), Awaited { value, since, named, origin });
        }
    }
    hooks.awaited = awaited;
    seen.retain(|seen| seen.look.before != seen.look.after || stepped.contains(&seen.look.name));
    let settings = &engine.settings;
    let wait_max =
        if settings.hooks.whole_pushes() { settings.watch.settle_max } else { settings.hooks.wait_max };
    let awaited = hooks.awaited.values().map(|awaited| (awaited.since, awaited.since + wait_max));
    // What is deferred is told, or given up, within its time: whatever is recorded later is another story.
    let deferred = hooks.deferred.values().map(|since| (*since, *since + settings.hooks.wait_max));
    let earlier = |(since, until): (Instant, Instant), (other_since, other_until)| {
        (since.min(other_since), until.min(other_until))
    };
    engine.board.await_records(repository.key, awaited.chain(deferred).reduce(earlier));
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
    let rules = PushRules { is_protected: &|name: &[u8]| is_protected(&engine.protected, name) };
    for closed in hooks.pushes.told(&is_untold) {
        job.last.extend(push::describe(&closed, &rules));
    }
}
