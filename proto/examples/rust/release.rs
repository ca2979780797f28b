//! A release controller: publishes an archive of every release, once, and only if its commit is on the default branch.
//!
//! Usage: `release REPOSITORIES ARCHIVES`, with `REFWATCH_SERVER=HOST:PORT` where it is not the default. It needs the
//! repositories at hand, to ask Git about them: a folder, possibly read-only.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use refwatch_proto::client::{FileCheckpoint, FirstConnect, Follow, Policy, Server, ServerOptions, Update};
use refwatch_proto::v1::{EventFilter, GitEventType, OnGap, WatchEventsRequest};
use serde_json::{Value, json};

/// A tag, with the object that it names: what is done is done once for each.
type Key = String;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(repositories), Some(archives)) = (arguments.next(), arguments.next()) else {
        return Err("usage: release REPOSITORIES ARCHIVES".into());
    };
    fs::create_dir_all(&archives)?;
    let address = std::env::var("REFWATCH_SERVER").unwrap_or_else(|_| "127.0.0.1:50052".to_owned());
    let server = Server::new(&ServerOptions { address, ..ServerOptions::default() })?;
    // Tags, and the branches that they may have to wait for.
    let refs = ["refs/tags/**", "refs/heads/**"].map(str::to_owned).to_vec();
    let filter = EventFilter { ref_include_globs: refs, ..EventFilter::default() };
    let request = WatchEventsRequest {
        filter: Some(filter),
        on_gap: OnGap::Resnapshot.into(),
        ..WatchEventsRequest::default()
    };
    let checkpoint = FileCheckpoint::open(archives.join("cursor"))?;
    // Releases that were there before the first start are not ours to publish.
    let mut is_first_listing = checkpoint.cursor().is_none();
    let mut ledger = Ledger::open(archives.join("ledger.json"))?;
    // It may be started before the server is.
    let policy = Policy { first_connect: FirstConnect::Retry, ..Policy::default() };
    let mut follow = Follow::open(server, request, policy, checkpoint).await?;
    loop {
        let update = follow.next().await?;
        match &update {
            Update::Events(batch) => {
                for event in &batch.events {
                    let path = event.repository.as_ref().map_or("", |repository| &*repository.path);
                    if event.r#type() == GitEventType::ReleaseCreated {
                        let tag = Tag { path, name: &event.ref_name, oid: &event.new_oid };
                        ledger.add(&tag, &event.event_id, "held");
                    }
                }
            }
            // A listing has no events: after a gap it holds the releases whose events were lost.
            Update::SnapshotRefs(part) => {
                let path = part.repository.as_ref().map_or("", |repository| &*repository.path);
                for found in part.refs.iter().filter(|found| is_release(&found.name)) {
                    let tag = Tag { path, name: &found.name, oid: &found.oid };
                    ledger.add(&tag, "", if is_first_listing { "known" } else { "held" });
                }
            }
            Update::SnapshotEnd(_) => is_first_listing = false,
            Update::Disconnected(failure) => eprintln!("disconnected, and connecting again: {failure}"),
            Update::Started(_)
            | Update::SnapshotBegin(_)
            | Update::Progress(_)
            | Update::Reset(_)
            | Update::Reconnected => {}
        }
        ledger.settle(&repositories, &archives);
        // The ledger first, then the cursor: a crash in between brings events again, and the ledger knows them.
        ledger.store()?;
        follow.processed().await?;
    }
}

/// A tag as an event or a listing tells it.
struct Tag<'a> {
    path: &'a str,
    name: &'a str,
    oid: &'a str,
}

/// What was done of which release, or is left to do. A file that is replaced as a whole.
struct Ledger {
    file: PathBuf,
    releases: BTreeMap<Key, Value>,
    is_stored: bool,
}

impl Ledger {
    fn open(file: PathBuf) -> Result<Self, Box<dyn Error>> {
        let releases =
            if file.exists() { serde_json::from_slice(&fs::read(&file)?)? } else { BTreeMap::new() };
        Ok(Self { file, releases, is_stored: true })
    }

