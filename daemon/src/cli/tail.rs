//! `refwatch tail`: prints events as they happen.

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use jiff::tz::TimeZone;
use refwatch_proto::client::{Failure, FailureKind, FileCheckpoint, FirstConnect, Policy, Update, Watch};
use refwatch_proto::cloudevents;
use refwatch_proto::json::to_json;
use refwatch_proto::limits::PROGRESS_INTERVAL_MS_DEFAULT;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{
    EventBatch, GitEvent, OnGap, Reset, SnapshotRefs, SnapshotThenWatch, WatchEventsRequest,
    WatchEventsResponse,
};

use super::connect::{ServerArgs, block_on};
use super::escape::{self, Escaped};
use super::exit::{self, Exit};
use super::filter::EventArgs;
use super::line::Format;
use super::output::{ColorWhen, Out, Paint, say};
use super::since;

/// What to do when events are lost to this tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnGapArg {
    /// End with exit code 65
    Fail,
    /// Say so, print all refs, and go on
    Resnapshot,
}

/// How an event is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// A line for people
    Line,
    /// One GitEvent a line as proto3 JSON
    Json,
    /// One CloudEvent 1.0 a line as JSON
    Cloudevents,
    /// One CDEvent a line, as a CloudEvent; events for which CDEvents has no type are left out
    Cdevents,
}

#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Where to start: earliest, now, a cursor, a time (2026-01-31T08:00:00Z, or local without the Z), or a span before
    /// now (2h)
    #[arg(long, value_name = "START", default_value = "now", value_parser = since::parse)]
    since: Start,
    /// Prints all refs first, then what happens from there on
    #[arg(long, conflicts_with = "since")]
    snapshot: bool,
    /// Goes on where FILE says, and stores there how far it came; without the FILE it starts as --since says
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// What to do when events were dropped before they were seen, or the log was replaced
    #[arg(long, value_enum, default_value = "fail")]
    on_gap: OnGapArg,
    /// Ends after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// How an event is printed
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "line")]
    format: FormatArg,
    /// Prints one GitEvent a line as proto3 JSON: the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    color: ColorWhen,
    /// Waits for a daemon that is not there yet, in place of failing
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    filter: EventArgs,
    #[command(flatten)]
    server: ServerArgs,
}

const AFTER_HELP: &str = "\
A line is: time, repository, type, ref, old..new, then what else there is to say: ^ what a tag leads to, forced, \
[2/3] for the second event of a transaction of three, ~ where values in between may be missing, by whom.

With --json a line that has an eventId is an event. Snapshots and resets are lines with the one key snapshotBegin, \
snapshotRefs, snapshotEnd or reset. \
CloudEvents and CDEvents are events alone: of snapshots and resets they print nothing.

When the connection breaks, it is made again and goes on where it ended. Events are printed before the cursor file \
tells of them: after a crash some may come twice, never none.";

/// Follows the events.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<ExitCode, Exit> {
    let cursor_file = args.cursor_file.clone().map(FileCheckpoint::open).transpose()?;
    let request = args.request(cursor_file.as_ref().and_then(FileCheckpoint::cursor));
    let policy = Policy {
        first_connect: if args.wait { FirstConnect::Retry } else { FirstConnect::Fail },
        silence_max: 3 * Duration::from_millis(u64::from(request.progress_interval_ms)),
        ..Policy::default()
    };
    let watch = Watch::new(args.server.server()?, request, policy);
    let style = match args.format {
        FormatArg::Line if !args.json => {
            Style::Human(Format { paint: Paint::for_stdout(args.color), zone: TimeZone::system() })
        }
        FormatArg::Line | FormatArg::Json => Style::Json,
        FormatArg::Cloudevents => Style::CloudEvents,
        FormatArg::Cdevents => Style::CdEvents,
    };
    let tail = Tail { out, style, cursor_file, left: args.limit, server_id: String::new() };
    block_on(tail.follow(watch))
}

impl Args {
    fn request(&self, stored: Option<&str>) -> WatchEventsRequest {
        let start = match stored {
            Some(cursor) => Start::Cursor(cursor.to_owned()),
            None if self.snapshot => Start::Snapshot(SnapshotThenWatch {}),
            None => self.since.clone(),
        };
        WatchEventsRequest {
            start: Some(start),
            filter: Some(self.filter.to_filter()),
            on_gap: match self.on_gap {
                OnGapArg::Fail => OnGap::Fail.into(),
                OnGapArg::Resnapshot => OnGap::Resnapshot.into(),
            },
            // Named, so that its silence can be told from a dead connection.
            progress_interval_ms: PROGRESS_INTERVAL_MS_DEFAULT,
            max_batch_bytes: 0,
        }
    }
}

enum Style {
    Human(Format),
    Json,
    CloudEvents,
    CdEvents,
}

