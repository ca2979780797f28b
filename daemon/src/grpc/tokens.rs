//! Bearer tokens out of a file that may change at any time. The file, and the memory, need hold only their hashes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use ring::digest;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::BindError;
use super::reload::{Named, Reload, lines};
use crate::filter::View;
use crate::status::Failure;

/// Shortest token, in bytes: a shorter one is a mistake, such as a half-written file.
const TOKEN_BYTES_MIN: usize = 8;
/// Tokens in one file: each call is compared with all of them.
const TOKENS_MAX: usize = 1_024;
/// Longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// How a line begins that holds the SHA-256 of its token, in hexadecimal digits.
const HASHED: &str = "sha256:";
/// What a line may say after its token.
const SCOPE: &str = "scope=";
const REPOSITORY: &str = "repository=";
const NAME: &str = "name=";

/// One thing that a token gives the right to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To call GitEventService.
    Watch = 1,
    /// To call IngestService.
    Ingest = 2,
}

/// The bits of [`Scope`].
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
}

/// SHA-256 of a token.
pub(crate) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// SHA-256 of a token. Enough where the token is random; no hash protects one that can be guessed.
pub(crate) fn hash(token: &[u8]) -> Digest {
    let mut hash = Digest::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    hash
}

/// Everything that a token gives the right to.
#[derive(Debug, PartialEq, Eq)]
struct Rights {
    scopes: Scopes,
    view: View,
    name: Option<Box<str>>,
}

impl Rights {
    fn allow(&self, scope: Scope) -> bool {
        self.scopes.0 & scope as u8 != 0
    }
}

/// The tokens that are valid now; several are, while one takes another's place.
#[derive(Debug, Default)]
pub(super) struct TokenSet(Vec<(Digest, Arc<Rights>)>);

impl TokenSet {
    /// Reads one token a line, as it is or as `sha256:` and its hash. Behind it may stand, in any order,
    /// `scope=watch,ingest` or a part of that (without, it may watch), `repository=GLOB` for each glob that limits it,
    /// and `name=` with what to call it. Blank lines and lines that begin with `#` do not count.
    ///
    /// # Errors
    /// What is wrong, with the number of the line and without the token.
    fn parse(content: &[u8]) -> Result<Self, String> {
        let mut set: Vec<(Digest, Arc<Rights>)> = Vec::new();
        for (number, line) in lines(content)? {
            let told = |detail: String| format!("line {number}: {detail}");
            let mut words = line.split_ascii_whitespace();
            let digest = digest_of(words.next().unwrap_or_default()).map_err(told)?;
            let rights = rights(words).map_err(told)?;
            if set.iter().any(|(known, _)| *known == digest) {
                return Err(told("the same token stands in an earlier line".to_owned()));
            }
            set.push((digest, Arc::new(rights)));
        }
        if set.len() > TOKENS_MAX {
            return Err(format!("it has more than {TOKENS_MAX} tokens"));
        }
        Ok(Self(set))
    }

    /// What a token gives the right to; `None` for one that is not valid. Takes as long for every token, known or not.
    fn rights(&self, candidate: &Digest) -> Option<Arc<Rights>> {
        let mut found = None;
        for (known, rights) in &self.0 {
            if bool::from(known.ct_eq(candidate)) {
                found = Some(rights);
            }
        }
        found.cloned()
    }
}

/// The line that lets a token in, with only its hash.
///
/// # Errors
/// What is wrong with the token, or with what is to stand behind it: as [`TokenSet::parse`] tells it.
pub(crate) fn token_line(
    token: &str,
    scopes: &[Scope],
    repositories: &[String],
    name: Option<&str>,
) -> Result<String, String> {
    if token.starts_with(HASHED) || token.contains(|c: char| c.is_ascii_whitespace()) {
        return Err("that is no token".to_owned());
    }
    let words = [(Scope::Watch, "watch"), (Scope::Ingest, "ingest")];
    let words = words.into_iter().filter(|(scope, _)| scopes.contains(scope)).map(|(_, word)| word);
    let mut line = format!("{HASHED}{}", HEXLOWER.encode(&digest_of(token)?));
    line.push_str(&format!(" {SCOPE}{}", words.collect::<Vec<_>>().join(",")));
    let repositories = repositories.iter().map(|glob| (REPOSITORY, glob.as_str()));
    for (key, value) in repositories.chain(name.map(|name| (NAME, name))) {
        if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!(
                "{key}{value:?}: there is no place for blanks in a line; ? stands for one in a glob"
            ));
        }
        line.push_str(&format!(" {key}{value}"));
    }
    TokenSet::parse(line.as_bytes()).map(|_| line)
}

