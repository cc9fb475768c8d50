//! Who asks too often? Wrong API keys by address, and requests by key and address. Looks at no database.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::server::address::neighbourhood;
use crate::config::ServerConfig;

/// In which wrong keys are counted. Also how long an address has to behave after it was barred.
const WINDOW: Duration = Duration::from_mins(1);
/// An address is barred for this time at first, and for twice as long each time again: 5, 10, 20, 40 s ...
const FIRST_BAR: Duration = Duration::from_secs(5);
const LONGEST_BAR: Duration = Duration::from_mins(10);
/// So many addresses, and so many keys, are remembered: about 2 MB.
const REMEMBERED: usize = 10_000;
/// So much of its pace a key may use at once, but at least two requests.
const RESERVE: Duration = Duration::from_secs(2);

/// What a key may still do, as the headers `RateLimit` and `RateLimit-Policy` tell it
/// (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a window.
    pub limit: u64,
    /// The window.
    pub window: Duration,
    /// Requests that are left now.
    pub remaining: u64,
    /// After which all are there again, if none comes meanwhile.
    pub reset: Duration,
    /// How long this request has to wait; `None` if it may pass.
    pub wait: Option<Duration>,
}

/// Remembers wrong keys and the pace of right ones.
pub struct Throttle {
    failed_keys: u32,
    /// Time for one request.
    interval: Duration,
    failures: Memory<IpAddr, Failures>,
    /// When a key will have paid for all its requests, one interval each.
    paid: Memory<(IpAddr, String), Instant>,
}

impl Throttle {
    /// Nobody is known yet.
    pub fn new(settings: &ServerConfig) -> Self {
        Self {
            failed_keys: settings.failed_keys_per_minute,
            interval: Duration::from_secs(1) / settings.api_rate.max(1),
            failures: Memory::default(),
            paid: Memory::default(),
        }
    }

    /// How long this address has to wait because of wrong keys; `None` if it need not.
    pub fn bar(&self, client: IpAddr) -> Option<Duration> {
        self.bar_at(client, Instant::now())
    }

    /// A key from this address did not count.
    pub fn failed(&self, client: IpAddr) {
        self.failed_at(client, Instant::now());
    }

    /// Counts a request with the key of this prefix, and says what is left.
    ///
    /// By key and address: whoever has seen the prefix of another's key cannot use up its share.
    pub fn spend(&self, client: IpAddr, prefix: &str) -> Quota {
        self.spend_at(client, prefix, Instant::now())
    }

