//! `refwatch-hook`: appends what a hook of Git is told to the repository's journal, and runs the hooks that it stands in
//! the place of.
//!
//! One program for every hook: the name it was started by says which one, or its first argument does.
//!
//! | hook | recorded |
//! |---|---|
//! | `reference-transaction` | `committed` and `aborted`, before other hooks are run for it; nothing of `git pack-refs`, which changes no ref |
//! | `pre-receive` | what the push asks for, with what came of it: once the other hooks have ended |
//! | `update` | what is refused, with by whom; it need not be installed where there is no other hook to refuse |
//! | `post-receive` | what the push changed, before other hooks are run for it |
//! | `proc-receive` | nothing: it speaks a protocol with Git, so this program becomes the former hook. It must not be installed where there is none: Git would wait for the other side of the protocol, and refuse the push |
//!
//! Recording never fails, prints or waits. What cannot be recorded is lost as a hint; the refs still tell the truth.
//!
//! # Other hooks
//! Started by a path, `hooks/update` say, it runs `hooks/update.refwatch-former` and the executable files of
//! `hooks/update.d`: all at once, each with a copy of standard input, with the arguments, environment, directory and
//! outputs that it has itself. It exits with the status of the first that failed, the former one first and then by name;
//! as in a shell that is 128 + n for signal n, and 126 or 127 for what could not be run, which it says on standard error. As with Git
//! itself, what is not executable is passed over, and a script without `#!` is run by `/bin/sh`. A former hook that names
//! `update.d` in its text runs those by itself, and alone (`former::runs_directory`).
//!
//! Started as `refwatch-hook update` it runs nothing else: Git runs the repository's own hooks beside configured ones.
//! A signal that ends this program alone does not end those it runs.
//!
//! # Cost
//! Nearly all that it costs is being started. Linked statically with musl (`--target x86_64-unknown-linux-musl`) it starts
//! in less time than an empty C program that is linked statically with glibc: 0.2 ms beside 0.38. With glibc
//! (`RUSTFLAGS="-C target-feature=+crt-static"`) it is 0.48, and loading a shared C library takes longer than all of that. Where
//! there are no other hooks, looking for them costs two system calls that fail.

mod call;
mod journal;
mod machine;
mod place;
mod programs;
mod recording;
mod run;
mod said;

use std::env;
use std::process::ExitCode;

use refwatch_hook::record::Phase;

use call::{Call, Hook};
use programs::Program;
use recording::Ended;
use run::{Given, Refusal};

fn main() -> ExitCode {
    let Some(call) = Call::of(env::args_os()) else { return ExitCode::SUCCESS };
    let status = serve(&call);
    // A status that is no byte cannot come from a program; what it stands for failed all the same.
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

/// Serves one call, and gives its exit status.
fn serve(call: &Call) -> i32 {
    if call.hook == Hook::ProcReceive {
        return run::become_former(call.path.as_deref().and_then(programs::former), call);
    }
    let programs = match &call.path {
        Some(path) => programs::of(path).map_err(|error| Refusal::own(programs::directory(path), &error)),
        None => Ok(Vec::new()),
    };
    if programs.as_ref().is_ok_and(Vec::is_empty) {
        if let Some(phase) = call.phase() {
            recording::of_stdin(phase);
        }
        return 0;
    }
    let refusal = match call.hook {
        Hook::Update => update(call, programs),
        Hook::ReferenceTransaction | Hook::PreReceive | Hook::PostReceive | Hook::ProcReceive => {
            dispatch(call, programs)
        }
    };
    refusal.map_or(0, |refusal| refusal.status)
}

/// Serves a hook that reads standard input. Where the programs cannot be told, the hook is refused and recorded.
fn dispatch(call: &Call, programs: Result<Vec<Program>, Refusal>) -> Option<Refusal> {
    let mut input = Vec::new();
    let read = run::read_input(&mut input).map_err(|error| Refusal::own("standard input", &error));
    let phase = call.phase();
    // What is over already is told at once, however long the others take. What may yet be refused waits for them.
    if let Some(phase) = phase
        && phase != Phase::PreReceive
        && read.is_ok()
    {
        recording::of(phase, &input, Ended::Unknown);
    }
    let refusal = match read.and(programs) {
        Ok(programs) => run::all(&programs, call, Given::Copies(&input)),
        Err(refusal) => Some(refusal),
    };
    if phase == Some(Phase::PreReceive) {
        recording::of(Phase::PreReceive, &input, Ended::known(refusal.as_ref()));
    }
    refusal
}

/// Serves `update`, which reads nothing and is recorded only where it refuses: what it accepts tells nothing new.
fn update(call: &Call, programs: Result<Vec<Program>, Refusal>) -> Option<Refusal> {
    let refusal = match programs {
        Ok(programs) => run::all(&programs, call, Given::Inherited)?,
        Err(refusal) => refusal,
    };
    if let Some(line) = call.update_line() {
        recording::of(Phase::Update, &line, Ended::Refused(&refusal));
    }
    Some(refusal)
}