fn digest_of(word: &str) -> Result<Digest, String> {
    if let Some(hex) = word.strip_prefix(HASHED) {
        let hash = HEXLOWER.decode(hex.to_ascii_lowercase().as_bytes()).ok();
        let hash = hash.and_then(|hash| Digest::try_from(hash).ok());
        return hash.ok_or_else(|| format!("behind {HASHED} there are not 64 hexadecimal digits"));
    }
    if !word.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("a token is ASCII".to_owned())
    } else if word.len() < TOKEN_BYTES_MIN {
        Err(format!("a token has at least {TOKEN_BYTES_MIN} characters"))
    } else {
        Ok(hash(word.as_bytes()))
    }
}

fn rights<'a>(words: impl Iterator<Item = &'a str>) -> Result<Rights, String> {
    let (mut scopes, mut globs, mut name) = (None, Vec::new(), None);
    for word in words {
        if let Some(list) = word.strip_prefix(SCOPE) {
            let parsed = Scopes::parse(list).filter(|_| scopes.is_none());
            let expected = "one scope=watch, scope=ingest or scope=watch,ingest may follow a token";
            scopes = Some(parsed.ok_or(expected)?);
        } else if let Some(glob) = word.strip_prefix(REPOSITORY) {
            globs.push(glob.to_owned());
        } else if let Some(text) = word.strip_prefix(NAME) {
            if name.is_some() || text.is_empty() || text.len() > NAME_BYTES_MAX {
                return Err(format!("one name= with at most {NAME_BYTES_MAX} bytes may follow a token"));
            }
            name = Some(text.into());
        } else {
            return Err("only scope=, repository= and name= may follow a token".to_owned());
        }
    }
    let view = View::of(globs).map_err(|failure| failure.to_string())?;
    Ok(Rights { scopes: scopes.unwrap_or(Scopes(Scope::Watch as u8)), view, name })
}

/// The tokens of a file, as it is now.
#[derive(Clone)]
pub(super) struct Tokens(watch::Receiver<Arc<TokenSet>>);

/// The right to call, for as long as its token is valid.
#[derive(Clone)]
pub(crate) struct Grant {
    digest: Digest,
    rights: Arc<Rights>,
    tokens: Tokens,
}

impl Tokens {
    /// What the token with this hash gives the right to.
    pub(super) fn grant(&self, digest: &Digest) -> Option<Grant> {
        let mut tokens = self.clone();
        let rights = tokens.0.borrow_and_update().rights(digest)?;
        Some(Grant { digest: *digest, rights, tokens })
    }
}

impl Grant {
    /// True where the token had the right when it was shown.
    pub(super) fn allows(&self, scope: Scope) -> bool {
        self.rights.allow(scope)
    }

    /// The repositories that its owner may know of.
    pub(crate) fn view(&self) -> View {
        self.rights.view.clone()
    }

    /// What its line calls the token.
    pub(super) fn name(&self) -> Option<&str> {
        self.rights.name.as_deref()
    }

    /// The hash of the token: who shows the same one is the same caller.
    pub(crate) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Looks whether a stream that the token opened may go on.
    ///
    /// # Errors
    /// [`Failure::Credentials`] where it may not be watched any more; [`Failure::RightsChanged`] where other
    /// repositories are in view.
    pub(crate) fn still_holds(&mut self) -> Result<(), Failure> {
        if !self.tokens.0.has_changed().unwrap_or(false) {
            return Ok(());
        }
        self.look()
    }

    /// Waits until [`Grant::still_holds`] would fail, and tells how.
    pub(crate) async fn revoked(&mut self) -> Failure {
        while self.tokens.0.changed().await.is_ok() {
            if let Err(failure) = self.look() {
                return failure;
            }
        }
        // Nobody looks at the file any more, as the server stops.
        std::future::pending().await
    }

    fn look(&mut self) -> Result<(), Failure> {
        match self.tokens.0.borrow_and_update().rights(&self.digest) {
            Some(rights) if !rights.allow(Scope::Watch) => Err(Failure::Credentials),
            Some(rights) if rights.view != self.rights.view => Err(Failure::RightsChanged),
            Some(_) => Ok(()),
            None => Err(Failure::Credentials),
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").finish_non_exhaustive()
    }
}

/// The file of `grpc.token_file`. One that becomes unreadable changes nothing; one without tokens takes all rights away.
pub(super) struct TokenFile(Reload<TokenSet>);

impl TokenFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`BindError`] for one that cannot be read, has a line that is none, or no token at all.
    pub(super) fn open(path: &Path) -> Result<Self, BindError> {
        let refused = |detail| BindError::Tokens { path: path.to_owned(), detail };
        let file = Named { setting: "grpc.token_file", path: path.to_owned() };
        let reload = Reload::open(vec![file], |contents| TokenSet::parse(&contents[0]), refused)?;
        if reload.subscribe().borrow().0.is_empty() {
            return Err(refused("it has no token, so that nobody could call; write one a line".to_owned()));
        }
        Ok(Self(reload))
    }

    pub(super) fn tokens(&self) -> Tokens {
        Tokens(self.0.subscribe())
    }

    /// Takes over what has changed and settled. Blocks.
    pub(super) fn look_again(&mut self) {
        self.0.look_again();
    }
}

#[cfg(test)]
mod tests;
