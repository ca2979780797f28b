//! Bearer tokens out of a file that may change at any time.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::BindError;

/// Largest token file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Shortest token, in bytes: a shorter one is a mistake, such as a half-written file.
const TOKEN_BYTES_MIN: usize = 8;

/// What a line may say after its token, before the scopes.
const SCOPE: &str = "scope=";

/// One thing that a token gives the right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To call GitEventService.
    Watch = 1,
    /// To call IngestService.
    Ingest = 2,
}

/// Everything that a token gives the right to: the bits of [`Scope`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scopes(u8);

impl Scopes {
    /// Reads words with commas between them.
    fn parse(words: &str) -> Option<Self> {
        let bit = |word| match word {
            "watch" => Some(Scope::Watch as u8),
            "ingest" => Some(Scope::Ingest as u8),
            _ => None,
        };
        words.split(',').try_fold(Self(0), |scopes, word| Some(Self(scopes.0 | bit(word)?)))
    }

    fn allow(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }
}

/// The tokens that are valid now; several are, while one takes another's place.
#[derive(Default, PartialEq, Eq)]
struct TokenSet(Vec<(Box<[u8]>, Scopes)>);

impl TokenSet {
    /// Reads one token a line, with ` scope=watch,ingest` behind it or a part of that; without, it may watch. Blank
    /// lines and lines that begin with `#` do not count.
    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let token = |(index, line): (usize, &str)| {
            let number = index + 1;
            let (token, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let scopes = match rest.trim_start() {
                "" => Some(Scopes(Scope::Watch as u8)),
                rest => rest.strip_prefix(SCOPE).and_then(Scopes::parse),
            };
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                Err(format!("line {number} is no token: it is not ASCII"))
            } else if token.len() < TOKEN_BYTES_MIN {
                Err(format!("line {number}: a token has at least {TOKEN_BYTES_MIN} characters"))
            } else if let Some(scopes) = scopes {
                Ok((token.as_bytes().into(), scopes))
            } else {
                Err(format!(
                    "line {number}: only scope=watch, scope=ingest or scope=watch,ingest may follow a token"
                ))
            }
        };
        lines.map(token).collect::<Result<_, _>>().map(Self)
    }

    /// What a token gives the right to; `None` for one that is not valid. Takes as long for every token of the same
    /// length, known or not.
    fn scopes(&self, candidate: &[u8]) -> Option<Scopes> {
        let mut found = (false, Scopes::default());
        for (token, scopes) in &self.0 {
            let same = equal(token, candidate);
            found.0 |= same;
            found.1.0 |= if same { scopes.0 } else { 0 };
        }
        found.0.then_some(found.1)
    }

    fn allow(&self, candidate: &[u8], scope: Scope) -> bool {
        self.scopes(candidate).is_some_and(|scopes| scopes.allow(scope))
    }
}

fn equal(left: &[u8], right: &[u8]) -> bool {
    let differ = left.iter().zip(right).fold(0, |differ, (left, right)| differ | (left ^ right));
    std::hint::black_box(differ) == 0 && left.len() == right.len()
}

/// The tokens of a file, as it is now.
#[derive(Clone)]
pub(super) struct Tokens(watch::Receiver<Arc<TokenSet>>);

/// The right to call, for as long as its token is valid.
#[derive(Clone)]
pub(crate) struct Grant {
    token: Arc<[u8]>,
    scopes: Scopes,
    tokens: Tokens,
}

impl Tokens {
    /// What a token gives the right to.
    pub(super) fn grant(&self, token: &[u8]) -> Option<Grant> {
        let mut tokens = self.clone();
        let scopes = tokens.0.borrow_and_update().scopes(token)?;
        Some(Grant { token: token.into(), scopes, tokens })
    }
}