    /// Takes a release in, once: an event that comes again, or a listing of what an event told before, is no news.
    fn add(&mut self, tag: &Tag<'_>, event_id: &str, state: &str) {
        let key = format!("{}:{}@{}", tag.path, tag.name, tag.oid);
        let is_told = |release: &Value| !event_id.is_empty() && release["event"] == event_id;
        // One that was gone before it was published may come back.
        let is_done = self.releases.get(&key).is_some_and(|release| release["state"] != "superseded");
        if !is_done && !self.releases.values().any(is_told) {
            let release =
                json!({"path": tag.path, "tag": tag.name, "oid": tag.oid, "event": event_id, "state": state});
            self.releases.insert(key, release);
            self.is_stored = false;
        }
    }

    /// Decides what is held. It is held on where Git cannot say, or the commit is not on the default branch yet.
    fn settle(&mut self, repositories: &Path, archives: &Path) {
        for (key, release) in &mut self.releases {
            if release["state"] != "held" {
                continue;
            }
            match publish(release, repositories, archives) {
                Ok("held") => {}
                Ok(state) => {
                    println!("{state} {key}");
                    release["state"] = state.into();
                    self.is_stored = false;
                }
                Err(error) => eprintln!("{key}: {error}"),
            }
        }
    }

    fn store(&mut self) -> Result<(), Box<dyn Error>> {
        if !self.is_stored {
            let temporary = self.file.with_extension("tmp");
            serde_json::to_writer_pretty(File::create(&temporary)?, &self.releases)?;
            File::open(&temporary)?.sync_all()?;
            fs::rename(&temporary, &self.file)?;
            File::open(self.file.parent().ok_or("a file is in a folder")?)?.sync_all()?;
            self.is_stored = true;
        }
        Ok(())
    }
}

/// Publishes a release if the tag is still what was told and its commit is reachable from the default branch.
fn publish(release: &Value, repositories: &Path, archives: &Path) -> Result<&'static str, Box<dyn Error>> {
    let text = |key: &str| release[key].as_str().unwrap_or_default();
    let repository = repositories.join(text("path"));
    let git = |arguments: &[&str]| Command::new("git").arg("-C").arg(&repository).args(arguments).output();
    let (tag, oid) = (text("tag"), text("oid"));
    if !git(&["rev-parse", "--git-dir"])?.status.success() {
        return Err(format!("{} is no repository now", repository.display()).into());
    }
    // An event tells what was. The tag may have moved, or be gone, since.
    let now = git(&["rev-parse", "--verify", "--quiet", tag])?;
    if String::from_utf8_lossy(&now.stdout).trim() != oid {
        return Ok("superseded");
    }
    let commit = format!("{oid}^{{commit}}");
    let reachable = git(&["merge-base", "--is-ancestor", &commit, "HEAD"])?;
    match reachable.status.code() {
        Some(0) => {}
        Some(1) => return Ok("held"),
        // Neither yes nor no: an object is missing, or the default branch is not born yet.
        _ => return Err(String::from_utf8_lossy(&reachable.stderr).trim().into()),
    }
    let short = tag.rsplit('/').next().unwrap_or(tag);
    let name = format!("{}-{short}-{}.tar", text("path").replace('/', "-"), oid.get(..12).unwrap_or(oid));
    // The same name and the same bytes each time: publishing twice is publishing once.
    let temporary = archives.join(format!("{name}.tmp"));
    let output = format!("--output={}", std::path::absolute(&temporary)?.display());
    let archive = git(&["archive", "--format=tar", &output, &commit])?;
    if !archive.status.success() {
        return Err(String::from_utf8_lossy(&archive.stderr).trim().into());
    }
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, archives.join(name))?;
    Ok("published")
}

/// As `classify.release_patterns` of the server has it by default: a semantic version, with or without a leading v.
fn is_release(name: &str) -> bool {
    let Some(version) = name.strip_prefix("refs/tags/") else { return false };
    let version = version.strip_prefix('v').unwrap_or(version);
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}
