//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::tokens::Digest;

/// Bits of an IPv6 address that tell peers apart: whoever has one address has all below it.
const IPV6_PREFIX_BITS: u32 = 64;

/// The other end of a connection; the same for all its calls.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    door: Door,
    /// The hash of the valid token that its latest call showed.
    shown: Arc<Mutex<Option<Digest>>>,
}

/// How it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Over TCP, from this address.
    Tcp(SocketAddr),
    /// By the Unix socket, as the kernel tells it; `None` where it does not.
    Unix(Option<Credentials>),
}

/// A process of this machine when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: Option<i32>,
}

/// What connections and failures are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// An IPv4 address, or the first bits of an IPv6 address.
    Address(IpAddr),
    /// A user of this machine.
    User(u32),
    /// Nobody that could be told apart.
    Others,
}

impl Peer {
    pub(super) fn new(door: Door) -> Self {
        Self { door, shown: Arc::default() }
    }

    /// The user at the other end of the Unix socket.
    pub(crate) fn user(&self) -> Option<u32> {
        match self.door {
            Door::Unix(Some(credentials)) => Some(credentials.uid),
            Door::Unix(None) | Door::Tcp(_) => None,
        }
    }

    /// True for a connection by the Unix socket.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self.door, Door::Unix(_))
    }

    pub(super) fn origin(&self) -> Origin {
        self.door.origin()
    }

    /// Remembers that a valid token was shown.
    pub(super) fn showed(&self, digest: &Digest) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(*digest);
    }

    /// True where the latest valid token of the connection was this one: whoever shows it has not guessed it.
    pub(super) fn has_shown(&self, digest: &Digest) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(digest)
    }
}

impl Door {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Door::Tcp(address) => Origin::Address(match address.ip().to_canonical() {
                IpAddr::V4(address) => address.into(),
                IpAddr::V6(address) => prefix(address).into(),
            }),
            Door::Unix(Some(credentials)) => Origin::User(credentials.uid),
            Door::Unix(None) => Origin::Others,
        }
    }
}

fn prefix(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX_BITS)))
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Tcp(address) => address.fmt(f),
            Door::Unix(None) => f.write_str("unix"),
            Door::Unix(Some(Credentials { uid, gid, pid })) => {
                write!(f, "unix, uid {uid}, gid {gid}")?;
                pid.map_or(Ok(()), |pid| write!(f, ", pid {pid}"))
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.door.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_origin_and_a_mapped_address_is_ipv4() {
        let origin = |text: &str| Door::Tcp(text.parse().unwrap()).origin();
        assert_eq!(origin("[2001:db8::1]:1"), origin("[2001:db8::ffff:1]:2"));
        assert_ne!(origin("[2001:db8::1]:1"), origin("[2001:db8:0:1::1]:1"));
        assert_eq!(origin("[::ffff:192.0.2.1]:1"), origin("192.0.2.1:9"));
        assert_ne!(origin("192.0.2.1:1"), origin("192.0.2.2:1"));
    }
}
