//! Connections: taken with patience, counted, and handed on once it is known whose they are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use refwatch_ops::metrics::{ConnectionRefusal, Metrics};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::peer::{Credentials, Door, Peer};
use super::places::{Place, Places};
use super::quiet::Quiet;
use super::users::Allowed;

/// Pause after a connection could not be taken: as a rule file descriptors have run out, and trying at once would
/// only spin.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest that TLS may take to be agreed on.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections that wait to be served.
const CONNECTIONS_QUEUED_MAX: usize = 64;
/// Silence after which the kernel asks.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// A connection that is let in.
pub(super) struct Connection {
    stream: Stream,
    peer: Peer,
    _place: Place,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// Connections, in the order in which they are known.
pub(super) type Incoming = mpsc::Receiver<io::Result<Connection>>;

/// Where connections come from.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Stream, Door)> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                (Stream::Tcp(stream), Door::Tcp(address))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let door = Door::Unix(credentials(&stream));
                (Stream::Unix(stream), door)
            }
        })
    }
}

/// What lets connections in, and turns them away.
#[derive(Clone)]
pub(super) struct Doorkeeper {
    places: Places,
    metrics: Metrics,
    quiet: Arc<Quiet>,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    users: Option<Arc<Allowed>>,
}

impl Doorkeeper {
    pub(super) fn new(
        places: Places,
        metrics: Metrics,
        tls: Option<watch::Receiver<Arc<ServerConfig>>>,
        users: Option<Allowed>,
    ) -> Self {
        Self { places, metrics, quiet: Arc::default(), tls, users: users.map(Arc::new) }
    }

    /// Takes connections until nobody wants them any more. The future is to be run beside the server.
    pub(super) fn take(self, listener: Listener) -> (impl Future<Output = ()> + Send, Incoming) {
        let (sender, incoming) = mpsc::channel(CONNECTIONS_QUEUED_MAX);
        let taking = async move {
            let mut arriving = JoinSet::new();
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    Some(_) = arriving.join_next() => {}
                    accepted = listener.accept() => match accepted {
                        Ok((stream, door)) => {
                            if let Some(place) = self.place(door) {
                                let (this, sender) = (self.clone(), sender.clone());
                                arriving.spawn(async move { this.arrive(stream, door, place, sender).await });
                            }
                        }
                        Err(error) => pause_after(&error).await,
                    },
                }
            }
        };
        (taking, incoming)
    }

    fn place(&self, door: Door) -> Option<Place> {
        match self.places.take(door.origin()) {
            Ok(place) => Some(place),
            Err(refusal) => {
                self.turn_away(door, refusal, "too many connections");
                None
            }
        }
    }

    async fn arrive(
        self,
        stream: Stream,
        door: Door,
        place: Place,
        sender: mpsc::Sender<io::Result<Connection>>,
    ) {
        let admitted = match stream {
            Stream::Tcp(stream) => self.admit_tcp(stream, door).await,
            Stream::Unix(_) => self.admit_unix(door).await.map(|()| stream),
            Stream::Tls(_) => Ok(stream),
        };
        match admitted {
            // Whoever served it may have ended meanwhile.
            Ok(stream) => {
                sender.send(Ok(Connection { stream, peer: Peer::new(door), _place: place })).await.ok();
            }
            Err((refusal, detail)) => self.turn_away(door, refusal, &detail),
        }
    }

    async fn admit_tcp(&self, stream: TcpStream, door: Door) -> Result<Stream, (ConnectionRefusal, String)> {
        if let Err(error) = tune(&stream) {
            tracing::debug!(peer = %door, %error, "a connection ended before it was tuned");
        }
        let Some(acceptor) = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.borrow().clone())) else {
            return Ok(Stream::Tcp(stream));
        };
        match tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => Err((ConnectionRefusal::Tls, error.to_string())),
            Err(_) => Err((ConnectionRefusal::Tls, "it took too long".to_owned())),
        }
    }

    async fn admit_unix(&self, door: Door) -> Result<(), (ConnectionRefusal, String)> {
        let Some(users) = self.users.clone() else { return Ok(()) };
        let asking = tokio::task::spawn_blocking(move || match door {
            Door::Unix(Some(credentials)) => users.admits(credentials),
            Door::Unix(None) | Door::Tcp(_) => false,
        });
        if asking.await.unwrap_or(false) {
            return Ok(());
        }
        let detail = "neither grpc.socket_users nor grpc.socket_groups lets it in";
        Err((ConnectionRefusal::User, detail.to_owned()))
    }

    fn turn_away(&self, door: Door, refusal: ConnectionRefusal, detail: &str) {
        self.metrics.connections_refused.inc(refusal);
        if let Some(unsaid) = self.quiet.speak() {
            tracing::warn!(peer = %door, detail, unsaid, "a connection was turned away");
        }
    }
}

fn credentials(stream: &UnixStream) -> Option<Credentials> {
    let cred = stream.peer_cred().ok()?;
    Some(Credentials { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() })
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(sockopt::set_tcp_keepidle(stream, TCP_KEEPALIVE)?)
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection cannot be taken; trying again in a moment");
    tokio::time::sleep(PAUSE).await;
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Calls a method of the stream, whichever it is.
macro_rules! on_stream {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().stream {
            Stream::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $stream = Pin::new(stream.as_mut());
                $call
            }
            Stream::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
