use super::*;

const NOW_US: i64 = 1_700_000_000_000_000;
const SECRET: &str = "a-secret-of-the-host";
const PATH: &str = "/refwatch.v1.IngestService/ReportRejection";
const BODY: &[u8] = b"\0\0\0\0\x05\x0a\x03abc";
/// Of `SECRET` over `PATH`, `NOW_US` and the message of `BODY`, made by Python's hmac and hashlib.
const TAG: &str = "6c0f68f10df7761f98a72133e980ab67a52e80bcc044076ec48d1701e505c2f1";

fn signatures(text: &str) -> Signatures {
    let secrets = Arc::new(Secrets::parse(text.as_bytes()).unwrap());
    Signatures::new(watch::channel(secrets).1)
}

fn headers(timestamp: &str, signature: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(TIMESTAMP, timestamp.parse().unwrap());
    headers.insert(SIGNATURE, signature.parse().unwrap());
    headers
}

fn claim() -> Claim {
    Claim::of(&headers(&NOW_US.to_string(), &format!("sha256={TAG}")), NOW_US).unwrap()
}

#[test]
fn a_signature_made_elsewhere_is_taken_once() {
    let signatures = signatures(SECRET);
    assert_eq!(signatures.take(claim(), PATH, BODY, NOW_US), Ok(()));
    assert_eq!(signatures.take(claim(), PATH, BODY, NOW_US), Err(Refused::Replayed));
    assert_eq!(signatures.take(claim(), PATH, BODY, NOW_US + 120_000_000), Err(Refused::Replayed));
}

#[test]
fn another_path_time_message_or_secret_is_refused() {
    let known = signatures(SECRET);
    let other_path = "/refwatch.v1.IngestService/ReportRejections";
    assert_eq!(known.take(claim(), other_path, BODY, NOW_US), Err(Refused::Signature));
    let later = Claim { timestamp_us: NOW_US + 1, ..claim() };
    assert_eq!(known.take(later, PATH, BODY, NOW_US), Err(Refused::Signature));
    let bodies: [&[u8]; 6] = [
        b"\0\0\0\0\x05\x0a\x03abd",
        b"\x01\0\0\0\x05\x0a\x03abc",
        b"\0\0\0\0\x06\x0a\x03abc",
        b"\0\0\0\0\x05\x0a\x03abc\0\0\0\0\0",
        b"\0\0\0",
        b"",
    ];
    for body in bodies {
        assert_eq!(known.take(claim(), PATH, body, NOW_US), Err(Refused::Signature), "{body:?}");
    }
    assert_eq!(signatures("another-secret-of-it").take(claim(), PATH, BODY, NOW_US), Err(Refused::Signature));
    assert_eq!(known.take(claim(), PATH, BODY, NOW_US), Ok(()), "and what was refused is not remembered");
}

#[test]
fn the_secret_before_is_accepted_and_the_one_before_that_is_no_secret() {
    let both = signatures(&format!("# present\nthe-new-secret-of-it\n{SECRET}\n"));
    assert_eq!(both.take(claim(), PATH, BODY, NOW_US), Ok(()));
    for text in ["", "# none\n", "short\n", "one-secret-of-three\ntwo-secret-of-three\nsix-secret-of-three\n"]
    {
        assert!(Secrets::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn clocks_may_be_apart_as_far_as_the_bound_and_no_further() {
    let at = |timestamp: i64| Claim::of(&headers(&timestamp.to_string(), &format!("sha256={TAG}")), NOW_US);
    let skew = i64::try_from(SKEW_MAX.as_micros()).unwrap();
    for timestamp in [NOW_US - skew, NOW_US + skew] {
        assert!(at(timestamp).is_ok(), "{timestamp}");
    }
    for timestamp in [NOW_US - skew - 1, NOW_US + skew + 1, 0, i64::MIN, i64::MAX] {
        assert_eq!(at(timestamp).err(), Some(Refused::Late), "{timestamp}");
    }
}

#[test]
fn malformed_headers_are_refused() {
    let now = NOW_US.to_string();
    for (timestamp, signature) in [
        ("", format!("sha256={TAG}")),
        ("1e9", format!("sha256={TAG}")),
        (&now, TAG.to_owned()),
        (&now, format!("sha1={TAG}")),
        (&now, format!("sha256={}", &TAG[2..])),
        (&now, format!("sha256={TAG}00")),
        (&now, "sha256=".to_owned()),
    ] {
        let refused = Claim::of(&headers(timestamp, &signature), NOW_US).err();
        assert_eq!(refused, Some(Refused::Signature), "{timestamp} {signature}");
    }
    assert_eq!(Claim::of(&HeaderMap::new(), NOW_US).err(), Some(Refused::Signature));
}

#[test]
fn as_many_signatures_are_remembered_as_the_bound_says_and_old_ones_are_forgotten() {
    let mut taken = Taken::default();
    let claim = |number: usize| {
        let mut tag = Tag::default();
        tag[..8].copy_from_slice(&number.to_be_bytes());
        Claim { timestamp_us: NOW_US, tag }
    };
    for number in 0..REMEMBERED_MAX {
        assert_eq!(taken.once(claim(number), NOW_US), Ok(()));
    }
    assert_eq!(taken.once(claim(REMEMBERED_MAX), NOW_US), Err(Refused::Full));
    let later = NOW_US + 2 * i64::try_from(SKEW_MAX.as_micros()).unwrap() + 1;
    assert_eq!(taken.once(claim(REMEMBERED_MAX), later), Ok(()));
    assert_eq!((taken.tags.len(), taken.order.len()), (1, 1));
}
