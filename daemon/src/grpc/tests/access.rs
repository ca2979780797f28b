//! Doors that change while the server runs, and what a stranger can take up.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use refwatch_ops::metrics::{AuthFailure, ConnectionRefusal, ReportOutcome};
use refwatch_proto::client::Signer;
use refwatch_proto::v1;
use refwatch_proto::v1::git_event_service_client::GitEventServiceClient;
use refwatch_proto::v1::ingest_service_client::IngestServiceClient;
use refwatch_proto::v1::rejection_report::Repository;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::auth::{Keys, info};
use super::harness::*;
use crate::grpc::failures::FAILURES_BURST;
use crate::grpc::{BindError, GrpcServer, HEADER_BYTES_MAX, Inherited, REQUEST_BYTES_MAX};
use crate::settings::TlsSettings;

fn write(keys: &Keys, dir: &Path, name: &str) {
    let (certificate, key) = keys.issue(name);
    fs::write(dir.join("cert"), certificate).unwrap();
    fs::write(dir.join("key"), key).unwrap();
}

/// A client that trusts nobody but these keys' authority.
async fn trusting(harness: &Harness, keys: &Keys, identity: Option<&Keys>) -> Result<Client, String> {
    let ca = Certificate::from_pem(keys.authority.pem());
    let mut config = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
    if let Some(own) = identity {
        let (certificate, key) = own.issue("client");
        config = config.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Channel::from_shared(format!("https://localhost:{}", harness.address.port())).unwrap();
    let channel = endpoint.tls_config(config).unwrap().connect().await.map_err(|error| error.to_string())?;
    let mut client = GitEventServiceClient::new(channel);
    // With TLS 1.3 a client learns that its certificate is refused by its first call.
    info(&mut client, None).await.map_err(|status| status.to_string())?;
    Ok(client)
}

#[tokio::test]
async fn new_certificates_are_served_and_open_connections_stay() {
    let (old, new) = (Keys::new(), Keys::new());
    let dir = tempfile::tempdir().unwrap();
    write(&old, dir.path(), "localhost");
    fs::write(dir.path().join("ca"), old.authority.pem()).unwrap();
    let tls = TlsSettings {
        certificate: dir.path().join("cert"),
        key: dir.path().join("key"),
        client_ca: Some(dir.path().join("ca")),
    };
    let harness = Harness::with(|settings| settings.grpc.tls = Some(tls)).await;
    let mut repo = harness.repository("a.git");
    let mut client = trusting(&harness, &old, Some(&old)).await.unwrap();
    let mut watcher = Watcher { stream: client.watch_events(now()).await.unwrap().into_inner() };
    watcher.next().await.unwrap();
    assert!(trusting(&harness, &new, Some(&old)).await.is_err());

    write(&new, dir.path(), "localhost");
    fs::write(dir.path().join("ca"), new.authority.pem()).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while trusting(&harness, &new, Some(&new)).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the new certificate is never served");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(
        trusting(&harness, &new, Some(&old)).await.is_err(),
        "the old authority's clients are let in no more"
    );
    assert!(trusting(&harness, &old, Some(&new)).await.is_err(), "the old certificate is shown no more");
    let sequence = harness.change(&mut repo, &[("refs/heads/main", Some(1))]);
    assert_eq!(sequences(&watcher.events_to(sequence).await), [sequence]);
    info(&mut client, None).await.expect("the open connection takes calls");
    assert!(harness.metrics.connections_refused.value(ConnectionRefusal::Tls) > 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_of_a_peer_are_turned_away_and_places_come_free() {
    let harness = Harness::with(|settings| settings.grpc.connections_per_peer_max = 2).await;
    let mut held = vec![harness.client().await, harness.client().await];
    for client in &mut held {
        info(client, None).await.unwrap();
    }
    // The kernel takes the connection; it is closed before it is served.
    let refused = match Channel::from_shared(format!("http://{}", harness.address)).unwrap().connect().await {
        Ok(channel) => info(&mut GitEventServiceClient::new(channel), None).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    assert!(harness.metrics.connections_refused.value(ConnectionRefusal::Peer) > 0);
    info(&mut held[0], None).await.expect("those that are open are served");
    drop(held);
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let connected = Channel::from_shared(format!("http://{}", harness.address)).unwrap().connect().await;
        if let Ok(channel) = connected
            && info(&mut GitEventServiceClient::new(channel), None).await.is_ok()
        {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no place comes free");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_of_the_server_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("refwatch.sock");
    let at = socket.clone();
    let harness = Harness::with(|settings| {
        settings.grpc.connections_max = 1;
        settings.grpc.socket = Some(at);
    })
    .await;
    let mut held = harness.client().await;
    info(&mut held, None).await.unwrap();
    assert!(by_socket(&socket).await.is_err(), "the limit is of all doors together");
    assert!(harness.metrics.connections_refused.value(ConnectionRefusal::Total) > 0);
}

async fn by_socket(socket: &Path) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let told = info(&mut GitEventServiceClient::new(channel), None).await;
    told.map(drop).map_err(|status| status.to_string())
}

#[tokio::test]
async fn only_listed_users_and_groups_connect_to_the_socket() {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let name = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).unwrap().unwrap().name;
    let rows: [(&[String], &[String], bool); 6] = [
        (&[uid.to_string()], &[], true),
        (&[name], &[], true),
        (&[], &[gid.to_string()], true),
        (&[(uid + 1).to_string()], &[], false),
        (&[], &[(gid + 54_321).to_string()], false),
        (&[(uid + 1).to_string()], &[gid.to_string()], true),
    ];
    for (users, groups, admitted) in rows {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("refwatch.sock");
        let at = socket.clone();
        let harness = Harness::with(|settings| {
            settings.grpc.socket = Some(at);
            settings.grpc.socket_users = users.to_vec();
            settings.grpc.socket_groups = groups.to_vec();
        })
        .await;
        assert_eq!(by_socket(&socket).await.is_ok(), admitted, "{users:?} {groups:?}");
        assert_eq!(harness.metrics.connections_refused.value(ConnectionRefusal::User) > 0, !admitted);
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    }
    let mut settings = settings();
    settings.grpc.socket_groups = vec!["no-such-group-anywhere".to_owned()];
    let error = GrpcServer::bind(&settings.grpc, Inherited::default()).err();
    assert!(matches!(error, Some(BindError::Nobody { setting: "grpc.socket_groups", .. })));
}

#[tokio::test]
async fn who_fails_too_often_waits_and_who_has_shown_a_token_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    fs::write(&tokens, "right-token\nother-token\n").unwrap();
    let harness = Harness::with(|settings| settings.grpc.token_file = Some(tokens)).await;
    let mut known = harness.client().await;
    info(&mut known, Some("right-token")).await.unwrap();
    let mut stranger = harness.client().await;
    let mut codes = Vec::new();
    // One comes free a second, however slow the machine is.
    let limited = loop {
        let status = info(&mut stranger, Some("wrong-token")).await.unwrap_err();
        if status.code() == Code::ResourceExhausted {
            break status;
        }
        codes.push(status.code());
        assert!(codes.len() < 100 * FAILURES_BURST as usize, "it is never limited");
    };
    assert!(
        codes.len() >= FAILURES_BURST as usize && codes.iter().all(|code| *code == Code::Unauthenticated)
    );
    assert_eq!(told(&limited).0, "TOO_MANY_FAILURES");
    let wait = limited.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    assert!(!wait.is_zero() && wait <= std::time::Duration::from_secs(1));
    assert_eq!(harness.metrics.auth_failures.value(AuthFailure::Unknown), codes.len() as u64);

    info(&mut known, Some("right-token")).await.expect("it was shown here before");
    // Spent again, as one may have come free.
    while info(&mut stranger, Some("wrong-token")).await.unwrap_err().code() != Code::ResourceExhausted {}
    let guess = info(&mut known, Some("other-token")).await.unwrap_err();
    assert_eq!(guess.code(), Code::ResourceExhausted, "another token may be a guess here too");
    let none = info(&mut stranger, None).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated, "no credentials are no guess");
    HealthClient::new(harness.channel().await).check(HealthCheckRequest::default()).await.unwrap();
}

