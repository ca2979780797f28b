//! Who may come in.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use refwatch_ops::metrics::{GrpcCode, Metrics};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header};
use tonic::transport::server::UdsConnectInfo;
use tower::{Layer, Service};

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

/// Lets in who shows a token that is valid, who comes by the Unix socket, and who asks for the health. Who may report
/// comes by the Unix socket, or shows a token that says so: of everyone else on the machine nothing is known.
#[derive(Clone)]
pub(super) struct Gate {
    /// `None` where everyone may come in.
    tokens: Option<Tokens>,
    metrics: Metrics,
}

impl Gate {
    pub(super) fn new(tokens: Option<Tokens>, metrics: Metrics) -> Self {
        Self { tokens, metrics }
    }

    /// The grant that a request comes with; `None` where it needs none.
    fn check<B>(&self, request: &Request<B>) -> Result<Option<Grant>, Failure> {
        let path = request.uri().path();
        if request.extensions().get::<UdsConnectInfo>().is_some() || path.starts_with(OPEN) {
            return Ok(None);
        }
        let Some(tokens) = &self.tokens else {
            return if path.starts_with(INGEST) { Err(Failure::IngestNotAllowed) } else { Ok(None) };
        };
        let token = request.headers().get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let grant = token.and_then(|token| tokens.grant(&hash(token))).ok_or(Failure::Credentials)?;
        if path.starts_with(INGEST) && !grant.allows(Scope::Ingest) {
            return Err(Failure::IngestNotAllowed);
        }
        if path.starts_with(EVENTS) && !grant.allows(Scope::Watch) {
            return Err(Failure::WatchNotAllowed);
        }
        Ok(Some(grant))
    }

    fn refuse<B>(&self, request: &Request<B>, failure: Failure) -> Response<Body> {
        let called = request.uri().path().rsplit('/').next().unwrap_or_default();
        if let Some(method) = METHODS.into_iter().find(|method| *method == called) {
            self.metrics.grpc_requests.inc(method, GrpcCode::from(failure.number()));
        }
        Status::from(failure).into_http()
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
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.gate.check(&request) {
            Ok(grant) => {
                if let Some(grant) = grant {
                    request.extensions_mut().insert(grant);
                }
                Answer::Inner(Box::pin(self.inner.call(request)))
            }
            Err(failure) => Answer::Refused(ready(self.gate.refuse(&request, failure))),
        }
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answer<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answer::Refused(response) => Pin::new(response).poll(cx).map(Ok),
            Answer::Inner(inner) => inner.as_mut().poll(cx),
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
