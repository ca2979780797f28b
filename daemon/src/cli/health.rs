//! `refwatch health`: asks whether the daemon is ready, for probes without a tool of their own.

use std::process::ExitCode;
use std::time::Duration;

use refwatch_proto::client::Failure;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::{ServerArgs, block_on};
use super::exit::{self, Exit};
use super::output::Out;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Longest wait for the answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    timeout_ms: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints `serving`, or ends with 1 where the daemon is there and not ready.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<ExitCode, Exit> {
    let server = args.server.server()?;
    let patience = Duration::from_millis(u64::from(args.timeout_ms));
    let asked = block_on(async {
        let asking = async {
            let mut health = HealthClient::new(server.channel().await?);
            // The server as a whole.
            let request = HealthCheckRequest { service: String::new() };
            let answer = health.check(request).await.map_err(|status| Failure::of_status(&status))?;
            Ok::<_, Exit>(answer.into_inner().status())
        };
        let late = || Exit::new(exit::UNAVAILABLE, format!("no answer from {} in time", server.address()));
        tokio::time::timeout(patience, asking).await.unwrap_or_else(|_| Err(late()))
    })?;
    if asked != ServingStatus::Serving {
        return Err(Exit::new(1, format!("{} is not ready: see /readyz", server.address())));
    }
    out.line("serving")?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
