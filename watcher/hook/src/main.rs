//! `refwatch-hook`: appends what a hook of Git is told to the repository's journal.
//!
//! One program for every hook: the name it was started by says which one, or its first argument does. It always exits
//! 0, prints nothing and parses nothing. What it cannot record is lost as a hint; the refs still tell the truth.
//!
//! Nearly all that it costs is being started. Linked statically (`RUSTFLAGS="-C target-feature=+crt-static"`, or a musl
//! target) it costs little more than an empty program; loading the C library takes longer than all it does itself.

mod journal;
mod machine;
mod place;
mod said;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::panic;
use std::path::Path;

use refwatch_hook::record::{Encoder, Facts, INPUT_BYTES_MAX, Phase};

fn main() {
    // A hook that fails or talks is worse than one that records nothing.
    panic::set_hook(Box::new(|_| {}));
    drop(panic::catch_unwind(|| {
        if let Some(phase) = phase(env::args_os()) {
            // Whatever went wrong, there is nobody to tell.
            drop(record(phase));
        }
    }));
}

/// The hook and its state by the program's name and arguments; `None` for all that leaves nothing to record.
///
/// `preparing` and `prepared` say what may yet be refused, and Git waits for them with its locks held.
fn phase(mut args: impl Iterator<Item = OsString>) -> Option<Phase> {
    let program = args.next()?;
    let mut hook = Path::new(&program).file_name()?.to_owned();
    if hook == "refwatch-hook" {
        hook = args.next()?;
    }
    let state = args.next()?;
    if hook != "reference-transaction" {
        return None;
    }
    match state.to_str()? {
        "committed" => Some(Phase::Committed),
        "aborted" => Some(Phase::Aborted),
        _ => None,
    }
}

/// Appends one record. Where the journal takes none, the input is not even read; Git does not mind.
fn record(phase: Phase) -> io::Result<()> {
    let place = place::find(env::var_os("GIT_DIR").as_deref().unwrap_or(OsStr::new(".")))?;
    if !journal::takes_records(&place.journal) {
        return Ok(());
    }
    let (pid, parent_pid) = (std::process::id(), std::os::unix::process::parent_id());
    let (wall_us, monotonic_ns) = (machine::wall_us(), machine::monotonic_ns());
    let actor = said::actor();
    let (options, options_left_out) = said::push_options();
    let mut encoder = Encoder::new(&Facts {
        phase,
        id: machine::unique(pid, monotonic_ns, wall_us),
        wall_us,
        monotonic_ns,
        pid,
        parent_pid,
        parent_start_ticks: machine::start_ticks(parent_pid).unwrap_or(0),
        actor: actor.as_encoded_bytes(),
        push_options: options.iter().map(|option| option.as_encoded_bytes()).collect(),
        worktree: place.worktree.as_encoded_bytes(),
        cut: options_left_out,
    });
    // One byte more than is kept, so that the record can tell that it was too much.
    io::stdin().lock().take(INPUT_BYTES_MAX as u64 + 1).read_to_end(encoder.input())?;
    journal::append(&place.journal, &encoder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_transaction_is_recorded() {
        for (args, expected) in [
            ("hooks/reference-transaction committed", Some(Phase::Committed)),
            ("reference-transaction aborted", Some(Phase::Aborted)),
            ("/usr/bin/refwatch-hook reference-transaction committed more", Some(Phase::Committed)),
            ("reference-transaction prepared", None),
            ("reference-transaction preparing", None),
            ("reference-transaction COMMITTED", None),
            ("reference-transaction", None),
            ("refwatch-hook", None),
            ("refwatch-hook committed", None),
            ("refwatch-hook update committed", None),
            ("post-receive committed", None),
            ("/ committed", None),
            ("", None),
        ] {
            assert_eq!(phase(args.split_whitespace().map(OsString::from)), expected, "{args}");
        }
    }
}
