//! Host names to addresses.

use std::net::SocketAddr;

use super::TransportError;

/// The first address of `host:port`, where `host` may be a name, an IPv4 address or a bracketed IPv6 address.
pub async fn resolve(host: &str) -> Result<SocketAddr, TransportError> {
    let error = |source| TransportError::Resolve {
        host: host.to_owned(),
        source,
    };
    let mut addresses = tokio::net::lookup_host(host).await.map_err(error)?;
    let none = || {
        error(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "the name has no address",
        ))
    };
    addresses.next().ok_or_else(none)
}
