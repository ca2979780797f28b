//! Runs what a hook has to be handed to: all at once, each with its own copy of the input.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use refwatch_hook::record::{DISPATCHER, INPUT_BYTES_MAX};

use crate::call::Call;
use crate::programs::Program;

/// Bytes that a new pipe takes at once: a page, where the user has so many pipes that they get no more (pipe(7)).
const PIPE_BYTES_MIN: usize = 4096;

/// Bytes of the input that are read at once behind what is kept of it.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks that wait for one program. It holds up the others when it lags by more.
const CHUNKS_QUEUED_MAX: usize = 16;

/// `ENOEXEC`: neither a binary nor a script that names its interpreter (execve(2)).
const NOT_A_BINARY: i32 = 8;

/// What runs a script that names no interpreter, for Git as well.
const SHELL: &str = "/bin/sh";

/// Exit status where a program is there and cannot be run, and where one or its interpreter is not there: a shell's.
const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Added to the number of the signal that ended a program, as a shell does.
const SIGNALLED: i32 = 128;

/// The first program that refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its exit status, never 0.
    pub(crate) status: i32,
    pub(crate) by: OsString,
}

impl Refusal {
    /// What this program could not do itself refuses as well, and is said.
    pub(crate) fn own(what: impl AsRef<OsStr>, error: &io::Error) -> Self {
        say(what.as_ref(), error);
        Self { status: CANNOT_RUN, by: DISPATCHER.into() }
    }
}

/// What programs read.
#[derive(Clone, Copy)]
pub(crate) enum Given<'a> {
    /// What this program would.
    Inherited,
    /// These bytes. If they are more than [`INPUT_BYTES_MAX`], the rest of this program's input follows.
    Copies(&'a [u8]),
}

/// Reads the input, or as much of it as is kept: one byte more than a record takes, so that it can tell.
pub(crate) fn read_input(into: &mut Vec<u8>) -> io::Result<()> {
    io::stdin().lock().take(INPUT_BYTES_MAX as u64 + 1).read_to_end(into).map(drop)
}

/// Runs programs and waits for all of them. What they print passes on as it is.
///
/// One that does not read its input, or not all of it, does no harm. If one leaves its input to a process that outlives
/// it and does not read, this waits for that, as Git does. Memory is bounded whatever the length of the input.
pub(crate) fn all(programs: &[Program], call: &Call, given: Given<'_>) -> Option<Refusal> {
    thread::scope(|scope| {
        let mut feeds = Vec::new();
        let mut started: Vec<_> =
            programs.iter().map(|program| start(program, call, given, scope, &mut feeds)).collect();
        let cut = match given {
            Given::Copies(head) if head.len() > INPUT_BYTES_MAX => hand_on(feeds).err(),
            Given::Copies(_) | Given::Inherited => {
                drop(feeds);
                None
            }
        };
        if cut.is_some() {
            // What they would conclude from half of it is worth nothing.
            started.iter_mut().flatten().for_each(|child| drop(child.kill()));
        }
        let statuses: Vec<_> = started
            .into_iter()
            .map(|child| child.map_or_else(|status| status, |mut child| status(child.wait())))
            .collect();
        if let Some(error) = cut {
            return Some(Refusal::own("standard input", &error));
        }
        let (status, program) = statuses.into_iter().zip(programs).find(|(status, _)| *status != 0)?;
        Some(Refusal { status, by: program.name.clone() })
    })
}

/// Becomes the former hook, which then has Git's pipes to itself. Returns where that cannot be: with an exit status.
pub(crate) fn become_former(former: Option<Program>, call: &Call) -> i32 {
    let Some(program) = &former else {
        say(OsStr::new("proc-receive"), &io::Error::other("there is no former hook to hand this to"));
        return NOT_FOUND;
    };
    let mut error = command(program, call).exec();
    if error.raw_os_error() == Some(NOT_A_BINARY) {
        error = by_shell(program, call).exec();
    }
    cannot_run(&program.path, &error)
}

/// Starts one program, and what feeds it; gives an exit status where that cannot be.
fn start<'scope, 'env>(
    program: &Program,
    call: &Call,
    given: Given<'env>,
    scope: &'scope Scope<'scope, 'env>,
    feeds: &mut Vec<SyncSender<Arc<[u8]>>>,
) -> Result<Child, i32> {
    let input = || match given {
        Given::Inherited => Stdio::inherit(),
        Given::Copies(_) => Stdio::piped(),
    };
    let mut child = match command(program, call).stdin(input()).spawn() {
        Err(error) if error.raw_os_error() == Some(NOT_A_BINARY) => {
            by_shell(program, call).stdin(input()).spawn()
        }
        child => child,
    }
    .map_err(|error| cannot_run(&program.path, &error))?;
    let (Given::Copies(head), Some(mut pipe)) = (given, child.stdin.take()) else { return Ok(child) };
    if head.len() <= PIPE_BYTES_MIN {
        // Cannot wait. It fails where nobody reads, which is the program's business.
        drop(pipe.write_all(head));
        return Ok(child);
    }
    let (feed, chunks) = sync_channel(CHUNKS_QUEUED_MAX);
    match thread::Builder::new().spawn_scoped(scope, move || fill(pipe, head, &chunks)) {
        Ok(_) => {
            feeds.push(feed);
            Ok(child)
        }
        Err(error) => {
            drop(child.kill());
            drop(child.wait());
            Err(cannot_run(&program.path, &error))
        }
    }
}

/// Writes to one program until it has all, or reads no more.
fn fill(mut pipe: ChildStdin, head: &[u8], chunks: &Receiver<Arc<[u8]>>) {
    let mut is_reading = pipe.write_all(head).is_ok();
    while is_reading && let Ok(chunk) = chunks.recv() {
        is_reading = pipe.write_all(&chunk).is_ok();
    }
}

/// Hands the rest of the input on, to whom it still concerns.
fn hand_on(mut feeds: Vec<SyncSender<Arc<[u8]>>>) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut bytes = vec![0; CHUNK_BYTES];
    while !feeds.is_empty() {
        match stdin.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => {
                let chunk: Arc<[u8]> = bytes[..length].into();
                feeds.retain(|feed| feed.send(Arc::clone(&chunk)).is_ok());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn command(program: &Program, call: &Call) -> Command {
    let mut command = Command::new(&program.path);
    command.arg0(&program.started_as).args(&call.args);
    command
}

fn by_shell(program: &Program, call: &Call) -> Command {
    let mut command = Command::new(SHELL);
    command.arg(&program.path).args(&call.args);
    command
}

fn status(ended: io::Result<ExitStatus>) -> i32 {
    match ended {
        Ok(status) => status.code().unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or(0)),
        Err(_) => CANNOT_RUN,
    }
}

fn cannot_run(path: &Path, error: &io::Error) -> i32 {
    say(path.as_os_str(), error);
    if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN }
}

/// Tells the pusher. Where nobody listens, the exit status tells.
fn say(what: &OsStr, error: &io::Error) {
    drop(writeln!(io::stderr(), "refwatch-hook: {}: {error}", what.display()));
}
