//! TLS, with certificates that may change at any time. Connections that are open keep what they began with.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::BindError;
use super::reload::{Named, Reload};
use crate::settings::TlsSettings;

/// The protocol that TLS is to agree on: HTTP/2 (RFC 9113, 3.2).
const ALPN: &[u8] = b"h2";

/// Reads the files of the settings, now and again when they change. All of them are taken over together, or none: a new
/// certificate without its key waits for the key.
///
/// # Errors
/// [`BindError`] for a file that cannot be read, or cannot be used.
pub(super) fn open(settings: &TlsSettings) -> Result<Reload<ServerConfig>, BindError> {
    let named = |setting, path: &std::path::PathBuf| Named { setting, path: path.clone() };
    let mut files =
        vec![named("grpc.tls_certificate", &settings.certificate), named("grpc.tls_key", &settings.key)];
    files.extend(settings.client_ca.iter().map(|path| named("grpc.tls_client_ca", path)));
    let make = |contents: &[Vec<u8>]| match contents {
        [certificate, key, rest @ ..] => config(certificate, key, rest.first().map(Vec::as_slice)),
        _ => Err("BUG: there are two or three files".to_owned()),
    };
    Reload::open(files, make, |detail| BindError::Tls { detail })
}

fn config(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerConfig, String> {
    let provider = Arc::new(default_provider());
    let chain = certificates("grpc.tls_certificate", certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("grpc.tls_key: {error}"))?;
    let told = |error: tokio_rustls::rustls::Error| error.to_string();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(told)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for root in certificates("grpc.tls_client_ca", pem)? {
                roots.add(root).map_err(told)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(told)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn certificates(setting: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| format!("{setting}: {error}"))?;
    if found.is_empty() { Err(format!("{setting}: it has no certificate")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_certificate_without_its_key_waits_for_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert"), dir.path().join("key"));
        let make = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let [old, new] = [make(), make()];
        fs::write(&certificate, old.cert.pem()).unwrap();
        fs::write(&key, old.signing_key.serialize_pem()).unwrap();
        let settings = TlsSettings { certificate: certificate.clone(), key: key.clone(), client_ca: None };
        let mut reload = open(&settings).unwrap();
        let configs = reload.subscribe();
        let first = Arc::clone(&configs.borrow());
        let mut look = || {
            reload.look_again();
            reload.look_again();
            Arc::clone(&configs.borrow())
        };
        fs::write(&certificate, new.cert.pem()).unwrap();
        assert!(Arc::ptr_eq(&first, &look()), "half of a pair is not taken over");
        fs::write(&key, new.signing_key.serialize_pem()).unwrap();
        assert!(!Arc::ptr_eq(&first, &look()), "the whole pair is");
    }
}
