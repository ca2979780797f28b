//! Who may come in.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full, Limited};
use refwatch_ops::metrics::labels::Label as _;
use refwatch_ops::metrics::{AuthFailure, GrpcCode, Metrics};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header};
use tower::{Layer, Service};

use super::REPORT_BYTES_MAX;
use super::failures::Failures;
use super::peer::{Origin, Peer};
use super::quiet::Quiet;
use super::signature::{Claim, Refused, SIGNATURE, SKEW_MAX, Signatures};
use super::tokens::{Grant, Scope, Tokens, hash};
use crate::status::Failure;

/// What anybody may call: probes have no tokens.
const OPEN: &str = "/grpc.health.v1.Health/";
/// What needs a scope of its token.
const EVENTS: &str = "/refwatch.v1.GitEventService/";
const INGEST: &str = "/refwatch.v1.IngestService/";
/// Methods that are counted by name.
const METHODS: [&str; 8] = [
    "WatchEvents",
    "ListEvents",
    "ListRefs",
    "ListRepositories",
    "GetPosition",
    "GetServerInfo",
    "ReportRejection",
    "ReportRejections",
];

/// Bodies of signed requests that are read at a time: they are held whole until the signature is known to be good.
const SIGNED_BODIES_MAX: usize = 32;
/// Longest that the body of a signed request may take to come.
const SIGNED_BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest body of a signed request: the largest message and its prefix.
const SIGNED_BODY_BYTES_MAX: usize = REPORT_BYTES_MAX + 5;

/// Lets in who shows a token that is valid, who comes by the Unix socket, and who asks for the health. Who may report
/// comes by the Unix socket, shows a token that says so, or signs the report: of everyone else on the machine nothing is
/// known.
#[derive(Clone)]
pub(super) struct Gate(Arc<Inner>);

struct Inner {
    /// `None` where everyone may come in.
    tokens: Option<Tokens>,
    signatures: Option<Signatures>,
    bodies: Semaphore,
    failures: Failures,
    quiet: Quiet,
    metrics: Metrics,
}

/// A request that was signed with the shared secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed;

/// What a request is let in by.
enum Pass {
    /// Nothing: it needs none.
    Open,
    Token(Grant),
    /// A signature that is still to be compared with the body.
    Claim(Claim),
}

/// Why a request is not let in: how it is counted, and what is answered.
type Denied = (AuthFailure, Failure);

impl Gate {
    pub(super) fn new(tokens: Option<Tokens>, signatures: Option<Signatures>, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            tokens,
            signatures,
            bodies: Semaphore::new(SIGNED_BODIES_MAX),
            failures: Failures::default(),
            quiet: Quiet::default(),
            metrics,
        }))
    }
}

impl Inner {
    fn check<B>(&self, request: &Request<B>, peer: Option<&Peer>) -> Result<Pass, Denied> {
        let path = request.uri().path();
        if peer.is_some_and(Peer::is_unix) || path.starts_with(OPEN) {
            return Ok(Pass::Open);
        }
        if path.starts_with(INGEST) && request.headers().contains_key(SIGNATURE) && self.signatures.is_some()
        {
            self.patience(peer)?;
            return Claim::of(request.headers(), now_us()).map(Pass::Claim).map_err(of_signature);
        }
        let Some(tokens) = &self.tokens else {
            return if path.starts_with(INGEST) {
                Err((AuthFailure::Scope, Failure::IngestNotAllowed))
            } else {
                Ok(Pass::Open)
            };
        };
        let token = request.headers().get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let digest = hash(token.ok_or((AuthFailure::Missing, Failure::Credentials))?);
        // Whoever failed too often is not told whether this one would have been right; but who has shown it on this
        // connection has not guessed it, and does not pay for others at its address.
        if !peer.is_some_and(|peer| peer.has_shown(&digest)) {
            self.patience(peer)?;
        }
        let grant = tokens.grant(&digest).ok_or((AuthFailure::Unknown, Failure::Credentials))?;
        if let Some(peer) = peer {
            peer.showed(&digest);
        }
        if path.starts_with(INGEST) && !grant.allows(Scope::Ingest) {
            return Err((AuthFailure::Scope, Failure::IngestNotAllowed));
        }
        if path.starts_with(EVENTS) && !grant.allows(Scope::Watch) {
            return Err((AuthFailure::Scope, Failure::WatchNotAllowed));
        }
        Ok(Pass::Token(grant))
    }

    /// Fails for a peer whose origin has failed too often.
    fn patience(&self, peer: Option<&Peer>) -> Result<(), Denied> {
        match self.failures.wait(origin(peer), Instant::now()) {
            None => Ok(()),
            Some(retry_after) => Err((AuthFailure::Limited, Failure::TooManyFailures { retry_after })),
        }
    }

