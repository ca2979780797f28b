//! Page tokens: checksummed, bound to the log and to the request that they continue.

use prost::Message;
use refwatch_store::Identity;

use crate::status::Failure;

const VERSION: u8 = 1;
/// Version, fingerprint and checksum.
const FRAME_BYTES: usize = 1 + 8 + 4;

const FOREIGN: Failure = Failure::PageToken { detail: "it is of another request or another log" };
const MALFORMED: Failure = Failure::PageToken { detail: "it is no page token, or was changed on the way" };

/// What a token is bound to: the log, and all of a request but `page_token` and `page_size`, which the caller clears.
pub(super) fn fingerprint(log: Identity, method: &str, request: &impl Message) -> u64 {
    let numbers = [log.server.to_be_bytes(), log.epoch.to_be_bytes()].concat();
    let parts = [numbers.as_slice(), method.as_bytes(), &request.encode_to_vec()];
    // FNV-1a, as tokens must outlive the process and the compiler. It only has to tell apart what was not forged.
    parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Wraps what a method has to remember between pages.
pub(super) fn seal(fingerprint: u64, state: &[u8]) -> String {
    let mut raw = Vec::with_capacity(state.len() + FRAME_BYTES);
    raw.push(VERSION);
    raw.extend_from_slice(&fingerprint.to_be_bytes());
    raw.extend_from_slice(state);
    let checksum = crc32fast::hash(&raw);
    raw.extend_from_slice(&checksum.to_be_bytes());
    data_encoding::BASE64URL_NOPAD.encode(&raw)
}

/// Gives back what [`seal`] wrapped.
///
/// # Errors
/// [`Failure::PageToken`] for what it did not wrap, and for a token of another request or log.
pub(super) fn open(fingerprint: u64, token: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    if token.len() > bytes_max {
        return Err(MALFORMED);
    }
    let raw = data_encoding::BASE64URL_NOPAD.decode(token.as_bytes()).map_err(|_| MALFORMED)?;
    let (rest, checksum) = raw.split_last_chunk::<4>().ok_or(MALFORMED)?;
    if crc32fast::hash(rest).to_be_bytes() != *checksum {
        return Err(MALFORMED);
    }
    let (version, rest) = rest.split_first().ok_or(MALFORMED)?;
    let (bound_to, state) = rest.split_first_chunk::<8>().ok_or(MALFORMED)?;
    if *version != VERSION || u64::from_be_bytes(*bound_to) != fingerprint {
        return Err(FOREIGN);
    }
    Ok(state.to_vec())
}

/// Reads a number off the front of a state.
pub(super) fn number(state: &mut &[u8]) -> Result<u64, Failure> {
    let (number, rest) = state.split_first_chunk::<8>().ok_or(MALFORMED)?;
    *state = rest;
    Ok(u64::from_be_bytes(*number))
}

/// A state that should be a number says something else.
pub(super) fn malformed() -> Failure {
    MALFORMED
}

#[cfg(test)]
mod tests {
    use refwatch_proto::v1::ListEventsRequest;

    use super::*;

    const LOG: Identity = Identity { server: 1, epoch: 2 };

    #[test]
    fn a_token_opens_for_its_request_only() {
        let request = ListEventsRequest::default();
        let bound = fingerprint(LOG, "ListEvents", &request);
        let token = seal(bound, b"state");
        assert_eq!(open(bound, &token, 256).as_deref(), Ok(b"state".as_slice()));
        let others = [
            fingerprint(Identity { epoch: 3, ..LOG }, "ListEvents", &request),
            fingerprint(LOG, "ListRefs", &request),
            fingerprint(LOG, "ListEvents", &ListEventsRequest { newest_first: true, ..request }),
        ];
        for other in others {
            assert_eq!(open(other, &token, 256), Err(FOREIGN));
        }
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let bound = fingerprint(LOG, "ListEvents", &ListEventsRequest::default());
        let token = seal(bound, b"state");
        for at in 0..token.len() {
            for with in ["A", "b", "-", "=", "ä"] {
                let changed = format!("{}{with}{}", &token[..at], &token[at + 1..]);
                assert!(changed == token || open(bound, &changed, 256).is_err(), "{changed}");
            }
        }
        assert_eq!(open(bound, "", 256), Err(MALFORMED));
        assert_eq!(open(bound, &token, token.len() - 1), Err(MALFORMED));
    }
}
