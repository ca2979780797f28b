//! Connections, taken with patience.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use tokio::time::{Sleep, sleep};

/// Pause after a connection could not be taken: as a rule file descriptors have run out, and trying at once would
/// only spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections of a listener, with a pause after each failure.
pub(super) struct Patient<S> {
    inner: S,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, pause: None }
    }
}

impl<S, T, E> Stream for Patient<S>
where
    S: Stream<Item = Result<T, E>> + Unpin,
    E: Display,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection cannot be taken; trying again in a moment");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
                other => return Poll::Ready(other),
            }
        }
    }
}
