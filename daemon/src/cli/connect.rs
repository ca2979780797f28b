//! Flags of the commands that talk to a daemon.

use std::future::Future;
use std::path::PathBuf;

use super::exit::{self, Exit};
use crate::config::{SERVER_VARIABLE, TOKEN_FILE_VARIABLE};
use refwatch_proto::client::{Server, ServerOptions};

/// Where the daemon is, and how to be let in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ServerArgs {
    /// The daemon: HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", env = SERVER_VARIABLE, default_value = "http://127.0.0.1:50052")]
    grpc: String,
    /// PEM file of the authority to trust for https, in place of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of this client's certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file of the certificate's key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// File with a bearer token
    #[arg(long, value_name = "FILE", env = TOKEN_FILE_VARIABLE)]
    token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// The server, not connected yet.
    ///
    /// # Errors
    /// When the flags lead to none.
    pub(super) fn server(&self) -> Result<Server, Exit> {
        let options = ServerOptions {
            address: self.grpc.clone(),
            ca: self.ca.clone(),
            identity: self.certificate.clone().zip(self.key.clone()),
            token_file: self.token_file.clone(),
        };
        Ok(Server::new(&options)?)
    }
}

/// Runs a command that waits for a daemon.
///
/// The connection lives on a thread of its own, so that it is kept up also while stdout takes nothing.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Exit::new(exit::IO, format!("no threads: {error}")))?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_background();
    outcome
}
