//! Who may come in, and by which door.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use refwatch_proto::v1;
use refwatch_proto::v1::git_event_service_client::GitEventServiceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::harness::*;
use crate::grpc::{BindError, GrpcServer, Inherited};
use crate::settings::TlsSettings;

pub(super) async fn info(
    client: &mut Client,
    token: Option<&str>,
) -> Result<v1::GetServerInfoResponse, Status> {
    let mut request = Request::new(v1::GetServerInfoRequest {});
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    client.get_server_info(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn tokens_let_in_rotate_and_take_streams_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "# first\nfirst-token\n").unwrap();
    let file = path.clone();
    let harness = Harness::with(|settings| settings.grpc.token_file = Some(file)).await;
    let mut client = harness.client().await;
    for token in [None, Some("wrong-token"), Some("# first")] {
        let refused = info(&mut client, token).await.unwrap_err();
        assert_eq!(
            (refused.code(), told(&refused).0.as_str()),
            (Code::Unauthenticated, "CREDENTIALS_INVALID")
        );
    }
    let told_info = info(&mut client, Some("first-token")).await.unwrap();
    assert!(told_info.capabilities.contains(&"auth".to_owned()));
    let mut health = HealthClient::new(harness.channel().await);
    health.check(HealthCheckRequest::default()).await.expect("the health is open to all");

    let mut request = Request::new(now());
    request.metadata_mut().insert("authorization", "bearer first-token".parse().unwrap());
    let mut watcher = Watcher { stream: client.watch_events(request).await.unwrap().into_inner() };
    watcher.next().await.unwrap();
    fs::write(&path, "second-token\n").unwrap();
    let status = watcher.end().await;
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(info(&mut client, Some("first-token")).await.is_err());
    info(&mut client, Some("second-token")).await.unwrap();
}

async fn over(path: &std::path::Path) -> Client {
    let url = format!("unix://{}", path.display());
    GitEventServiceClient::new(Endpoint::from_shared(url).unwrap().connect().await.unwrap())
}

#[tokio::test]
async fn the_socket_needs_no_token_and_is_its_groups() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, tokens) = (dir.path().join("refwatch.sock"), dir.path().join("tokens"));
    fs::write(&tokens, "some-token\n").unwrap();
    // Left behind by a crash.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let (at, file) = (socket.clone(), tokens.clone());
    let mut harness = Harness::with(|settings| {
        settings.grpc.socket = Some(at);
        settings.grpc.token_file = Some(file);
    })
    .await;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let mut client = over(&socket).await;
    info(&mut client, None).await.unwrap();
    let watcher = client.watch_events(now()).await.unwrap();
    assert!(harness.subscriptions.list()[0].peer.starts_with("unix, uid "));
    drop((watcher, client));

    let mut second = settings();
    second.grpc.socket = Some(socket.clone());
    assert!(matches!(
        GrpcServer::bind(&second.grpc, Inherited::default()),
        Err(BindError::SocketInUse { .. })
    ));
    second.grpc.socket = Some(tokens);
    assert!(matches!(GrpcServer::bind(&second.grpc, Inherited::default()), Err(BindError::NoSocket { .. })));
    harness.drain.cancel();
    harness.server.join_next().await.unwrap().unwrap();
    assert!(!socket.exists());
}

#[test]
fn plaintext_beyond_loopback_has_to_be_allowed() {
    let mut settings = settings();
    settings.grpc.address = ([0, 0, 0, 0], 0).into();
    assert!(matches!(
        GrpcServer::bind(&settings.grpc, Inherited::default()),
        Err(BindError::Plaintext { .. })
    ));
    let inherited = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    assert!(matches!(
        GrpcServer::bind(&settings.grpc, Inherited { tcp: Some(inherited), unix: None }),
        Err(BindError::Plaintext { .. })
    ));
    settings.grpc.allow_plaintext = true;
    assert_ne!(
        GrpcServer::bind(&settings.grpc, Inherited::default())
            .map(|bound| bound.local_addr().port())
            .unwrap(),
        0
    );
}

#[test]
fn an_address_that_is_taken_is_told_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.grpc.address = taken.local_addr().unwrap();
    let error = GrpcServer::bind(&settings.grpc, Inherited::default()).err().unwrap();
    assert!(error.to_string().contains("cannot listen on 127.0.0.1"), "{error}");
    let inherited = GrpcServer::bind(&settings.grpc, Inherited { tcp: Some(taken), unix: None }).unwrap();
    assert_eq!(inherited.local_addr(), settings.grpc.address);
}

pub(super) struct Keys {
    pub(super) authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Keys {
    pub(super) fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap());
        Self { authority: authority.unwrap() }
    }

    /// Certificate and key in PEM.
    pub(super) fn issue(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn tls_and_client_certificates() {
    let keys = Keys::new();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (certificate, key) = keys.issue("localhost");
    fs::write(path("cert"), certificate).unwrap();
    fs::write(path("key"), key).unwrap();
    fs::write(path("ca"), keys.authority.pem()).unwrap();
    for mutual in [false, true] {
        let tls = TlsSettings {
            certificate: path("cert"),
            key: path("key"),
            client_ca: mutual.then(|| path("ca")),
        };
        let harness = Harness::with(|settings| settings.grpc.tls = Some(tls)).await;
        let connect = async |identity: Option<Identity>| {
            let config = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(keys.authority.pem()))
                .domain_name("localhost");
            let config = identity.into_iter().fold(config, ClientTlsConfig::identity);
            let url = format!("https://localhost:{}", harness.address.port());
            let channel = Channel::from_shared(url).unwrap().tls_config(config).unwrap().connect().await;
            let mut client = GitEventServiceClient::new(channel.map_err(|error| error.to_string())?);
            info(&mut client, None).await.map_err(|status| status.to_string())
        };
        let (certificate, key) = keys.issue("client");
        let known = connect(Some(Identity::from_pem(certificate, key))).await.unwrap();
        assert!(known.capabilities.contains(&"tls".to_owned()));
        assert_eq!(known.capabilities.contains(&"mtls".to_owned()), mutual);
        assert_eq!(connect(None).await.is_ok(), !mutual);
        let (certificate, key) = Keys::new().issue("client");
        assert_eq!(connect(Some(Identity::from_pem(certificate, key))).await.is_ok(), !mutual);
        let plain = Channel::from_shared(format!("http://{}", harness.address)).unwrap().connect().await;
        let answered = match plain {
            Ok(channel) => info(&mut GitEventServiceClient::new(channel), None).await.is_ok(),
            Err(_) => false,
        };
        assert!(!answered, "nothing is served in the clear");
    }
    let tls = TlsSettings { certificate: path("key"), key: path("cert"), client_ca: None };
    let mut settings = settings();
    settings.grpc.tls = Some(tls);
    assert!(matches!(GrpcServer::bind(&settings.grpc, Inherited::default()), Err(BindError::Tls { .. })));
    settings.grpc.tls.as_mut().unwrap().key = path("missing");
    assert!(matches!(GrpcServer::bind(&settings.grpc, Inherited::default()), Err(BindError::File { .. })));
}