    /// Reads the body of a signed request, and gives the request back if it is the one that was signed.
    async fn verify(&self, claim: Claim, request: Request<Body>) -> Result<Request<Body>, Denied> {
        let (mut parts, body) = request.into_parts();
        let broken = || (AuthFailure::Signature, Failure::Credentials);
        let reading = async {
            let turn = self.bodies.acquire().await;
            let body = Limited::new(body, SIGNED_BODY_BYTES_MAX).collect().await;
            drop(turn);
            body
        };
        let body = tokio::time::timeout(SIGNED_BODY_TIME_MAX, reading).await.map_err(|_| broken())?;
        let body = body.map_err(|_| broken())?.to_bytes();
        let signatures = self.signatures.as_ref().ok_or_else(broken)?;
        signatures.take(claim, parts.uri.path(), &body, now_us()).map_err(of_signature)?;
        parts.extensions.insert(Signed);
        Ok(Request::from_parts(parts, Body::new(Full::new(body))))
    }

    fn refuse(&self, path: &str, peer: Option<&Peer>, (kind, failure): Denied) -> Response<Body> {
        self.metrics.auth_failures.inc(kind);
        // Only what could be a guess: who shows nothing, or a right token at the wrong door, learns nothing.
        if matches!(kind, AuthFailure::Unknown | AuthFailure::Signature) {
            self.failures.count(origin(peer), Instant::now());
        }
        let called = path.rsplit('/').next().unwrap_or_default();
        let method = METHODS.into_iter().find(|method| *method == called);
        if let Some(unsaid) = self.quiet.speak() {
            let peer = peer.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                peer,
                method = method.unwrap_or("other"),
                kind = kind.as_str(),
                unsaid,
                "a call was refused"
            );
        }
        if let Some(method) = method {
            self.metrics.grpc_requests.inc(method, GrpcCode::from(failure.number()));
        }
        Status::from(failure).into_http()
    }
}

fn origin(peer: Option<&Peer>) -> Origin {
    peer.map_or(Origin::Others, Peer::origin)
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn of_signature(refused: Refused) -> Denied {
    match refused {
        Refused::Signature => (AuthFailure::Signature, Failure::Credentials),
        Refused::Late => (AuthFailure::Late, Failure::Credentials),
        Refused::Replayed => (AuthFailure::Replayed, Failure::Credentials),
        Refused::Full => (AuthFailure::Limited, Failure::TooManyFailures { retry_after: SKEW_MAX }),
    }
}

/// The token of `Bearer <token>` (RFC 6750, the scheme in any case).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_first_chunk::<7>()?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(super) struct Gated<S> {
    gate: Gate,
    inner: S,
}

/// An answer of the gate, or of what is behind it.
pub(super) enum Answer<F> {
    Refused(Ready<Response<Body>>),
    Inner(Pin<Box<F>>),
    Signed(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>),
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        match self.gate.0.check(&request, peer.as_ref()) {
            Ok(Pass::Open) => Answer::Inner(Box::pin(self.inner.call(request))),
            Ok(Pass::Token(grant)) => {
                request.extensions_mut().insert(grant);
                Answer::Inner(Box::pin(self.inner.call(request)))
            }
            Ok(Pass::Claim(claim)) => {
                let gate = Arc::clone(&self.gate.0);
                // The one that was asked whether it is ready is the one to be called.
                let again = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, again);
                Answer::Signed(Box::pin(async move {
                    let path = request.uri().path().to_owned();
                    match gate.verify(claim, request).await {
                        Ok(request) => inner.call(request).await,
                        Err(denied) => Ok(gate.refuse(&path, peer.as_ref(), denied)),
                    }
                }))
            }
            Err(denied) => {
                Answer::Refused(ready(self.gate.0.refuse(request.uri().path(), peer.as_ref(), denied)))
            }
        }
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answer<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answer::Refused(response) => Pin::new(response).poll(cx).map(Ok),
            Answer::Inner(inner) => inner.as_mut().poll(cx),
            Answer::Signed(answer) => answer.as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use refwatch_proto::server::{git_event_service_server, ingest_service_server};

    use super::*;

    #[test]
    fn the_services_are_called_so() {
        assert_eq!(EVENTS, format!("/{}/", git_event_service_server::SERVICE_NAME));
        assert_eq!(INGEST, format!("/{}/", ingest_service_server::SERVICE_NAME));
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(b"abc".as_slice()));
        assert_eq!(bearer(b"bearer  abc "), Some(b"abc".as_slice()));
        for value in [b"Basic abc".as_slice(), b"Bearer", b"", b"Bearerabc"] {
            assert_eq!(bearer(value), None);
        }
    }
}
