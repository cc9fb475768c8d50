//! The server's door: who may come in, and how often.

use std::net::IpAddr;

/// `API_MAX_CONNECTIONS`, `API_MAX_CONNECTIONS_PER_ADDRESS`, `API_FAILED_KEYS_PER_MINUTE`, `API_RATE_LIMIT`,
/// `API_TRUSTED_PROXIES`, `API_CORS_ORIGINS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Most open connections; more are answered 503.
    pub max_connections: usize,
    /// Most of them from one address.
    pub max_connections_per_address: usize,
    /// API keys that do not count, per minute and address, before further requests with a key are answered 429.
    pub failed_keys_per_minute: u32,
    /// API requests per second of one key from one address; twice as many may come at once.
    pub api_rate: u32,
    /// Reverse proxies: they may open any number of connections, and their `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Sites whose pages may use the API, as browsers write them; `*` = all. None unless set.
    pub cors_origins: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_connections_per_address: 64,
            failed_keys_per_minute: 10,
            api_rate: 100,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
        }
    }
}
