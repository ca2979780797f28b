//! Lists, page by page, against the model.

use refwatch_proto::v1::{self, EventFilter, GitEventType, list_events_request::Start};
use tonic::Code;

use super::harness::*;
use super::snapshots::held;

async fn all_events(client: &mut Client, request: v1::ListEventsRequest) -> (Vec<v1::GitEvent>, String) {
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = v1::ListEventsRequest { page_token, ..request.clone() };
        let page = client.list_events(page).await.unwrap().into_inner();
        let size = if request.page_size == 0 { 100 } else { request.page_size };
        assert!(page.events.len() <= size as usize);
        events.extend(page.events);
        page_token = page.next_page_token;
        assert!(page_token.len() <= 256);
        if page_token.is_empty() {
            return (events, page.cursor);
        }
    }
}

#[tokio::test]
async fn events_are_listed_in_both_directions_at_any_page_size() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 20, 3);
    let last = harness.last();
    let all = harness.watch(earliest()).await.events_to(last).await;
    let mut client = harness.client().await;
    for page_size in [0, 1, 2, 7, 61, 1000] {
        for newest_first in [false, true] {
            let request = v1::ListEventsRequest { page_size, newest_first, ..Default::default() };
            let (mut events, cursor) = all_events(&mut client, request).await;
            if newest_first {
                events.reverse();
            }
            assert_eq!(events, all, "{page_size} {newest_first}");
            assert_eq!(cursor, harness.cursor(last));
        }
    }
}

#[tokio::test]
async fn events_are_listed_from_and_to_where_they_are_asked_for() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    for minute in 1..=9_u64 {
        let mut commit = repo.commit(&[("refs/heads/main", Some(minute)), ("refs/tags/v1", Some(minute))]);
        commit.observed_at_us = NOW_US + i64::try_from(minute).unwrap() * 60_000_000;
        harness.commit(commit);
    }
    let at = |minute: i64| NOW_US + minute * 60_000_000;
    let mut client = harness.client().await;
    let tags = EventFilter {
        ref_include_globs: vec!["refs/tags/*".to_owned()],
        types: vec![GitEventType::RefUpdated.into()],
        ..Default::default()
    };
    for newest_first in [false, true] {
        for page_size in [1, 3, 100] {
            let base = v1::ListEventsRequest { page_size, newest_first, ..Default::default() };
            let table: [(v1::ListEventsRequest, Vec<u64>); 5] = [
                (
                    v1::ListEventsRequest {
                        start: Some(Start::AfterCursor(harness.cursor(15))),
                        ..base.clone()
                    },
                    (16..=19).collect(),
                ),
                (
                    v1::ListEventsRequest { start: Some(Start::SinceUs(at(7))), ..base.clone() },
                    (14..=19).collect(),
                ),
                (v1::ListEventsRequest { until_us: at(2), ..base.clone() }, (1..=3).collect()),
                (
                    v1::ListEventsRequest {
                        start: Some(Start::SinceUs(at(3))),
                        until_us: at(5),
                        ..base.clone()
                    },
                    (6..=9).collect(),
                ),
                (
                    v1::ListEventsRequest { filter: Some(tags.clone()), until_us: at(5), ..base.clone() },
                    vec![3, 5, 7, 9],
                ),
            ];
            for (request, mut expected) in table {
                if newest_first {
                    expected.reverse();
                }
                let (events, _) = all_events(&mut client, request.clone()).await;
                assert_eq!(sequences(&events), expected, "{request:?}");
            }
        }
    }
}

#[tokio::test]
async fn newest_first_leaves_out_what_comes_after_the_first_page() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 10, 1);
    let mut client = harness.client().await;
    let request = v1::ListEventsRequest { page_size: 4, newest_first: true, ..Default::default() };
    let first = client.list_events(request.clone()).await.unwrap().into_inner();
    assert_eq!(sequences(&first.events), [11, 10, 9, 8]);
    harness.fill(&mut repo, 10, 1);
    let second = v1::ListEventsRequest { page_token: first.next_page_token, ..request };
    let second = client.list_events(second).await.unwrap().into_inner();
    assert_eq!(sequences(&second.events), [7, 6, 5, 4]);
    assert_eq!(second.cursor, harness.cursor(11));
    let watched = harness.watch(from_cursor(second.cursor)).await.events_to(21).await;
    assert_eq!(watched[0].sequence, 12);
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_request() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 10, 1);
    let mut client = harness.client().await;
    let request = v1::ListEventsRequest { page_size: 4, ..Default::default() };
    let token = client.list_events(request.clone()).await.unwrap().into_inner().next_page_token;
    let other_size = v1::ListEventsRequest { page_token: token.clone(), page_size: 5, ..Default::default() };
    assert_eq!(client.list_events(other_size).await.unwrap().into_inner().events.len(), 5);
    let table = [
        v1::ListEventsRequest { page_token: token.clone(), newest_first: true, ..request.clone() },
        v1::ListEventsRequest { page_token: format!("{}x", &token[1..]), ..request.clone() },
        v1::ListEventsRequest { page_token: "x".repeat(300), ..request.clone() },
    ];
    for request in table {
        let refused = client.list_events(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), told(&refused).0.as_str()),
            (Code::InvalidArgument, "PAGE_TOKEN_INVALID")
        );
    }
    let refused = client.list_events(v1::ListEventsRequest { page_size: 1001, ..request }).await.unwrap_err();
    assert_eq!(told(&refused).1["max"], "1000");
}

