//! Reports signed with a secret that the server and the Git host share.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use ring::{digest, hmac};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use crate::v1::{ReportRejectionRequest, ReportRejectionsRequest};

/// Header with the signature.
pub const SIGNATURE_HEADER: &str = "refwatch-signature";
/// Header with the time at which it was made, in microseconds since the Unix epoch.
pub const TIMESTAMP_HEADER: &str = "refwatch-timestamp";
/// Shortest secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::v1::ReportRejectionRequest {}
    impl Sealed for crate::v1::ReportRejectionsRequest {}
}

/// A request that may be signed: those of `IngestService`.
pub trait Report: Message + sealed::Sealed {
    /// Path of its method.
    const PATH: &'static str;
}

impl Report for ReportRejectionRequest {
    const PATH: &'static str = "/refwatch.v1.IngestService/ReportRejection";
}

impl Report for ReportRejectionsRequest {
    const PATH: &'static str = "/refwatch.v1.IngestService/ReportRejections";
}

/// Signs requests of `IngestService`, in place of a token: `grpc.shared_secret_file` of the server has the same secret.
///
/// A signature is taken once, and within a minute: sign each attempt anew. It holds for the message uncompressed, so
/// the client must not compress (`send_compressed`). It hides nothing: use TLS as well.
///
/// ```no_run
/// # async fn report(server: refwatch_proto::client::Server, secret: &str) -> Result<(), Box<dyn std::error::Error>> {
/// use refwatch_proto::client::Signer;
/// use refwatch_proto::v1::ReportRejectionRequest;
/// use refwatch_proto::v1::ingest_service_client::IngestServiceClient;
///
/// let signer = Signer::new(secret)?;
/// let mut client = IngestServiceClient::new(server.channel().await?);
/// client.report_rejection(signer.sign(ReportRejectionRequest { report: None })).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Signer(hmac::Key);

/// A secret that no server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is one line of at least {SECRET_BYTES_MIN} bytes, and does not begin with #")]
pub struct InvalidSecret;

impl Signer {
    /// Takes the secret, as it stands in its line of the file; blanks around it do not count.
    ///
    /// # Errors
    /// [`InvalidSecret`] for one that a server would not read as it is meant.
    pub fn new(secret: &str) -> Result<Self, InvalidSecret> {
        let secret = secret.trim();
        if secret.len() < SECRET_BYTES_MIN || secret.starts_with('#') || secret.contains(['\n', '\r']) {
            return Err(InvalidSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// The request, signed now.
    pub fn sign<R: Report>(&self, message: R) -> Request<R> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sign_at(message, i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// The request, signed at a time: microseconds since the Unix epoch, by the server's clock to within a minute.
    pub fn sign_at<R: Report>(&self, message: R, timestamp_us: i64) -> Request<R> {
        let signature = self.signature(R::PATH, timestamp_us, &message.encode_to_vec());
        let mut request = Request::new(message);
        let ascii = |text: String| text.parse::<MetadataValue<Ascii>>().expect("digits, letters and = only");
        request.metadata_mut().insert(TIMESTAMP_HEADER, ascii(timestamp_us.to_string()));
        request.metadata_mut().insert(SIGNATURE_HEADER, ascii(signature));
        request
    }

    /// What [`SIGNATURE_HEADER`] has to say of an encoded message to the method with this path: `sha256=` and 64
    /// hexadecimal digits. For requests that are made in another way than by this crate.
    pub fn signature(&self, path: &str, timestamp_us: i64, message: &[u8]) -> String {
        let body = hex(digest::digest(&digest::SHA256, message).as_ref());
        let text = format!("{path}\n{timestamp_us}\n{body}");
        format!("sha256={}", hex(hmac::sign(&self.0, text.as_bytes()).as_ref()))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{RejectionReport, rejection_report::Repository};

    const SECRET: &str = "a-secret-of-the-host";
    const NOW_US: i64 = 1_700_000_000_000_000;
    /// Of `SECRET` over the path of ReportRejection, `NOW_US` and the message `0a 03 61 62 63`, by Python's hmac and hashlib.
    const TAG: &str = "sha256=6c0f68f10df7761f98a72133e980ab67a52e80bcc044076ec48d1701e505c2f1";

    #[test]
    fn a_signature_is_what_others_make_of_the_same() {
        let signer = Signer::new(&format!("  {SECRET}\n")).unwrap();
        assert_eq!(signer.signature(ReportRejectionRequest::PATH, NOW_US, b"\x0a\x03abc"), TAG);
    }

    #[test]
    fn a_request_carries_its_time_and_the_signature_of_its_own_bytes() {
        let report = RejectionReport {
            repository: Some(Repository::RepositoryPath("a.git".to_owned())),
            ..RejectionReport::default()
        };
        let message = ReportRejectionRequest { report: Some(report) };
        let signer = Signer::new(SECRET).unwrap();
        let request = signer.sign_at(message.clone(), NOW_US);
        let header = |name: &str| request.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(header(TIMESTAMP_HEADER), "1700000000000000");
        let path = "/refwatch.v1.IngestService/ReportRejection";
        assert_eq!(header(SIGNATURE_HEADER), signer.signature(path, NOW_US, &message.encode_to_vec()));
        assert_eq!(request.get_ref(), &message);
    }

    #[test]
    fn a_secret_that_a_server_would_read_otherwise_is_none() {
        for secret in ["", "short", "               ", "# sixteen bytes or more", "sixteen bytes or\nmore"] {
            assert_eq!(Signer::new(secret).err(), Some(InvalidSecret), "{secret:?}");
        }
        assert!(Signer::new("sixteen or more.").is_ok());
        assert!(!format!("{:?}", Signer::new(SECRET)).contains(SECRET));
    }
}
