//! Thin instruments over `prometheus-client`, so that no other crate names it.

mod by_label;
mod by_name;
mod single;

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{
        TypedMetric, counter,
        family::{Family, MetricConstructor},
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

pub use by_label::{CounterBy, DurationsBy, GaugeBy};
pub use by_name::{CounterByName, GaugeByName, GrpcRequests, NAMES_MAX};
pub use single::{Counter, Durations, Gauge, Held, Sizes};

type LabelPairs<const N: usize> = [(&'static str, &'static str); N];
type RawCounter = counter::Counter<u64, AtomicU64>;

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
