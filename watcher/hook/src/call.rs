//! Which hook is called, and how.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refwatch_hook::record::Phase;

/// The program's own name. Started by it, the first argument names the hook.
const PROGRAM: &str = "refwatch-hook";

/// A hook that this program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    ReferenceTransaction,
    PreReceive,
    Update,
    PostReceive,
    ProcReceive,
}

impl Hook {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"reference-transaction" => Some(Hook::ReferenceTransaction),
            b"pre-receive" => Some(Hook::PreReceive),
            b"update" => Some(Hook::Update),
            b"post-receive" => Some(Hook::PostReceive),
            b"proc-receive" => Some(Hook::ProcReceive),
            _ => None,
        }
    }
}

/// One call of a hook.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) hook: Hook,
    /// The path that it was started by, in the directory of hooks. `None` where the first argument names the hook: then it
    /// is one of several that Git itself runs, and stands in nobody's place.
    pub(crate) path: Option<PathBuf>,
    /// The hook's arguments.
    pub(crate) args: Vec<OsString>,
}

impl Call {
    /// Reads the program's name and arguments; `None` where they name no hook.
    pub(crate) fn of(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let program = PathBuf::from(args.next()?);
        let name = program.file_name()?;
        if name == PROGRAM {
            let hook = Hook::named(args.next()?.as_bytes())?;
            return Some(Self { hook, path: None, args: args.collect() });
        }
        let hook = Hook::named(name.as_bytes())?;
        // Without a directory it was looked for on PATH, and what is beside it is not known.
        let is_placed = program.parent().is_some_and(|directory| directory != Path::new(""));
        Some(Self { hook, path: is_placed.then_some(program), args: args.collect() })
    }

    /// What is recorded of it, but for `update`, which is recorded only where it refuses. `preparing` and `prepared` say
    /// what may yet be refused, and Git waits for them with its locks held.
    pub(crate) fn phase(&self) -> Option<Phase> {
        match self.hook {
            Hook::ReferenceTransaction => match self.args.first()?.as_bytes() {
                b"committed" => Some(Phase::Committed),
                b"aborted" => Some(Phase::Aborted),
                _ => None,
            },
            Hook::PreReceive => Some(Phase::PreReceive),
            Hook::PostReceive => Some(Phase::PostReceive),
            Hook::Update | Hook::ProcReceive => None,
        }
    }

    /// The arguments of `update`, `<ref> <old> <new>` (githooks(5)), as the line that the other hooks are given.
    pub(crate) fn update_line(&self) -> Option<Vec<u8>> {
        let [name, old, new] = self.args.as_slice() else { return None };
        Some([old.as_bytes(), b" ", new.as_bytes(), b" ", name.as_bytes(), b"\n"].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Option<Call> {
        Call::of(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_name_or_the_first_argument_says_which_hook() {
        for (line, hook, path) in [
            ("./hooks/pre-receive", Hook::PreReceive, Some("./hooks/pre-receive")),
            ("/r.git/hooks/update refs/heads/x 0 1", Hook::Update, Some("/r.git/hooks/update")),
            ("post-receive", Hook::PostReceive, None),
            ("refwatch-hook post-receive", Hook::PostReceive, None),
            ("/usr/bin/refwatch-hook proc-receive", Hook::ProcReceive, None),
            (
                "hooks/reference-transaction later",
                Hook::ReferenceTransaction,
                Some("hooks/reference-transaction"),
            ),
        ] {
            let found = call(line).expect("a hook");
            assert_eq!((found.hook, found.path.as_deref()), (hook, path.map(Path::new)), "{line}");
        }
        let others = ["", "/", "refwatch-hook", "refwatch-hook committed", "refwatch-hook hooks/update"];
        for line in others.into_iter().chain(["hooks/pre-receive.refwatch-former", "hooks/update.d/refwatch"])
        {
            assert_eq!(call(line), None, "{line}");
        }
    }

    #[test]
    fn only_what_can_be_over_is_recorded() {
        for (line, expected) in [
            ("hooks/reference-transaction committed", Some(Phase::Committed)),
            ("reference-transaction aborted", Some(Phase::Aborted)),
            ("/usr/bin/refwatch-hook reference-transaction committed more", Some(Phase::Committed)),
            ("reference-transaction prepared", None),
            ("reference-transaction preparing", None),
            ("reference-transaction COMMITTED", None),
            ("reference-transaction", None),
            ("hooks/pre-receive", Some(Phase::PreReceive)),
            ("post-receive committed", Some(Phase::PostReceive)),
            ("hooks/update committed", None),
            ("hooks/proc-receive", None),
        ] {
            assert_eq!(call(line).and_then(|call| call.phase()), expected, "{line}");
        }
    }

    #[test]
    fn the_arguments_of_update_become_a_line() {
        let line = |line| call(line).and_then(|call| call.update_line());
        assert_eq!(line("hooks/update refs/heads/x 0 1").as_deref(), Some(b"0 1 refs/heads/x\n".as_slice()));
        for short in ["hooks/update", "hooks/update refs/heads/x 0", "hooks/update refs/heads/x 0 1 2"] {
            assert_eq!(line(short), None, "{short}");
        }
    }
}
