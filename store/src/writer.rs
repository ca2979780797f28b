//! The writer thread: takes commits from the queue in order and makes them durable in groups.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::checkpoint::Pressure;
use crate::commit::{self, Applied, CommitError, Failure, Invalid};
use crate::open::witness::Witness;
use crate::options::{GroupCommitted, Observer};
use crate::retention::Step;
use crate::row::{self, Position};
use crate::{Commit, Logged, RepositoryKey, Retention};

/// Rows that one SQLite transaction takes before it is committed; a larger commit gets a transaction of its own.
const GROUP_ROWS_MAX: usize = 8_192;
/// Commits that one SQLite transaction takes.
const GROUP_COMMITS_MAX: usize = 512;

type DoneFn = Box<dyn FnOnce(Result<Vec<Logged>, CommitError>) + Send>;

/// Answers a commit exactly once: with `Closed` if it is dropped unanswered.
pub(crate) struct Done(Option<DoneFn>);

impl Done {
    pub(crate) fn new(done: impl FnOnce(Result<Vec<Logged>, CommitError>) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    fn answer(mut self, result: Result<Vec<Logged>, CommitError>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }

    /// Takes the answer back: the caller of `submit` learns of it otherwise.
    pub(crate) fn disarm(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(CommitError::Closed));
        }
    }
}

pub(crate) struct Submitted {
    pub(crate) commit: Commit,
    pub(crate) done: Done,
}

/// What the writer is asked to do.
pub(crate) enum Message {
    Commit(Box<Submitted>),
    Flush(SyncSender<()>),
    Retain { now_us: i64, reply: SyncSender<Result<Step, CommitError>> },
    FinishBaseline(SyncSender<Result<(), CommitError>>),
    LimitPages { pages: u32, reply: SyncSender<()> },
    Close,
}

/// What the writer publishes, and others read without asking it.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) floor: AtomicU64,
    pub(crate) last: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) queued: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    /// When the writer took up what it does now; `None` while it waits for work.
    pub(crate) taken_up: Mutex<Option<Instant>>,
    /// Held while the database is written, and while the write-ahead log is cut: SQLite never says busy.
    pub(crate) turn: Mutex<()>,
}

impl Published {
    pub(crate) fn take_up(&self, at: Option<Instant>) {
        *self.taken_up.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(crate) fn set(&self, position: &Position) {
        // `last` first: whoever reads the floor before it never sees a floor above `last + 1`.
        self.last.store(position.last, Ordering::Release);
        self.floor.store(position.floor, Ordering::Release);
        self.log_bytes.store(position.log_bytes, Ordering::Relaxed);
    }
}

pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) receiver: Receiver<Message>,
    pub(crate) position: Position,
    pub(crate) witness: Witness,
    pub(crate) published: Arc<Published>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) retention: Retention,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) broken: Broken,
}

/// The generations of repositories of which a commit failed ([`crate::Commit::generation`]).
#[derive(Clone, Debug, Default)]
pub(crate) struct Broken(HashMap<RepositoryKey, u32>);

