//! A watch that starts where a checkpoint says.

use crate::v1::watch_events_request::Start;
use crate::v1::{SnapshotThenWatch, WatchEventsRequest};

use super::{Checkpoint, Failure, Policy, Server, Update, Watch};

/// A [`Watch`] with a [`Checkpoint`]: list, then watch, then go on over restarts.
#[derive(Debug)]
pub struct Follow<C> {
    watch: Watch,
    checkpoint: C,
    /// Cursor of what was handed out last and is not stored; `None` where there is nothing new to store.
    unstored: Option<String>,
}

/// Why following could not begin.
#[derive(Debug, thiserror::Error)]
pub enum FollowError<E: std::error::Error + 'static> {
    /// The checkpoint cannot be read.
    #[error("the checkpoint cannot be read: {0}")]
    Checkpoint(#[source] E),
}

impl<C: Checkpoint> Follow<C> {
    /// Starts after the cursor in the checkpoint. Where there is none it starts as the request says, and with a snapshot
    /// if that says nothing. Connects at the first [`Follow::next`].
    ///
    /// # Errors
    /// When the checkpoint cannot be read. It is never taken for an empty one.
    pub async fn open(
        server: Server,
        mut request: WatchEventsRequest,
        policy: Policy,
        mut checkpoint: C,
    ) -> Result<Self, FollowError<C::Error>> {
        let stored = checkpoint.load().await.map_err(FollowError::Checkpoint)?;
        let start = match stored {
            Some(cursor) => Start::Cursor(cursor),
            None => request.start.take().unwrap_or(Start::Snapshot(SnapshotThenWatch {})),
        };
        request.start = Some(start);
        Ok(Self { watch: Watch::new(server, request, policy), checkpoint, unstored: None })
    }

    /// Waits for what comes next, see [`Watch::next`]. Stores nothing: what was handed out and is not
    /// [`Follow::processed`] comes again after a restart, though not after a mere reconnection.
    ///
    /// May be dropped before it is done; nothing is lost then.
    ///
    /// # Errors
    /// See [`Watch::next`].
    pub async fn next(&mut self) -> Result<Update, Failure> {
        let update = self.watch.next().await?;
        match update.cursor() {
            Some(cursor) => self.unstored = Some(cursor.to_owned()),
            // What stands before a snapshot is no place to go on from once part of the snapshot was taken in.
            None if matches!(update, Update::SnapshotBegin(_) | Update::Reset(_)) => self.unstored = None,
            None => {}
        }
        Ok(update)
    }

    /// Stores that everything handed out so far was made use of: a restart goes on after it. Costs nothing where nothing
    /// new was handed out; within a snapshot there is nothing to store until its end.
    ///
    /// # Errors
    /// When it cannot be stored; to be tried again, or followed by a restart from what is stored.
    pub async fn processed(&mut self) -> Result<(), C::Error> {
        if let Some(cursor) = &self.unstored {
            self.checkpoint.store(cursor).await?;
            self.unstored = None;
        }
        Ok(())
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &C {
        &self.checkpoint
    }
}
