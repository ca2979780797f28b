//! Addresses, and the keys to serve them with.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::Inherited;
use crate::settings::{GrpcSettings, TlsSettings};

/// Permissions of the Unix socket: its owner and its group.
const SOCKET_MODE: u32 = 0o660;

/// Why the server cannot have what its settings ask for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// Another process has the address, or it is not this machine's.
    #[error("grpc.address: cannot listen on {address}: {source}")]
    Address { address: SocketAddr, source: io::Error },
    /// Everyone who can reach the address could read along.
    #[error(
        "grpc.address: {address} is not a loopback address, and without TLS all would travel in the clear; set \
         grpc.tls_certificate and grpc.tls_key, or grpc.allow_plaintext = true where the network is trusted"
    )]
    Plaintext { address: SocketAddr },
    /// The socket's path is taken.
    #[error("grpc.socket: {} is in use by another process; stop that one, or name another path", path.display())]
    SocketInUse { path: PathBuf },
    /// Something else than a socket is at its path.
    #[error("grpc.socket: {} exists and is no socket; move it away, or name another path", path.display())]
    NoSocket { path: PathBuf },
    /// The socket cannot be made.
    #[error("grpc.socket: cannot listen on {}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    /// A file that the settings name cannot be read.
    #[error("{setting}: cannot read {}: {source}", path.display())]
    File { setting: &'static str, path: PathBuf, source: io::Error },
    /// Key, certificate or authority are no such things.
    #[error(
        "grpc.tls_certificate, grpc.tls_key or grpc.tls_client_ca cannot be used: {detail}; they are PEM files"
    )]
    Tls { detail: String },
    /// The token file has no token, or a bad one.
    #[error("grpc.token_file: {}: {detail}", path.display())]
    Tokens { path: PathBuf, detail: String },
}

impl BindError {
    pub(super) fn tls(error: tonic::transport::Error) -> Self {
        use std::error::Error as _;
        let detail = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        BindError::Tls { detail }
    }
}

/// The sockets of a server.
#[derive(Debug)]
pub(super) struct Listeners {
    /// The address of `tcp`.
    pub(super) address: SocketAddr,
    tcp: TcpListener,
    unix: Option<UnixListener>,
    /// Where `unix` is, unless it was handed over.
    socket: Option<Socket>,
}

/// A socket in the filesystem; removed when dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    inode: u64,
}

impl Listeners {
    pub(super) fn bind(settings: &GrpcSettings, inherited: Inherited) -> Result<Self, BindError> {
        let failed = |source| BindError::Address { address: settings.address, source };
        let plaintext = |address: SocketAddr| {
            let exposed = !address.ip().is_loopback() && settings.tls.is_none() && !settings.allow_plaintext;
            if exposed { Err(BindError::Plaintext { address }) } else { Ok(address) }
        };
        let tcp = match inherited.tcp {
            Some(listener) => listener,
            None => TcpListener::bind(plaintext(settings.address)?).map_err(failed)?,
        };
        let address = plaintext(tcp.local_addr().map_err(failed)?)?;
        let (unix, socket) = match (inherited.unix, &settings.socket) {
            (Some(listener), _) => (Some(listener), None),
            (None, Some(path)) => {
                bind_socket(path).map(|(listener, socket)| (Some(listener), Some(socket)))?
            }
            (None, None) => (None, None),
        };
        Ok(Self { address, tcp, unix, socket })
    }

    /// Gives the sockets to the runtime that this is called on.
    pub(super) fn listen(
        self,
    ) -> io::Result<(tokio::net::TcpListener, Option<tokio::net::UnixListener>, Option<Socket>)> {
        self.tcp.set_nonblocking(true)?;
        let tcp = tokio::net::TcpListener::from_std(self.tcp)?;
        let listen = |unix: UnixListener| {
            unix.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(unix)
        };
        Ok((tcp, self.unix.map(listen).transpose()?, self.socket))
    }
}

fn bind_socket(path: &Path) -> Result<(UnixListener, Socket), BindError> {
    let failed = |source| BindError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(BindError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => match UnixStream::connect(path) {
            // Left behind by a process that crashed: nobody listens.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(_) | Err(_) => return Err(BindError::SocketInUse { path: path.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
    Ok((listener, Socket { path: path.to_owned(), inode }))
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another process may have put its own there.
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket stays behind");
        }
    }
}

pub(super) fn tls(settings: &TlsSettings) -> Result<ServerTlsConfig, BindError> {
    let read = |setting, path: &Path| {
        fs::read(path).map_err(|source| BindError::File { setting, path: path.to_owned(), source })
    };
    let certificate = read("grpc.tls_certificate", &settings.certificate)?;
    let key = read("grpc.tls_key", &settings.key)?;
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    match &settings.client_ca {
        Some(path) => Ok(tls.client_ca_root(Certificate::from_pem(read("grpc.tls_client_ca", path)?))),
        None => Ok(tls),
    }
}
