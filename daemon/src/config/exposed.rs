//! Files with secrets that every user of the machine may open.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Loaded, Problem};

/// Rights of others: neither owner nor group.
const OTHERS: u32 = 0o007;
/// That of others to write.
const OTHERS_WRITE: u32 = 0o002;
/// The mode without the kind of file.
const RIGHTS: u32 = 0o7777;
/// What is looked at of a file, in bytes: the most that is ever taken of it.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How a line of a token file begins that gives only the hash away.
const HASHED: &str = "sha256:";

/// What is to be warned of. Nothing of it keeps the daemon from starting: who mounts secrets into a container of one
/// user may have good reasons.
pub(super) fn warnings(loaded: &Loaded) -> Vec<Problem> {
    let draft = &loaded.draft;
    let files = [
        ("grpc.tls_key", &draft.tls_key),
        ("grpc.token_file", &draft.settings.grpc.token_file),
        ("grpc.shared_secret_file", &draft.settings.grpc.shared_secret_file),
    ];
    let warning = |(key, path): (&'static str, &Option<_>)| {
        let message = exposed(key, path.as_deref()?)?;
        Some(Problem::of(loaded.source(key), key, message))
    };
    files.into_iter().filter_map(warning).collect()
}

/// What is wrong with the rights of a file, if something is. Of one that cannot be read others say so.
fn exposed(key: &str, path: &Path) -> Option<String> {
    let meta = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let rights = meta.permissions().mode() & RIGHTS;
    if rights & OTHERS == 0 {
        return None;
    }
    let shown = path.display();
    let does = if rights & OTHERS_WRITE != 0 { "change" } else { "read" };
    let hashes_alone = key == "grpc.token_file" && !has_plain_token(path);
    if hashes_alone && rights & OTHERS_WRITE == 0 {
        // That is what the hashes are for.
        return None;
    }
    let or_hash = if key == "grpc.token_file" && !hashes_alone {
        ", or put hashes into it (`refwatch token`)"
    } else {
        ""
    };
    Some(format!(
        "{shown} has mode {rights:04o}: every user of this machine may {does} it; run `chmod o= {shown}`{or_hash}"
    ))
}

fn has_plain_token(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let lines = BufReader::new(file.take(FILE_BYTES_MAX)).split(b'\n').map_while(Result::ok);
    lines
        .map(|line| line.trim_ascii().to_owned())
        .any(|line| !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(HASHED.as_bytes()))
}
