//! Instruments with a label whose values are a closed enum.

use std::{marker::PhantomData, time::Duration};

use prometheus_client::{
    metrics::{
        family::{Family, MetricConstructor},
        gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use super::{Buckets, Gauge, LabelPairs, RawCounter, family};
use crate::metrics::labels::Label;

/// One metric for each value of a closed label, all of them made at the start.
#[derive(Debug)]
struct Each<K, M> {
    by_index: Vec<M>,
    label: PhantomData<K>,
}

impl<K: Label, M: Clone> Each<K, M> {
    fn of<C: MetricConstructor<M>>(family: &Family<LabelPairs<1>, M, C>) -> Self {
        let by_index =
            K::ALL.iter().map(|key| family.get_or_create_owned(&[(K::NAME, key.as_str())])).collect();
        Self { by_index, label: PhantomData }
    }

    fn get(&self, key: K) -> &M {
        &self.by_index[key.index()]
    }
}

/// A [`Counter`](super::Counter) for each value of a closed label.
#[derive(Debug)]
pub struct CounterBy<K>(Each<K, RawCounter>);

impl<K: Label> CounterBy<K> {
    pub(in crate::metrics) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
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
    pub(in crate::metrics) fn register(registry: &mut Registry, help: &str, name: &str) -> Self {
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

/// [`Durations`](super::Durations) for each value of a closed label.
#[derive(Debug)]
pub struct DurationsBy<K>(Each<K, Histogram>);

impl<K: Label> DurationsBy<K> {
    pub(in crate::metrics) fn register(
        registry: &mut Registry,
        help: &str,
        name: &str,
        buckets: &'static [f64],
    ) -> Self {
        let family = Family::new_with_constructor(Buckets(buckets));
        registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        Self(Each::of(&family))
    }

    /// Records one duration.
    pub fn observe(&self, key: K, took: Duration) {
        self.0.get(key).observe(took.as_secs_f64());
    }
}
