//! Thin instruments over `prometheus-client`, so that no other crate names it.

use std::{
    collections::HashSet,
    marker::PhantomData,
    sync::{PoisonError, RwLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    metrics::{
        TypedMetric, counter,
        family::{Family, MetricConstructor},
        gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry, Unit},
};

use super::labels::{GrpcCode, Label};

/// Distinct values that a label given by name may take in one metric; what comes after is counted as `other`.
pub const NAMES_MAX: usize = 64;

type LabelPairs<const N: usize> = [(&'static str, &'static str); N];
type RawCounter = counter::Counter<u64, AtomicU64>;

/// A number of things that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(RawCounter);

impl Counter {
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
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
pub struct Gauge(gauge::Gauge);

impl Gauge {
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
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
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str, buckets: &'static [f64]) -> Self {
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
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str, buckets: &'static [f64]) -> Self {
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

/// One metric for each value of a closed label, all of them made at the start.
#[derive(Debug)]
struct Each<K, M> {
    by_index: Vec<M>,
    label: PhantomData<K>,
}

impl<K: Label, M: Clone> Each<K, M> {
    fn of<C: MetricConstructor<M>>(family: &Family<LabelPairs<1>, M, C>) -> Self {
        let by_index = K::ALL.iter().map(|key| family.get_or_create_owned(&[(K::NAME, key.as_str())])).collect();
        Self { by_index, label: PhantomData }
    }

    fn get(&self, key: K) -> &M {
        &self.by_index[key.index()]
    }
}

/// A [`Counter`] for each value of a closed label.
#[derive(Debug)]
pub struct CounterBy<K>(Each<K, RawCounter>);

impl<K: Label> CounterBy<K> {
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
        Self(Each::of(&family(registry, help, name)))
    }

    /// Counts one.
    pub fn inc(&self, key: K) {
        self.0.get(key).inc();
    }

    /// Counts `n`.
    pub fn add(&self, key: K, n: u64) {
        self.0.get(key).inc_by(n);
    }

    /// Reads one count.
    pub fn value(&self, key: K) -> u64 {
        self.0.get(key).get()
    }
}

/// A [`Gauge`] for each value of a closed label.
#[derive(Debug)]
pub struct GaugeBy<K>(Each<K, gauge::Gauge>);

impl<K: Label> GaugeBy<K> {
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
        Self(Each::of(&family(registry, help, name)))
    }

    /// The gauge of one value.
    pub fn of(&self, key: K) -> Gauge {
        Gauge(self.0.get(key).clone())
    }

    /// Sets the number of one value.
    pub fn set(&self, key: K, n: u64) {
        self.of(key).set(n);
    }
}

/// [`Durations`] for each value of a closed label.
#[derive(Debug)]
pub struct DurationsBy<K>(Each<K, Histogram>);

impl<K: Label> DurationsBy<K> {
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str, buckets: &'static [f64]) -> Self {
        let family = Family::new_with_constructor(Buckets(buckets));
        registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        Self(Each::of(&family))
    }

    /// Records one duration.
    pub fn observe(&self, key: K, took: Duration) {
        self.0.get(key).observe(took.as_secs_f64());
    }
}

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

/// A [`Counter`] for each of a few words that another crate owns.
#[derive(Debug)]
pub struct CounterByName {
    family: Family<LabelPairs<1>, RawCounter>,
    label: &'static str,
    names: Names,
}

impl CounterByName {
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str, label: &'static str) -> Self {
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
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str, label: &'static str) -> Self {
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
    pub(super) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
        Self { family: family(registry, help, name), methods: Names::default() }
    }

    /// Counts one call. `method` is one that the server offers, never what a client asked for.
    pub fn inc(&self, method: &'static str, code: GrpcCode) {
        let labels = [("method", self.methods.admit(method)), (GrpcCode::NAME, code.as_str())];
        self.family.get_or_create(&labels).inc();
    }
}

/// Upper bounds of a histogram's buckets.
#[derive(Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

fn family<const N: usize, M>(registry: &mut Registry, help: &str, name: &str) -> Family<LabelPairs<N>, M>
where
    Family<LabelPairs<N>, M>: Metric + Clone,
    M: TypedMetric + Default,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
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

    #[test]
    fn a_held_unit_is_given_back() {
        let gauge = Gauge::default();
        let held = gauge.hold();
        assert_eq!(gauge.value(), 1);
        drop(held);
        assert_eq!(gauge.value(), 0);
    }
}