struct Tail<'a> {
    out: &'a mut Out,
    style: Style,
    cursor_file: Option<FileCheckpoint>,
    /// Events still to be printed.
    left: Option<u64>,
    /// Identity of the server, once it is known.
    server_id: String,
}

impl Tail<'_> {
    async fn follow(mut self, mut watch: Watch) -> Result<ExitCode, Exit> {
        let mut closed = pin!(self.out.closed());
        loop {
            let update = tokio::select! {
                update = watch.next() => update.map_err(|failure| self.failed(failure))?,
                () = &mut closed => return Ok(ExitCode::SUCCESS),
            };
            self.take(update)?;
            if self.left == Some(0) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    fn take(&mut self, update: Update) -> Result<(), Exit> {
        match update {
            Update::Started(started) => {
                self.store(&started.cursor)?;
                self.server_id = started.server_id;
                Ok(())
            }
            Update::Progress(progress) => self.store(&progress.cursor),
            Update::Events(batch) => self.events(&batch),
            Update::SnapshotBegin(begin) => self.part(Kind::SnapshotBegin(begin)),
            Update::SnapshotRefs(refs) => self.refs(refs),
            Update::SnapshotEnd(end) => {
                self.part(Kind::SnapshotEnd(end.clone()))?;
                self.out.flush()?;
                self.store(&end.cursor)
            }
            Update::Reset(reset) => {
                say(&lost(&reset));
                self.part(Kind::Reset(reset))
            }
            Update::Disconnected(failure) => {
                say(&format!("disconnected: {}; trying again", Escaped::text(&failure.to_string())));
                Ok(())
            }
            Update::Reconnected => {
                say("connected again");
                Ok(())
            }
        }
    }

    fn events(&mut self, batch: &EventBatch) -> Result<(), Exit> {
        let mut cursor = batch.cursor.as_str();
        for event in &batch.events {
            let printed = self.event(event)?;
            if let Some(left) = self.left.as_mut().filter(|_| printed) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    // What follows in the batch has not been printed.
                    cursor = &event.cursor;
                    break;
                }
            }
        }
        self.out.flush()?;
        self.store(cursor)
    }

    /// Prints an event, and tells whether the format has a line for it.
    fn event(&mut self, event: &GitEvent) -> Result<bool, Exit> {
        let line = match &self.style {
            Style::Human(format) => Some(format.event(event)),
            Style::Json => Some(escape::json(&to_json(event)).into_owned()),
            Style::CloudEvents => {
                let mapped = cloudevents::to_json(&self.server_id, event);
                Some(escape::json(&mapped.to_string()).into_owned())
            }
            Style::CdEvents => cloudevents::to_cdevent(&self.server_id, event)
                .map(|mapped| escape::json(&mapped.to_string()).into_owned()),
        };
        if let Some(line) = &line {
            self.out.line(line)?;
        }
        Ok(line.is_some())
    }

    fn refs(&mut self, refs: SnapshotRefs) -> Result<(), Exit> {
        let Style::Human(format) = &self.style else { return self.part(Kind::SnapshotRefs(refs)) };
        let path = refs.repository.as_ref().map_or("", |repository| repository.path.as_str());
        for reference in &refs.refs {
            self.out.line(&format.reference(path, reference))?;
        }
        Ok(())
    }

    /// Prints what is no event: for programs only.
    fn part(&mut self, kind: Kind) -> Result<(), Exit> {
        if let Style::Json = self.style {
            let line = to_json(&WatchEventsResponse { kind: Some(kind) });
            self.out.line(&escape::json(&line))?;
        }
        Ok(())
    }

    fn store(&mut self, cursor: &str) -> Result<(), Exit> {
        match &mut self.cursor_file {
            Some(file) => Ok(file.replace(cursor)?),
            None => Ok(()),
        }
    }

    fn failed(&self, failure: Failure) -> Exit {
        if failure.kind != FailureKind::Gap {
            return failure.into();
        }
        let delete = if self.cursor_file.is_some() { "delete the cursor file and " } else { "" };
        // Where the log begins now, for whoever can live with the gap.
        let floor = failure.metadata.get("floor_cursor").map_or("earliest", String::as_str);
        let message = format!(
            "{}; {delete}start over with --snapshot, or with --since {} if the gap does not matter, or pass \
             --on-gap resnapshot",
            Escaped::text(&failure.to_string()),
            Escaped::text(floor)
        );
        Exit::new(exit::GAP, message)
    }
}

/// Says which events are lost.
fn lost(reset: &Reset) -> String {
    let reason = reset.reason().short_name();
    match (reset.lost_first_sequence, reset.lost_last_sequence) {
        (0, _) | (_, 0) => format!("events were lost ({reason}); all refs follow"),
        (first, last) => format!("events {first} to {last} are lost ({reason}); all refs follow"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
