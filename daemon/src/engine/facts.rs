//! Facts from object databases: quick ones inline, slow ones off the path of other repositories.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use refwatch_core::describe::Facts;
use refwatch_core::event::EventType;
use refwatch_core::reconcile::{Draft, Mark, Step};
use refwatch_core::{Event, Namespace, ObjectFormat, ObjectId, Origin, RefName, Target};
use refwatch_ops::Heartbeat;
use refwatch_ops::metrics::Ancestry;
use refwatch_store::{FsIdentity, RepositoryKey, RepositoryWrite, SignatureWrite};
use refwatch_watcher::layout;
use refwatch_watcher::objects::{Budget, Objects, Relation, UnknownReason};
use refwatch_watcher::wake::Whole;

use super::{DOUBT, Engine, RETRY_FIRST, Repository, State, Unwritten, lock};
use crate::pass::Seen;

/// Threads that answer slow questions.
pub(crate) const SLOW_THREADS: usize = 2;
/// What an inline question may cost.
const QUICK_COMMITS_MAX: u32 = 512;
const QUICK_TIME_MAX: Duration = Duration::from_millis(3);
/// How long a question waits between two looks for a repository that is not at its path.
const ELSEWHERE_STEP: Duration = Duration::from_millis(20);
/// Object databases kept open.
const OPEN_MAX: usize = 32;
/// How long an object database that nobody asks stays open.
const OPEN_IDLE_MAX: Duration = Duration::from_secs(30);

/// What one pass concluded, on its way to the log.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) observed_at_us: i64,
    /// When the first wake of the pass was posted.
    pub(crate) since: Instant,
    pub(crate) git_dir: Arc<Path>,
    pub(crate) identity: FsIdentity,
    pub(crate) format: ObjectFormat,
    /// What becomes of the repository as a whole.
    pub(crate) write: Option<RepositoryWrite>,
    /// Events that come before those of the drafts.
    pub(crate) first: Vec<Event>,
    pub(crate) drafts: Vec<Draft>,
    /// Events that come after them.
    pub(crate) last: Vec<Event>,
    /// One for each step of each draft, in order; `None` while not known.
    pub(crate) facts: Vec<Option<Facts>>,
    pub(crate) seen: Vec<Seen>,
    /// What was seen is taken as known: refs are written without events.
    pub(crate) known: bool,
    pub(crate) signature: SignatureWrite,
    /// What is kept of the journal of hooks.
    pub(crate) journal: Option<Vec<u8>>,
    pub(crate) ticket: u64,
    pub(crate) generation: u32,
}

impl Job {
    pub(crate) fn new(state: &State, since: Option<Instant>) -> Self {
        Self {
            observed_at_us: super::now_us(),
            since: since.unwrap_or_else(Instant::now),
            git_dir: Arc::clone(&state.layout.git_dir),
            identity: state.layout.identity,
            format: state.layout.format,
            write: None,
            first: Vec::new(),
            drafts: Vec::new(),
            last: Vec::new(),
            journal: None,
            facts: Vec::new(),
            seen: Vec::new(),
            known: false,
            signature: SignatureWrite::Keep,
            ticket: 0,
            generation: 0,
        }
    }

    /// Tells the log once more what could not be written of a repository itself.
    pub(crate) fn of_unwritten(state: &State, unwritten: Unwritten) -> Self {
        Self { write: Some(unwritten.write), first: unwritten.events, ..Self::new(state, None) }
    }

    /// What of it does not follow from the files of the repository.
    pub(crate) fn into_unwritten(self) -> Option<Unwritten> {
        let write = self.write.filter(|write| !matches!(write, RepositoryWrite::Create(_)))?;
        Some(Unwritten { write, events: self.first })
    }

    /// Makes the repository known to the log.
    pub(crate) fn discover(&mut self, state: &State, origin: Origin) {
        self.write = state.create.as_deref().cloned().map(RepositoryWrite::Create);
        self.first.push(Event::of_repository(EventType::RepositoryDiscovered, origin));
    }

