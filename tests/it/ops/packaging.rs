//! The package for Debian, and what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use refwatch_tests::{binary, tools};
use tempfile::TempDir;

use super::{content, file, said};

/// Manual pages that must be there; one a command.
const PAGES: [&str; 6] = [
    "refwatch.1",
    "refwatch-serve.1",
    "refwatch-tail.1",
    "refwatch-health.1",
    "refwatch-hook.1",
    "refwatch-hook-install.1",
];
/// Files that the package puts in place.
const INSTALLED: [&str; 13] = [
    "usr/bin/refwatch",
    "usr/bin/refwatch-hook",
    "etc/refwatch/refwatch.toml",
    "lib/systemd/system/refwatch.service",
    "lib/systemd/system/refwatch.socket",
    "lib/systemd/system/refwatch-http.socket",
    "usr/lib/sysusers.d/refwatch.conf",
    "usr/lib/tmpfiles.d/refwatch.conf",
    "usr/share/man/man1/refwatch-tail.1.gz",
    "usr/share/man/man1/refwatch-hook.1.gz",
    "usr/share/bash-completion/completions/refwatch",
    "usr/share/zsh/vendor-completions/_refwatch",
    "usr/share/fish/vendor_completions.d/refwatch.fish",
];

#[test]
fn each_command_has_a_manual_page_that_man_can_show() {
    let directory = tempfile::tempdir().expect("a directory");
    content(Command::new(binary::refwatch()).arg("man").arg(directory.path()));
    for page in PAGES {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
    // Of the program, and not of the command of the same name, which only leads to its own commands.
    let program = fs::read_to_string(directory.path().join("refwatch-hook.1")).expect("text");
    assert!(
        program.contains("runs the hooks in whose place it stands") && program.contains(".SH EXIT STATUS")
    );
    for page in fs::read_dir(directory.path()).expect("pages") {
        let page = page.expect("a page").path();
        let Some(mut man) = tools::debian("man", "man-db") else { return };
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8"]).arg(&page).env("MANWIDTH", "100");
        let (shown, output) = said(&mut man);
        assert!(output.status.success() && output.stderr.is_empty(), "{}: {shown}", page.display());
    }
}

#[test]
fn completions_know_the_commands_and_bash_reads_them() {
    for shell in ["bash", "zsh", "fish"] {
        let text = content(Command::new(binary::refwatch()).args(["completions", shell]));
        for word in ["health", "position", "--root"] {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(text.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let loaded = tools::feed(Command::new("bash"), &text);
            assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        }
    }
}

/// The package, made of the binaries under test.
fn package() -> Option<(TempDir, PathBuf)> {
    tools::debian("dpkg-deb", "dpkg")?;
    let directory = tempfile::tempdir().expect("a directory");
    let binaries = binary::refwatch_hook();
    let mut build = Command::new(file("debian/build.sh"));
    build.arg(binaries.parent().expect("a directory")).arg(directory.path());
    let said = content(&mut build);
    let path = said.lines().last().map(PathBuf::from).filter(|path| path.is_file());
    Some((directory, path.unwrap_or_else(|| panic!("it says where the package is: {said}"))))
}

#[test]
fn the_package_installs_what_runs_and_goes_without_a_trace() {
    let Some((directory, path)) = package() else { return };
    let about = content(Command::new("dpkg-deb").arg("--info").arg(&path));
    assert!(about.contains("Package: refwatch") && about.contains("conffiles"), "{about}");
    let root = directory.path().join("root");
    let state = root.join("var/lib/dpkg");
    for made in [state.join("info"), state.join("updates")] {
        fs::create_dir_all(made).expect("made");
    }
    for made in ["status", "available"] {
        fs::write(state.join(made), "").expect("written");
    }
    let dpkg = || {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", root.display())).args(["--force-depends", "--force-script-chrootless"]);
        dpkg.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DPKG_FRONTEND_LOCKED", "");
        dpkg
    };
    content(dpkg().arg("--install").arg(&path));
    for installed in INSTALLED {
        assert!(root.join(installed).is_file(), "{installed}");
    }
    let accounts = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    assert!(accounts.contains("refwatch:"), "the account is made: {accounts}");
    let settings = root.join("etc/refwatch/refwatch.toml");
    // But for the root, which is the operator's to name.
    let mut check = Command::new(root.join("usr/bin/refwatch"));
    check.args(["config", "check", "--config"]).arg(&settings);
    content(check.env_clear().env("REFWATCH_ROOTS", &root));
    fs::write(&settings, "roots = [\"/srv/other\"]\n").expect("written");
    content(dpkg().args(["--remove", "refwatch"]));
    assert!(!root.join("usr/bin/refwatch").exists());
    assert!(settings.is_file(), "what the operator wrote stays until it is purged");
    content(dpkg().args(["--purge", "refwatch"]));
    assert!(!settings.exists());
    let left =
        content(Command::new("find").arg(&root).args(["-name", "*refwatch*", "-not", "-path", "*/dpkg/*"]));
    assert_eq!(left, "", "nothing is left");
}

#[test]
fn lintian_has_nothing_to_say_of_the_package() {
    let Some((_directory, path)) = package() else { return };
    let Some(mut lintian) = tools::debian("lintian", "lintian") else { return };
    lintian.args(["--allow-root", "--fail-on=error,warning", "--tag-display-limit=0"]);
    // Programs of a debug build are neither stripped nor small.
    lintian.args(["--suppress-tags", "unstripped-binary-or-object"]);
    content(lintian.arg(Path::new(&path)));
}
