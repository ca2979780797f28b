//! IngestService: what Git hosts report, checked, committed and answered once it is durable.

mod limit;
mod report;
mod repository;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use refwatch_core::refuse::Refusal;
use refwatch_ops::metrics::{Metrics, ReportOutcome};
use refwatch_proto::server::ingest_service_server::IngestService;
use refwatch_proto::{limits, v1};
use refwatch_store::{CommitError, RepositoryKey};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::engine::lock;
use crate::filter::View;
use crate::grpc::{Grant, Peer, Signed, view_of};
use crate::intake::{Intake, Standing, Stored};
use crate::log::Log;
use crate::status::Failure;
use crate::wire::hex16;
use limit::{Limiter, REPORTS_PER_S, Reporter};

/// Calls that hand their events to the store at a time, each of which may hold a thread; who comes later waits in
/// order.
const TAKES_MAX: usize = 32;
/// How long a report waits for the commit that creates its repository.
const CREATION_WAIT_MAX: Duration = Duration::from_secs(10);

/// What answers the calls of IngestService. Who may call it, the gate has seen to.
#[derive(Clone)]
pub(crate) struct Ingest(Arc<Inner>);

struct Inner {
    log: Arc<Log>,
    intake: Arc<dyn Intake>,
    metrics: Metrics,
    drain: CancellationToken,
    limiter: Mutex<Limiter>,
    takes: Arc<Semaphore>,
}

impl Ingest {
    /// A service that takes reports until `drain` is cancelled.
    pub(crate) fn new(
        log: Arc<Log>,
        intake: Arc<dyn Intake>,
        metrics: Metrics,
        drain: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            log,
            intake,
            metrics,
            drain,
            limiter: Mutex::default(),
            takes: Arc::new(Semaphore::new(TAKES_MAX)),
        }))
    }

    /// Takes the reports that stand in `fields`; counts what became of them.
    async fn reported(
        &self,
        Asker { reporter, view }: Asker,
        fields: Vec<String>,
        reports: Vec<v1::RejectionReport>,
    ) -> Result<Stored, Failure> {
        let count = reports.len() as u64;
        let stored = self.0.report(reporter, &view, &fields, reports).await;
        self.0.metrics.reports.add(outcome_of(stored.as_ref().err()), count);
        stored
    }
}

impl Inner {
    async fn report(
        &self,
        reporter: Reporter,
        view: &View,
        fields: &[String],
        reports: Vec<v1::RejectionReport>,
    ) -> Result<Stored, Failure> {
        if self.drain.is_cancelled() {
            return Err(draining());
        }
        // What is malformed costs its sender as much as what is not.
        let count = u32::try_from(reports.len()).unwrap_or(u32::MAX);
        let taken = lock(&self.limiter).take(reporter, count, Instant::now());
        taken.map_err(|retry_after| Failure::TooManyReports { limit: REPORTS_PER_S, retry_after })?;
        let entry = repository::of_all(self, view, fields, &reports)?;
        let (field, first) = (&fields[0], reports[0].clone());
        let checked =
            fields.iter().zip(reports).map(|(field, report)| report::check(field, report, entry.format));
        let refusals = checked.collect::<Result<Vec<_>, _>>()?;
        match self.settled(entry.key).await? {
            Standing::Committed => {}
            Standing::Unknown => return Err(repository::not_found(field, &first)),
            Standing::Uncommitted => return Err(repository::not_read(field, &first)),
        }
        self.take(entry.key, refusals).await?.map_err(|error| match error {
            // It went meanwhile.
            CommitError::Invalid(_) => repository::not_found(field, &first),
            CommitError::Closed => draining(),
            CommitError::Full | CommitError::Io { .. } => {
                Failure::StoreUnavailable { detail: error.to_string() }
            }
            CommitError::Corrupt { detail } => Failure::LogCorrupt { sequence: None, detail },
        })
    }