    fn bar_at(&self, client: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.failures.with(neighbourhood(client), None, now, |failures| failures.until)??;
        Some(until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    fn failed_at(&self, client: IpAddr, now: Instant) {
        let fresh = Failures { count: 0, since: now, bar: Duration::ZERO, until: None };
        self.failures.with(neighbourhood(client), Some(fresh), now, |failures| {
            failures.count += 1;
            if failures.count >= self.failed_keys {
                failures.bar = (failures.bar * 2).clamp(FIRST_BAR, LONGEST_BAR);
                failures.until = Some(now + failures.bar);
            }
        });
    }

    fn spend_at(&self, client: IpAddr, prefix: &str, now: Instant) -> Quota {
        let window = RESERVE.max(self.interval * 2);
        let limit = (window.as_nanos() / self.interval.as_nanos()) as u64;
        let key = (neighbourhood(client), prefix.to_owned());
        let spent = self.paid.with(key, Some(now), now, |paid| {
            let next = (*paid).max(now) + self.interval;
            let early = next.saturating_duration_since(now + window);
            if early.is_zero() {
                *paid = next;
            }
            (paid.saturating_duration_since(now), early)
        });
        // Nothing is held against whom there is no room to remember.
        let (reset, early) = spent.unwrap_or_default();
        let remaining = (window.saturating_sub(reset).as_nanos() / self.interval.as_nanos()) as u64;
        Quota { limit, window, remaining, reset, wait: Some(early).filter(|early| !early.is_zero()) }
    }
}

/// Wrong keys from one address.
struct Failures {
    count: u32,
    since: Instant,
    bar: Duration,
    until: Option<Instant>,
}

/// Something that stops to matter with time.
trait Passing {
    fn has_passed(&self, now: Instant) -> bool;
}

impl Passing for Failures {
    fn has_passed(&self, now: Instant) -> bool {
        now >= self.until.map_or(self.since, |until| until + self.bar) + WINDOW
    }
}

impl Passing for Instant {
    fn has_passed(&self, now: Instant) -> bool {
        *self < now
    }
}

/// A table that cannot grow for ever. When it is full of what still matters, newcomers are not remembered: who commands
/// that many addresses is not held up by this.
struct Memory<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Passing> Memory<K, V> {
    /// Does something with what is known under this key, or else with `fresh`, which is then remembered.
    fn with<T>(&self, key: K, fresh: Option<V>, now: Instant, act: impl FnOnce(&mut V) -> T) -> Option<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get_mut(&key).filter(|value| !value.has_passed(now)) {
            return Some(act(value));
        }
        let mut value = fresh?;
        let result = act(&mut value);
        if known.len() >= REMEMBERED {
            known.retain(|_, value| !value.has_passed(now));
        }
        if known.len() < REMEMBERED {
            known.insert(key, value);
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(failed_keys_per_minute: u32, api_rate: u32) -> Throttle {
        Throttle::new(&ServerConfig { failed_keys_per_minute, api_rate, ..ServerConfig::default() })
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_bar_grows_and_is_forgotten() {
        let (throttle, mut now) = (throttle(3, 1), Instant::now());
        let mut bars = Vec::new();
        for _ in 0..12 {
            while let Some(wait) = throttle.bar_at(address(1), now) {
                bars.push(wait.as_secs());
                now += wait;
            }
            throttle.failed_at(address(1), now);
        }
        assert_eq!(bars, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(throttle.bar_at(address(1), now).is_some());
        assert_eq!(throttle.bar_at(address(2), now), None, "another address");
        now += LONGEST_BAR * 2 + WINDOW;
        throttle.failed_at(address(1), now);
        assert_eq!(throttle.bar_at(address(1), now), None, "it begins anew");
    }

    #[test]
    fn now_and_then_a_wrong_key_bars_nobody() {
        let (throttle, mut now) = (throttle(10, 1), Instant::now());
        for _ in 0..100 {
            throttle.failed_at(address(1), now);
            assert_eq!(throttle.bar_at(address(1), now), None);
            now += SECOND * 7;
        }
    }

    #[test]
    fn a_key_has_a_pace_and_a_reserve() {
        let (throttle, now) = (throttle(1, 10), Instant::now());
        let passed = (0..100).filter(|_| throttle.spend_at(address(1), "key", now).wait.is_none()).count();
        assert_eq!(passed, 20);
        let used_up = Quota { limit: 20, window: SECOND * 2, remaining: 0, reset: SECOND * 2, wait: Some(SECOND / 10) };
        assert_eq!(throttle.spend_at(address(1), "key", now), used_up);
        let fresh = Quota { remaining: 19, reset: SECOND / 10, wait: None, ..used_up };
        assert_eq!(throttle.spend_at(address(1), "other", now), fresh);
        assert_eq!(throttle.spend_at(address(2), "key", now), fresh);
        let later = now + SECOND;
        let passed = (0..100).filter(|_| throttle.spend_at(address(1), "key", later).wait.is_none()).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn memory_is_bounded_and_what_has_passed_makes_room() {
        let (throttle, now) = (throttle(1, 1), Instant::now());
        let known = || throttle.failures.0.lock().unwrap().len();
        let fail = |number: u32, now| throttle.failed_at(IpAddr::from(number.to_be_bytes()), now);
        (0..=REMEMBERED as u32).for_each(|number| fail(number, now));
        assert_eq!(known(), REMEMBERED);
        fail(u32::MAX, now + Duration::from_hours(1));
        assert_eq!(known(), 1);
    }
}
