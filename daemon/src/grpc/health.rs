//! grpc.health.v1: serving while the daemon is ready.

use std::time::Duration;

use refwatch_ops::Readiness;
use refwatch_proto::server::git_event_service_server::SERVICE_NAME as EVENTS;
use refwatch_proto::server::ingest_service_server::SERVICE_NAME as INGEST;
use tokio::sync::Mutex;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

pub(super) const SERVICE_NAME: &str = health_server::SERVICE_NAME;
/// The server as a whole, and what it is for.
const SERVICES: [&str; 3] = ["", EVENTS, INGEST];
/// How often readiness is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Reports the readiness of the daemon to whoever checks or watches.
pub(super) struct Health {
    reporter: Mutex<HealthReporter>,
    readiness: Readiness,
}

impl Health {
    /// Not serving, until [`Health::follow`] finds otherwise.
    pub(super) async fn new(readiness: Readiness) -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        let health = Self { reporter: Mutex::new(reporter), readiness };
        health.not_serving().await;
        (health, service)
    }

    /// Reports what readiness says, for ever.
    pub(super) async fn follow(&self) {
        let mut reported = false;
        loop {
            let ready = self.readiness.ready();
            if ready != reported {
                let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                self.report(status).await;
                reported = ready;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Reports that nothing is served, whatever readiness says.
    pub(super) async fn not_serving(&self) {
        self.report(ServingStatus::NotServing).await;
    }

    /// Ends the streams of those who watch.
    pub(super) async fn end(&self) {
        let mut reporter = self.reporter.lock().await;
        for service in SERVICES {
            reporter.clear_service_status(service).await;
        }
    }

    async fn report(&self, status: ServingStatus) {
        let reporter = self.reporter.lock().await;
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
    }
}
