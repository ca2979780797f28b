//! Requests that are signed with a secret which server and Git host share.
//!
//! The request carries `refwatch-timestamp` (microseconds since the Unix epoch) and `refwatch-signature` (`sha256=` and
//! the HMAC-SHA256, in hexadecimal digits) over
//!
//! ```text
//! <path of the method> LF <timestamp> LF <SHA-256 of the message in hexadecimal digits>
//! ```
//!
//! where the path is such as `/refwatch.v1.IngestService/ReportRejection`, and the message is what follows the five bytes
//! of gRPC's prefix, uncompressed.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
pub(super) use refwatch_proto::client::SIGNATURE_HEADER as SIGNATURE;
use refwatch_proto::client::{SECRET_BYTES_MIN, TIMESTAMP_HEADER as TIMESTAMP};
use ring::{digest, hmac};
use tokio::sync::watch;
use tonic::codegen::http::HeaderMap;

use super::BindError;
use super::reload::{Named, Reload, lines};

/// How a signature begins: its algorithm.
const ALGORITHM: &str = "sha256=";
/// Longest that the two clocks may be apart.
pub(super) const SKEW_MAX: Duration = Duration::from_secs(60);
/// Signatures that are remembered, so that none is taken twice: 1,000 calls a second as long as they are valid.
const REMEMBERED_MAX: usize = 120_000;
/// Secrets at a time: the present one, and the one before while hosts change over.
const SECRETS_MAX: usize = 2;
/// What gRPC puts before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

type Tag = [u8; digest::SHA256_OUTPUT_LEN];

/// Why a signed request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The headers or the message are malformed, or the secret is another.
    Signature,
    /// It was signed too long ago, or in the future.
    Late,
    /// It was taken before.
    Replayed,
    /// As many signatures are remembered as can be.
    Full,
}

/// The secrets of a file as it is now, and the signatures that were taken.
#[derive(Clone)]
pub(super) struct Signatures {
    secrets: watch::Receiver<Arc<Secrets>>,
    taken: Arc<Mutex<Taken>>,
}

/// Signing keys, the present one first.
pub(super) struct Secrets(Vec<hmac::Key>);

/// Signatures that are still valid, in the order in which they were taken.
#[derive(Default)]
struct Taken {
    tags: HashSet<Tag>,
    order: VecDeque<(i64, Tag)>,
}

/// A signature that is well-formed and new enough to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    timestamp_us: i64,
    tag: Tag,
}

/// Reads the file of `grpc.shared_secret_file`: one secret, and in a second line the one before.
///
/// # Errors
/// [`BindError`] for a file that cannot be read, or has no secret, too many, or a short one.
pub(super) fn open(path: &Path) -> Result<Reload<Secrets>, BindError> {
    let refused = |detail| BindError::Secrets { path: path.to_owned(), detail };
    let file = Named { setting: "grpc.shared_secret_file", path: path.to_owned() };
    Reload::open(vec![file], |contents| Secrets::parse(&contents[0]), refused)
}

impl Secrets {
    fn parse(content: &[u8]) -> Result<Self, String> {
        let lines = lines(content)?;
        if lines.is_empty() || lines.len() > SECRETS_MAX {
            return Err(
                "it has to have the secret in a line, and may have the one before in another".to_owned()
            );
        }
        if let Some((number, _)) = lines.iter().find(|(_, line)| line.len() < SECRET_BYTES_MIN) {
            return Err(format!("line {number}: a secret has at least {SECRET_BYTES_MIN} bytes"));
        }
        Ok(Self(lines.iter().map(|(_, line)| hmac::Key::new(hmac::HMAC_SHA256, line.as_bytes())).collect()))
    }
}

impl Claim {
    /// Reads the headers, and compares the clocks.
    ///
    /// # Errors
    /// [`Refused`], before anything of the message is read.
    pub(super) fn of(headers: &HeaderMap, now_us: i64) -> Result<Self, Refused> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Refused::Signature);
        let timestamp_us: i64 = text(TIMESTAMP)?.parse().map_err(|_| Refused::Signature)?;
        let hex = text(SIGNATURE)?.strip_prefix(ALGORITHM).ok_or(Refused::Signature)?;
        let tag = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok().and_then(|tag| Tag::try_from(tag).ok());
        let tag = tag.ok_or(Refused::Signature)?;
        if timestamp_us.abs_diff(now_us) > u64::try_from(SKEW_MAX.as_micros()).unwrap_or(u64::MAX) {
            return Err(Refused::Late);
        }
        Ok(Self { timestamp_us, tag })
    }
}

impl Signatures {
    pub(super) fn new(secrets: watch::Receiver<Arc<Secrets>>) -> Self {
        Self { secrets, taken: Arc::default() }
    }

    /// Takes a request whose body is this, once.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn take(&self, claim: Claim, path: &str, body: &[u8], now_us: i64) -> Result<(), Refused> {
        let message = message_of(body).ok_or(Refused::Signature)?;
        let signed = signed_text(path, claim.timestamp_us, message);
        let secrets = Arc::clone(&self.secrets.borrow());
        // The comparison is ring's own, and takes as long whatever differs.
        let holds = |key| hmac::verify(key, signed.as_bytes(), &claim.tag).is_ok();
        if !secrets.0.iter().any(holds) {
            return Err(Refused::Signature);
        }
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).once(claim, now_us)
    }
}

impl Taken {
    fn once(&mut self, claim: Claim, now_us: i64) -> Result<(), Refused> {
        let skew_us = i64::try_from(SKEW_MAX.as_micros()).unwrap_or(i64::MAX);
        // Whatever its timestamp, it is valid no longer than twice the skew from when it was taken.
        while let Some((taken_us, tag)) = self.order.front() {
            if taken_us.saturating_add(2 * skew_us) >= now_us {
                break;
            }
            self.tags.remove(tag);
            self.order.pop_front();
        }
        if self.tags.contains(&claim.tag) {
            return Err(Refused::Replayed);
        }
        if self.order.len() >= REMEMBERED_MAX {
            return Err(Refused::Full);
        }
        self.tags.insert(claim.tag);
        self.order.push_back((now_us, claim.tag));
        Ok(())
    }
}

/// The one message of a body, if there is one and it is not compressed.
///
/// Source: gRPC's "gRPC over HTTP2", `Length-Prefixed-Message`.
fn message_of(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_first_chunk::<PREFIX_BYTES>()?;
    let [compressed, length @ ..] = *prefix;
    let whole = usize::try_from(u32::from_be_bytes(length)).is_ok_and(|length| length == message.len());
    (compressed == 0 && whole).then_some(message)
}

fn signed_text(path: &str, timestamp_us: i64, message: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, message);
    format!("{path}\n{timestamp_us}\n{}", data_encoding::HEXLOWER.encode(digest.as_ref()))
}

#[cfg(test)]
mod tests;
