//! Where peers are reached: `host:port` and what stands for it. Pure; never resolves a name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// UDP port of a scheduler whose address names none; sccache's scheduler listens on the TCP port of this number.
pub const SCHEDULER_PORT: u16 = 10600;
/// Longest host name: RFC 1035 §2.3.4.
const HOST_LENGTH: usize = 253;

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct AddressError {
    /// The text.
    pub text: String,
    /// What is.
    pub expected: &'static str,
}

impl HostPort {
    /// The same as a socket address to bind: itself when the host is an address; every address of this machine when
    /// it is a name, which may belong to a router in front.
    pub fn to_bind(&self) -> SocketAddr {
        let address = match self.host {
            Host::Address(address) => address,
            Host::Name(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        SocketAddr::new(address, self.port)
    }

    /// Whether another machine can use it: neither `0.0.0.0` nor `[::]`, and not port 0.
    pub fn is_dialable(&self) -> bool {
        let is_unspecified = matches!(self.host, Host::Address(address) if address.is_unspecified());
        !is_unspecified && self.port != 0
    }

    fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let host = Host::Address(address.ip());
            let port = address.port();
            return Some(Self { host, port });
        }
        let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let (host, port) = match (text.rsplit_once(':'), default_port) {
            (Some((host, port)), _) if unbracketed.is_none() => (host, port.parse().ok()?),
            (_, Some(port)) => (unbracketed.unwrap_or(text), port),
            (_, None) => return None,
        };
        let host = match host.parse() {
            Ok(IpAddr::V6(_)) if unbracketed.is_none() => return None,
            Ok(address) => Host::Address(address),
            Err(_) if unbracketed.is_none() && is_host_name(host) => Host::Name(host.to_ascii_lowercase()),
            Err(_) => return None,
        };
        Some(Self { host, port })
    }
}

/// Letters, digits, hyphens and, as in the names of containers, underscores, in labels between dots.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        let inner = bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        bytes.len() <= 63 && inner && is_edge(bytes.first()) && is_edge(bytes.last())
    };
    // All digits and dots is a mistyped address, never a name.
    let is_numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.len() <= HOST_LENGTH && !is_numeric && text.split('.').all(is_label)
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(formatter, "{name}:{}", self.port),
            Host::Address(address) => SocketAddr::new(*address, self.port).fmt(formatter),
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text, None).ok_or_else(|| AddressError {
            text: text.to_owned(),
            expected: "host:port, such as builder.example:10501, 192.0.2.1:10501 or [2001:db8::1]:10501",
        })
    }
}

impl TryFrom<String> for HostPort {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

/// A scheduler's address: `quicc://host[:port]`, `https://host[:port]` as in sccache's files, or `host:port`.
/// Without a port, [`SCHEDULER_PORT`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SchedulerAddress(pub HostPort);

impl FromStr for SchedulerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = ["quicc://", "https://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let parsed = match url {
            Some(rest) => HostPort::parse(rest.strip_suffix('/').unwrap_or(rest), Some(SCHEDULER_PORT)),
            None => HostPort::parse(text, None),
        };
        parsed.filter(HostPort::is_dialable).map(Self).ok_or_else(|| AddressError {
            text: text.to_owned(),
            expected: "a scheduler's address: quicc://host[:port], https://host[:port] or host:port, without a path",
        })
    }
}

impl TryFrom<String> for SchedulerAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<&str>) {
        let parsed = text.parse::<HostPort>().ok().map(|parsed| parsed.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text:?}");
    }

    fn check_scheduler(text: &str, expected: Option<&str>) {
        let parsed = text
            .parse::<SchedulerAddress>()
            .ok()
            .map(|parsed| parsed.0.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn names_and_addresses_have_ports() {
        check("192.0.2.1:10501", Some("192.0.2.1:10501"));
        check("[2001:DB8::1]:10501", Some("[2001:db8::1]:10501"));
        check("Builder-1.example:10501", Some("builder-1.example:10501"));
        check("build_er:1", Some("build_er:1"));
        for text in [
            "",
            ":",
            ":1",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "host:1:2",
            "2001:db8::1:10501",
        ] {
            check(text, None);
        }
        for text in [
            "192.0.2:1",
            "192.0.2.256:1",
            "-a:1",
            "a..b:1",
            "a b:1",
            "u@h:1",
            "[host]:1",
            "[1.2.3.4]:1",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_scheduler_may_be_a_url() {
        check_scheduler("quicc://s.example", Some("s.example:10600"));
        check_scheduler("https://192.168.1.1", Some("192.168.1.1:10600"));
        check_scheduler("https://s.example:443/", Some("s.example:443"));
        check_scheduler("https://[::1]", Some("[::1]:10600"));
        check_scheduler("s.example:1", Some("s.example:1"));
        for text in [
            "s.example",
            "http://s.example",
            "https://",
            "https://s/path",
            "quicc://0.0.0.0",
            "s:0",
        ] {
            check_scheduler(text, None);
        }
        check_scheduler("https://2001:db8::1", None);
    }

    #[test]
    fn a_name_is_bound_on_every_address() {
        let bind = |text: &str| text.parse::<HostPort>().unwrap().to_bind().to_string();
        assert_eq!(bind("127.0.0.1:7"), "127.0.0.1:7");
        assert_eq!(bind("b.example:7"), "[::]:7");
    }

    #[test]
    fn only_some_addresses_can_be_dialled() {
        let is_dialable = |text: &str| text.parse::<HostPort>().unwrap().is_dialable();
        assert!(is_dialable("b.example:7") && is_dialable("127.0.0.1:7"));
        assert!(!is_dialable("0.0.0.0:7") && !is_dialable("[::]:7") && !is_dialable("b.example:0"));
    }

    proptest! {
        #[test]
        fn what_is_displayed_parses_to_the_same(text in "[a-z0-9.:\\[\\]_-]{0,20}(:[0-9]{1,5})?") {
            if let Ok(parsed) = text.parse::<HostPort>() {
                prop_assert_eq!(parsed.to_string().parse::<HostPort>(), Ok(parsed));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = text.parse::<HostPort>();
            let _ = text.parse::<SchedulerAddress>();
            let _ = format!("https://{text}").parse::<SchedulerAddress>();
        }
    }
}