const SECRET: &str = "the-secret-of-the-host";
const PATH: &str = "/refwatch.v1.IngestService/ReportRejection";

/// A report, signed as a Git host does it.
fn signed(secret: &str, path: &str, timestamp_us: i64) -> Request<v1::ReportRejectionRequest> {
    use prost::Message as _;
    let report = v1::RejectionReport {
        repository: Some(Repository::RepositoryPath("a.git".to_owned())),
        ref_name: "refs/heads/main".to_owned(),
        new_oid: oid(1).to_hex(),
        ..Default::default()
    };
    let message = v1::ReportRejectionRequest { report: Some(report) };
    let signature = Signer::new(secret).unwrap().signature(path, timestamp_us, &message.encode_to_vec());
    let mut request = Request::new(message);
    request.metadata_mut().insert("refwatch-timestamp", timestamp_us.to_string().parse().unwrap());
    request.metadata_mut().insert("refwatch-signature", signature.parse().unwrap());
    request
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// The same headers over another message.
fn tampered(mut request: Request<v1::ReportRejectionRequest>) -> Request<v1::ReportRejectionRequest> {
    request.get_mut().report.as_mut().unwrap().ref_name = "refs/heads/other".to_owned();
    request
}

fn again(request: &Request<v1::ReportRejectionRequest>) -> Request<v1::ReportRejectionRequest> {
    let mut copy = Request::new(request.get_ref().clone());
    *copy.metadata_mut() = request.metadata().clone();
    copy
}

#[tokio::test]
async fn a_signed_report_is_taken_once_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, tokens) = (dir.path().join("secret"), dir.path().join("tokens"));
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    fs::write(&tokens, "watch-token\n").unwrap();
    for with_tokens in [false, true] {
        let (file, tokens) = (secret.clone(), tokens.clone());
        let harness = Harness::with(|settings| {
            settings.grpc.shared_secret_file = Some(file);
            settings.grpc.token_file = with_tokens.then_some(tokens);
        })
        .await;
        harness.repository("a.git");
        let mut client = IngestServiceClient::new(harness.channel().await);
        let request = signed(SECRET, PATH, now_us());
        let replay = again(&request);
        client.report_rejection(request).await.unwrap();
        let hour_us = 3_600_000_000;
        let refused = [
            (replay, AuthFailure::Replayed),
            (tampered(signed(SECRET, PATH, now_us())), AuthFailure::Signature),
            (signed("another-secret-of-it", PATH, now_us()), AuthFailure::Signature),
            (signed(SECRET, "/refwatch.v1.IngestService/ReportRejections", now_us()), AuthFailure::Signature),
            (signed(SECRET, PATH, now_us() - hour_us), AuthFailure::Late),
            (signed(SECRET, PATH, now_us() + hour_us), AuthFailure::Late),
        ];
        for (request, kind) in refused {
            let before = harness.metrics.auth_failures.value(kind);
            let status = client.report_rejection(request).await.unwrap_err();
            assert_eq!(
                (status.code(), told(&status).0.as_str()),
                (Code::Unauthenticated, "CREDENTIALS_INVALID")
            );
            assert_eq!(harness.metrics.auth_failures.value(kind), before + 1);
        }
        assert_eq!(harness.metrics.reports.value(ReportOutcome::Stored), 1);
        let unsigned = Request::new(signed(SECRET, PATH, now_us()).into_inner());
        assert!(client.report_rejection(unsigned).await.is_err());
        // It is a right to report, and to nothing else.
        let watching = "/refwatch.v1.GitEventService/GetServerInfo";
        let mut request = Request::new(v1::GetServerInfoRequest {});
        *request.metadata_mut() = signed(SECRET, watching, now_us()).metadata().clone();
        let mut events = harness.client().await;
        assert_eq!(events.get_server_info(request).await.is_err(), with_tokens);
        let capabilities = info(&mut events, Some("watch-token")).await.unwrap().capabilities;
        assert!(capabilities.contains(&"signed_reports".to_owned()));
    }
}

