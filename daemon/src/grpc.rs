//! The gRPC server: addresses, who may come in, health, reflection, and how it stops.

mod failures;
mod gate;
mod health;
mod incoming;
mod listen;
mod peer;
mod places;
mod quiet;
mod reload;
mod signature;
mod tls;
mod tokens;
mod users;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use refwatch_ops::Readiness;
use refwatch_ops::metrics::Metrics;
use refwatch_proto::server::git_event_service_server::{GitEventServiceServer, SERVICE_NAME};
use refwatch_proto::server::ingest_service_server::{self, IngestServiceServer};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::filter::View;
use crate::service::{GitEvents, Ingest, deadline_of};
use crate::settings::GrpcSettings;
use crate::subscriptions::{Caller, Subscriptions};

use gate::Gate;
pub(crate) use gate::Signed;
use health::Health;
use incoming::{Doorkeeper, Incoming, Listener};
pub(crate) use listen::BindError;
use listen::Listeners;
pub(crate) use peer::Peer;
use places::Places;
use reload::Reload;
use signature::{Secrets, Signatures};
use tokens::TokenFile;
pub(crate) use tokens::{Digest, Grant, Scope, token_line};
use tokio_rustls::rustls::ServerConfig;
use users::Allowed;

/// What a client may send before it is acknowledged, in bytes: requests are small.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Calls of one connection at a time, besides as many streams as there may be subscribers.
const CALLS_MAX: usize = 128;
/// Longest list of headers, in bytes.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Largest request: the longest filter takes some 400 KB.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest request to report, in bytes: the contract says so.
const REPORT_BYTES_MAX: usize = refwatch_proto::limits::REPORT_BYTES_MAX;
/// Largest response: what clients take by default. Batches and pages end long before.
const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// How often files are looked at and gauges are set.
const CHORES_INTERVAL: Duration = Duration::from_secs(1);

/// Sockets that were handed over (socket activation), each in place of a configured one.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// In place of `grpc.address`.
    pub(crate) tcp: Option<std::net::TcpListener>,
    /// In place of `grpc.socket`. Its path stays when the server ends: whoever made it removes it.
    pub(crate) unix: Option<std::os::unix::net::UnixListener>,
}

/// A server that holds its addresses, and serves nothing yet.
pub(crate) struct GrpcServer {
    listeners: Listeners,
    files: Files,
    users: Option<Allowed>,
    connections_max: usize,
    connections_per_peer_max: usize,
    drain_timeout: Duration,
    streams_max: u32,
    keepalive: Duration,
}

/// What is read of files, and again when they change.
struct Files {
    tokens: Option<TokenFile>,
    secrets: Option<Reload<Secrets>>,
    /// For TCP.
    tls: Option<Reload<ServerConfig>>,
}

impl Files {
    /// Takes over what has changed. Blocks.
    fn look_again(&mut self) {
        if let Some(tokens) = &mut self.tokens {
            tokens.look_again();
        }
        if let Some(secrets) = &mut self.secrets {
            secrets.look_again();
        }
        if let Some(tls) = &mut self.tls {
            tls.look_again();
        }
    }
}

