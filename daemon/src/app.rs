//! The daemon: puts the parts together, runs them, and takes them apart again.

mod chores;
mod inherited;
mod observe;
mod page;
mod progress;
mod supervisor;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use refwatch_ops::{Audience, Check, Limits, Liveness, Metrics, Ops, Readiness};
use refwatch_store::{Durability, OnCorrupt, Opened, Options, Retention, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{LogFormat, LogSettings, Problem};
use crate::directory::Directory;
use crate::engine::{Engine, EngineBarrier, EngineIntake, Parts};
use crate::grpc::{self, GrpcServer};
use crate::log::{Log, STORE_READS_MAX};
use crate::problems::Problems;
use crate::service::{GitEvents, Ingest};
use crate::settings::{Settings, StoreSettings};
use crate::subscriptions::Subscriptions;

use inherited::Inherited;

/// Readers of the store besides those of subscribers and one for each worker.
const READERS_SPARE: usize = 4;
/// Threads that serve connections.
const SERVE_THREADS_MAX: usize = 8;

/// The checks that readiness consists of.
pub(crate) struct Checks {
    pub(crate) store: Check,
    pub(crate) watcher: Check,
    pub(crate) first_scan: Check,
    pub(crate) grpc: Check,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub(crate) fn run(settings: Settings, log: LogSettings, warnings: &[Problem]) -> anyhow::Result<ExitCode> {
    start_logging(log);
    for warning in warnings {
        tracing::warn!(setting = warning.key, detail = warning.message, "a file with secrets is not private");
    }
    let inherited = Inherited::take()?;
    let settings = Arc::new(settings);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    metrics.events.declare(refwatch_core::EventType::ALL.iter().map(|kind| kind.as_str()));
    metrics.anomalies.declare(refwatch_core::reconcile::AnomalyKind::ALL.iter().map(|kind| kind.as_str()));
    metrics.store_errors.declare(observe::ERROR_KINDS);
    let opened = open_store(&settings, &metrics)?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(SERVE_THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("serve")
        .enable_all()
        .build()
        .context("cannot start the threads that serve")?;
    runtime.block_on(serve(settings, metrics, opened, inherited))?;
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    Ok(ExitCode::SUCCESS)
}

fn start_logging(log: LogSettings) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    // What `notify` has to say of watches that went with their directories is no news.
    let targets = Targets::new()
        .with_default(log.level)
        .with_target("notify", log.level.min(tracing::level_filters::LevelFilter::ERROR));
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry.with(layer.with_ansi(colour)).init();
        }
    }
}

