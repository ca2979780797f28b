//! GetServerInfo.

use std::time::Duration;

use refwatch_proto::{limits, v1};

use super::Inner;
use crate::settings::Settings;
use crate::wire::hex16;

pub(super) fn get(inner: &Inner) -> v1::GetServerInfoResponse {
    let identity = inner.log.identity();
    let bounds = inner.log.bounds();
    v1::GetServerInfoResponse {
        server_id: hex16(identity.server),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: hex16(identity.epoch),
        last_sequence: bounds.last,
        floor_sequence: bounds.floor,
        limits: Some(server_limits(&inner.settings)),
        started_at_us: inner.started_at_us,
        capabilities: capabilities(&inner.settings),
        object_formats: [v1::ObjectFormat::Sha1, v1::ObjectFormat::Sha256].map(i32::from).to_vec(),
        ref_formats: [v1::RefFormat::Files, v1::RefFormat::Reftable].map(i32::from).to_vec(),
    }
}

/// True where somebody may report: who comes by the Unix socket, who has a token that says so, and who signs.
fn takes_reports(settings: &Settings) -> bool {
    let grpc = &settings.grpc;
    grpc.socket.is_some() || grpc.token_file.is_some() || grpc.shared_secret_file.is_some()
}

fn capabilities(settings: &Settings) -> Vec<String> {
    let grpc = &settings.grpc;
    let switches = [
        ("ingest", takes_reports(settings)),
        ("tls", grpc.tls.is_some()),
        ("mtls", grpc.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())),
        ("auth", grpc.token_file.is_some()),
        ("signed_reports", grpc.shared_secret_file.is_some()),
        ("unix_socket", grpc.socket.is_some()),
    ];
    switches.into_iter().filter(|(_, on)| *on).map(|(token, _)| token.to_owned()).collect()
}

fn server_limits(settings: &Settings) -> v1::ServerLimits {
    let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    let store = &settings.store;
    v1::ServerLimits {
        subscribers_max: u32::try_from(settings.grpc.subscribers_max).unwrap_or(u32::MAX),
        batch_bytes_default: limits::BATCH_BYTES_DEFAULT,
        batch_bytes_max: limits::BATCH_BYTES_MAX,
        progress_interval_ms_default: millis(settings.grpc.progress_interval),
        progress_interval_ms_min: limits::PROGRESS_INTERVAL_MS_MIN,
        progress_interval_ms_max: limits::PROGRESS_INTERVAL_MS_MAX,
        stall_ms_max: millis(settings.grpc.stall_timeout),
        page_size_max: limits::PAGE_SIZE_MAX,
        ref_page_size_max: limits::REF_PAGE_SIZE_MAX,
        globs_max: limits::GLOBS_MAX,
        glob_bytes_max: limits::GLOB_BYTES_MAX,
        glob_wildcards_max: limits::GLOB_WILDCARDS_MAX,
        repository_ids_max: limits::REPOSITORY_IDS_MAX,
        reports_max: if takes_reports(settings) { limits::REPORTS_MAX } else { 0 },
        sync_timeout_ms_max: limits::SYNC_TIMEOUT_MS_MAX,
        retention_s: store.retention_age.map_or(0, |age| age.as_secs()),
        retention_events: store.retention_events_max.unwrap_or_default(),
        retention_bytes: store.retention_bytes_max.unwrap_or_default(),
    }
}
