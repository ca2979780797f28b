//! A token that is limited to repositories: in every call the others are as if they were not there.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use refwatch_proto::v1;
use refwatch_proto::v1::ingest_service_client::IngestServiceClient;
use refwatch_proto::v1::rejection_report::Repository;
use refwatch_proto::v1::watch_events_response::Kind;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::harness::*;

/// Puts a token into every call.
#[derive(Clone)]
struct Token(&'static str);

impl tonic::service::Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.0).parse().unwrap());
        Ok(request)
    }
}

type As = v1::git_event_service_client::GitEventServiceClient<InterceptedService<Channel, Token>>;

const FREE: &str = "free-token";
const TEAM: &str = "team-token";

struct Two {
    harness: Harness,
    ours: Repo,
    theirs: Repo,
    tokens: PathBuf,
    _dir: tempfile::TempDir,
}

/// A server with `team/ours.git` and `secret/theirs.git`, each with events, and a token that knows of the first only.
async fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    let lines = format!(
        "{FREE} scope=watch,ingest\n{TEAM} scope=watch,ingest repository=team/**\nhost-token scope=ingest\n"
    );
    fs::write(&tokens, lines).unwrap();
    let file = tokens.clone();
    let harness = Harness::with(|settings| settings.grpc.token_file = Some(file)).await;
    let mut ours = harness.repository("team/ours.git");
    let mut theirs = harness.repository("secret/theirs.git");
    harness.change(&mut ours, &[("refs/heads/main", Some(1))]);
    harness.change(&mut theirs, &[("refs/heads/hidden", Some(2)), ("refs/heads/other", Some(3))]);
    harness.change(&mut ours, &[("refs/heads/main", Some(4))]);
    harness.change(&mut theirs, &[("refs/heads/hidden", Some(5))]);
    Two { harness, ours, theirs, tokens, _dir: dir }
}

impl Two {
    async fn client(&self, token: &'static str) -> As {
        v1::git_event_service_client::GitEventServiceClient::with_interceptor(
            self.harness.channel().await,
            Token(token),
        )
    }

