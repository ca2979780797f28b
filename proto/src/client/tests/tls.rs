use std::path::PathBuf;

use crate::server::git_event_service_server::GitEventServiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport;

use super::*;

/// An authority, and what it vouches for, as PEM files.
struct Authority {
    directory: tempfile::TempDir,
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(vec![]).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let issuer = rcgen::CertifiedIssuer::self_signed(params, key).expect("signed");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca"), issuer.pem()).expect("written");
        Self { directory, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate for this machine, and its key.
    fn vouch(&self) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    async fn serve(&self, fake: &Fake, tasks: &mut JoinSet<()>) -> SocketAddr {
        let (certificate, key) = self.vouch();
        let tls = transport::ServerTlsConfig::new()
            .identity(transport::Identity::from_pem(certificate, key))
            .client_ca_root(transport::Certificate::from_pem(self.issuer.pem()));
        let service = transport::Server::builder()
            .tls_config(tls)
            .expect("good certificates")
            .add_service(GitEventServiceServer::new(fake.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tasks.spawn(async move {
            let _ = service.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        address
    }
}

async fn first(options: &ServerOptions) -> Result<Update, Failure> {
    let request = WatchEventsRequest { start: Some(EARLIEST), ..Default::default() };
    let server = Server::new(options).expect("good options");
    next(&mut Watch::new(server, request, quick())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_show_certificates_and_others_are_not_trusted() {
    let mut tasks = JoinSet::new();
    let authority = Authority::new();
    let address = format!("https://{}", authority.serve(&Fake::new(), &mut tasks).await);
    let (certificate, key) = authority.vouch();
    std::fs::write(authority.file("certificate"), certificate).expect("written");
    std::fs::write(authority.file("key"), key).expect("written");
    let identity = Some((authority.file("certificate"), authority.file("key")));

    let good = ServerOptions { address, ca: Some(authority.file("ca")), identity, token_file: None };
    assert!(matches!(first(&good).await, Ok(Update::Started(_))), "{:?}", first(&good).await);

    let stranger = Authority::new();
    let distrustful = ServerOptions { ca: Some(stranger.file("ca")), ..good.clone() };
    let failure = first(&distrustful).await.expect_err("another authority");
    assert!(failure.message.contains("certificate"), "{failure}");
    assert!(
        first(&ServerOptions { identity: None, ..good }).await.is_err(),
        "the server wants a certificate"
    );
}
