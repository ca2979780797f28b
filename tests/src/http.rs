//! Asks the sidecar.

use std::net::SocketAddr;

use crate::DEADLINE;

/// Status code and body of a GET.
///
/// # Panics
/// When nobody answers.
pub fn get(address: SocketAddr, path: &str, accept: &str) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(DEADLINE))
        .build()
        .into();
    let mut response =
        agent.get(format!("http://{address}{path}")).header("Accept", accept).call().expect("an answer");
    let body = response.body_mut().read_to_string().expect("text");
    (response.status().as_u16(), body)
}

/// The value of a metric without labels, or with exactly these.
pub fn metric(address: SocketAddr, series: &str) -> Option<f64> {
    let (_, text) = get(address, "/metrics", "text/plain");
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}