#[tokio::test]
async fn a_list_that_retention_overtakes_fails_loudly() {
    let harness = Harness::with(|settings| settings.store.retention_events_max = Some(3)).await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 30, 1);
    let mut client = harness.client().await;
    let events = v1::ListEventsRequest { page_size: 4, ..Default::default() };
    let refs = v1::ListRefsRequest { page_size: 4, ..Default::default() };
    let token = client.list_events(events.clone()).await.unwrap().into_inner().next_page_token;
    let ref_token = client.list_refs(refs.clone()).await.unwrap().into_inner().next_page_token;
    harness.fill(&mut repo, 10, 1);
    harness.store.retain(NOW_US).unwrap();
    let status = client.list_events(v1::ListEventsRequest { page_token: token, ..events }).await.unwrap_err();
    assert_eq!((status.code(), told(&status).0.as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
    let status = client.list_refs(v1::ListRefsRequest { page_token: ref_token, ..refs }).await.unwrap_err();
    assert_eq!((status.code(), told(&status).0.as_str()), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
}

#[tokio::test]
async fn refs_are_listed_as_of_the_first_page() {
    let harness = Harness::start().await;
    let mut left = harness.repository("left.git");
    let mut right = harness.repository("right.git");
    harness.fill(&mut left, 1, 25);
    harness.fill(&mut right, 1, 13);
    harness.change(&mut left, &[("refs/keep-around/1", Some(1))]);
    let mut visible = left.clone();
    visible.refs.remove(&name("refs/keep-around/1"));
    let mut client = harness.client().await;
    for page_size in [1, 5, 38, 1000] {
        let expected = held(&[&visible, &right]);
        let position = harness.last();
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListRefsRequest { page_size, page_token, ..Default::default() };
            let page = client.list_refs(request).await.unwrap().into_inner();
            assert_eq!(page.cursor, harness.cursor(position));
            assert!(page.refs.len() <= page_size as usize);
            listed.extend(page.refs.into_iter().map(|item| ((item.repository_id, item.name), item.oid)));
            // The repositories change meanwhile, and the list does not.
            for repo in [&mut visible, &mut right] {
                let first = repo.refs.keys().next().unwrap().to_text().into_owned();
                let new = format!("refs/heads/new-{}", harness.last());
                harness.change(repo, &[(&first, None), (&new, Some(5))]);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, expected.into_iter().collect::<Vec<_>>(), "{page_size}");
    }
}

#[tokio::test]
async fn repositories_are_listed_by_id_and_filtered() {
    let harness = Harness::start().await;
    let mut repos: Vec<_> = (0..7).map(|n| harness.repository(&format!("team{}/r{n}.git", n % 2))).collect();
    harness.fill(&mut repos[0], 1, 3);
    let mut client = harness.client().await;
    let mut expected: Vec<_> = repos.iter().map(|repo| crate::wire::hex16(repo.uid)).collect();
    expected.sort();
    for page_size in [1, 3, 7, 100] {
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListRepositoriesRequest { page_size, page_token, ..Default::default() };
            let page = client.list_repositories(request).await.unwrap().into_inner();
            listed.extend(page.repositories);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed.iter().map(|item| item.id.clone()).collect::<Vec<_>>(), expected);
        let counted = listed.iter().find(|item| item.path == "team0/r0.git").unwrap();
        assert_eq!((counted.ref_count, counted.root.as_str()), (Some(3), "/srv/git"));
    }
    let request = v1::ListRepositoriesRequest {
        repository_globs: vec!["team1/*".to_owned()],
        repository_ids: vec![crate::wire::hex16(repos[0].uid)],
        ..Default::default()
    };
    assert_eq!(client.list_repositories(request).await.unwrap().into_inner().repositories.len(), 4);
}
