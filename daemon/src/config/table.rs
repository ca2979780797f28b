//! The table of settings: every key once, with its bounds, its help and its place.

mod rows;

use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;

use super::kind::Kind;
use super::{Config, LogFormat, LogSettings};
use crate::settings::{Settings, TlsSettings};

pub(super) use self::rows::{SECTIONS, SETTINGS};

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Dotted name.
    pub(super) key: &'static str,
    /// What it takes, and where it goes.
    pub(super) kind: Kind,
    /// What it is for. The text stands in the documentation.
    pub(super) help: &'static str,
    /// TOML of an example, for a setting without a default.
    pub(super) example: Option<&'static str>,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Setting,
    /// A table that has settings.
    Section,
    Not,
}

/// Looks a key up.
pub(super) fn known(key: &str) -> Known {
    if SETTINGS.iter().any(|setting| setting.key == key) {
        Known::Setting
    } else if SECTIONS.iter().any(|(section, _)| *section == key) {
        Known::Section
    } else {
        Known::Not
    }
}

/// Settings in the making: what belongs together is put together at the end.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) settings: Settings,
    pub(super) log: LogSettings,
    pub(super) database: Option<PathBuf>,
    pub(super) tls_certificate: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) tls_client_ca: Option<PathBuf>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            log: LogSettings { level: LevelFilter::INFO, format: LogFormat::Text },
            database: None,
            tls_certificate: None,
            tls_key: None,
            tls_client_ca: None,
        }
    }
}

impl Draft {
    /// The settings. TLS is off unless both of its files are there.
    pub(super) fn config(&self) -> Config {
        let mut settings = self.settings.clone();
        settings.store.path = self.database.clone().unwrap_or_default();
        settings.grpc.tls = match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsSettings {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: self.tls_client_ca.clone(),
            }),
            _ => None,
        };
        Config { settings, log: self.log }
    }
}

/// Whole milliseconds.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number that its bounds keep within the type.
fn narrow<T: TryFrom<u64>>(number: u64) -> T {
    T::try_from(number).unwrap_or_else(|_| panic!("BUG: the bounds of a setting admit {number}"))
}
