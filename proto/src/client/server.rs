//! Where a server is, and how to talk to it.

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::v1::git_event_service_client::GitEventServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{Failure, FailureKind};

/// Longest wait for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is probed after this silence,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// and given up when the probe is not answered within this.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected client.
pub type Client = GitEventServiceClient<InterceptedService<Channel, Bearer>>;

/// What it takes to reach a server.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`; without a scheme it is `http`.
    pub address: String,
    /// PEM file of the authorities to trust, in place of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's own certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// File whose first line is the bearer token. Read at every connection, so it may be rotated.
    pub token_file: Option<PathBuf>,
}

/// A server, not connected yet.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    endpoint: Endpoint,
    token_file: Option<PathBuf>,
}

/// Options that lead to no server.
#[derive(Debug, thiserror::Error)]
pub enum InvalidServer {
    /// Not an address.
    #[error(
        "{address:?} is no address of a server: write HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH"
    )]
    Address {
        /// What was given.
        address: String,
    },
    /// Certificates for a connection that has none.
    #[error("certificates need an https:// address, and {address} is none")]
    NotTls {
        /// What was given.
        address: String,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificates are refused.
    #[error("certificates: {detail}")]
    Certificates {
        /// Why.
        detail: String,
    },
}

impl Server {
    /// Takes the options and reads the certificates; connects to nothing.
    ///
    /// # Errors
    /// [`InvalidServer`].
    pub fn new(options: &ServerOptions) -> Result<Self, InvalidServer> {
        let given = &options.address;
        let address = if given.starts_with("unix:") || given.contains("://") {
            given.clone()
        } else {
            format!("http://{given}")
        };
        let scheme = address.split(':').next().unwrap_or_default();
        let bad_address = || InvalidServer::Address { address: given.clone() };
        if !["http", "https", "unix"].contains(&scheme) {
            return Err(bad_address());
        }
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(|_| bad_address())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if scheme == "https" {
            let tls = tls(options)?;
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| InvalidServer::Certificates { detail: with_causes(&error) })?;
        } else if options.ca.is_some() || options.identity.is_some() {
            return Err(InvalidServer::NotTls { address });
        }
        Ok(Self { address, endpoint, token_file: options.token_file.clone() })
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connects.
    ///
    /// # Errors
    /// Transient when nobody answers; otherwise when the token file is of no use.
    pub async fn connect(&self) -> Result<Client, Failure> {
        let bearer = Bearer(self.token_file.as_deref().map(read_token).transpose()?);
        Ok(GitEventServiceClient::with_interceptor(self.channel().await?, bearer))
    }

    /// Connects, for services that take no token, such as `grpc.health.v1`.
    ///
    /// # Errors
    /// Transient when nobody answers.
    pub async fn channel(&self) -> Result<Channel, Failure> {
        self.endpoint.connect().await.map_err(|error| {
            Failure::transient(format!("cannot connect to {}: {}", self.address, with_causes(&error)))
        })
    }
}

fn tls(options: &ServerOptions) -> Result<ClientTlsConfig, InvalidServer> {
    let read =
        |path: &Path| fs::read(path).map_err(|source| InvalidServer::File { path: path.to_owned(), source });
    let mut tls = match &options.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &options.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

fn read_token(path: &Path) -> Result<MetadataValue<Ascii>, Failure> {
    let refused = |why: String| Failure::new(FailureKind::Denied, format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let token = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let token = token.ok_or_else(|| refused("holds no token".to_owned()))?;
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {token}").parse().map_err(|_| refused("the token is not plain ASCII".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// An error with what lies below it; tonic's own words are only "transport error".
fn with_causes(error: &tonic::transport::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.iter().any(|word| word.contains(&text)) {
            words.push(text);
        }
        cause = inner.source();
    }
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}
