//! Health, readiness, metrics and status over HTTP.
//!
//! This crate knows no refs: it counts, it answers probes, and it shows what a [`StatusSource`] tells it.
//! Wiring it up takes four values and one call:
//!
//! ```no_run
//! # use refwatch_ops::{Audience, Limits, Liveness, Metrics, Ops, Readiness, Status, StatusSource};
//! # use std::{sync::Arc, time::Duration};
//! # struct Daemon;
//! # impl StatusSource for Daemon { fn status(&self) -> Status { Status::default() } }
//! # async fn wire(listener: tokio::net::TcpListener, shutdown: impl Future<Output = ()>) {
//! let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
//! let (readiness, [store, grpc]) = Readiness::with_checks(["store", "grpc"]);
//! let liveness = Liveness::default();
//! let sweeping = liveness.register("sweep", Duration::from_secs(60));
//!
//! store.ok();
//! grpc.failing("port 50052 is taken");
//! sweeping.beat();
//!
//! let ops = Ops { metrics, readiness, liveness, status: Arc::new(Daemon), status_audience: Audience::ThisMachine };
//! refwatch_ops::serve(listener, refwatch_ops::router(ops), Limits::default(), shutdown).await;
//! # }
//! ```

mod liveness;
pub mod metrics;
mod negotiate;
mod readiness;
mod router;
mod server;
pub mod status;

pub use liveness::{Heartbeat, Liveness, LivenessReport, LoopReport};
pub use metrics::Metrics;
pub use readiness::{Check, CheckReport, CheckState, Readiness, ReadinessReport};
pub use router::{Audience, Ops, router};
pub use server::{Drain, Limits, serve};
pub use status::{Status, StatusSource};
