//! The hook that was there before refwatch's, and what it runs by itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::DIRECTORY_SUFFIX;

/// Most bytes of a former hook that are read for what it runs.
pub const TEXT_BYTES_MAX: u64 = 64 << 10;

/// True where a former hook runs the programs of the directory beside it by itself: its text, or the first
/// [`TEXT_BYTES_MAX`] bytes of it, names that directory, `update.d` for `update`. Running them for it would run them twice.
///
/// A script that makes up the name from its own does not run them, since its own is another one now
/// ([`crate::FORMER_SUFFIX`]). One that makes it up in another way is not seen through.
pub fn runs_directory(former: &Path, hook: &OsStr) -> bool {
    let mut text = Vec::new();
    let read = File::open(former).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_end(&mut text));
    read.is_ok() && names(&text, &[hook.as_bytes(), DIRECTORY_SUFFIX.as_bytes()].concat())
}

/// True where a text has a name as a word of its own.
fn names(text: &[u8], name: &[u8]) -> bool {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let stands_alone = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        !before.is_some_and(is_of_word) && !text.get(at + name.len()).is_some_and(is_of_word)
    };
    let found = text.windows(name.len()).enumerate().filter(|(_, window)| *window == name);
    found.map(|(at, _)| at).any(stands_alone)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_text_that_names_the_directory_runs_it() {
        let home = TempDir::new().expect("a temporary directory");
        let former = home.path().join("update.refwatch-former");
        let long = format!("{}hooks/update.d/", "x\n".repeat(usize::try_from(TEXT_BYTES_MAX).expect("fits")));
        for (text, expected) in [
            (
                "#!/bin/sh\nfor hook in \"$GIT_DIR\"/hooks/update.d/*; do \"$hook\" \"$@\" || exit; done\n",
                true,
            ),
            ("run-parts \"update.d\"", true),
            ("update.d", true),
            ("for hook in \"$0\".d/*; do :; done", false),
            ("cat post-update.d/* update.data update.d.old xupdate.d", false),
            ("exit 0", false),
            ("", false),
            (&long, false),
        ] {
            fs::write(&former, text).expect("written");
            assert_eq!(runs_directory(&former, OsStr::new("update")), expected, "{text:.200}");
        }
        fs::remove_file(&former).expect("removed");
        assert!(!runs_directory(&former, OsStr::new("update")));
    }
}