    /// Takes refs as known: the baseline.
    pub(crate) fn take_as_known(&mut self, seen: Vec<Seen>) {
        self.known = true;
        self.seen = seen;
    }

    /// Takes what was concluded.
    pub(crate) fn take(&mut self, drafts: Vec<Draft>, seen: Vec<Seen>) {
        let steps = drafts.iter().map(|draft| draft.steps.len()).sum();
        self.facts = vec![None; steps];
        self.drafts = drafts;
        if !self.known {
            self.seen = seen;
        }
        if !self.drafts.is_empty() {
            self.signature = SignatureWrite::Set(None);
        }
    }

    /// Writes the signature of what was read, when it is another than before.
    pub(crate) fn sign(&mut self, signature: Option<u64>, before: Option<u64>) {
        if signature != before {
            self.signature = SignatureWrite::Set(signature);
        }
    }

    /// True when there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.write.is_none()
            && self.first.is_empty()
            && self.drafts.is_empty()
            && self.last.is_empty()
            && self.journal.is_none()
            && self.seen.is_empty()
            && self.signature == SignatureWrite::Keep
    }
}

struct Open {
    key: RepositoryKey,
    /// Where it was opened: a repository that has moved since is opened anew.
    git_dir: Arc<Path>,
    used: Instant,
    objects: Box<Objects>,
}

/// Object databases of repositories that were asked lately.
#[derive(Default)]
pub(crate) struct ObjectsCache(Mutex<Vec<Open>>);

impl ObjectsCache {
    fn take(&self, key: RepositoryKey, git_dir: &Path) -> Option<Box<Objects>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|open| open.key != key || *open.git_dir == *git_dir);
        let at = open.iter().position(|open| open.key == key)?;
        Some(open.swap_remove(at).objects)
    }

    fn put(&self, key: RepositoryKey, git_dir: Arc<Path>, objects: Box<Objects>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_MAX
            && let Some(oldest) = (0..open.len()).min_by_key(|at| open[*at].used)
        {
            open.swap_remove(oldest);
        }
        open.push(Open { key, git_dir, used: Instant::now(), objects });
    }

    /// Closes the database of one repository.
    pub(crate) fn forget(&self, key: RepositoryKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|open| open.key != key);
    }

    /// Closes what has not been asked for a while.
    pub(crate) fn close_idle(&self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|open| open.used.elapsed() < OPEN_IDLE_MAX);
    }
}

/// Jobs with questions that take long: at most one of each repository, the others wait in its `held`.
#[derive(Debug, Default)]
pub(crate) struct SlowLane {
    inner: Mutex<Lane>,
    work: Condvar,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<(u64, Arc<Repository>, Job)>,
    running: Vec<u64>,
    tickets: u64,
    closed: bool,
}

impl SlowLane {
    fn push(&self, repository: Arc<Repository>, job: Job) -> usize {
        let mut lane = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        lane.tickets += 1;
        let ticket = lane.tickets;
        lane.queue.push_back((ticket, repository, job));
        self.work.notify_one();
        lane.queue.len()
    }

    fn take(&self) -> Option<(u64, Arc<Repository>, Job)> {
        let mut lane = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if lane.closed {
                return None;
            }
            if let Some(work) = lane.queue.pop_front() {
                lane.running.push(work.0);
                return Some(work);
            }
            lane = self.work.wait(lane).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, ticket: u64) -> usize {
        let mut lane = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        lane.running.retain(|running| *running != ticket);
        self.idle.notify_all();
        lane.queue.len()
    }

