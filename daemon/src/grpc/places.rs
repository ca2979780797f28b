//! How many connections there may be, and how many of one origin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use refwatch_ops::metrics::{ConnectionRefusal, Gauge, Metrics};

use super::peer::Origin;

/// The places of a server, of which each connection takes one.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

struct Inner {
    total_max: usize,
    origin_max: usize,
    gauge: Gauge,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_origin: HashMap<Origin, usize>,
}

/// The place of one connection; given back when dropped.
pub(super) struct Place {
    places: Places,
    origin: Origin,
}

impl Places {
    /// All free.
    pub(super) fn new(total_max: usize, origin_max: usize, metrics: &Metrics) -> Self {
        let gauge = metrics.connections.clone();
        Self(Arc::new(Inner { total_max, origin_max, gauge, taken: Mutex::default() }))
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Which of the limits is reached.
    pub(super) fn take(&self, origin: Origin) -> Result<Place, ConnectionRefusal> {
        let mut taken = self.lock();
        if taken.total >= self.0.total_max {
            return Err(ConnectionRefusal::Total);
        }
        let of_origin = taken.by_origin.get(&origin).copied().unwrap_or_default();
        if of_origin >= self.0.origin_max {
            return Err(ConnectionRefusal::Peer);
        }
        taken.by_origin.insert(origin, of_origin + 1);
        taken.total += 1;
        self.0.gauge.set(taken.total as u64);
        drop(taken);
        Ok(Place { places: self.clone(), origin })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_origin.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                taken.by_origin.remove(&self.origin);
            }
        }
        self.places.0.gauge.set(taken.total as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_an_origin_and_are_given_back() {
        let places = Places::new(3, 2, &Metrics::new("test"));
        let (one, two) = (Origin::User(1), Origin::User(2));
        let held = [places.take(one).unwrap(), places.take(one).unwrap()];
        assert_eq!(places.take(one).err(), Some(ConnectionRefusal::Peer));
        let third = places.take(two).unwrap();
        assert_eq!(places.take(Origin::Others).err(), Some(ConnectionRefusal::Total));
        drop(held);
        drop(third);
        assert!(places.lock().by_origin.is_empty() && places.lock().total == 0);
        assert!(places.take(one).is_ok());
    }
}
