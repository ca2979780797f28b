//! Serves the router on a socket, with a limit on everything a client can hold.

use std::{io, pin::pin, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::watch,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::router::PeerAddress;

/// What clients may hold, and how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once; more wait in the listener's backlog.
    pub connections_max: usize,
    /// Size of a request's line and headers, in bytes; at least 8192.
    pub header_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Time to send a request's headers, and to sit idle between two requests.
    pub header_read: Duration,
    /// Age at which a connection is closed after the answer under way.
    pub connection_age: Duration,
    /// Time that an answer under way gets once its connection is to close.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 64,
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            header_read: Duration::from_secs(10),
            connection_age: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Every answer under way was sent.
    Complete,
    /// Some connections were cut off when the time was up.
    Cut {
        /// How many.
        connections: usize,
    },
}

/// Pause after a failed accept, which most often means that no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes, then gives answers under way [`Limits::drain`] to finish.
///
/// Ends within that time. A client that sends slowly, reads slowly or does nothing loses its connection; a failed
/// accept is logged and tried again. Dropping the future closes everything at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Drain {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = listener.accept(), if connections.len() < limits.connections_max => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone().layer(Extension(PeerAddress(peer)));
                    connections.spawn(connection(stream, router, limits.clone(), stopped.clone()));
                }
                Err(error) => pause_after(&error).await,
            },
        }
    }
    drop(listener);
    stop.send_replace(true);
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    match timeout(limits.drain, drained).await {
        Ok(()) => Drain::Complete,
        Err(_late) => Drain::Cut { connections: connections.len() },
    }
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, mut stopped: watch::Receiver<bool>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(8192));
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let grace = select! {
        ended = serving.as_mut() => return log_failure(ended),
        // The server itself then watches the time, and counts who is cut off.
        _ = stopped.wait_for(|stopped| *stopped) => Duration::MAX,
        () = sleep(limits.connection_age) => limits.drain,
    };
    serving.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(grace, serving).await {
        log_failure(ended);
    }
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "could not accept an HTTP connection");
    sleep(ACCEPT_PAUSE).await;
}

/// Logs how a connection failed, quietly: clients hang up as they like.
fn log_failure(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "serving an HTTP connection panicked");
    }
}
