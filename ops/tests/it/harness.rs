//! A server on a port of its own, and a client for it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use refwatch_ops::{
    Audience, Check, Drain, Limits, Liveness, Metrics, Ops, Readiness, Status, StatusSource, router, serve,
};
use tokio::{net::TcpListener, sync::oneshot};
use ureq::{Agent, http::Response};

/// A deadline that only a hung test reaches.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What the server under test is asked to show.
#[derive(Default)]
pub(crate) struct Shown(pub(crate) Mutex<Status>);

impl StatusSource for Shown {
    fn status(&self) -> Status {
        self.0.lock().unwrap().clone()
    }
}

/// A running server; dropping it stops it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) store: Check,
    pub(crate) grpc: Check,
    pub(crate) liveness: Liveness,
    pub(crate) shown: Arc<Shown>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Drain>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let shown = Arc::new(Shown::default());
        let source = Arc::clone(&shown);
        Self::with_source(limits, source, shown)
    }

    pub(crate) fn with_source(limits: Limits, source: Arc<dyn StatusSource>, shown: Arc<Shown>) -> Self {
        let metrics = Metrics::new("1.2.3");
        let (readiness, [store, grpc]) = Readiness::with_checks(["store", "grpc"]);
        let liveness = Liveness::default();
        let ops = Ops {
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            liveness: liveness.clone(),
            status: source,
            status_audience: Audience::ThisMachine,
        };
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = std::sync::mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                serve(listener, router(ops), limits, async { stopped.await.unwrap_or_default() }).await
            })
        });
        let address = address.recv_timeout(DEADLINE).unwrap();
        let (stop, thread) = (Some(stop), Some(thread));
        Self { address, metrics, readiness, store, grpc, liveness, shown, stop, thread }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_as(path, "*/*")
    }

    pub(crate) fn get_as(&self, path: &str, accept: &str) -> Answer {
        Answer::from(agent().get(self.url(path)).header("accept", accept).call().unwrap())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn stopped(&mut self) -> Drain {
        self.stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A client that follows nothing and takes every status as an answer.
pub(crate) fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(DEADLINE))
        .build()
        .new_agent()
}

/// An answer with its body read.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: String,
    head: Response<()>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

impl From<Response<ureq::Body>> for Answer {
    fn from(response: Response<ureq::Body>) -> Self {
        let (head, mut body) = response.into_parts();
        let code = head.status.as_u16();
        Self { code, body: body.read_to_string().unwrap(), head: Response::from_parts(head, ()) }
    }
}
