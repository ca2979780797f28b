//! Checks settings against each other and against the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{Loaded, Problem, Source};

/// Adds what does not go together, and what is not there.
pub(super) fn check(loaded: &mut Loaded) {
    let mut problems = Vec::new();
    roots(loaded, &mut problems);
    database(loaded, &mut problems);
    tls(loaded, &mut problems);
    addresses(loaded, &mut problems);
    loaded.problems.extend(problems);
}

fn roots(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let key = "roots";
    let source = loaded.source(key);
    let mut say = |message: String| problems.push(Problem::of(source, key, message));
    let roots = &loaded.config.settings.roots;
    // A value that could not be read has been reported already.
    if roots.is_empty() && !loaded.problems.iter().any(|problem| problem.key.as_deref() == Some(key)) {
        say("no folder is named; give --root DIR, or roots = [\"/srv/git\"] in the settings file".to_owned());
    }
    let mut real: Vec<(&PathBuf, PathBuf)> = Vec::new();
    for root in roots {
        match readable_directory(root) {
            Err(reason) => say(format!("{}: {reason}", root.display())),
            Ok(path) => {
                for (other, other_path) in &real {
                    say_nesting((root, &path), (other, other_path), &mut say);
                }
                real.push((root, path));
            }
        }
    }
}

fn say_nesting(one: (&Path, &Path), other: (&Path, &Path), say: &mut impl FnMut(String)) {
    let (inner, outer) = if one.1.starts_with(other.1) { (one.0, other.0) } else { (other.0, one.0) };
    if one.1 == other.1 {
        say(format!("{} and {} are the same folder; name it once", other.0.display(), one.0.display()));
    } else if one.1.starts_with(other.1) || other.1.starts_with(one.1) {
        say(format!("{} is inside {}; leave it out", inner.display(), outer.display()));
    }
}

fn readable_directory(path: &Path) -> Result<PathBuf, String> {
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    if !real.is_dir() {
        return Err("is not a folder".to_owned());
    }
    fs::read_dir(&real).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(real)
}

fn database(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let key = "store.path";
    let path = &loaded.config.settings.store.path;
    let message = if path.as_os_str().is_empty() {
        "there is no $STATE_DIRECTORY, $XDG_STATE_HOME or $HOME to put the database into; give --db FILE"
            .to_owned()
    } else if path.is_dir() {
        format!("{} is a folder; name a file in it", path.display())
    } else {
        return;
    };
    problems.push(Problem::of(loaded.source(key), key, message));
}

fn tls(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let draft = &loaded.draft;
    let files = [
        ("grpc.tls_certificate", &draft.tls_certificate),
        ("grpc.tls_key", &draft.tls_key),
        ("grpc.tls_client_ca", &draft.tls_client_ca),
        ("grpc.token_file", &draft.settings.grpc.token_file),
        ("grpc.shared_secret_file", &draft.settings.grpc.shared_secret_file),
    ];
    for (key, path) in files {
        let Some(path) = path else { continue };
        if let Err(error) = readable_file(path) {
            let message = format!("{}: {error}", path.display());
            problems.push(Problem::of(loaded.source(key), key, message));
        }
    }
    let mut lacks = |key: &str, other: &str| {
        let message = format!("needs {other} as well");
        problems.push(Problem::of(loaded.source(key), key, message));
    };
    match (&draft.tls_certificate, &draft.tls_key) {
        (Some(_), None) => lacks("grpc.tls_certificate", "grpc.tls_key"),
        (None, Some(_)) => lacks("grpc.tls_key", "grpc.tls_certificate"),
        (None, None) if draft.tls_client_ca.is_some() => {
            lacks("grpc.tls_client_ca", "grpc.tls_certificate and grpc.tls_key");
        }
        _ => {}
    }
}

fn readable_file(path: &Path) -> Result<(), String> {
    // A pipe would block: look before opening.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("is not a file".to_owned());
    }
    File::open(path).map(drop).map_err(|error| format!("cannot be read: {error}"))
}

fn addresses(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.config.settings;
    let (grpc, http) = (settings.grpc.address, settings.http.address);
    if !grpc.ip().is_loopback() && !settings.grpc.allow_plaintext && loaded.draft.tls_certificate.is_none() {
        let message = format!(
            "{grpc} is not a loopback address, so it needs TLS: set grpc.tls_certificate and grpc.tls_key, or \
             grpc.allow_plaintext = true on a network where that is safe"
        );
        problems.push(Problem::of(loaded.source("grpc.address"), "grpc.address", message));
    }
    if http == Some(grpc) && grpc.port() != 0 {
        // Whichever of the two was set.
        let source = [loaded.source("http.address"), loaded.source("grpc.address")];
        let source =
            source.into_iter().find(|source| **source != Source::Default).unwrap_or(&Source::Default);
        problems.push(Problem::of(
            source,
            "http.address",
            format!("{grpc} is grpc.address too; use another port"),
        ));
    }
}
