//! Instruments with a label whose values are words of another crate.

use std::{
    collections::HashSet,
    sync::{PoisonError, RwLock},
};

use prometheus_client::{
    metrics::{family::Family, gauge},
    registry::Registry,
};

use super::{Gauge, LabelPairs, RawCounter, family};
use crate::metrics::labels::{GrpcCode, Label as _};

/// Distinct values that a label given by name may take in one metric; what comes after is counted as `other`.
pub const NAMES_MAX: usize = 64;

/// Words that a label takes from another crate, at most [`NAMES_MAX`] of them.
#[derive(Debug, Default)]
struct Names(RwLock<HashSet<&'static str>>);

impl Names {
    /// Gives the word back, or `other` where there is no room for a new one.
    fn admit(&self, name: &'static str) -> &'static str {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return name;
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX && !names.contains(name) {
            return "other";
        }
        names.insert(name);
        name
    }
}

/// A [`Counter`](super::Counter) for each of a few words that another crate owns.
#[derive(Debug)]
pub struct CounterByName {
    family: Family<LabelPairs<1>, RawCounter>,
    label: &'static str,
    names: Names,
}

impl CounterByName {
    pub(in crate::metrics) fn register(
        registry: &mut Registry,
        help: &str,
        name: &str,
        label: &'static str,
    ) -> Self {
        Self { family: family(registry, help, name), label, names: Names::default() }
    }

    /// Shows these words at zero from now on, so that a rate does not miss the first increment.
    pub fn declare(&self, names: impl IntoIterator<Item = &'static str>) {
        names.into_iter().for_each(|name| self.add(name, 0));
    }

    /// Counts one.
    pub fn inc(&self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts `n`.
    pub fn add(&self, name: &'static str, n: u64) {
        self.family.get_or_create(&[(self.label, self.names.admit(name))]).inc_by(n);
    }

    /// Reads one count.
    pub fn value(&self, name: &'static str) -> u64 {
        self.family.get(&[(self.label, name)]).map_or(0, |counter| counter.get())
    }
}

/// A [`Gauge`] for each of a few words that another crate owns.
#[derive(Debug)]
pub struct GaugeByName {
    family: Family<LabelPairs<1>, gauge::Gauge>,
    label: &'static str,
    names: Names,
}

impl GaugeByName {
    pub(in crate::metrics) fn register(
        registry: &mut Registry,
        help: &str,
        name: &str,
        label: &'static str,
    ) -> Self {
        Self { family: family(registry, help, name), label, names: Names::default() }
    }

    /// The gauge of one word; keep it where it is set often.
    pub fn of(&self, name: &'static str) -> Gauge {
        Gauge(self.family.get_or_create_owned(&[(self.label, self.names.admit(name))]))
    }

    /// Sets the number of one word.
    pub fn set(&self, name: &'static str, n: u64) {
        self.of(name).set(n);
    }
}

/// Calls answered, by method and status.
#[derive(Debug)]
pub struct GrpcRequests {
    family: Family<LabelPairs<2>, RawCounter>,
    methods: Names,
}

impl GrpcRequests {
    pub(in crate::metrics) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
        Self { family: family(registry, help, name), methods: Names::default() }
    }

    /// Counts one call. `method` is one that the server offers, never what a client asked for.
    pub fn inc(&self, method: &'static str, code: GrpcCode) {
        let labels = [("method", self.methods.admit(method)), (GrpcCode::NAME, code.as_str())];
        self.family.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_past_the_limit_are_counted_as_other() {
        let counter = CounterByName::register(&mut Registry::default(), "help", "name", "label");
        for n in 0..NAMES_MAX + 10 {
            counter.inc(Box::leak(format!("name-{n}").into_boxed_str()));
        }
        assert_eq!(counter.value("name-0"), 1);
        assert_eq!(counter.value("other"), 10);
    }
}