impl Grant {
    /// True where the token had the right when it was shown.
    pub(super) fn allows(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// The token: who shows the same one is the same caller.
    pub(crate) fn token(&self) -> &Arc<[u8]> {
        &self.token
    }

    /// True when the token no longer gives the right to watch.
    pub(crate) fn is_revoked(&mut self) -> bool {
        self.tokens.0.has_changed().unwrap_or(false)
            && !self.tokens.0.borrow_and_update().allow(&self.token, Scope::Watch)
    }

    /// Waits until the token no longer gives the right to watch.
    pub(crate) async fn revoked(&mut self) {
        while self.tokens.0.changed().await.is_ok() {
            if !self.tokens.0.borrow_and_update().allow(&self.token, Scope::Watch) {
                return;
            }
        }
        // Nobody looks at the file any more, as the server stops.
        std::future::pending().await
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").finish_non_exhaustive()
    }
}

/// What tells that a file has changed.
type Signature = (i64, i64, u64, u64);

/// The file, and what was last read of it.
pub(super) struct TokenFile {
    path: PathBuf,
    sender: watch::Sender<Arc<TokenSet>>,
    read: Option<Signature>,
    seen: Option<Signature>,
}

impl TokenFile {
    /// Reads the file for the first time.
    pub(super) fn open(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError::File { setting: "grpc.token_file", path: path.to_owned(), source };
        let refused = |detail| BindError::Tokens { path: path.to_owned(), detail };
        let signature = signature(path).map_err(failed)?;
        if signature.2 > FILE_BYTES_MAX {
            return Err(refused(format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        let tokens = TokenSet::parse(&fs::read_to_string(path).map_err(failed)?).map_err(refused)?;
        if tokens.0.is_empty() {
            return Err(refused("it has no token, so that nobody could call; write one a line".to_owned()));
        }
        let sender = watch::Sender::new(Arc::new(tokens));
        Ok(Self { path: path.to_owned(), sender, read: Some(signature), seen: Some(signature) })
    }

    pub(super) fn tokens(&self) -> Tokens {
        Tokens(self.sender.subscribe())
    }

    /// Takes over what has changed, once it was seen unchanged twice: the file may be being written. What cannot be
    /// read changes nothing; an empty file takes all rights away. Blocks.
    pub(super) fn look_again(&mut self) {
        let signature = match signature(&self.path) {
            Ok(signature) => signature,
            Err(error) => return self.keep(&error.to_string()),
        };
        let settled = self.seen.replace(signature) == Some(signature);
        if !settled || self.read == Some(signature) {
            return;
        }
        self.read = Some(signature);
        let text = match fs::read_to_string(&self.path) {
            Ok(text) if signature.2 <= FILE_BYTES_MAX => text,
            Ok(_) => return self.keep("it is too large"),
            Err(error) => return self.keep(&error.to_string()),
        };
        match TokenSet::parse(&text) {
            Ok(tokens) => {
                tracing::info!(path = %self.path.display(), tokens = tokens.0.len(), "the tokens have changed");
                self.sender.send_replace(Arc::new(tokens));
            }
            Err(detail) => self.keep(&detail),
        }
    }

    /// Says once that the tokens known so far stay valid.
    fn keep(&mut self, detail: &str) {
        if self.seen.take().is_some() {
            let path = self.path.display();
            tracing::warn!(%path, detail, "the token file cannot be read; the tokens known so far stay valid");
        }
    }
}

fn signature(path: &Path) -> io::Result<Signature> {
    fs::metadata(path).map(|meta| (meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_tokens() {
        let set = TokenSet::parse("# ours\n\n  alpha-token  \nbeta-token\r\n").unwrap();
        for (token, known) in [
            ("alpha-token", true),
            ("beta-token", true),
            ("alpha-toke", false),
            ("alpha-tokens", false),
            ("# ours", false),
            ("", false),
        ] {
            assert_eq!(set.scopes(token.as_bytes()).is_some(), known, "{token}");
        }
    }

    #[test]
    fn a_line_that_is_no_token_is_named() {
        for line in
            ["two-words words", "short", "short scope=watch", "t\u{f6}ken-of-eight", "some-token scope="]
                .into_iter()
                .chain(["some-token scope=write", "some-token scope=watch, ingest", "some-token Scope=watch"])
        {
            let text = format!("alpha-token\n{line}");
            assert!(TokenSet::parse(&text).is_err_and(|detail| detail.contains("line 2")), "{line}");
        }
    }

    #[test]
    fn a_token_may_do_what_its_scopes_say_and_without_them_watch() {
        let text =
            "plain-token\nhost-token scope=ingest\nboth-token \t scope=watch,ingest\nold-token scope=watch";
        let set = TokenSet::parse(text).unwrap();
        for (token, watch, ingest) in [
            ("plain-token", true, false),
            ("host-token", false, true),
            ("both-token", true, true),
            ("old-token", true, false),
            ("host-token scope=ingest", false, false),
            ("unknown-token", false, false),
        ] {
            let allowed = [Scope::Watch, Scope::Ingest].map(|scope| set.allow(token.as_bytes(), scope));
            assert_eq!(allowed, [watch, ingest], "{token}");
        }
    }

    #[test]
    fn a_change_is_taken_over_when_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, "first-token\n").unwrap();
        let mut file = TokenFile::open(&path).unwrap();
        let tokens = file.tokens();
        assert!(tokens.grant(b"first-token").is_some());

        fs::write(&path, "first-token\nsecond-token\n").unwrap();
        file.look_again();
        assert!(tokens.grant(b"second-token").is_none(), "not settled yet");
        file.look_again();
        assert!(tokens.grant(b"first-token").is_some() && tokens.grant(b"second-token").is_some());

        fs::remove_file(&path).unwrap();
        file.look_again();
        file.look_again();
        assert!(tokens.grant(b"second-token").is_some(), "an unreadable file changes nothing");

        fs::write(&path, "# nobody\n").unwrap();
        file.look_again();
        file.look_again();
        assert!(tokens.grant(b"second-token").is_none());
    }

    #[test]
    fn a_file_without_tokens_is_refused_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        assert!(matches!(TokenFile::open(&path), Err(BindError::File { .. })));
        fs::write(&path, "# nothing yet\n").unwrap();
        assert!(matches!(TokenFile::open(&path), Err(BindError::Tokens { .. })));
    }
}
