//! Records a call of a hook. Whatever goes wrong, there is nobody to tell.

use std::ffi::OsStr;
use std::panic::{self, UnwindSafe};
use std::path::PathBuf;
use std::{env, io};

use refwatch_hook::record::{Encoder, Facts, Outcome, Phase};
use refwatch_hook::space;

use crate::run::{Refusal, read_input};
use crate::{journal, machine, place, said};

/// What came of the other hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended<'a> {
    /// They have not been run, or it does not matter.
    Unknown,
    Accepted,
    Refused(&'a Refusal),
}

impl<'a> Ended<'a> {
    pub(crate) fn known(refusal: Option<&'a Refusal>) -> Self {
        refusal.map_or(Ended::Accepted, Ended::Refused)
    }

    fn outcome(self) -> Option<Outcome<'a>> {
        match self {
            Ended::Unknown => None,
            Ended::Accepted => Some(Outcome { status: 0, refused_by: b"" }),
            Ended::Refused(refusal) => {
                Some(Outcome { status: refusal.status, refused_by: refusal.by.as_encoded_bytes() })
            }
        }
    }
}

/// Records what stands on standard input, where there are no other hooks. Where the journal takes none, it is not even
/// read; Git does not mind.
pub(crate) fn of_stdin(phase: Phase) {
    let ended = if phase == Phase::PreReceive { Ended::Accepted } else { Ended::Unknown };
    quietly(|| {
        let Some(mut recording) = Recording::begin(phase)? else { return Ok(()) };
        read_input(recording.encoder.input())?;
        recording.end(ended)
    });
}

/// Records an input that was read for others as well.
pub(crate) fn of(phase: Phase, input: &[u8], ended: Ended<'_>) {
    quietly(|| {
        let Some(mut recording) = Recording::begin(phase)? else { return Ok(()) };
        recording.encoder.input().extend_from_slice(input);
        recording.end(ended)
    });
}

/// A hook that fails or talks is worse than one that records nothing.
fn quietly(record: impl FnOnce() -> io::Result<()> + UnwindSafe) {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    drop(panic::catch_unwind(record));
    panic::set_hook(hook);
}

/// A record that waits for its input.
struct Recording {
    journal: PathBuf,
    encoder: Encoder,
}

impl Recording {
    /// `None` where the journal takes no records, and for what packing calls transactions: they read like a return to
    /// the value that is packed and like a deletion, and change nothing.
    fn begin(phase: Phase) -> io::Result<Option<Self>> {
        let place = place::find(env::var_os("GIT_DIR").as_deref().unwrap_or(OsStr::new(".")))?;
        if !journal::takes_records(&place.journal) {
            return Ok(None);
        }
        let (pid, parent_pid) = (std::process::id(), std::os::unix::process::parent_id());
        if matches!(phase, Phase::Committed | Phase::Aborted) && machine::packs_refs(parent_pid) {
            return Ok(None);
        }
        let (wall_us, monotonic_ns) = (machine::wall_us(), machine::monotonic_ns());
        let actor = said::actor();
        let (options, options_left_out) = said::push_options();
        let encoder = Encoder::new(&Facts {
            phase,
            id: machine::unique(pid, monotonic_ns, wall_us),
            wall_us,
            monotonic_ns,
            pid,
            parent_pid,
            parent_start_ticks: machine::start_ticks(parent_pid).unwrap_or(0),
            // Only the end of a push is told by its process.
            process_space: if phase == Phase::PreReceive { space::own() } else { 0 },
            actor: actor.as_encoded_bytes(),
            push_options: options.iter().map(|option| option.as_encoded_bytes()).collect(),
            worktree: place.worktree.as_encoded_bytes(),
            cut: options_left_out,
        });
        Ok(Some(Self { journal: place.journal, encoder }))
    }

    fn end(self, ended: Ended<'_>) -> io::Result<()> {
        journal::append(&self.journal, &self.encoder.finish_with(ended.outcome().as_ref()))
    }
}
