//! Addresses, and the keys to serve them with.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::Inherited;
use crate::settings::GrpcSettings;

/// Permissions of the Unix socket: its owner and its group,
const SOCKET_MODE: u32 = 0o660;
/// or everyone, where the settings say which users and groups are let in.
const SOCKET_MODE_LISTED: u32 = 0o666;

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
    /// The file of the shared secret has none, or a bad one.
    #[error("grpc.shared_secret_file: {}: {detail}", path.display())]
    Secrets { path: PathBuf, detail: String },
    /// A user or group is not known.
    #[error("{setting}: the system knows nobody called {name}; write a name that it knows, or a number")]
    Nobody { setting: &'static str, name: String },
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
        let listed = !settings.socket_users.is_empty() || !settings.socket_groups.is_empty();
        let mode = if listed { SOCKET_MODE_LISTED } else { SOCKET_MODE };
        let (unix, socket) = match (inherited.unix, &settings.socket) {
            (Some(listener), _) => (Some(listener), None),
            (None, Some(path)) => {
                bind_socket(path, mode).map(|(listener, socket)| (Some(listener), Some(socket)))?
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

fn bind_socket(path: &Path, mode: u32) -> Result<(UnixListener, Socket), BindError> {
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
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
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