#[tokio::test]
async fn a_shared_secret_is_rotated_while_the_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, SECRET).unwrap();
    let at = file.clone();
    let harness = Harness::with(|settings| settings.grpc.shared_secret_file = Some(at)).await;
    harness.repository("a.git");
    let mut client = IngestServiceClient::new(harness.channel().await);
    let new = "the-next-secret-of-the-host";
    let mut report = async |secret: &str| {
        let answer: Result<_, Status> = client.report_rejection(signed(secret, PATH, now_us())).await;
        answer.is_ok()
    };
    assert!(report(SECRET).await && !report(new).await);
    for (content, expected) in
        [(format!("{new}\n{SECRET}\n"), [true, true]), (format!("{new}\n"), [false, true])]
    {
        fs::write(&file, content).unwrap();
        let deadline = std::time::Instant::now() + PATIENCE;
        // Failures are limited: what is to succeed is asked for first.
        loop {
            let of_new = report(new).await;
            if [report(SECRET).await, of_new] == expected {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "the change is never taken over");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

/// The settings that an HTTP/2 server begins with (RFC 9113, 6.5): each an identifier and its value.
fn http2_settings(address: std::net::SocketAddr) -> Vec<(u16, u32)> {
    use std::io::{Read as _, Write as _};
    const NO_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&NO_SETTINGS).unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[3], 4, "the first frame has the settings: {header:?}");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([header[1], header[2]]))];
    stream.read_exact(&mut settings).unwrap();
    let setting = |bytes: &[u8]| {
        let value = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
        (u16::from_be_bytes([bytes[0], bytes[1]]), value)
    };
    settings.chunks_exact(6).map(setting).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_so_many_calls_at_a_time_and_no_more() {
    /// RFC 9113, 6.5.2. What a client sends beyond it, the library refuses.
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let harness = Harness::with(|settings| settings.grpc.subscribers_max = 7).await;
    let settings = http2_settings(harness.address);
    let told = settings.iter().find(|(identifier, _)| *identifier == MAX_CONCURRENT_STREAMS);
    assert_eq!(told.map(|(_, value)| *value), Some(7 + 128), "{settings:?}");
}

#[tokio::test]
async fn headers_and_requests_beyond_their_bounds_are_refused() {
    let harness = Harness::start().await;
    let mut client = harness.client().await;
    let mut request = Request::new(v1::GetServerInfoRequest {});
    request.metadata_mut().insert("x-long", "x".repeat(HEADER_BYTES_MAX as usize).parse().unwrap());
    assert!(client.get_server_info(request).await.is_err());
    let mut client = harness.client().await;
    let large = v1::ListEventsRequest { page_token: "x".repeat(REQUEST_BYTES_MAX), ..Default::default() };
    let status = client.list_events(large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    info(&mut client, None).await.expect("and the connection is still good");
}