/// The server failed while it ran.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the gRPC server cannot take its listener: {0}")]
    Listener(#[from] io::Error),
    #[error("the gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("the reflection service cannot be made: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl GrpcServer {
    /// Takes the addresses and reads keys and tokens, so that what is wrong with them is known at once. Port 0 takes
    /// any free one.
    ///
    /// # Errors
    /// [`BindError`], which names the setting and the remedy. Nothing is held then.
    pub(crate) fn bind(settings: &GrpcSettings, inherited: Inherited) -> Result<Self, BindError> {
        let files = Files {
            tls: settings.tls.as_ref().map(tls::open).transpose()?,
            tokens: settings.token_file.as_deref().map(TokenFile::open).transpose()?,
            secrets: settings.shared_secret_file.as_deref().map(signature::open).transpose()?,
        };
        let users = Allowed::of(settings)?;
        let listeners = Listeners::bind(settings, inherited)?;
        Ok(Self {
            listeners,
            files,
            users,
            connections_max: settings.connections_max,
            connections_per_peer_max: settings.connections_per_peer_max,
            drain_timeout: settings.drain_timeout,
            streams_max: u32::try_from(settings.subscribers_max + CALLS_MAX).unwrap_or(u32::MAX),
            keepalive: settings.keepalive,
        })
    }

    /// The TCP address that is served.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.listeners.address
    }

    /// Serves until `drain` is cancelled; then takes no further connection, lets every stream say goodbye, and
    /// returns when all connections are closed, or when the time for that is over.
    ///
    /// `drain` must be the token that the services were made with.
    ///
    /// # Errors
    /// [`ServeError`] when it cannot begin, or stops by itself.
    pub(crate) async fn serve(
        self,
        events: GitEvents,
        ingest: Ingest,
        readiness: Readiness,
        metrics: Metrics,
        drain: CancellationToken,
    ) -> Result<(), ServeError> {
        let subscriptions = Arc::clone(events.subscriptions());
        let (health, health_service) = Health::new(readiness).await;
        let signatures = self.files.secrets.as_ref().map(|secrets| Signatures::new(secrets.subscribe()));
        let gate = Gate::new(self.files.tokens.as_ref().map(TokenFile::tokens), signatures, metrics.clone());
        let routes = routes(events, ingest)?.add_service(health_service);
        let mut serving = Serving::new();
        let (tcp, unix, socket) = self.listeners.listen()?;
        let places = Places::new(self.connections_max, self.connections_per_peer_max, &metrics);
        let tls = self.files.tls.as_ref().map(Reload::subscribe);
        let tuned = |server| tuned(server, self.streams_max, self.keepalive);
        let mut serve = |incoming: Incoming, taking: Pin<Box<dyn Future<Output = ()> + Send>>| {
            let server = tuned(Server::builder()).layer(gate.clone()).add_routes(routes.clone());
            let stop = drain.clone().cancelled_owned();
            let serve = server.serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop);
            let drain = drain.clone();
            serving.spawn(serve);
            // The listener closes when the drain begins, or nobody is there to serve what it takes.
            serving.spawn(async move {
                tokio::select! {
                    () = drain.cancelled() => {}
                    () = taking => {}
                }
                Ok(())
            });
        };
        let (taking, incoming) =
            Doorkeeper::new(places.clone(), metrics.clone(), tls, None).take(Listener::Tcp(tcp));
        serve(incoming, Box::pin(taking));
        if let Some(unix) = unix {
            let (taking, incoming) =
                Doorkeeper::new(places, metrics.clone(), None, self.users).take(Listener::Unix(unix));
            serve(incoming, Box::pin(taking));
        }
        let chores = chores(&health, self.files, &subscriptions, &metrics);
        tokio::select! {
            biased;
            () = drain.cancelled() => {}
            () = chores => {}
            Some(ended) = serving.join_next() => {
                ended.map_err(|error| io::Error::other(error.to_string()))??;
                return Err(io::Error::other("it stopped taking connections").into());
            }
        }
        health.not_serving().await;
        let closed = close(&mut serving, &subscriptions, &health);
        if tokio::time::timeout(self.drain_timeout, closed).await.is_err() {
            tracing::warn!(streams = subscriptions.count(), "some connections did not close in time");
        }
        drop(socket);
        Ok(())
    }
}

type Serving = JoinSet<Result<(), tonic::transport::Error>>;

/// Waits until every stream has said goodbye and every connection is closed.
async fn close(serving: &mut Serving, subscriptions: &Subscriptions, health: &Health) {
    subscriptions.ended().await;
    // Whoever watches the health has seen it by now, and would hold its connection for ever.
    health.end().await;
    while let Some(ended) = serving.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "a gRPC listener did not end well");
        }
    }
}

/// What is to be done now and then, for ever.
async fn chores(health: &Health, files: Files, subscriptions: &Subscriptions, metrics: &Metrics) {
    let mut files = Some(files);
    let mut tick = tokio::time::interval(CHORES_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let often = async {
        loop {
            tick.tick().await;
            metrics.subscriber_lag_events_max.set(subscriptions.lag_max());
            if let Some(mut now) = files.take() {
                // A file on a filesystem that hangs must not hold up anything else.
                let looked = tokio::task::spawn_blocking(move || {
                    now.look_again();
                    now
                });
                files = looked.await.ok();
            }
        }
    };
    tokio::join!(often, health.follow());
}

/// The services, but for health.
fn routes(events: GitEvents, ingest: Ingest) -> Result<Routes, ServeError> {
    let events = GitEventServiceServer::new(events)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX);
    let ingest = IngestServiceServer::new(ingest)
        .max_decoding_message_size(REPORT_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX);
    let reflection = || {
        [
            SERVICE_NAME,
            ingest_service_server::SERVICE_NAME,
            health::SERVICE_NAME,
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
        .into_iter()
        .fold(tonic_reflection::server::Builder::configure(), |builder, name| builder.with_service_name(name))
        .register_encoded_file_descriptor_set(refwatch_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Each version lists the other, and clients give up on a service that is listed and not described.
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(events).add_service(ingest);
    Ok(routes.add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?))
}

fn tuned(server: Server, streams_max: u32, keepalive: Duration) -> Server {
    server
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(streams_max)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
}

/// Who sent a request.
pub(crate) fn caller_of<T>(request: &tonic::Request<T>) -> Caller {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let grant = request.extensions().get::<Grant>().cloned();
    let peer = match grant.as_ref().and_then(Grant::name) {
        Some(name) => format!("{name}, {peer}"),
        None => peer,
    };
    let deadline = deadline_of(request.metadata()).and_then(|left| Instant::now().checked_add(left));
    Caller { peer, grant, deadline }
}

/// The repositories that whoever sent a request may know of.
pub(crate) fn view_of<T>(request: &tonic::Request<T>) -> View {
    request.extensions().get::<Grant>().map(Grant::view).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