    /// Waits until what was asked before the call is answered, or until `deadline`.
    pub(crate) fn quiesce(&self, deadline: Instant) -> bool {
        let mut lane = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = lane.tickets;
        loop {
            let busy = lane.queue.iter().map(|work| work.0).chain(lane.running.iter().copied()).min();
            if busy.is_none_or(|oldest| oldest > before) {
                return true;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() || lane.closed {
                return false;
            }
            lane = self.idle.wait_timeout(lane, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.work.notify_all();
        self.idle.notify_all();
    }
}

impl Engine {
    /// Takes a job over from a pass: answers its questions and commits it, behind those of the same repository that
    /// came before.
    pub(crate) fn hand_on(self: &Arc<Self>, repository: &Arc<Repository>, state: &mut State, mut job: Job) {
        if job.is_empty() {
            return;
        }
        state.tickets += 1;
        job.ticket = state.tickets;
        job.generation = state.generation;
        repository.overlay(&job);
        state.create = None;
        if state.holding {
            state.held.push_back(job);
            return;
        }
        let budget =
            Budget { commits_max: QUICK_COMMITS_MAX, deadline: Some(Instant::now() + QUICK_TIME_MAX) };
        if self.answer(repository.key, &mut job, &budget, Patience::Quick) {
            self.submit(repository, job);
        } else {
            state.holding = true;
            let depth = self.slow.push(Arc::clone(repository), job);
            self.metrics.ancestry_slow_queue.set(depth as u64);
        }
    }

    /// Runs one of the threads that answer slow questions.
    pub(crate) fn answer_slow_questions(self: &Arc<Self>, heart: &Heartbeat) {
        heart.rest();
        while let Some((ticket, repository, mut job)) = self.slow.take() {
            let mut missed = None;
            loop {
                loop {
                    heart.beat();
                    job.git_dir = Arc::clone(&repository.lock().layout.git_dir);
                    let budget = Budget {
                        commits_max: self.settings.ancestry.commits_max,
                        deadline: Some(Instant::now() + self.settings.ancestry.time_max),
                    };
                    if self.answer(repository.key, &mut job, &budget, Patience::Last) {
                        break;
                    }
                    // One that is met nowhere in that time seems gone.
                    let since: Instant = *missed.get_or_insert_with(Instant::now);
                    let may_be_met = since.elapsed() < DOUBT && self.repository(repository.key).is_some();
                    if !may_be_met || !self.pause(ELSEWHERE_STEP) {
                        break;
                    }
                }
                let mut state = repository.lock();
                if job.generation == state.generation {
                    self.submit(&repository, job);
                } else {
                    // What it follows from never got into the log: its refs are looked at anew, while it is there.
                    let is_followed = self.repository(repository.key).is_some();
                    let unwritten = job.into_unwritten();
                    if !is_followed && unwritten.is_some() {
                        lock(&self.unburied).push(Arc::clone(&repository));
                    }
                    if is_followed || unwritten.is_some() {
                        lock(&self.failing).entry(repository.key).or_default().extend(unwritten);
                        repository.failed.store(true, Ordering::Release);
                        self.board.post_later(repository.key, Whole::Retry, RETRY_FIRST);
                    }
                }
                match state.held.pop_front() {
                    Some(next) => job = next,
                    None => {
                        state.holding = false;
                        break;
                    }
                }
            }
            let depth = self.slow.done(ticket);
            self.metrics.ancestry_slow_queue.set(depth as u64);
            heart.rest();
        }
    }

    /// Fills in the facts of a job. False when the budget ended before the answers were there.
    fn answer(&self, key: RepositoryKey, job: &mut Job, budget: &Budget, patience: Patience) -> bool {
        let mut asked = Asked {
            objects: None,
            cache: &self.objects,
            key,
            git_dir: &job.git_dir,
            format: job.format,
            missed: false,
        };
        let mut complete = true;
        if job.known {
            for seen in &mut job.seen {
                let target = seen.look.after.as_ref().and_then(|state| state.target());
                if seen.after_peeled.is_none() && is_tag(&seen.look.name) {
                    seen.after_peeled = asked.peel(target);
                }
            }
        }
        let Job { drafts, facts, seen, .. } = job;
        for (step, fact) in drafts.iter().flat_map(|draft| &draft.steps).zip(facts.iter_mut()) {
            if fact.is_some() {
                continue;
            }
            if patience == Patience::Quick
                && budget.deadline.is_some_and(|deadline| deadline <= Instant::now())
            {
                return false;
            }
            *fact = self.fact(&mut asked, step, seen, budget, patience);
            complete &= fact.is_some();
        }
        if asked.missed && layout::identity(&job.git_dir).ok() != Some(job.identity) {
            // The objects went with the repository: it is asked again where it is met.
            facts.fill(None);
            return false;
        }
        complete
    }

    fn fact(
        &self,
        asked: &mut Asked<'_>,
        step: &Step,
        seen: &[Seen],
        budget: &Budget,
        patience: Patience,
    ) -> Option<Facts> {
        let mut facts = Facts::default();
        if step.mark != Mark::Change {
            return Some(facts);
        }
        if is_tag(&step.name) {
            let seen = seen.binary_search_by(|seen| seen.look.name.cmp(&step.name)).ok().map(|at| &seen[at]);
            let known = |side: Option<&refwatch_core::RefState>, target: Option<&Target>| {
                side.and_then(|state| state.target()) == target
            };
            facts.old_peeled = seen
                .filter(|seen| known(seen.look.before.as_ref(), step.old.as_ref()))
                .and_then(|seen| seen.before_peeled)
                .or_else(|| asked.peel(step.old.as_ref()));
            facts.new_peeled = seen
                .filter(|seen| known(seen.look.after.as_ref(), step.new.as_ref()))
                .and_then(|seen| seen.after_peeled)
                .or_else(|| asked.peel(step.new.as_ref()));
        }
        let (Some(Target::Direct(old)), Some(Target::Direct(new))) = (&step.old, &step.new) else {
            return Some(facts);
        };
        let began = Instant::now();
        let relation =
            asked.relation(facts.old_peeled.unwrap_or(*old), facts.new_peeled.unwrap_or(*new), budget);
        if relation == Relation::Unknown(UnknownReason::BudgetSpent) && patience == Patience::Quick {
            return None;
        }
        self.metrics.ancestry_duration.observe(began.elapsed());
        self.metrics.ancestry.inc(match relation {
            Relation::FastForward => Ancestry::FastForward,
            Relation::Forced | Relation::Unknown(UnknownReason::Diverged) => Ancestry::Forced,
            Relation::Unrelated => Ancestry::Unrelated,
            Relation::Unknown(_) => Ancestry::Unknown,
        });
        facts.forward = relation.forward();
        Some(facts)
    }
}

/// What to make of a budget that is spent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Ask again where more is allowed.
    Quick,
    /// Not known, then.
    Last,
}

fn is_tag(name: &RefName) -> bool {
    Namespace::of(name) == Namespace::Tag
}

/// The object database of one repository, opened when the first question comes.
struct Asked<'engine> {
    objects: Option<Box<Objects>>,
    cache: &'engine ObjectsCache,
    key: RepositoryKey,
    git_dir: &'engine Arc<Path>,
    format: ObjectFormat,
    /// Something was not found, or could not be read.
    missed: bool,
}

impl Asked<'_> {
    fn objects(&mut self) -> Option<&mut Objects> {
        if self.objects.is_none() {
            self.objects = self
                .cache
                .take(self.key, self.git_dir)
                .or_else(|| Objects::open(self.git_dir, self.format).ok().map(Box::new));
        }
        self.objects.as_deref_mut()
    }

    /// What an annotated tag finally names; `None` for anything else, and where it cannot be told.
    fn peel(&mut self, target: Option<&Target>) -> Option<ObjectId> {
        let oid = target?.oid()?;
        let peeled = self.objects().and_then(|objects| objects.peel(oid).ok());
        self.missed |= peeled.is_none();
        let peeled = peeled?;
        peeled.annotated.then_some(peeled.oid)
    }

    fn relation(&mut self, old: ObjectId, new: ObjectId, budget: &Budget) -> Relation {
        let relation = match self.objects() {
            Some(objects) => objects.relation(old, new, budget),
            None => Relation::Unknown(UnknownReason::Unreadable),
        };
        self.missed |= matches!(
            relation,
            Relation::Unknown(
                UnknownReason::MissingObject | UnknownReason::Unreadable | UnknownReason::Diverged
            )
        );
        relation
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(objects) = self.objects.take() {
            self.cache.put(self.key, Arc::clone(self.git_dir), objects);
        }
    }
}