    /// Nothing that a caller was told names the other repository.
    fn assert_silent(&self, told: &impl std::fmt::Debug) {
        let text = format!("{told:?}");
        let id = crate::wire::hex16(self.theirs.uid);
        for word in ["secret", "theirs", "hidden", id.as_str()] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

/// Messages up to the cursor that stands at a sequence.
async fn told_to(client: &mut As, request: v1::WatchEventsRequest, cursor: &str) -> Vec<Kind> {
    let request = v1::WatchEventsRequest { progress_interval_ms: 100, ..request };
    let mut watcher = Watcher { stream: client.watch_events(request).await.unwrap().into_inner() };
    let mut told = Vec::new();
    loop {
        let kind = watcher.next().await.unwrap();
        let at = match &kind {
            Kind::Events(batch) => batch.cursor.clone(),
            Kind::Progress(progress) => progress.cursor.clone(),
            _ => String::new(),
        };
        told.push(kind);
        if at == cursor {
            return told;
        }
    }
}

fn events(told: &[Kind]) -> Vec<v1::GitEvent> {
    let batches = told.iter().filter_map(|kind| match kind {
        Kind::Events(batch) => Some(batch.events.clone()),
        _ => None,
    });
    batches.flatten().collect()
}

#[tokio::test]
async fn a_limited_token_sees_no_event_of_others_and_its_cursors_move() {
    let two = two().await;
    let last = two.harness.cursor(two.harness.last());
    let mut team = two.client(TEAM).await;
    // Whatever the filter asks for, and wherever the stream begins.
    let theirs = v1::EventFilter {
        repository_ids: vec![crate::wire::hex16(two.theirs.uid)],
        repository_globs: vec!["**".to_owned()],
        ..Default::default()
    };
    for filter in [None, Some(theirs)] {
        for request in [earliest(), from_cursor(two.harness.cursor(2)), snapshot()] {
            let request = v1::WatchEventsRequest { filter: filter.clone(), ..request };
            let snapshot = matches!(request.start, Some(v1::watch_events_request::Start::Snapshot(_)));
            let told = told_to(&mut team, request, &last).await;
            two.assert_silent(&told);
            assert!(snapshot || !events(&told).is_empty());
            for kind in &told {
                if let Kind::SnapshotBegin(v1::SnapshotBegin { repository_count, .. })
                | Kind::SnapshotEnd(v1::SnapshotEnd { repository_count, .. }) = kind
                {
                    assert_eq!(*repository_count, 1);
                }
            }
        }
    }
    let told = told_to(&mut team, earliest(), &last).await;
    assert_eq!(sequences(&events(&told)), [1, 3, 6]);
    let mut free = two.client(FREE).await;
    let told = told_to(&mut free, earliest(), &last).await;
    assert_eq!(sequences(&events(&told)), [1, 2, 3, 4, 5, 6, 7], "and who is not limited sees all");
}

#[tokio::test]
async fn the_log_on_disk_is_seen_through_the_same_view() {
    let two = two().await;
    let Two { harness, tokens, theirs, ours, _dir } = two;
    let file = tokens.clone();
    // A new process has nothing in memory.
    let stopped = harness.stop().await;
    let harness = Harness::at(stopped, |settings| settings.grpc.token_file = Some(file)).await;
    let two = Two { harness, ours, theirs, tokens, _dir };
    let last = two.harness.cursor(two.harness.last());
    let told = told_to(&mut two.client(TEAM).await, earliest(), &last).await;
    two.assert_silent(&told);
    assert_eq!(sequences(&events(&told)), [1, 3, 6]);
}

#[tokio::test]
async fn a_limited_token_lists_nothing_of_others() {
    let two = two().await;
    let mut team = two.client(TEAM).await;
    for newest_first in [false, true] {
        let request = v1::ListEventsRequest { newest_first, page_size: 1, ..Default::default() };
        let mut pages = vec![team.list_events(request.clone()).await.unwrap().into_inner()];
        while let Some(token) =
            pages.last().map(|page| page.next_page_token.clone()).filter(|t| !t.is_empty())
        {
            let next = v1::ListEventsRequest { page_token: token, ..request.clone() };
            pages.push(team.list_events(next).await.unwrap().into_inner());
        }
        two.assert_silent(&pages);
        let listed: Vec<_> = pages.into_iter().flat_map(|page| page.events).collect();
        let expected = if newest_first { [6, 3, 1] } else { [1, 3, 6] };
        assert_eq!(sequences(&listed), expected);
    }
    let theirs = vec![crate::wire::hex16(two.theirs.uid)];
    for repository_ids in [vec![], theirs.clone()] {
        let repository_globs = repository_ids.iter().map(|_| "**".to_owned()).collect::<Vec<_>>();
        let refs = v1::ListRefsRequest {
            repository_ids: repository_ids.clone(),
            repository_globs: repository_globs.clone(),
            page_size: 1,
            ..Default::default()
        };
        let refs = team.list_refs(refs).await.unwrap().into_inner();
        two.assert_silent(&refs);
        assert_eq!(
            (refs.refs.len(), refs.next_page_token.as_str()),
            (1, ""),
            "no further page hints at others"
        );
        let request = v1::ListRepositoriesRequest {
            repository_ids,
            repository_globs,
            page_size: 1,
            ..Default::default()
        };
        let listed = team.list_repositories(request).await.unwrap().into_inner();
        two.assert_silent(&listed);
        assert_eq!((listed.repositories.len(), listed.next_page_token.as_str()), (1, ""));
    }
    let info = team.get_server_info(v1::GetServerInfoRequest {}).await.unwrap();
    two.assert_silent(&info);
}

#[tokio::test]
async fn ids_and_paths_of_others_are_answered_as_if_they_were_not_there() {
    let two = two().await;
    let mut team = two.client(TEAM).await;
    let id = crate::wire::hex16(two.theirs.uid);
    let sync = |id: &str| v1::GetPositionRequest {
        sync: true,
        repository_ids: vec![id.to_owned()],
        ..Default::default()
    };
    let nowhere = "00000000000000ff";
    let mut barrier = Vec::new();
    for asked in [id.as_str(), nowhere] {
        let status = team.get_position(sync(asked)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        barrier.push(status.message().replace(asked, "ID"));
    }
    assert_eq!(barrier[0], barrier[1]);
    team.get_position(sync(&crate::wire::hex16(two.ours.uid))).await.unwrap();

    two.harness.barrier.closed.store(true, Ordering::Relaxed);
    let stuck = v1::GetPositionRequest { timeout_ms: 1, ..sync(&id) };
    let status = team.get_position(stuck).await.unwrap_err();
    assert_eq!(told(&status).1["pending"], "1");
    two.harness.barrier.closed.store(false, Ordering::Relaxed);

    let mut reporting = IngestServiceClient::with_interceptor(two.harness.channel().await, Token(TEAM));
    let report = |repository| v1::ReportRejectionRequest {
        report: Some(v1::RejectionReport {
            repository: Some(repository),
            ref_name: "refs/heads/main".to_owned(),
            new_oid: oid(1).to_hex(),
            ..Default::default()
        }),
    };
    let path = |path: &str| Repository::RepositoryPath(path.to_owned());
    let mut answers = Vec::new();
    for (asked, repository) in [
        ("secret/theirs.git", path("secret/theirs.git")),
        ("/srv/git/secret/theirs.git", path("/srv/git/secret/theirs.git")),
        ("secret/nowhere.git", path("secret/nowhere.git")),
        (id.as_str(), Repository::RepositoryId(id.clone())),
        (nowhere, Repository::RepositoryId(nowhere.to_owned())),
    ] {
        let status = reporting.report_rejection(report(repository)).await.unwrap_err();
        assert_eq!(told(&status).0, "REPOSITORY_NOT_FOUND");
        answers.push(status.message().replace(asked, "IT").replace("_path", "_id"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    reporting.report_rejection(report(path("team/ours.git"))).await.unwrap();
}

#[tokio::test]
async fn a_move_across_the_view_tells_no_path_on_the_other_side() {
    let two = two().await;
    let mut team = two.client(TEAM).await;
    two.harness.rename(&two.theirs, "secret/theirs.git", "team/came.git");
    two.harness.rename(&two.ours, "team/ours.git", "secret/went.git");
    two.harness.rename(&two.theirs, "team/came.git", "team/stays.git");
    let last = two.harness.cursor(two.harness.last());
    let check = |events: Vec<v1::GitEvent>| {
        two.assert_silent(
            &events
                .iter()
                .map(|e| (&e.repository, &e.previous_path))
                .map(|(r, p)| (r.as_ref().map(|r| &r.path), p))
                .collect::<Vec<_>>(),
        );
        let told: Vec<_> = events
            .iter()
            .filter(|event| event.sequence > 7)
            .map(|event| {
                (event.r#type(), event.repository.clone().unwrap().path, event.previous_path.clone())
            })
            .collect();
        let none = String::new;
        let expected = [
            (v1::GitEventType::RepositoryDiscovered, "team/came.git".to_owned(), none()),
            (v1::GitEventType::RepositoryDeleted, "team/ours.git".to_owned(), none()),
            (v1::GitEventType::RepositoryMoved, "team/stays.git".to_owned(), "team/came.git".to_owned()),
        ];
        assert_eq!(told, expected);
    };
    check(events(&told_to(&mut team, earliest(), &last).await));
    let listed = team.list_events(v1::ListEventsRequest::default()).await.unwrap().into_inner();
    check(listed.events);
    // Asked for by type, they are what they look like.
    let filter =
        v1::EventFilter { types: vec![v1::GitEventType::RepositoryDeleted.into()], ..Default::default() };
    let request = v1::WatchEventsRequest { filter: Some(filter), ..earliest() };
    assert_eq!(sequences(&events(&told_to(&mut team, request, &last).await)), [9]);
}

#[tokio::test]
async fn a_stream_ends_when_the_view_of_its_token_changes() {
    let two = two().await;
    let mut team = two.client(TEAM).await;
    let mut free = two.client(FREE).await;
    let open = |stream| Watcher { stream };
    let mut limited = open(team.watch_events(now()).await.unwrap().into_inner());
    let mut other = open(free.watch_events(now()).await.unwrap().into_inner());
    limited.next().await.unwrap();
    other.next().await.unwrap();
    fs::write(&two.tokens, format!("{FREE}\n{TEAM} repository=secret/**\n")).unwrap();
    let status = tokio::time::timeout(PATIENCE, limited.end()).await.expect("it ends");
    assert_eq!((status.code(), told(&status).0.as_str()), (Code::Unavailable, "RIGHTS_CHANGED"));
    let mut ours = two.ours.clone();
    let sequence = two.harness.change(&mut ours, &[("refs/heads/main", Some(9))]);
    assert_eq!(sequences(&other.events_to(sequence).await), [sequence], "the others' streams go on");
}
