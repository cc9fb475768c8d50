//! Which URLs may be fetched: the rules against server-side request forgery (OWASP SSRF prevention cheat sheet, ASVS
//! V1.3.6; address ranges from the IANA special-purpose registries).
//!
//! A URL is parsed once, and that parsed URL is both checked and connected to. Addresses are checked where they are
//! used: an address literal in the URL (it never reaches a resolver), a name inside the client's own resolver, which
//! hands on nothing that it has not checked. So no second lookup can give another address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::AllowedHost;
use crate::model::{FailureClass, Fault, UpstreamError};

/// IPv4 ranges that are not global unicast.
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// The only IPv6 range in which global unicast addresses are given out.
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is not global unicast inside it: protocol assignments with Teredo, documentation, 6to4, documentation.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// What to do about a URL that is refused for what it is.
const CORRECT_IT: &str = "Correct the recording_url that the webhook's sender gives.";

/// Decides about URLs.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    /// Nothing else is fetched.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Permits private addresses and plain http, for development.
    pub allow_private: bool,
}

impl Guard {
    /// The URL to fetch, if it may be fetched.
    pub fn check(&self, text: &str) -> Result<Url, UpstreamError> {
        match Url::parse(text.trim()) {
            Ok(url) if url.has_host() => self.permit(url),
            _ => Err(refused(
                FailureClass::NotAUrl,
                format!("The call's recording address is not a URL with a host. {CORRECT_IT}"),
            )),
        }
    }

    /// The URL that a redirect from `from` leads to, if it may be fetched. Never from https to http.
    pub fn follow(&self, from: &Url, location: &str) -> Result<Url, UpstreamError> {
        let to = from.join(location).ok().filter(Url::has_host);
        let to = to.ok_or_else(|| {
            refused(
                FailureClass::RefusedRedirect,
                "The recording host redirects to something that is no URL. Ask whoever runs it, and run the job again.",
            )
        })?;
        if from.scheme() == "https" && to.scheme() != "https" {
            return Err(refused(
                FailureClass::RefusedRedirect,
                "The recording host redirects from https to an unsafe scheme. Ask whoever runs it, and run the job \
                 again.",
            ));
        }
        self.permit(to)
    }

    fn permit(&self, mut url: Url) -> Result<Url, UpstreamError> {
        url.set_fragment(None);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(
                FailureClass::RefusedUrl,
                format!("The recording URL carries a user name or password; that is refused. {CORRECT_IT}"),
            ));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if let Some(address) = literal.filter(|address| !self.allow_private && !is_global(*address)) {
            return Err(private_address(&format!("points to {address}, which")));
        }
        match url.scheme() {
            "https" => {}
            "http" if self.allow_private => {}
            scheme => {
                return Err(refused(
                    FailureClass::RefusedUrl,
                    format!("A recording URL must be https, not {scheme}. {CORRECT_IT}"),
                ));
            }
        }
        if !self.allowed_hosts.iter().any(|allowed| matches_host(allowed, &url, literal)) {
            return Err(refused_host(&url));
        }
        Ok(url)
    }
}

/// Both URLs mean the same server, so that a secret for the one may be sent to the other.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// The address is one on the public internet.
pub(super) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|range| within_v4(address, *range)),
        // IPv4 addresses inside IPv6 lie outside the global range, or in 6to4: refused as a whole.
        IpAddr::V6(address) => {
            within_v6(address, GLOBAL_V6) && !SPECIAL_V6.iter().any(|range| within_v6(address, *range))
        }
    }
}

/// Resolves names once and hands on the addresses only if every one of them may be connected to.
pub(super) struct GuardedResolver {
    /// Asks for addresses.
    pub inner: Arc<dyn Resolve>,
    /// Hands on private addresses too.
    pub allow_private: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        let resolving = self.inner.resolve(name);
        Box::pin(async move {
            let addresses: Vec<_> = resolving.await?.collect();
            if addresses.is_empty() {
                return Err("the name has no address".into());
            }
            if !allow_private && addresses.iter().any(|address| !is_global(address.ip())) {
                return Err(PrivateAddress.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The system's resolver.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A name has an address that is not on the public internet.
#[derive(Debug)]
struct PrivateAddress;

impl fmt::Display for PrivateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has a private address")
    }
}

impl std::error::Error for PrivateAddress {}

/// The error of [`GuardedResolver`] inside a failed request, if that is why it failed.
pub(super) fn private_address_in(error: &reqwest::Error) -> Option<UpstreamError> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<PrivateAddress>() {
            return Some(private_address("names a host whose address"));
        }
        source = cause.source();
    }
    None
}

fn matches_host(allowed: &AllowedHost, url: &Url, literal: Option<IpAddr>) -> bool {
    let host = match literal {
        Some(address) => allowed.host.trim_matches(['[', ']']).parse() == Ok(address),
        None => url.host_str().is_some_and(|host| host.strip_suffix('.').unwrap_or(host) == allowed.host),
    };
    let standard_port = if url.scheme() == "http" { 80 } else { 443 };
    host && url.port_or_known_default() == Some(allowed.port.unwrap_or(standard_port))
}

fn within_v4(address: Ipv4Addr, (range, prefix): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ range.to_bits()).leading_zeros() >= prefix
}

fn within_v6(address: Ipv6Addr, (range, prefix): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ range.to_bits()).leading_zeros() >= prefix
}

fn refused(class: FailureClass, message: impl Into<String>) -> UpstreamError {
    UpstreamError::new(Fault::Permanent, class, message)
}

fn refused_host(url: &Url) -> UpstreamError {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let text = format!(
        "Recordings are not fetched from {host}{port}. If it is a host of yours, add {host}{port} to \
         RECORDING_ALLOWED_HOSTS and run the job again."
    );
    refused(FailureClass::RefusedHost, text)
}

fn private_address(what: &str) -> UpstreamError {
    let text = format!(
        "The recording URL {what} is not on the public internet; that is refused. {CORRECT_IT} \
         Only development may set RECORDING_ALLOW_PRIVATE=true."
    );
    refused(FailureClass::PrivateAddress, text)
}

#[cfg(test)]
mod tests;
