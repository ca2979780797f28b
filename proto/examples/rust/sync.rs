//! A sync controller: keeps a mirror of every repository, and fetches those of which something changed.
//!
//! Usage: `sync REPOSITORIES MIRRORS`, with `REFWATCH_SERVER=HOST:PORT` where it is not the default. `REPOSITORIES` is
//! what `git fetch` finds the repositories under: a folder, or `https://host/`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use refwatch_proto::client::{
    Change, FileCheckpoint, FirstConnect, Follow, Mirror, Policy, Server, ServerOptions, Target, Update,
};
use refwatch_proto::v1::{OnGap, WatchEventsRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(mirrors)) = (arguments.next(), arguments.next().map(PathBuf::from)) else {
        return Err("usage: sync REPOSITORIES MIRRORS".into());
    };
    fs::create_dir_all(&mirrors)?;
    let address = std::env::var("REFWATCH_SERVER").unwrap_or_else(|_| "127.0.0.1:50052".to_owned());
    let server = Server::new(&ServerOptions { address, ..ServerOptions::default() })?;
    // Relist: where the cursor leads nowhere any more, the same stream brings a snapshot.
    let request = WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..WatchEventsRequest::default() };
    // List, then watch: without a cursor in the file it begins with a snapshot.
    let checkpoint = FileCheckpoint::open(mirrors.join("cursor"))?;
    // It may be started before the server is.
    let policy = Policy { first_connect: FirstConnect::Retry, ..Policy::default() };
    let mut follow = Follow::open(server, request, policy, checkpoint).await?;

    let mut mirror = known_before(&mirrors)?;
    let mut stale = BTreeSet::new();
    loop {
        let update = follow.next().await?;
        if let Update::Disconnected(failure) = &update {
            eprintln!("disconnected, and connecting again: {failure}");
        }
        for change in mirror.take(&update) {
            match change {
                Change::RepositoryAdded { repository_id, .. }
                | Change::RepositoryMoved { repository_id, .. }
                | Change::RefSet { repository_id, .. }
                | Change::RefDeleted { repository_id, .. } => {
                    stale.insert(repository_id);
                }
                Change::RepositoryDeleted { repository_id, before } => {
                    stale.remove(&repository_id);
                    remove(&mirrors, &repository_id)?;
                    println!("removed {}", before.path);
                }
            }
        }
        if mirror.is_in_snapshot() {
            continue;
        }
        // Apply. One fetch brings all that changed up to now, and doing it twice changes nothing.
        stale.retain(|id| match fetch(&source, &mirrors, &mirror, id) {
            Ok(path) => {
                println!("fetched {path}");
                false
            }
            Err(error) => {
                // It may be moved or deleted by now: what comes next says so. Each heartbeat tries again.
                eprintln!("{id}: {error}");
                true
            }
        });
        // Checkpoint: a restart goes on behind what is done, and not before.
        if stale.is_empty() {
            follow.processed().await?;
        }
    }
}

/// What the mirrors hold: a snapshot says of what it no longer brings that it was deleted.
fn known_before(mirrors: &Path) -> Result<Mirror, Box<dyn Error>> {
    let mut mirror = Mirror::default();
    for entry in fs::read_dir(mirrors)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".git")) else { continue };
        mirror.put_repository(id, "");
        let list = ["for-each-ref", "--format=%(refname) %(objectname) %(*objectname)"];
        let listed = Command::new("git").arg("-C").arg(entry.path()).args(list).output()?;
        for line in String::from_utf8(listed.stdout)?.lines() {
            let mut words = line.split(' ').map(str::to_owned);
            let (Some(name), Some(oid)) = (words.next(), words.next()) else { continue };
            let peeled_oid = words.next().unwrap_or_default();
            mirror.put_ref(id, name.as_bytes(), Target { oid, symbolic: Vec::new(), peeled_oid });
        }
    }
    Ok(mirror)
}

/// Makes the mirror of a repository what the repository is now.
fn fetch(source: &str, mirrors: &Path, mirror: &Mirror, id: &str) -> Result<String, Box<dyn Error>> {
    // By id, so that it stays when the repository moves.
    let target = mirrors.join(format!("{id}.git"));
    if !target.exists() {
        git(Command::new("git").args(["init", "--quiet", "--bare"]).arg(&target))?;
    }
    let path = &mirror.repositories().get(id).ok_or("not known")?.path;
    let url = format!("{}/{path}", source.trim_end_matches('/'));
    let fetch = ["fetch", "--quiet", "--prune", &url, "+refs/*:refs/*"];
    // Not -C: the address may be relative to where this runs.
    git(Command::new("git").arg("--git-dir").arg(&target).args(fetch))?;
    if let Some(head) = mirror.target(id, b"HEAD").filter(|head| !head.symbolic.is_empty()) {
        let head = String::from_utf8(head.symbolic.clone())?;
        git(Command::new("git").arg("--git-dir").arg(&target).args(["symbolic-ref", "HEAD", &head]))?;
    }
    Ok(path.clone())
}

fn git(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}

fn remove(mirrors: &Path, id: &str) -> io::Result<()> {
    match fs::remove_dir_all(mirrors.join(format!("{id}.git"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
