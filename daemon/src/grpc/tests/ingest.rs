//! Reports: who may make them, what is refused, and what becomes of the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use refwatch_ops::metrics::ReportOutcome;
use refwatch_proto::v1;
use refwatch_proto::v1::ingest_service_client::IngestServiceClient;
use refwatch_proto::v1::rejection_report::Repository;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::harness::*;

type Reporting = IngestServiceClient<Channel>;

/// A server with a Unix socket, and a client on it.
async fn by_socket() -> (Harness, Reporting, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("refwatch.sock");
    let at = socket.clone();
    let harness = Harness::with(|settings| settings.grpc.socket = Some(at)).await;
    let client = IngestServiceClient::new(over(&socket).await);
    (harness, client, dir)
}

async fn over(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

fn report(path: &str) -> v1::RejectionReport {
    v1::RejectionReport {
        repository: Some(Repository::RepositoryPath(path.to_owned())),
        ref_name: "refs/heads/main".to_owned(),
        new_oid: oid(1).to_hex(),
        ..v1::RejectionReport::default()
    }
}

fn one(report: v1::RejectionReport) -> v1::ReportRejectionRequest {
    v1::ReportRejectionRequest { report: Some(report) }
}

fn many(reports: Vec<v1::RejectionReport>) -> v1::ReportRejectionsRequest {
    v1::ReportRejectionsRequest { reports }
}

/// Code, reason, and the field to blame.
fn refusal(status: &Status) -> (Code, String, Option<String>) {
    let (reason, mut metadata) = told(status);
    (status.code(), reason, metadata.remove("field"))
}

fn invalid(reason: &str, field: &str) -> (Code, String, Option<String>) {
    (Code::InvalidArgument, reason.to_owned(), Some(field.to_owned()))
}

#[tokio::test]
async fn a_report_is_answered_with_where_it_stands() {
    let (harness, mut client, _dir) = by_socket().await;
    let repo = harness.repository("team/a.git");
    let by_id = v1::RejectionReport {
        repository: Some(Repository::RepositoryId(crate::wire::hex16(repo.uid))),
        ..report("")
    };
    let epoch = crate::wire::hex16(harness.log.identity().epoch);
    for (sequence, report) in [(2, by_id), (3, report("team/a.git")), (4, report("/srv/git/team/a.git"))] {
        let answer = client.report_rejection(one(report)).await.unwrap().into_inner();
        assert_eq!((answer.sequence, answer.event_id), (sequence, format!("{epoch}.{sequence}")));
        assert_eq!(answer.cursor, harness.cursor(sequence));
    }
    let answer =
        client.report_rejections(many(vec![report("team/a.git"); 1_000])).await.unwrap().into_inner();
    assert_eq!(answer.event_ids.len(), 1_000);
    assert_eq!(answer.event_ids[0], format!("{epoch}.5"));
    assert_eq!(
        (answer.event_ids[999].clone(), answer.cursor),
        (format!("{epoch}.1004"), harness.cursor(1_004))
    );
    let events = harness.watch(earliest()).await.events_to(1_004).await;
    let places: Vec<_> = events[4..].iter().map(|event| event.transaction.clone().unwrap()).collect();
    assert!(places.iter().zip(0..).all(|(place, index)| (place.index, place.size) == (index, 1_000)));
    assert!(places.iter().all(|place| place.id == places[0].id));
    assert_eq!(harness.metrics.reports.value(ReportOutcome::Stored), 1_003);
}

#[tokio::test]
async fn what_is_refused_names_its_field_and_stores_nothing() {
    let (harness, mut client, _dir) = by_socket().await;
    harness.repository("a.git");
    let other = harness.repository("b.git");
    harness.repository("twin.git");
    let more = harness.repository("elsewhere.git");
    harness.directory.update(more.key, |entry| {
        entry.root = std::sync::Arc::new(PathBuf::from("/srv/more"));
        entry.path = b"twin.git".as_slice().into();
    });
    let last = harness.last();
    let with = |repository| v1::RejectionReport { repository, ..report("") };
    let by_id = |id: &str| with(Some(Repository::RepositoryId(id.to_owned())));
    let missing = (Code::NotFound, "REPOSITORY_NOT_FOUND".to_owned());
    let not_found = |field: &str| (missing.0, missing.1.clone(), Some(field.to_owned()));
    let rows = [
        (with(None), invalid("FIELD_INVALID", "report.repository")),
        (by_id("a.git"), invalid("FIELD_INVALID", "report.repository_id")),
        (by_id("00000000000000ff"), not_found("report.repository_id")),
        (report("no.git"), not_found("report.repository_path")),
        (report("/a.git"), not_found("report.repository_path")),
        (report(""), invalid("FIELD_OUT_OF_BOUNDS", "report.repository_path")),
        (report(&"a".repeat(4_097)), invalid("FIELD_OUT_OF_BOUNDS", "report.repository_path")),
        (report("x/../a.git"), invalid("FIELD_INVALID", "report.repository_path")),
        (report("twin.git"), invalid("FIELD_INVALID", "report.repository_path")),
        (
            v1::RejectionReport { new_oid: "12".to_owned(), ..report("a.git") },
            invalid("FIELD_INVALID", "report.new_oid"),
        ),
    ];
    for (report, expected) in rows {
        let status = client.report_rejection(one(report.clone())).await.unwrap_err();
        assert_eq!(refusal(&status), expected, "{report:?}");
    }
    let status = client.report_rejection(v1::ReportRejectionRequest::default()).await.unwrap_err();
    assert_eq!(refusal(&status), invalid("FIELD_INVALID", "report"));

    let bad = v1::RejectionReport { ref_name: "main".to_owned(), ..report("a.git") };
    let other = by_id(&crate::wire::hex16(other.uid));
    let batches = [
        (vec![], invalid("FIELD_OUT_OF_BOUNDS", "reports")),
        (vec![report("a.git"); 1_001], invalid("FIELD_OUT_OF_BOUNDS", "reports")),
        (vec![report("a.git"), report("a.git"), bad], invalid("FIELD_INVALID", "reports[2].ref_name")),
        (vec![report("a.git"), other], invalid("FIELD_INVALID", "reports[1].repository_id")),
        (vec![report("a.git"), report("b.git")], invalid("FIELD_INVALID", "reports[1].repository_path")),
        (vec![report("a.git"), report("no.git")], not_found("reports[1].repository_path")),
    ];
    for (reports, expected) in batches {
        let status = client.report_rejections(many(reports)).await.unwrap_err();
        assert_eq!(refusal(&status), expected);
    }
    assert_eq!(harness.last(), last, "all or none");
    let spellings = vec![report("a.git"), report("/srv/git/a.git")];
    client.report_rejections(many(spellings)).await.unwrap();
    assert_eq!(harness.last(), last + 2);
}

#[tokio::test]
async fn tokens_report_by_their_scope_and_nobody_without_one() {
    let harness = Harness::start().await;
    harness.repository("a.git");
    let mut client = IngestServiceClient::new(harness.channel().await);
    let status = client.report_rejection(one(report("a.git"))).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "INGEST_NOT_ALLOWED".to_owned(), None));
    assert!(status.message().contains("grpc.socket") && status.message().contains("scope=ingest"));

    let dir = tempfile::tempdir().unwrap();
    let (socket, path) = (dir.path().join("refwatch.sock"), dir.path().join("tokens"));
    fs::write(&path, "watch-token\nhost-token scope=ingest\nboth-token scope=watch,ingest\n").unwrap();
    let (at, file) = (socket.clone(), path.clone());
    let harness = Harness::with(|settings| {
        settings.grpc.socket = Some(at);
        settings.grpc.token_file = Some(file);
    })
    .await;
    harness.repository("a.git");
    let channel = harness.channel().await;
    let call = async |token: Option<&str>| {
        let mut request = Request::new(one(report("a.git")));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        IngestServiceClient::new(channel.clone())
            .report_rejection(request)
            .await
            .map_err(|status| refusal(&status).1)
    };
    for token in [None, Some("wrong-token"), Some("host-token scope=ingest")] {
        assert_eq!(call(token).await.unwrap_err(), "CREDENTIALS_INVALID", "{token:?}");
    }
    assert_eq!(call(Some("watch-token")).await.unwrap_err(), "INGEST_NOT_ALLOWED");
    call(Some("host-token")).await.unwrap();
    call(Some("both-token")).await.unwrap();
    IngestServiceClient::new(over(&socket).await).report_rejection(one(report("a.git"))).await.unwrap();

    let info = async |token: &str| {
        let mut request = Request::new(v1::GetServerInfoRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        harness.client().await.get_server_info(request).await.map(tonic::Response::into_inner)
    };
    let told_info = info("watch-token").await.unwrap();
    assert!(told_info.capabilities.contains(&"ingest".to_owned()));
    assert_eq!(told_info.limits.unwrap().reports_max, 1_000);
    info("both-token").await.unwrap();
    let status = info("host-token").await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "WATCH_NOT_ALLOWED".to_owned(), None));
}

