//! `refwatch position`: tells where the log stands.

use std::process::ExitCode;

use refwatch_proto::json::to_json;
use refwatch_proto::limits::SYNC_TIMEOUT_MS_MAX;
use refwatch_proto::v1::GetPositionRequest;

use super::connect::{ServerArgs, block_on};
use super::escape::{self, Escaped};
use super::exit::Exit;
use super::output::Out;
use refwatch_proto::client::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Waits until every change that was on disk before is in the log
    #[arg(long)]
    sync: bool,
    /// With --sync: longest wait, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, requires = "sync",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(SYNC_TIMEOUT_MS_MAX)))]
    timeout_ms: u32,
    /// Prints a GetPositionResponse as proto3 JSON, in place of the cursor
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the cursor at the end of the log.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<ExitCode, Exit> {
    let server = args.server.server()?;
    block_on(async {
        let mut client = server.connect().await?;
        let request = GetPositionRequest {
            sync: args.sync,
            timeout_ms: args.timeout_ms,
            ..GetPositionRequest::default()
        };
        let response = client.get_position(request).await.map_err(|status| Failure::of_status(&status))?;
        let position = response.into_inner();
        if args.json {
            out.line(&escape::json(&to_json(&position)))?;
        } else {
            out.line(&Escaped::text(&position.cursor).to_string())?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    })
}
