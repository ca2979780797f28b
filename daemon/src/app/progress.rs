//! A bar for a long first scan, where there is a person to see it.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A scan that is over sooner shows no bar.
pub(super) const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// The bar, once it is shown.
#[derive(Default)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows how far the scan is, if stderr is a terminal.
    pub(super) fn show(&mut self, done: u64, all: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let bar = self.0.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("first scan {bar:40} {pos}/{len} repositories {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(all).with_style(style)
        });
        bar.set_length(all);
        bar.set_position(done);
    }

    /// Takes the bar away.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
