//! Seats: how many long answers there may be at the same time, in all and of one key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// Who sits where, in this process.
#[derive(Clone)]
pub struct Seats {
    of_key: usize,
    of_all: usize,
    taken: Arc<Mutex<HashMap<Uuid, usize>>>,
}

/// The seat of an answer; free again when it is dropped.
pub struct Seat {
    seats: Seats,
    key: Uuid,
}

impl Seats {
    /// So many for each key, and for all keys together.
    pub fn new(of_key: usize, of_all: usize) -> Self {
        Self { of_key, of_all, taken: Arc::default() }
    }

    /// A seat for an answer to this key, if there is one.
    pub fn take(&self, key: Uuid) -> Option<Seat> {
        let mut taken = self.taken();
        let (of_all, of_key) = (taken.values().sum::<usize>(), taken.get(&key).copied().unwrap_or_default());
        if of_all >= self.of_all || of_key >= self.of_key {
            return None;
        }
        taken.insert(key, of_key + 1);
        Some(Seat { seats: self.clone(), key })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        let left = taken.get(&self.key).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.key);
        } else {
            taken.insert(self.key, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_some_and_gets_back_what_it_leaves() {
        let (seats, key, other) = (Seats::new(5, 100), Uuid::from_u128(1), Uuid::from_u128(2));
        let mut taken: Vec<Seat> = (0..5).filter_map(|_| seats.take(key)).collect();
        assert_eq!(taken.len(), 5);
        assert!(seats.take(key).is_none());
        assert!(seats.take(other).is_some());
        taken.pop();
        assert!(seats.take(key).is_some());
        drop(taken);
        assert!(seats.taken().is_empty());
    }

    #[test]
    fn all_keys_together_have_their_number() {
        let seats = Seats::new(5, 100);
        let taken: Vec<Seat> = (0..200).filter_map(|key| seats.take(Uuid::from_u128(key))).collect();
        assert_eq!(taken.len(), 100);
    }
}