fn open_store(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Opened> {
    let StoreSettings { durable, retention_age, .. } = settings.store;
    let options = Options {
        retention: Retention {
            age_us_max: retention_age.and_then(|age| u64::try_from(age.as_micros()).ok()),
            events_max: settings.store.retention_events_max,
            bytes_max: settings.store.retention_bytes_max,
        },
        readers_max: STORE_READS_MAX + settings.watch.workers + READERS_SPARE,
        durability: if durable { Durability::Full } else { Durability::Normal },
        on_corrupt: if settings.store.set_aside_corrupt { OnCorrupt::SetAside } else { OnCorrupt::Refuse },
        observer: Some(Arc::new(observe::StoreMetrics(metrics.clone()))),
        ..Options::new(&settings.store.path)
    };
    let opened = refwatch_store::open(options, crate::engine::now_us())?;
    if let Some(reason) = &opened.epoch_reason {
        tracing::warn!(?reason, "a new epoch begins: earlier cursors are void");
    }
    Ok(opened)
}

async fn serve(
    settings: Arc<Settings>,
    metrics: Metrics,
    opened: Opened,
    inherited: Inherited,
) -> anyhow::Result<()> {
    let drain = CancellationToken::new();
    let (readiness, [store, watcher, first_scan, grpc]) =
        Readiness::with_checks(["store", "watcher", "first_scan", "grpc"]);
    let checks = Checks { store, watcher, first_scan, grpc };
    let sockets = grpc::Inherited { tcp: inherited.grpc, unix: inherited.grpc_socket };
    let server = GrpcServer::bind(&settings.grpc, sockets)?;
    let http = listen_http(settings.http.address, inherited.http).await?;
    let store = Arc::new(opened.store);
    let directory = Arc::new(Directory::default());
    let log = Arc::new(Log::new(Arc::clone(&store), Arc::clone(&directory), metrics.clone()));
    let baseline = opened.baseline && settings.baseline == crate::settings::Baseline::Known;
    let liveness = Liveness::default();
    let engine = Engine::start(Parts {
        settings: Arc::clone(&settings),
        store: Arc::clone(&store),
        log: Arc::clone(&log),
        directory,
        metrics: metrics.clone(),
        problems: Arc::new(Problems::default()),
        releases: crate::releases::compile(&settings.classify.release_patterns)
            .context("classify.release_patterns")?,
        protected: crate::protected::compile(&settings.classify.protected_refs)
            .context("classify.protected_refs")?,
        baseline,
        liveness: liveness.clone(),
    })?;
    let subscriptions =
        Arc::new(Subscriptions::new(Arc::clone(&log), metrics.clone(), &settings, drain.clone()));
    let barrier = Arc::new(EngineBarrier(Arc::clone(&engine)));
    let intake = Arc::new(EngineIntake(Arc::clone(&engine)));
    let ingest = Ingest::new(Arc::clone(&log), intake, metrics.clone(), drain.clone());
    let events =
        GitEvents::new(log, Arc::clone(&subscriptions), barrier, metrics.clone(), Arc::clone(&settings));
    let status = Arc::new(page::StatusPage::new(Arc::clone(&engine), Arc::clone(&subscriptions)));
    tracing::info!(
        grpc = %server.local_addr(),
        http = http.as_ref().and_then(|http| http.local_addr().ok()).map(tracing::field::display),
        database = %settings.store.path.display(),
        roots = settings.roots.len(),
        "listening"
    );
    checks.grpc.ok();
    let ops = Ops {
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        liveness: liveness.clone(),
        status,
        status_audience: if settings.http.expose_status { Audience::Everyone } else { Audience::ThisMachine },
    };
    let sidecar = async {
        if let Some(http) = http {
            refwatch_ops::serve(http, refwatch_ops::router(ops), Limits::default(), drain.cancelled()).await;
        } else {
            drain.cancelled().await;
        }
    };
    let ended = {
        let grpc = server.serve(events, ingest, readiness.clone(), metrics, drain.clone());
        let chores = chores::run(&engine, checks, &readiness, &liveness, drain.clone());
        let stop = stop_on_signal(&readiness, &drain);
        let ((), (), (), ended) = tokio::join!(sidecar, chores, stop, async {
            let ended = grpc.await;
            drain.cancel();
            ended
        });
        ended
    };
    close(engine, store).await;
    ended.context("serving gRPC")
}

/// The sidecar's socket: one that was handed over stands in for the configured address.
async fn listen_http(
    address: Option<SocketAddr>,
    inherited: Option<std::net::TcpListener>,
) -> anyhow::Result<Option<TcpListener>> {
    if let Some(socket) = inherited {
        socket.set_nonblocking(true).context("the HTTP socket of the service manager")?;
        return TcpListener::from_std(socket).map(Some).context("the HTTP socket of the service manager");
    }
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener
        .map(Some)
        .with_context(|| format!("http.address: cannot listen on {address}; choose another, or \"off\""))
}

/// Begins the drain at SIGTERM or SIGINT.
async fn stop_on_signal(readiness: &Readiness, drain: &CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught: the daemon will end without a goodbye");
        return drain.cancelled().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
        () = drain.cancelled() => {}
    }
    readiness.drain();
    supervisor::stopping();
    drain.cancel();
}

async fn close(engine: Arc<Engine>, store: Arc<Store>) {
    let closed = tokio::task::spawn_blocking(move || {
        engine.stop();
        store.close();
    });
    if closed.await.is_err() {
        tracing::error!("the engine or the store panicked while it was closed");
    }
    tracing::info!("stopped");
}