#[tokio::test]
async fn who_reports_too_fast_is_told_when_to_go_on() {
    let (harness, mut client, _dir) = by_socket().await;
    // Malformed ones cost the server little, and their sender as much as others.
    let batch = || many(vec![v1::RejectionReport::default(); 1_000]);
    let status = loop {
        let status = client.report_rejections(batch()).await.unwrap_err();
        if status.code() != Code::InvalidArgument {
            break status;
        }
        let malformed = harness.metrics.reports.value(ReportOutcome::Malformed);
        assert!(malformed <= 1_000_000, "no limit in sight");
    };
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "TOO_MANY_REPORTS".to_owned(), None));
    assert_eq!(told(&status).1["limit"], "1000");
    assert!(status.get_error_details().retry_info().is_some());
    assert!(harness.metrics.reports.value(ReportOutcome::Malformed) >= 10_000, "a burst was taken");
    assert_eq!(harness.metrics.reports.value(ReportOutcome::Limited), 1_000);
}

#[tokio::test]
async fn a_report_waits_for_the_commit_that_creates_its_repository() {
    let (harness, mut client, _dir) = by_socket().await;
    let repo = harness.repository("a.git");
    let mut other = harness.repository("b.git");
    *harness.desk.uncommitted.lock().unwrap() = Some(repo.key);
    let creating = async {
        // Once when the repository was looked for, once when its creation was waited for.
        until("the wait", || harness.desk.put_off.load(Ordering::Relaxed) >= 2).await;
        *harness.desk.uncommitted.lock().unwrap() = None;
        harness.change(&mut other, &[("refs/heads/main", Some(1))])
    };
    let (answer, created) = tokio::join!(client.report_rejection(one(report("a.git"))), creating);
    assert_eq!(answer.unwrap().into_inner().sequence, created + 1);
}

#[tokio::test]
async fn what_cannot_be_stored_is_to_be_reported_again() {
    let (harness, mut client, _dir) = by_socket().await;
    harness.repository("a.git");
    client.report_rejection(one(report("a.git"))).await.unwrap();
    let last = harness.last();
    harness.store.limit_pages(1).unwrap();
    // What room there is in the file's pages is used up first.
    let status = loop {
        let message = "m".repeat(4_096);
        let rejection = Some(v1::Rejection { message, ..v1::Rejection::default() });
        let large = v1::RejectionReport { rejection, ..report("a.git") };
        if let Err(status) = client.report_rejections(many(vec![large; 100])).await {
            break status;
        }
    };
    assert_eq!(refusal(&status), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned(), None));
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!((harness.last() - last) % 100, 0, "all or none");
    assert_eq!(harness.metrics.reports.value(ReportOutcome::Failed), 100);

    harness.store.close();
    let status = client.report_rejection(one(report("a.git"))).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "SERVER_DRAINING".to_owned(), None));
    assert!(status.get_error_details().retry_info().is_some());
}
