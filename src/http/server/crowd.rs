//! How many are connected, and from where.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address;
use crate::config::ServerConfig;

/// The connections that are open. Cheap: one look at a table per connection.
pub struct Crowd {
    most: usize,
    most_per_address: usize,
    trusted_proxies: Vec<IpAddr>,
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// An open connection; leaves when it is dropped.
pub struct Place {
    crowd: Arc<Crowd>,
    /// `None` for a proxy, which speaks for many.
    address: Option<IpAddr>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowded {
    /// For nobody.
    Everywhere(usize),
    /// For this address.
    AtAddress(usize),
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere(most) => write!(f, "{most} are open, which is API_MAX_CONNECTIONS"),
            Self::AtAddress(most) => write!(
                f,
                "their address has {most}, which is API_MAX_CONNECTIONS_PER_ADDRESS; a proxy in front belongs into \
                 API_TRUSTED_PROXIES"
            ),
        }
    }
}

impl Crowd {
    pub fn new(settings: &ServerConfig) -> Self {
        Self {
            most: settings.max_connections,
            most_per_address: settings.max_connections_per_address,
            trusted_proxies: settings.trusted_proxies.clone(),
            present: Mutex::default(),
        }
    }

    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Crowded> {
        let address = (!address::is_among(peer, &self.trusted_proxies)).then(|| address::neighbourhood(peer));
        let mut present = self.present();
        if present.total >= self.most {
            return Err(Crowded::Everywhere(self.most));
        }
        if let Some(address) = address {
            let count = present.by_address.entry(address).or_default();
            if *count >= self.most_per_address {
                return Err(Crowded::AtAddress(self.most_per_address));
            }
            *count += 1;
        }
        present.total += 1;
        Ok(Place { crowd: self.clone(), address })
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.crowd.present();
        present.total -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = present.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                present.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(most: usize, most_per_address: usize) -> Arc<Crowd> {
        let trusted_proxies = vec!["10.0.0.1".parse().unwrap()];
        let (max_connections, max_connections_per_address) = (most, most_per_address);
        let settings =
            ServerConfig { max_connections, max_connections_per_address, trusted_proxies, ..Default::default() };
        Arc::new(Crowd::new(&settings))
    }

    fn verdict(crowd: &Arc<Crowd>, address: &str) -> Result<Place, Crowded> {
        crowd.admit(address.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_places_and_no_trace_remains() {
        let crowd = crowd(10, 2);
        let places = [verdict(&crowd, "192.0.2.1"), verdict(&crowd, "::ffff:192.0.2.1")].map(Result::ok);
        assert_eq!(verdict(&crowd, "192.0.2.1").err(), Some(Crowded::AtAddress(2)));
        assert!(verdict(&crowd, "192.0.2.2").is_ok());
        drop(places);
        assert!(verdict(&crowd, "192.0.2.1").is_ok());
        assert!(crowd.present().by_address.is_empty() && crowd.present().total == 0);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let crowd = crowd(10, 1);
        let _place = verdict(&crowd, "2001:db8:0:1::1").ok().unwrap();
        assert!(verdict(&crowd, "2001:db8:0:1:ffff::1").is_err());
        assert!(verdict(&crowd, "2001:db8:0:2::1").is_ok());
    }

    #[test]
    fn a_proxy_is_bound_by_the_sum_only() {
        let crowd = crowd(2, 1);
        let _places = [verdict(&crowd, "10.0.0.1"), verdict(&crowd, "10.0.0.1")].map(|place| place.ok().unwrap());
        assert_eq!(verdict(&crowd, "10.0.0.1").err(), Some(Crowded::Everywhere(2)));
    }
}
