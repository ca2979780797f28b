//! `refwatch refs`: lists refs as the daemon knows them.

use std::collections::HashMap;
use std::process::ExitCode;

use jiff::tz::TimeZone;
use refwatch_proto::json::to_json;
use refwatch_proto::limits::REF_PAGE_SIZE_MAX;
use refwatch_proto::v1::{ListRefsRequest, ListRefsResponse};

use super::connect::{ServerArgs, block_on};
use super::escape;
use super::exit::Exit;
use super::filter::{RefArgs, RepositoryArgs};
use super::line::Format;
use super::output::{ColorWhen, Out, Paint, say};
use super::repos;
use refwatch_proto::client::{Client, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    repositories: RepositoryArgs,
    #[command(flatten)]
    refs: RefArgs,
    /// Prints one Ref a line as proto3 JSON
    #[arg(long)]
    json: bool,
    /// Prints the cursor to tail from on stderr
    #[arg(long)]
    cursor: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: ColorWhen,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints a ref a line.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<ExitCode, Exit> {
    let server = args.server.server()?;
    block_on(async {
        let mut client = server.connect().await?;
        list(args, &mut client, out).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn list(args: &Args, client: &mut Client, out: &mut Out) -> Result<(), Exit> {
    let format = Format { paint: Paint::for_stdout(args.color), zone: TimeZone::UTC };
    let mut paths = HashMap::new();
    let mut page_token = String::new();
    loop {
        let page = page(args, client, page_token).await?;
        if !args.json && page.refs.iter().any(|item| !paths.contains_key(&item.repository_id)) {
            // Also those that came after the last time.
            paths = repos::paths(client, &args.repositories).await?;
        }
        for reference in &page.refs {
            let id = &reference.repository_id;
            if args.json {
                out.line(&escape::json(&to_json(reference)))?;
            } else {
                let path = paths.entry(id.clone()).or_insert_with(|| id.clone());
                out.line(&format.reference(path, reference))?;
            }
        }
        out.flush()?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            if args.cursor {
                say(&format!("cursor {}", page.cursor));
            }
            return Ok(());
        }
    }
}

async fn page(args: &Args, client: &mut Client, page_token: String) -> Result<ListRefsResponse, Failure> {
    let request = ListRefsRequest {
        repository_ids: Vec::new(),
        repository_globs: args.repositories.repositories.clone(),
        ref_include_globs: args.refs.refs.clone(),
        ref_exclude_globs: args.refs.exclude_refs.clone(),
        include_internal: args.refs.include_internal,
        page_size: REF_PAGE_SIZE_MAX,
        page_token,
    };
    let response = client.list_refs(request).await.map_err(|status| Failure::of_status(&status))?;
    Ok(response.into_inner())
}