    /// Where a repository stands, once the commit that creates it is in the log, or that took too long.
    async fn settled(&self, key: RepositoryKey) -> Result<Standing, Failure> {
        let mut more = self.log.subscribe();
        let settled = async {
            loop {
                more.borrow_and_update();
                let standing = self.intake.standing(key);
                // Its creation brings an event.
                if standing != Standing::Uncommitted || more.changed().await.is_err() {
                    return standing;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(draining()),
            standing = tokio::time::timeout(CREATION_WAIT_MAX, settled) => {
                Ok(standing.unwrap_or(Standing::Uncommitted))
            }
        }
    }

    /// Hands refused updates to the store, and waits until it has answered. A caller that hangs up is not waited for;
    /// what it reported is committed all the same.
    async fn take(
        &self,
        key: RepositoryKey,
        refusals: Vec<Refusal>,
    ) -> Result<Result<Stored, CommitError>, Failure> {
        let turn = Arc::clone(&self.takes).acquire_owned().await;
        let (sender, receiver) = oneshot::channel();
        let intake = Arc::clone(&self.intake);
        let taking = tokio::task::spawn_blocking(move || {
            intake.take(key, refusals, Box::new(move |stored| drop(sender.send(stored))));
            drop(turn);
        });
        taking.await.map_err(|error| Failure::Bug(format!("a report was not handed on: {error}")))?;
        Ok(receiver.await.unwrap_or(Err(CommitError::Closed)))
    }

    fn event_id(&self, sequence: u64) -> String {
        format!("{}.{sequence}", hex16(self.log.identity().epoch))
    }
}

fn draining() -> Failure {
    Failure::Draining { cursor: String::new() }
}

/// The metrics' word for what became of a report.
fn outcome_of(failure: Option<&Failure>) -> ReportOutcome {
    match failure {
        None => ReportOutcome::Stored,
        Some(Failure::TooManyReports { .. }) => ReportOutcome::Limited,
        Some(Failure::OutOfBounds { .. } | Failure::Invalid { .. }) => ReportOutcome::Malformed,
        Some(Failure::RepositoryNotFound { .. }) => ReportOutcome::UnknownRepository,
        Some(_) => ReportOutcome::Failed,
    }
}

/// Who reports, and about what.
struct Asker {
    reporter: Reporter,
    view: View,
}

/// Whom to count a request for.
fn reporter_of<T>(request: &Request<T>) -> Reporter {
    if let Some(grant) = request.extensions().get::<Grant>() {
        return Reporter::Token(*grant.digest());
    }
    if request.extensions().get::<Signed>().is_some() {
        return Reporter::Signed;
    }
    let user = request.extensions().get::<Peer>().and_then(Peer::user);
    user.map_or(Reporter::Others, Reporter::User)
}

#[tonic::async_trait]
impl IngestService for Ingest {
    async fn report_rejection(
        &self,
        request: Request<v1::ReportRejectionRequest>,
    ) -> Result<Response<v1::ReportRejectionResponse>, Status> {
        let asker = Asker { reporter: reporter_of(&request), view: view_of(&request) };
        let result = match request.into_inner().report {
            Some(report) => self.reported(asker, vec!["report".to_owned()], vec![report]).await,
            None => Err(Failure::Invalid {
                field: "report".to_owned(),
                value: String::new(),
                detail: "is missing".to_owned(),
            }),
        };
        let result = result.map(|Stored { first_sequence, .. }| v1::ReportRejectionResponse {
            event_id: self.0.event_id(first_sequence),
            sequence: first_sequence,
            cursor: self.0.log.encoder().cursor(first_sequence),
        });
        super::answer(&self.0.metrics, "ReportRejection", result)
    }

    async fn report_rejections(
        &self,
        request: Request<v1::ReportRejectionsRequest>,
    ) -> Result<Response<v1::ReportRejectionsResponse>, Status> {
        let asker = Asker { reporter: reporter_of(&request), view: view_of(&request) };
        let reports = request.into_inner().reports;
        let bounded = Failure::bounds("reports", reports.len() as u64, 1, limits::REPORTS_MAX.into());
        let result = match bounded {
            Ok(()) => {
                let fields = (0..reports.len()).map(|index| format!("reports[{index}]")).collect();
                self.reported(asker, fields, reports).await
            }
            Err(failure) => Err(failure),
        };
        let result = result.map(|Stored { first_sequence, events }| {
            let sequences = first_sequence..first_sequence + events;
            v1::ReportRejectionsResponse {
                cursor: self.0.log.encoder().cursor(sequences.end.saturating_sub(1)),
                event_ids: sequences.map(|sequence| self.0.event_id(sequence)).collect(),
            }
        });
        super::answer(&self.0.metrics, "ReportRejections", result)
    }
}
