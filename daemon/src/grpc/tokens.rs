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

/// The tokens that are valid now; several are, while one takes another's place.
#[derive(Default, PartialEq, Eq)]
struct TokenSet(Vec<Box<[u8]>>);

impl TokenSet {
    /// Reads one token a line; blank lines and lines that begin with `#` do not count.
    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let token = |(index, line): (usize, &str)| {
            if !line.bytes().all(|byte| byte.is_ascii_graphic()) {
                Err(format!("line {} is no token: it has a space or is not ASCII", index + 1))
            } else if line.len() < TOKEN_BYTES_MIN {
                Err(format!("line {}: a token has at least {TOKEN_BYTES_MIN} characters", index + 1))
            } else {
                Ok(line.as_bytes().into())
            }
        };
        lines.map(token).collect::<Result<_, _>>().map(Self)
    }

    /// Takes as long for every token of the same length, known or not.
    fn contains(&self, candidate: &[u8]) -> bool {
        self.0.iter().fold(false, |found, token| found | equal(token, candidate))
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
    tokens: Tokens,
}

impl Tokens {
    /// What a token gives the right to.
    pub(super) fn grant(&self, token: &[u8]) -> Option<Grant> {
        let mut tokens = self.clone();
        let known = tokens.0.borrow_and_update().contains(token);
        known.then(|| Grant { token: token.into(), tokens })
    }
}

impl Grant {
    /// True when the token is valid no more.
    pub(crate) fn is_revoked(&mut self) -> bool {
        self.tokens.0.has_changed().unwrap_or(false)
            && !self.tokens.0.borrow_and_update().contains(&self.token)
    }

    /// Waits until the token is valid no more.
    pub(crate) async fn revoked(&mut self) {
        while self.tokens.0.changed().await.is_ok() {
            if !self.tokens.0.borrow_and_update().contains(&self.token) {
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
            assert_eq!(set.contains(token.as_bytes()), known, "{token}");
        }
    }

    #[test]
    fn a_line_that_is_no_token_is_named() {
        assert!(TokenSet::parse("alpha-token\ntwo words").is_err_and(|detail| detail.contains("line 2")));
        assert!(TokenSet::parse("short").is_err_and(|detail| detail.contains("line 1")));
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
