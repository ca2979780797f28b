use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn common_lines_are_taken() {
    for line in [
        "refwatch serve --root /srv/git",
        "refwatch serve --root a --root b --db x --grpc 127.0.0.1:1 --http off --set watch.workers=2",
        "refwatch tail",
        "refwatch tail --json --since 2h --repo a/** --ref refs/heads/* --exclude-ref refs/heads/x --type tag-created",
        "refwatch tail --type TAG_CREATED,branch-deleted --type ref-updated --limit 3 --on-gap resnapshot",
        "refwatch tail --snapshot --include-internal --cursor-file f --grpc unix:/run/x --token-file t",
        "refwatch refs --repo a.git --json",
        "refwatch repos --json",
        "refwatch position --sync --timeout-ms 5",
        "refwatch check --db x --root y",
        "refwatch hook install a b --phases pre-receive,reference-transaction --dry-run --hook-binary x --spool y",
        "refwatch hook install --recursive /srv/git --hooks-path /etc/hooks",
        "refwatch hook install a --configured",
        "refwatch hook remove --recursive a --dry-run",
        "refwatch hook status a --json",
        "refwatch config check --config x",
        "refwatch config print --defaults --format markdown",
        "refwatch completions bash",
        "refwatch man dir",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {}", parsed(line).expect_err("refused"));
    }
}

#[test]
fn mistakes_are_refused() {
    for line in [
        "refwatch serve /srv/git",
        "refwatch serve --set watch.workers",
        "refwatch tail --since yesterday",
        "refwatch tail --since now --snapshot",
        "refwatch tail --type pushed",
        "refwatch tail --ref main",
        "refwatch tail --limit 0",
        "refwatch tail --certificate x",
        "refwatch position --timeout-ms 5",
        "refwatch config print --format markdown",
        "refwatch hook install",
        "refwatch hook install a --phases post-update",
        "refwatch hook install a --configured --hooks-path b",
        "refwatch tial",
    ] {
        assert!(parsed(line).is_err_and(|error| error.use_stderr()), "{line}");
    }
}

#[test]
fn help_tells_the_exit_codes_and_the_version_is_there() {
    let help = parsed("refwatch --help").expect_err("help").to_string();
    for code in ["64", "65", "69", "70", "74", "77"] {
        assert!(help.contains(code), "{code} is not in\n{help}");
    }
    assert!(
        parsed("refwatch --version").expect_err("version").to_string().contains(env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn completions_and_pages_are_written() {
    let bytes = super::tail::tests::Shared::default();
    let mut out = Out::to(bytes.clone());
    for line in ["refwatch completions bash", "refwatch completions fish", "refwatch man"] {
        run_in(line, &mut out);
    }
    assert!(bytes.text().contains("position"));
    let directory = tempfile::tempdir().expect("a directory");
    run_in(&format!("refwatch man {}", directory.path().display()), &mut out);
    assert!(directory.path().join("refwatch-tail.1").exists());
}

fn run_in(line: &str, out: &mut Out) {
    #[allow(clippy::wildcard_enum_match_arm, reason = "only these two write such text")]
    let outcome = match parsed(line).expect("parsed").command {
        Command::Completions(args) => complete::completions(&args, out),
        Command::Man(args) => complete::man(&args, out),
        _ => panic!("not of this test"),
    };
    assert!(outcome.is_ok(), "{line}");
}

#[test]
fn the_page_of_the_hooks_program_says_what_the_program_does() {
    let page = super::complete::HOOK_PAGE.1.replace('\\', "");
    let hooks = ["reference-transaction", "pre-receive", "update", "post-receive", "proc-receive"];
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../watcher/hook/src");
    let source = |file: &str| std::fs::read_to_string(source.join(file)).expect("text");
    // What it is called for, and whom it asks who pushes.
    let call = source("call.rs");
    let known = call.lines().filter(|line| line.trim().starts_with("b\"") && line.contains("=> Some(Hook::"));
    assert_eq!(known.count(), hooks.len());
    let said = source("said.rs");
    let actors = said.lines().find(|line| line.starts_with("const ACTORS")).expect("there");
    let actors: Vec<&str> = actors.split('"').skip(1).step_by(2).collect();
    assert_eq!(actors.len(), 3, "{actors:?}");
    let bounds = [
        format!("at most {} MiB", refwatch_hook::JOURNAL_BYTES_MAX >> 20),
        format!("at most {}.", refwatch_hook::PROGRAMS_MAX),
        refwatch_hook::FORMER_SUFFIX.to_owned(),
        format!("{}/", refwatch_hook::DIRECTORY_SUFFIX),
        format!("{}/{}", refwatch_hook::DIRECTORY, refwatch_hook::JOURNAL),
    ];
    let commands = ["refwatch-hook-install", "refwatch-hook-remove", "refwatch-hook-status"];
    let words = hooks.into_iter().chain(actors).chain(commands).chain(bounds.iter().map(String::as_str));
    for word in words {
        assert!(page.contains(word), "{word}: {page}");
    }
}
