//! The paths that are served, and what each answers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use askama::Template as _;
use axum::{
    Extension, Json, Router,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::map_response,
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use jiff::Timestamp;
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::{
    Liveness, Metrics, Readiness, StatusSource,
    metrics::Exposition,
    negotiate::{Offer, choose},
    status::{HealthReport, StatusReport, page},
};

/// Statuses being taken at once; a [`StatusSource`] that hangs holds no more threads than these.
const STATUS_AT_ONCE_MAX: usize = 4;
/// Longest wait for one status.
const STATUS_WAIT_MAX: Duration = Duration::from_secs(5);

const STATUS_OFFERS: [Offer; 2] =
    [Offer { media: "application/json", version: None }, Offer { media: "text/html", version: None }];
const METRICS_OFFERS: [Offer; 2] = [
    Offer { media: "text/plain", version: Some("0.0.4") },
    Offer { media: "application/openmetrics-text", version: Some("1.0.0") },
];

/// Headers of every answer: it is about this moment, and the page holds nothing that could run or be fetched.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (VARY, HeaderValue::from_static("Accept")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
];

/// What the router serves from.
#[derive(Clone)]
pub struct Ops {
    /// Answers `/metrics`.
    pub metrics: Metrics,
    /// Answers `/readyz`.
    pub readiness: Readiness,
    /// Answers `/livez`.
    pub liveness: Liveness,
    /// Answers `/status`.
    pub status: Arc<dyn StatusSource>,
    /// Who is answered at `/status`.
    pub status_audience: Audience,
}

/// Who may see the status, which names repositories and subscribers; probes and metrics name neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever connects from a loopback address.
    ThisMachine,
    /// Whoever can connect.
    Everyone,
}

impl Audience {
    /// True for a peer that may see it.
    pub fn admits(self, peer: SocketAddr) -> bool {
        self == Audience::Everyone || peer.ip().to_canonical().is_loopback()
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

#[derive(Clone)]
struct Shared {
    ops: Ops,
    status_slots: Arc<Semaphore>,
}

/// Makes the router: `/livez`, `/readyz`, `/healthz`, `/metrics`, `/status`, and `/` that leads there.
///
/// Probes answer 200 or 503 with the reasons as JSON and touch nothing but memory. There is no authentication; `/status`
/// answers 403 to who is not of its [`Audience`], and to everyone where [`crate::serve`] does not tell the peer.
pub fn router(ops: Ops) -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/status") }))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "not found") })
        .method_not_allowed_fallback(|| async {
            failure(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        .layer(map_response(with_headers))
        .with_state(Shared { ops, status_slots: Arc::new(Semaphore::new(STATUS_AT_ONCE_MAX)) })
}

async fn livez(State(shared): State<Shared>) -> Response {
    let live = shared.ops.liveness.report();
    probe(live.alive, live)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let ready = shared.ops.readiness.report();
    probe(ready.ready, ready)
}

async fn healthz(State(shared): State<Shared>) -> Response {
    let health = health(&shared.ops);
    probe(health.readiness.ready && health.liveness.alive, health)
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let format = Exposition::OFFERED[choose(&headers, &METRICS_OFFERS)];
    match shared.ops.metrics.encode(format) {
        Ok(body) => ([(CONTENT_TYPE, format.content_type())], body).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn status(
    State(shared): State<Shared>,
    peer: Option<Extension<PeerAddress>>,
    headers: HeaderMap,
) -> Response {
    let audience = shared.ops.status_audience;
    if !peer.is_some_and(|Extension(PeerAddress(peer))| audience.admits(peer)) {
        return failure(
            StatusCode::FORBIDDEN,
            "the status is shown on this machine only; http.expose_status = true shows it to everyone",
        );
    }
    let Ok(slot) = Arc::clone(&shared.status_slots).try_acquire_owned() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "too many statuses are being taken");
    };
    let source = Arc::clone(&shared.ops.status);
    let taking = spawn_blocking(move || {
        let _slot = slot;
        source.status()
    });
    let status = match timeout(STATUS_WAIT_MAX, taking).await {
        Ok(Ok(status)) => status,
        Ok(Err(_panic)) => return failure(StatusCode::INTERNAL_SERVER_ERROR, "taking the status panicked"),
        Err(_late) => return failure(StatusCode::SERVICE_UNAVAILABLE, "taking the status took too long"),
    };
    let report = StatusReport { at: Timestamp::now(), health: health(&shared.ops), status };
    match choose(&headers, &STATUS_OFFERS) {
        0 => Json(report).into_response(),
        _ => match page(&report).render() {
            Ok(html) => Html(html).into_response(),
            Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
    }
}

fn health(ops: &Ops) -> HealthReport {
    HealthReport { readiness: ops.readiness.report(), liveness: ops.liveness.report() }
}

fn probe(well: bool, report: impl Serialize) -> Response {
    let code = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(report)).into_response()
}

fn failure(code: StatusCode, error: &str) -> Response {
    #[derive(Serialize)]
    struct Failure<'a> {
        error: &'a str,
    }
    (code, Json(Failure { error })).into_response()
}

async fn with_headers(mut response: Response) -> Response {
    response.headers_mut().extend(HEADERS);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_loopback_in_either_notation() {
        for (peer, admitted) in [
            ("127.0.0.1:9", true),
            ("127.9.9.9:9", true),
            ("[::1]:9", true),
            ("[::ffff:127.0.0.1]:9", true),
            ("192.0.2.7:9", false),
            ("10.0.0.1:9", false),
            ("[::ffff:10.0.0.1]:9", false),
            ("[2001:db8::1]:9", false),
        ] {
            let peer = peer.parse().expect("an address");
            assert_eq!(Audience::ThisMachine.admits(peer), admitted, "{peer}");
            assert!(Audience::Everyone.admits(peer));
        }
    }
}