impl Broken {
    /// Refuses what follows from a commit that failed; a greater generation follows from none of them.
    fn admit(&mut self, commit: &Commit) -> Result<(), CommitError> {
        let (key, Some(generation)) = (commit.repository, commit.generation) else { return Ok(()) };
        match self.0.get(&key) {
            Some(failed) if *failed >= generation => Err(Invalid::Follows { key }.into()),
            Some(_) => {
                self.0.remove(&key);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn note(&mut self, commit: &Commit) {
        if let Some(generation) = commit.generation {
            let failed = self.0.entry(commit.repository).or_default();
            *failed = generation.max(*failed);
        }
    }
}

impl Writer {
    /// Works until it is told to close or every handle is gone; then everything submitted before is answered.
    pub(crate) fn run(mut self) -> (Connection, Witness) {
        let mut held = None;
        while let Some(message) = held.take().or_else(|| self.next()) {
            self.published.take_up(Some(Instant::now()));
            match message {
                Message::Commit(first) => {
                    let group;
                    (group, held) = self.gather(first);
                    self.write(group);
                }
                Message::Flush(reply) => {
                    // Whoever asked may be gone; so below.
                    let _ = reply.send(());
                }
                Message::Retain { now_us, reply } => {
                    let step = self.retain(now_us);
                    let _ = reply.send(step);
                }
                Message::FinishBaseline(reply) => {
                    let turn = self.published.turn.lock().unwrap_or_else(PoisonError::into_inner);
                    let result = row::meta_scanned(&self.connection);
                    drop(turn);
                    let _ = reply.send(result.map_err(|error| CommitError::of_sqlite(&error)));
                }
                Message::LimitPages { pages, reply } => {
                    drop(self.connection.pragma_update(None, "max_page_count", pages));
                    let _ = reply.send(());
                }
                Message::Close => break,
            }
        }
        (self.connection, self.witness)
    }

    fn next(&self) -> Option<Message> {
        self.published.take_up(None);
        self.receiver.recv().ok()
    }

    /// Takes what waits in the queue up to the limits, and the message that ended it.
    fn gather(&self, first: Box<Submitted>) -> (Vec<Submitted>, Option<Message>) {
        let mut rows = first.commit.rows();
        let mut group = vec![*first];
        while rows < GROUP_ROWS_MAX && group.len() < GROUP_COMMITS_MAX {
            match self.receiver.try_recv() {
                Ok(Message::Commit(next)) => {
                    rows += next.commit.rows();
                    if rows > GROUP_ROWS_MAX {
                        return (group, Some(Message::Commit(next)));
                    }
                    group.push(*next);
                }
                Ok(other) => return (group, Some(other)),
                Err(_) => break,
            }
        }
        (group, None)
    }

    fn write(&mut self, group: Vec<Submitted>) {
        self.published.queued.fetch_sub(group.len() as u64, Ordering::Relaxed);
        match self.transact(&group) {
            Ok(results) => self.answer(group, results),
            // One commit too large for what room is left must not take its neighbours along.
            Err(_) if group.len() > 1 => {
                for one in group {
                    let group = vec![one];
                    match self.transact(&group) {
                        Ok(results) => self.answer(group, results),
                        Err(error) => self.fail(group, &error),
                    }
                }
            }
            Err(error) => self.fail(group, &error),
        }
    }

    /// Writes a group in one transaction. On error nothing has changed, neither here nor in the file.
    fn transact(&mut self, group: &[Submitted]) -> Result<Vec<Result<Applied, CommitError>>, CommitError> {
        let mut broken = self.broken.clone();
        let published = Arc::clone(&self.published);
        let _turn = published.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let mut position = self.position;
        let written = self.write_group(group, &mut position, &mut broken).and_then(|results| {
            let committing = Instant::now();
            if results.iter().all(Result::is_err) {
                self.rollback();
                return Ok((results, Duration::ZERO));
            }
            self.connection.prepare_cached("COMMIT")?.execute(())?;
            Ok((results, committing.elapsed()))
        });
        let (results, sync_duration) = match written {
            Ok(written) => written,
            Err(error) => {
                self.rollback();
                return Err(CommitError::of_sqlite(&error));
            }
        };
        self.broken = broken;
        let mut observed = GroupCommitted {
            commits: 0,
            events: position.last - self.position.last,
            refs: 0,
            log_bytes: position.log_bytes - self.position.log_bytes,
            duration: begun.elapsed(),
            sync_duration,
        };
        for (submitted, _) in group.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
            observed.commits += 1;
            observed.refs += submitted.commit.refs.len() as u64;
        }
        if observed.commits > 0 {
            self.position = position;
            self.witness.advance(position.last);
            self.published.set(&position);
            self.published.commits.fetch_add(u64::from(observed.commits), Ordering::Relaxed);
            self.published.groups.fetch_add(1, Ordering::Relaxed);
            self.pressure.add(observed.events + observed.refs, u64::from(observed.commits));
            if let Some(observer) = &self.observer {
                observer.committed(&observed);
            }
        }
        Ok(results)
    }

    fn write_group(
        &mut self,
        group: &[Submitted],
        position: &mut Position,
        broken: &mut Broken,
    ) -> rusqlite::Result<Vec<Result<Applied, CommitError>>> {
        let connection = &self.connection;
        let savepoints = group.len() > 1;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        let mut results = Vec::with_capacity(group.len());
        for submitted in group {
            if savepoints {
                connection.prepare_cached("SAVEPOINT one")?.execute(())?;
            }
            let before = *position;
            let applied = match broken.admit(&submitted.commit) {
                Ok(()) => commit::apply(connection, position, &submitted.commit, &mut self.scratch),
                Err(error) => Err(Failure::Refused(error)),
            };
            let result = match applied {
                Ok(applied) => Ok(applied),
                Err(Failure::Refused(error)) => {
                    broken.note(&submitted.commit);
                    *position = before;
                    if savepoints {
                        connection.prepare_cached("ROLLBACK TO one")?.execute(())?;
                    }
                    Err(error)
                }
                Err(Failure::Sqlite(error)) => return Err(error),
            };
            if savepoints {
                connection.prepare_cached("RELEASE one")?.execute(())?;
            }
            results.push(result);
        }
        // A commit of no events moves nothing here: its page is not written.
        if *position != self.position {
            row::meta_put(connection, position)?;
        }
        Ok(results)
    }

    /// Ends a transaction that SQLite may have ended itself.
    fn rollback(&self) {
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            tracing::error!(%error, "a failed transaction could not be rolled back");
        }
    }

    fn answer(&self, group: Vec<Submitted>, results: Vec<Result<Applied, CommitError>>) {
        for (Submitted { commit, done }, result) in group.into_iter().zip(results) {
            if let Err(error) = &result {
                self.count_failure(error);
            }
            done.answer(result.map(|applied| logged(commit, applied)));
        }
    }

    fn fail(&mut self, group: Vec<Submitted>, error: &CommitError) {
        for submitted in group {
            self.broken.note(&submitted.commit);
            self.count_failure(error);
            submitted.done.answer(Err(error.clone()));
        }
    }

    fn count_failure(&self, error: &CommitError) {
        self.published.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            observer.failed(error);
        }
    }

    fn retain(&mut self, now_us: i64) -> Result<Step, CommitError> {
        let published = Arc::clone(&self.published);
        let _turn = published.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut position = self.position;
        let step = crate::retention::step(&self.connection, &mut position, self.retention, now_us);
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                self.rollback();
                return Err(error);
            }
        };
        self.position = position;
        self.published.set(&position);
        self.pressure.add(step.retained.events + step.retained.refs, 1);
        if let Some(observer) = &self.observer {
            observer.retained(&step.retained);
        }
        Ok(step)
    }
}

fn logged(commit: Commit, applied: Applied) -> Vec<Logged> {
    let Applied { first_sequence, observed_at_us } = applied;
    let repository = commit.repository;
    (first_sequence..)
        .zip(commit.events)
        .map(|(sequence, event)| Logged { sequence, repository, observed_at_us, event })
        .collect()
}
