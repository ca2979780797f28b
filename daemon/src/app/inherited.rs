//! Sockets that the service manager made for us (`sd_listen_fds(3)`).

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// What a socket unit says in `FileDescriptorName=`.
const GRPC: &str = "grpc";
const HTTP: &str = "http";
const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";

/// Sockets in place of the configured addresses.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// For `grpc.address`.
    pub(super) grpc: Option<TcpListener>,
    /// For `grpc.socket`.
    pub(super) grpc_socket: Option<UnixListener>,
    /// For `http.address`.
    pub(super) http: Option<TcpListener>,
}

/// A socket that is for nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum InheritError {
    #[error(
        "socket {number} of the service manager is called {name:?}; FileDescriptorName= of its unit is {GRPC} or {HTTP}"
    )]
    Name { number: usize, name: String },
    #[error("socket {number} of the service manager is the second for {name}; one of a kind can be served")]
    Twice { number: usize, name: &'static str },
    #[error("socket {number} of the service manager cannot be used for {name}: {source}")]
    Unusable { number: usize, name: &'static str, source: io::Error },
}

impl Inherited {
    /// Takes them, by name; without names the first is for gRPC and the second for HTTP. To be called before there are
    /// threads: the variables are taken out of the environment.
    ///
    /// # Errors
    /// [`InheritError`]: a socket that nobody serves would leave its clients waiting.
    pub(super) fn take() -> Result<Self, InheritError> {
        let names = std::env::var(NAMES_VARIABLE).ok();
        let mut sockets = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..sockets.len() {
            let number = index + 1;
            match name_of(names.as_deref(), index) {
                Some(GRPC) => inherited.take_grpc(&mut sockets, index)?,
                Some(HTTP) => {
                    let taken = sockets.take_tcp_listener(index);
                    put(&mut inherited.http, taken, number, HTTP)?;
                }
                other => {
                    return Err(InheritError::Name { number, name: other.unwrap_or_default().to_owned() });
                }
            }
        }
        Ok(inherited)
    }

    fn take_grpc(&mut self, sockets: &mut ListenFd, index: usize) -> Result<(), InheritError> {
        match sockets.take_unix_listener(index) {
            Ok(taken) => put(&mut self.grpc_socket, Ok(taken), index + 1, GRPC),
            // Left where it is: of the other kind.
            Err(_) => put(&mut self.grpc, sockets.take_tcp_listener(index), index + 1, GRPC),
        }
    }
}

fn put<T>(
    place: &mut Option<T>,
    taken: io::Result<Option<T>>,
    number: usize,
    name: &'static str,
) -> Result<(), InheritError> {
    let taken = taken.map_err(|source| InheritError::Unusable { number, name, source })?;
    if place.is_some() && taken.is_some() {
        return Err(InheritError::Twice { number, name });
    }
    *place = place.take().or(taken);
    Ok(())
}

/// The name of a socket. systemd calls one that has none by its unit, `systemd-socket-activate` by nothing.
fn name_of(names: Option<&str>, index: usize) -> Option<&str> {
    match names {
        Some(names) => names.split(':').nth(index),
        None => [GRPC, HTTP].get(index).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_their_names_or_their_places() {
        assert_eq!(name_of(Some("http:grpc"), 0), Some(HTTP));
        assert_eq!(name_of(Some("http:grpc"), 1), Some(GRPC));
        assert_eq!(name_of(Some("grpc"), 1), None);
        assert_eq!(name_of(None, 0), Some(GRPC));
        assert_eq!(name_of(None, 1), Some(HTTP));
        assert_eq!(name_of(None, 2), None);
    }
}
