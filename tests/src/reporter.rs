//! A Git host that reports refused updates.

use std::net::SocketAddr;
use std::path::Path;

use refwatch_proto::client::{Report, Signer};
use refwatch_proto::v1::ingest_service_client::IngestServiceClient;
use refwatch_proto::v1::rejection_report::Repository;
use refwatch_proto::v1::{
    RejectionReport, ReportRejectionRequest, ReportRejectionResponse, ReportRejectionsRequest,
    ReportRejectionsResponse,
};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::client::{Refusal, runtime, wait};
use crate::world::Repo;

/// A connection to a daemon's IngestService.
#[derive(Clone, Debug)]
pub struct Reporter {
    client: IngestServiceClient<Channel>,
    token: Option<String>,
    signer: Option<Signer>,
}

impl Reporter {
    /// Reports over a Unix socket.
    pub fn by_socket(socket: &Path) -> Self {
        Self::connect(format!("unix://{}", socket.display()), None)
    }

    /// Reports over TCP, with a token or without.
    pub fn by_tcp(address: SocketAddr, token: Option<&str>) -> Self {
        Self::connect(format!("http://{address}"), token)
    }

    /// Reports over TCP, signed with a secret.
    ///
    /// # Panics
    /// When it is no secret.
    pub fn signing(address: SocketAddr, secret: &str) -> Self {
        let signer = Some(Signer::new(secret).expect("a secret"));
        Self { signer, ..Self::by_tcp(address, None) }
    }

    fn connect(url: String, token: Option<&str>) -> Self {
        let _inside = runtime().enter();
        let endpoint = Endpoint::from_shared(url).expect("an address");
        Self {
            client: IngestServiceClient::new(endpoint.connect_lazy()),
            token: token.map(|token| format!("Bearer {token}")),
            signer: None,
        }
    }

    /// Reports one refused update.
    ///
    /// # Errors
    /// How it was refused.
    pub fn report(&self, report: RejectionReport) -> Result<ReportRejectionResponse, Refusal> {
        let request = self.request(ReportRejectionRequest { report: Some(report) });
        let answer = wait(self.client.clone().report_rejection(request));
        answer.map(tonic::Response::into_inner).map_err(|status| Refusal::of(&status))
    }

    /// Reports several at once.
    ///
    /// # Errors
    /// How they were refused.
    pub fn report_all(&self, reports: Vec<RejectionReport>) -> Result<ReportRejectionsResponse, Refusal> {
        let request = self.request(ReportRejectionsRequest { reports });
        let answer = wait(self.client.clone().report_rejections(request));
        answer.map(tonic::Response::into_inner).map_err(|status| Refusal::of(&status))
    }

    fn request<T: Report>(&self, message: T) -> Request<T> {
        let mut request = match &self.signer {
            Some(signer) => signer.sign(message),
            None => Request::new(message),
        };
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.parse().expect("a header"));
        }
        request
    }
}

/// A refused update of a ref in a repository, with nothing that may be left out.
pub fn refused(repo: &Repo, name: &str, old: &str, new: &str) -> RejectionReport {
    RejectionReport {
        repository: Some(Repository::RepositoryPath(repo.path.clone())),
        ref_name: name.to_owned(),
        old_oid: old.to_owned(),
        new_oid: new.to_owned(),
        ..RejectionReport::default()
    }
}
