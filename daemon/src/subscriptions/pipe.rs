//! The short way from a stream's task to its connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use refwatch_proto::EncodedFrame;
use tokio::sync::mpsc;
use tonic::Status;

use crate::status::Failure;

/// Frames on the way to the connection: one that waits while the next is made, so that both sides work at once.
const FRAMES_MAX: usize = 2;

/// One message, and where its reader can resume.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Bytes,
    /// Position of its cursor; `None` where it has none.
    pub(super) position: Option<u64>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Position of the last message that the connection took and that has one.
    taken: Option<u64>,
    /// How the stream ends.
    end: Option<Status>,
    /// What the connection did not take yet is not to be sent any more.
    cut: bool,
}

/// The task's end.
#[derive(Debug)]
pub(super) struct Outlet {
    sender: mpsc::Sender<Message>,
    shared: Arc<Mutex<Shared>>,
}

/// The connection's end: the messages of the stream, and its status.
#[derive(Debug)]
pub(crate) struct Outgoing {
    receiver: mpsc::Receiver<Message>,
    shared: Arc<Mutex<Shared>>,
    ended: bool,
}

pub(super) fn pipe() -> (Outlet, Outgoing) {
    let (sender, receiver) = mpsc::channel(FRAMES_MAX);
    let shared = Arc::new(Mutex::default());
    let outgoing = Outgoing { receiver, shared: Arc::clone(&shared), ended: false };
    (Outlet { sender, shared }, outgoing)
}

/// The client is gone, or its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

impl Outlet {
    /// True when a message can be sent at once.
    pub(super) fn has_room(&self) -> bool {
        self.sender.capacity() > 0 && !self.sender.is_closed()
    }

    /// Waits until a message can be sent at once.
    pub(super) async fn room(&self) -> Result<(), Gone> {
        self.sender.reserve().await.map(drop).map_err(|_| Gone)
    }

    /// Waits until the client is gone.
    pub(super) async fn gone(&self) {
        self.sender.closed().await;
    }

    /// Sends a message. There must be room: nobody else sends.
    pub(super) fn send(&self, message: Message) -> Result<(), Gone> {
        match self.sender.try_send(message) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
            Err(mpsc::error::TrySendError::Full(_)) => unreachable!("BUG: a message was sent without room"),
        }
    }

    /// Ends the stream with a status, after what was sent.
    pub(super) fn end(self, status: Status) {
        lock(&self.shared).end = Some(status);
    }

    /// Ends the stream without what the connection has not taken yet. The failure is made for the position up to
    /// which the client has everything, `None` where it has nothing to resume from.
    pub(super) fn abandon(self, failure: impl FnOnce(Option<u64>) -> Failure) {
        let mut shared = lock(&self.shared);
        shared.cut = true;
        shared.end = Some(failure(shared.taken).into());
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Outgoing {
    type Item = Result<EncodedFrame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let message = ready!(self.receiver.poll_recv(cx));
        let mut shared = lock(&self.shared);
        if let (Some(message), false) = (message, shared.cut) {
            shared.taken = message.position.or(shared.taken);
            return Poll::Ready(Some(Ok(EncodedFrame(message.bytes))));
        }
        let end = shared.end.take();
        drop(shared);
        self.ended = true;
        self.receiver.close();
        while self.receiver.try_recv().is_ok() {}
        let bug = || Failure::Bug("a stream ended without a status".to_owned()).into();
        Poll::Ready(Some(Err(end.unwrap_or_else(bug))))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    fn message(position: u64) -> Message {
        Message { bytes: Bytes::from(position.to_string()), position: Some(position) }
    }

    #[tokio::test]
    async fn the_status_comes_after_what_was_sent() {
        let (outlet, outgoing) = pipe();
        outlet.send(message(1)).unwrap();
        outlet.end(Status::unavailable("stop"));
        let items: Vec<_> = outgoing.collect().await;
        assert_eq!(items[0].as_ref().unwrap().0, "1");
        assert_eq!(items[1].as_ref().unwrap_err().message(), "stop");
        assert_eq!(items.len(), 2);
    }

    #[tokio::test]
    async fn an_abandoned_stream_tells_the_last_position_that_was_taken_and_drops_the_rest() {
        let (outlet, mut outgoing) = pipe();
        outlet.send(message(1)).unwrap();
        outlet.send(message(2)).unwrap();
        assert!(!outlet.has_room());
        outgoing.next().await.unwrap().unwrap();
        outlet.room().await.unwrap();
        let mut told = None;
        outlet.abandon(|taken| {
            told = taken;
            Failure::Credentials
        });
        assert_eq!(told, Some(1));
        let rest: Vec<_> = outgoing.collect().await;
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].as_ref().unwrap_err().code(), tonic::Code::Unauthenticated);
    }

    #[tokio::test]
    async fn a_task_that_vanished_is_an_internal_error_not_a_good_end() {
        let (outlet, outgoing) = pipe();
        drop(outlet);
        let items: Vec<_> = outgoing.collect().await;
        assert_eq!(items[0].as_ref().unwrap_err().code(), tonic::Code::Internal);
    }

    #[tokio::test]
    async fn dropping_the_connections_end_is_noticed() {
        let (outlet, outgoing) = pipe();
        drop(outgoing);
        outlet.gone().await;
        assert_eq!(outlet.room().await, Err(Gone));
        assert_eq!(outlet.send(message(1)), Err(Gone));
    }
}
