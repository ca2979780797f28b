//! Instruments without a label.

use std::time::Duration;

use prometheus_client::{
    metrics::{family::MetricConstructor as _, gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{Buckets, RawCounter};

/// A number of things that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(RawCounter);

impl Counter {
    pub(in crate::metrics) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
        let counter = Self::default();
        registry.register(name, help, counter.0.clone());
        counter
    }

    /// Counts one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Counts `n`.
    pub fn add(&self, n: u64) {
        self.0.inc_by(n);
    }

    /// Reads the count.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// A number of things that comes and goes.
#[derive(Debug, Clone, Default)]
pub struct Gauge(pub(super) gauge::Gauge);

impl Gauge {
    pub(in crate::metrics) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
        let gauge = Self::default();
        registry.register(name, help, gauge.0.clone());
        gauge
    }

    /// Sets the number; one past `i64::MAX`, which the format cannot carry, becomes that.
    pub fn set(&self, n: u64) {
        self.0.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.0.dec();
    }

    /// Adds one for as long as the returned value lives.
    pub fn hold(&self) -> Held {
        self.inc();
        Held(self.clone())
    }

    /// Reads the number.
    pub fn value(&self) -> i64 {
        self.0.get()
    }
}

/// One unit of a [`Gauge`], given back when dropped.
#[derive(Debug)]
#[must_use = "it counts only while it lives"]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A histogram of durations, in seconds.
#[derive(Debug, Clone)]
pub struct Durations(Histogram);

impl Durations {
    pub(in crate::metrics) fn register(
        registry: &mut Registry,
        help: &str,
        name: &str,
        buckets: &'static [f64],
    ) -> Self {
        let histogram = Buckets(buckets).new_metric();
        registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        Self(histogram)
    }

    /// Records one duration.
    pub fn observe(&self, took: Duration) {
        self.0.observe(took.as_secs_f64());
    }
}

/// A histogram of whole numbers.
#[derive(Debug, Clone)]
pub struct Sizes(Histogram);

impl Sizes {
    pub(in crate::metrics) fn register(
        registry: &mut Registry,
        help: &str,
        name: &str,
        buckets: &'static [f64],
    ) -> Self {
        let histogram = Buckets(buckets).new_metric();
        registry.register(name, help, histogram.clone());
        Self(histogram)
    }

    /// Records one number.
    #[expect(clippy::cast_precision_loss, reason = "past 2^53 a bucket does not care")]
    pub fn observe(&self, n: u64) {
        self.0.observe(n as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_unit_is_given_back() {
        let gauge = Gauge::default();
        let held = gauge.hold();
        assert_eq!(gauge.value(), 1);
        drop(held);
        assert_eq!(gauge.value(), 0);
    }
}
