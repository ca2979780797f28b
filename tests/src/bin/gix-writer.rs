//! Writes to a repository in-process with gitoxide, as a Git host does that never runs git: no hook, no process.
//!
//! `gix-writer GIT_DIR commit MESSAGE [PARENT]...` writes a commit of the empty tree and prints its id.
//! `gix-writer GIT_DIR edit EDIT...` applies all edits in one transaction.
//! `gix-writer GIT_DIR abort EDIT...` prepares the transaction, locks and all, and rolls it back.
//!
//! An edit is `REF=OID`, `REF=ref:OTHER` or `REF=delete`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use gix::actor::SignatureRef;
use gix::lock::acquire::Fail;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};
use gix::refs::{FullName, Target};
use gix::{ObjectId, Repository};

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [git_dir, command, rest @ ..] = arguments.as_slice() else {
        bail!("gix-writer GIT_DIR commit|edit|abort ...");
    };
    let repository = gix::open_opts(git_dir, gix::open::Options::isolated())?;
    match command.as_str() {
        "commit" => commit(&repository, rest)?,
        "edit" => {
            repository.edit_references_as(edits(rest)?, Some(committer()))?;
        }
        "abort" => {
            let transaction = repository.refs.transaction();
            drop(transaction.prepare(edits(rest)?, Fail::Immediately, Fail::Immediately)?);
        }
        other => bail!("no such command: {other}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn committer() -> SignatureRef<'static> {
    SignatureRef { name: "gix".into(), email: "gix@example.com".into(), time: "1700000000 +0000" }
}

#[expect(clippy::print_stdout, reason = "what it is run for")]
fn commit(repository: &Repository, rest: &[String]) -> anyhow::Result<()> {
    let [message, parents @ ..] = rest else { bail!("commit MESSAGE [PARENT]...") };
    let tree = repository.write_object(gix::objs::Tree::empty())?.detach();
    let parents = parents.iter().map(|parent| parent.parse()).collect::<Result<Vec<ObjectId>, _>>();
    let commit = gix::objs::Commit {
        tree,
        parents: parents.context("a parent")?.into(),
        author: committer().to_owned()?,
        committer: committer().to_owned()?,
        encoding: None,
        message: message.as_str().into(),
        extra_headers: Vec::new(),
    };
    println!("{}", repository.write_object(&commit)?);
    Ok(())
}

fn edits(rest: &[String]) -> anyhow::Result<Vec<RefEdit>> {
    rest.iter().map(|edit| parse(edit).with_context(|| edit.clone())).collect()
}

fn parse(edit: &str) -> anyhow::Result<RefEdit> {
    let (name, value) = edit.split_once('=').context("an edit is REF=VALUE")?;
    let name: FullName = name.try_into()?;
    let change = match (value, value.strip_prefix("ref:")) {
        ("delete", _) => Change::Delete { expected: PreviousValue::MustExist, log: RefLog::AndReference },
        (_, Some(other)) => update(Target::Symbolic(other.try_into()?)),
        (oid, None) => update(Target::Object(oid.parse()?)),
    };
    Ok(RefEdit { change, name, deref: false })
}

fn update(new: Target) -> Change {
    Change::Update { log: LogChange::default(), expected: PreviousValue::Any, new }
}
