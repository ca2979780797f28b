use std::fs;

use super::*;

fn parsed(text: &str) -> TokenSet {
    TokenSet::parse(text.as_bytes()).unwrap()
}

fn rights_of(set: &TokenSet, token: &str) -> Option<Arc<Rights>> {
    set.rights(&hash(token.as_bytes()))
}

#[test]
fn comments_and_blank_lines_are_no_tokens() {
    let set = parsed("# ours\n\n  alpha-token  \nbeta-token\r\n");
    for (token, known) in [
        ("alpha-token", true),
        ("beta-token", true),
        ("alpha-toke", false),
        ("alpha-tokens", false),
        ("# ours", false),
        ("", false),
    ] {
        assert_eq!(rights_of(&set, token).is_some(), known, "{token}");
    }
}

#[test]
fn a_line_that_is_no_token_is_named_and_not_told() {
    let digits = "0123456789abcdef".repeat(4);
    let hashed = [format!("sha256:{}", &digits[1..]), format!("sha256:{digits}0"), "sha256:".to_owned()];
    let lines = [
        "two-words words",
        "short",
        "short scope=watch",
        "t\u{f6}ken-of-eight",
        "some-token scope=",
        "some-token scope=write",
        "some-token scope=watch, ingest",
        "some-token Scope=watch",
        "some-token scope=watch scope=ingest",
        "some-token repository=",
        "some-token repository=[",
        "some-token name=",
        "some-token name=a name=b",
        "alpha-token scope=ingest",
    ];
    for line in lines.into_iter().map(str::to_owned).chain(hashed) {
        let text = format!("alpha-token\n{line}");
        let detail = TokenSet::parse(text.as_bytes()).expect_err(&line);
        assert!(detail.contains("line 2") && !detail.contains("-token"), "{line}: {detail}");
    }
    let many: String = (0..=TOKENS_MAX).map(|number| format!("some-token-{number}\n")).collect();
    assert!(TokenSet::parse(many.as_bytes()).is_err());
}

#[test]
fn a_token_may_do_what_its_scopes_say_and_without_them_watch() {
    let set = parsed(
        "plain-token\nhost-token scope=ingest\nboth-token \t scope=watch,ingest\nold-token scope=watch",
    );
    for (token, expected) in [
        ("plain-token", Some([true, false])),
        ("host-token", Some([false, true])),
        ("both-token", Some([true, true])),
        ("old-token", Some([true, false])),
        ("host-token scope=ingest", None),
        ("unknown-token", None),
    ] {
        let rights = rights_of(&set, token);
        let allowed = rights.map(|rights| [Scope::Watch, Scope::Ingest].map(|scope| rights.allow(scope)));
        assert_eq!(allowed, expected, "{token}");
    }
}

#[test]
fn a_hashed_line_lets_in_its_token_and_not_its_hash() {
    // printf %s some-long-token | sha256sum
    let hex = "1a619c975cb8bea57e3778bc619d058600a948a6564d8f2f22b177d17f4c0e05";
    let set = parsed(&format!("sha256:{hex} scope=watch,ingest name=ci\n"));
    let rights = rights_of(&set, "some-long-token").unwrap();
    assert!(rights.allow(Scope::Ingest) && rights.name.as_deref() == Some("ci"));
    assert!(rights_of(&set, hex).is_none());
    assert!(rights_of(&set, &format!("sha256:{hex}")).is_none());
    let shouted = parsed(&format!("sha256:{}\n", hex.to_uppercase()));
    assert!(rights_of(&shouted, "some-long-token").is_some());
}

#[test]
fn globs_limit_what_a_token_may_know() {
    let set = parsed("team-token repository=team/** repository=docs.git\nfree-token");
    let team = rights_of(&set, "team-token").unwrap();
    for (path, shown) in [("team/a.git", true), ("team/x/b.git", true), ("docs.git", true), ("a.git", false)]
    {
        assert_eq!(team.view.shows(path.as_bytes()), shown, "{path}");
    }
    assert!(!rights_of(&set, "free-token").unwrap().view.is_limited());
}

#[test]
fn a_change_is_taken_over_when_it_has_settled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    fs::write(&path, "first-token\n").unwrap();
    let mut file = TokenFile::open(&path).unwrap();
    let tokens = file.tokens();
    let known = |token: &str| tokens.grant(&hash(token.as_bytes())).is_some();
    assert!(known("first-token"));

    fs::write(&path, "first-token\nsecond-token\n").unwrap();
    file.look_again();
    assert!(!known("second-token"), "not settled yet");
    file.look_again();
    assert!(known("first-token") && known("second-token"));

    fs::remove_file(&path).unwrap();
    file.look_again();
    file.look_again();
    assert!(known("second-token"), "an unreadable file changes nothing");

    fs::write(&path, "# nobody\n").unwrap();
    file.look_again();
    file.look_again();
    assert!(!known("second-token"));
}

#[test]
fn a_file_without_tokens_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    assert!(matches!(TokenFile::open(&path), Err(BindError::File { .. })));
    fs::write(&path, "# nothing yet\n").unwrap();
    assert!(matches!(TokenFile::open(&path), Err(BindError::Tokens { .. })));
}

#[test]
fn a_line_that_is_written_is_read_and_does_not_hold_the_token() {
    let globs = ["team/**".to_owned(), "a?b.git".to_owned()];
    let line = token_line("some-long-token", &[Scope::Ingest, Scope::Watch], &globs, Some("ci")).unwrap();
    assert!(!line.contains("some-long-token"));
    let rights = rights_of(&parsed(&line), "some-long-token").unwrap();
    assert!(rights.allow(Scope::Watch) && rights.allow(Scope::Ingest));
    assert!(rights.view.shows(b"a b.git") && !rights.view.shows(b"c.git"));
    assert_eq!(rights.name.as_deref(), Some("ci"));
    for (token, glob, name) in [
        ("short", "a", "n"),
        ("sha256:0123", "a", "n"),
        ("two words", "a", "n"),
        ("long-enough", "a b", "n"),
        ("long-enough", "[", "n"),
        ("long-enough", "a", "n m"),
        ("long-enough", "a", ""),
    ] {
        assert!(
            token_line(token, &[Scope::Watch], &[glob.to_owned()], Some(name)).is_err(),
            "{token} {glob} {name}"
        );
    }
}
