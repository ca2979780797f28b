//! `refwatch repos`: lists the repositories that the daemon follows.

use std::collections::HashMap;
use std::process::ExitCode;

use anstyle::{AnsiColor, Color, Style};
use refwatch_proto::json::to_json;
use refwatch_proto::limits::PAGE_SIZE_MAX;
use refwatch_proto::v1::{ListRepositoriesRequest, ListRepositoriesResponse, Repository, RepositoryState};

use super::connect::{ServerArgs, block_on};
use super::escape::{self, Escaped};
use super::exit::Exit;
use super::filter::RepositoryArgs;
use super::output::{ColorWhen, Out, Paint};
use refwatch_proto::client::{Client, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    repositories: RepositoryArgs,
    /// Prints one Repository a line as proto3 JSON
    #[arg(long)]
    json: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: ColorWhen,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints a repository a line.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<ExitCode, Exit> {
    let server = args.server.server()?;
    block_on(async {
        let mut client = server.connect().await?;
        let repositories = all(&mut client, &args.repositories).await?;
        let lines = if args.json {
            repositories.iter().map(|repository| escape::json(&to_json(repository)).into_owned()).collect()
        } else {
            table(&repositories, Paint::for_stdout(args.color))
        };
        for line in lines {
            out.line(&line)?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The paths of repositories, by id.
pub(super) async fn paths(
    client: &mut Client,
    args: &RepositoryArgs,
) -> Result<HashMap<String, String>, Failure> {
    let repositories = all(client, args).await?;
    Ok(repositories.into_iter().map(|repository| (repository.id, repository.path)).collect())
}

async fn all(client: &mut Client, args: &RepositoryArgs) -> Result<Vec<Repository>, Failure> {
    let mut repositories = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = page(client, args, page_token).await?;
        repositories.extend(page.repositories);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(repositories);
        }
    }
}

async fn page(
    client: &mut Client,
    args: &RepositoryArgs,
    page_token: String,
) -> Result<ListRepositoriesResponse, Failure> {
    let request = ListRepositoriesRequest {
        repository_ids: Vec::new(),
        repository_globs: args.repositories.clone(),
        page_size: PAGE_SIZE_MAX,
        page_token,
    };
    let response = client.list_repositories(request).await.map_err(|status| Failure::of_status(&status))?;
    Ok(response.into_inner())
}

/// Columns: id, state, how it is watched, how it stores what, refs, path; then what is wrong.
fn table(repositories: &[Repository], paint: Paint) -> Vec<String> {
    let rows: Vec<[String; 6]> = repositories.iter().map(cells).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut lines = Vec::with_capacity(rows.len());
    for (row, repository) in rows.iter().zip(repositories) {
        let mut words = Vec::new();
        for (column, cell) in row.iter().enumerate() {
            let padded = match column {
                // Numbers to the right; nothing behind the last.
                4 => format!("{cell:>width$}", width = widths[column]),
                5 => cell.clone(),
                _ => format!("{cell:width$}", width = widths[column]),
            };
            words.push(if column == 1 { paint.paint(style(repository.state()), &padded) } else { padded });
        }
        if !repository.state_message.is_empty() {
            words.push(format!("({})", Escaped::text(&repository.state_message)));
        }
        lines.push(words.join("  "));
    }
    lines
}

fn cells(repository: &Repository) -> [String; 6] {
    let word = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let storage = format!(
        "{}/{}",
        word(repository.ref_format().short_name()),
        word(repository.object_format().short_name())
    );
    [
        Escaped::text(&repository.id).to_string(),
        word(repository.state().short_name()),
        word(repository.watch_mode().short_name()),
        storage,
        repository.ref_count.map_or_else(|| "-".to_owned(), |count| count.to_string()),
        Escaped::text(&repository.path).to_string(),
    ]
}

fn style(state: RepositoryState) -> Style {
    let colour = match state {
        RepositoryState::Ready => AnsiColor::Green,
        RepositoryState::Discovering | RepositoryState::InFlux => AnsiColor::Yellow,
        RepositoryState::Unreadable => AnsiColor::Red,
        RepositoryState::Unspecified => return Style::new(),
    };
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

#[cfg(test)]
mod tests {
    use refwatch_proto::v1::{ObjectFormat, RefFormat, WatchMode};

    use super::*;

    #[test]
    fn columns_line_up_and_paths_are_escaped() {
        let ready = Repository {
            id: "00ff".to_owned(),
            path: "a.git".to_owned(),
            object_format: ObjectFormat::Sha1.into(),
            ref_format: RefFormat::Files.into(),
            state: RepositoryState::Ready.into(),
            watch_mode: WatchMode::Notify.into(),
            ref_count: Some(1234),
            ..Repository::default()
        };
        let unreadable = Repository {
            path: "b\x1b.git".to_owned(),
            state: RepositoryState::Unreadable.into(),
            state_message: "permission\ndenied".to_owned(),
            ref_count: None,
            ..ready.clone()
        };
        assert_eq!(
            table(&[ready, unreadable], Paint::Plain),
            [
                "00ff  ready       notify  files/sha1  1234  a.git",
                "00ff  unreadable  notify  files/sha1     -  b\\u{1b}.git  (permission\\u{a}denied)",
            ]
        );
    }
}
