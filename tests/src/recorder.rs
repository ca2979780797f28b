//! Keeps everything that a stream brings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{GitEvent, GitEventType, Ref, Reset, Started, WatchEventsRequest};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::DEADLINE;
use crate::client::{Client, Stream, runtime};
use crate::state::State;

/// What a stream has brought so far.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// First message of the last connection.
    pub started: Option<Started>,
    /// State that the events start from: of the last snapshot, else nothing.
    pub base: State,
    /// Refs of the last snapshot.
    pub refs: Vec<Ref>,
    /// A snapshot came to its end.
    pub whole: bool,
    /// Events, in the order they came.
    pub events: Vec<GitEvent>,
    /// Resume token of the last message that had one.
    pub cursor: String,
    /// Highest sequence that the stream has passed.
    pub sequence: u64,
    /// Progress messages.
    pub progress: usize,
    /// Batches of events, by their number of events.
    pub batches: Vec<usize>,
    /// Last message said that the server drains.
    pub draining: bool,
    /// Resets.
    pub resets: Vec<Reset>,
    /// How the last connection ended.
    pub ended: Option<Status>,
}

impl Recording {
    /// Events whose type is one of these.
    pub fn of_type(&self, kind: GitEventType) -> Vec<&GitEvent> {
        self.events.iter().filter(|event| event.r#type() == kind).collect()
    }

    /// Types of all events, in order.
    pub fn types(&self) -> Vec<GitEventType> {
        self.events.iter().map(GitEvent::r#type).collect()
    }

    /// Type and ref of all events, in order.
    pub fn told(&self) -> Vec<(GitEventType, &str)> {
        self.events.iter().map(|event| (event.r#type(), event.ref_name.as_str())).collect()
    }

    /// Sequences of all events, in order.
    pub fn sequences(&self) -> Vec<u64> {
        self.events.iter().map(|event| event.sequence).collect()
    }

    /// Sequence that the state at the start is of; all events are after it.
    pub fn base_sequence(&self) -> u64 {
        self.events.first().map_or(self.sequence, |event| event.sequence - 1)
    }

    fn take(&mut self, kind: Kind) {
        match kind {
            Kind::Started(started) => {
                self.pass(&started.cursor, 0);
                self.started = Some(started);
            }
            Kind::SnapshotBegin(begin) => {
                (self.base, self.refs, self.whole) = (State::default(), Vec::new(), false);
                self.events.clear();
                self.sequence = begin.sequence;
            }
            Kind::SnapshotRefs(part) => {
                let id = part.repository.map(|repository| repository.id).unwrap_or_default();
                self.base.0.entry(id).or_default();
                for taken in part.refs {
                    self.base.put(&taken);
                    self.refs.push(taken);
                }
            }
            Kind::SnapshotEnd(end) => {
                self.whole = true;
                self.pass(&end.cursor, 0);
            }
            Kind::Events(batch) => {
                self.batches.push(batch.events.len());
                let last = batch.events.last().map_or(0, |event| event.sequence);
                self.pass(&batch.cursor, last);
                self.events.extend(batch.events);
            }
            Kind::Progress(progress) => {
                self.progress += 1;
                self.draining = progress.draining;
                self.pass(&progress.cursor, progress.sequence);
            }
            Kind::Reset(reset) => self.resets.push(reset),
        }
    }

    fn pass(&mut self, cursor: &str, sequence: u64) {
        if !cursor.is_empty() {
            cursor.clone_into(&mut self.cursor);
        }
        self.sequence = self.sequence.max(sequence);
    }
}

/// Reads a stream in the background into a [`Recording`].
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<(Mutex<Recording>, Condvar)>,
    request: WatchEventsRequest,
    /// Between two messages, in microseconds.
    pause_us: Arc<AtomicU64>,
    task: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Opens a stream and reads it.
    ///
    /// # Panics
    /// When it is refused.
    pub fn start(client: &Client, request: WatchEventsRequest) -> Self {
        let mut recorder = Self { shared: Arc::default(), request, pause_us: Arc::default(), task: None };
        recorder.open(client, recorder.request.clone()).expect("the stream is accepted");
        let snapshot = matches!(recorder.request.start, Some(Start::Snapshot(_)));
        recorder.wait("the stream begins", |recording| {
            recording.started.is_some() && (recording.whole || !snapshot)
        });
        recorder
    }

    /// Goes on from its last cursor, after the stream has ended or by ending it.
    ///
    /// # Panics
    /// When it is refused.
    pub fn resume(&mut self, client: &Client) {
        self.try_resume(client).expect("the stream is accepted");
    }

    /// As [`Recorder::resume`].
    ///
    /// # Errors
    /// When it is refused, or the connection breaks before it is accepted.
    pub fn try_resume(&mut self, client: &Client) -> Result<(), Status> {
        // What is read after its cursor was noted would come twice.
        self.close();
        let start = Some(Start::Cursor(self.now().cursor));
        let request = WatchEventsRequest { start, ..self.request.clone() };
        self.open(client, request)
    }

    fn open(&mut self, client: &Client, request: WatchEventsRequest) -> Result<(), Status> {
        self.close();
        self.lock().ended = None;
        let mut stream = client.watch(request)?;
        let shared = Arc::clone(&self.shared);
        let pause_us = Arc::clone(&self.pause_us);
        self.task = Some(runtime().spawn(async move { read(&mut stream, &shared, &pause_us).await }));
        Ok(())
    }

    /// Stops reading.
    pub fn close(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Until it has ended it may still record something.
            drop(runtime().block_on(task));
        }
    }

    /// Takes a pause after each message from now on: a subscriber that is slow, or no longer.
    pub fn pause(&self, pause: Duration) {
        self.pause_us.store(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The last connection has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Takes the events out of the recording.
    pub fn take(&self) -> Vec<GitEvent> {
        let mut recording = self.lock();
        recording.batches.clear();
        std::mem::take(&mut recording.events)
    }

    /// What has been recorded so far.
    pub fn now(&self) -> Recording {
        self.lock().clone()
    }

    /// Waits until something can be seen in the recording.
    ///
    /// # Panics
    /// When the stream ends, or the deadline passes, before.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Recording) -> bool) -> Recording {
        let deadline = Instant::now() + DEADLINE;
        let mut recording = self.lock();
        loop {
            if wanted(&recording) {
                return recording.clone();
            }
            let told = || recording.events.iter().map(|event| format!("{event:?}\n")).collect::<String>();
            assert!(recording.ended.is_none(), "the stream ended ({:?}) before {what}", recording.ended);
            let left = deadline.saturating_duration_since(Instant::now());
            let (sequence, progress) = (recording.sequence, recording.progress);
            assert!(
                !left.is_zero(),
                "it never came that {what}; {progress} times progress, up to {sequence}, after\n{}",
                told()
            );
            recording = self.shared.1.wait_timeout(recording, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until everything that is on disk now has come: the recording then.
    pub fn settle(&self, client: &Client) -> Recording {
        let last = client.sync().last_sequence;
        self.wait(&format!("sequence {last} has passed"), |recording| recording.sequence >= last)
    }

    /// Waits until the stream has ended.
    pub fn wait_end(&self) -> Status {
        let recording = self.wait("the stream ends", |recording| recording.ended.is_some());
        recording.ended.expect("ended")
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn read(stream: &mut Stream, shared: &(Mutex<Recording>, Condvar), pause_us: &AtomicU64) {
    loop {
        let pause = Duration::from_micros(pause_us.load(Ordering::Relaxed));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let next = stream.next_async().await;
        let mut recording = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = next.map(|kind| recording.take(kind)).err();
        recording.ended.clone_from(&ended);
        shared.1.notify_all();
        if ended.is_some() {
            return;
        }
    }
}
