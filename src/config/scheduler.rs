//! The scheduler's file: sccache's keys and quicc's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use quicc_certs::{Name, Role};
use serde::Deserialize;

use super::address::HostPort;
use super::authentication::{self, Authentication};
use super::certificates::{CertificateFiles, CertificateKeys};
use super::error::ConfigError;
use super::file::ConfigText;
use super::quantity::Period;

/// Time between a builder's offers unless the file says otherwise.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// The longest heartbeat allowed: a lost builder is noticed after three.
pub const HEARTBEAT_LONGEST: Duration = Duration::from_secs(60);

/// The file, key by key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    /// Where builders and clients reach the scheduler over UDP: `host:port`.
    public_addr: HostPort,
    /// Where it listens; without it at `public_addr`, or on every address when that is a host name.
    bind_address: Option<HostPort>,
    /// The authority's certificate.
    ca: Option<PathBuf>,
    /// The scheduler's certificate.
    certificate: Option<PathBuf>,
    /// The certificate's private key.
    key: Option<PathBuf>,
    /// The cluster; without it the certificate's.
    cluster: Option<Name>,
    /// The scheduler's name in the cluster.
    name: Option<Name>,
    /// Time between a builder's offers.
    heartbeat: Option<Period>,
    client_auth: Option<Authentication>,
    server_auth: Option<Authentication>,
}

/// What the file of a scheduler says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerFile {
    /// The UDP address to listen on.
    pub bind: SocketAddr,
    /// Who the scheduler is and whom it trusts.
    pub certificates: CertificateFiles,
    /// The cluster that its certificate must be of, when the file names one.
    pub cluster: Option<Name>,
    /// The name that its certificate must bear, when the file names one.
    pub name: Option<Name>,
    /// Time between a builder's offers.
    pub heartbeat: Duration,
}

impl SchedulerFile {
    /// Reads the text of a scheduler's file.
    pub fn parse(file: &ConfigText) -> Result<Self, ConfigError> {
        let schema: Schema = file.decode()?;
        authentication::check(file, "client_auth", schema.client_auth.as_ref())?;
        authentication::check(file, "server_auth", schema.server_auth.as_ref())?;
        let heartbeat = schema.heartbeat.map_or(HEARTBEAT, |period| period.0);
        if heartbeat.is_zero() || heartbeat > HEARTBEAT_LONGEST {
            let rule = format!("between 1 and {} seconds", HEARTBEAT_LONGEST.as_secs());
            return Err(file.value_error("heartbeat", rule));
        }
        let keys = CertificateKeys {
            ca: schema.ca.as_deref(),
            certificate: schema.certificate.as_deref(),
            key: schema.key.as_deref(),
            name: schema.name.as_ref(),
        };
        Ok(Self {
            bind: schema.bind_address.unwrap_or(schema.public_addr).to_bind(),
            certificates: keys.resolve(file, Role::Scheduler)?,
            cluster: schema.cluster,
            name: schema.name,
            heartbeat,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<SchedulerFile, ConfigError> {
        SchedulerFile::parse(&ConfigText::new(Path::new("/etc/s.conf"), text))
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    }

    #[test]
    fn the_shortest_file_that_works() {
        let file = parse("public_addr = '192.0.2.1:10600'\nname = 'main'").unwrap();
        assert_eq!(file.bind, "192.0.2.1:10600".parse().unwrap());
        assert_eq!(file.certificates.own.key, Path::new("/etc/scheduler-main.key"));
        assert_eq!((file.heartbeat, file.cluster), (HEARTBEAT, None));
    }

    #[test]
    fn every_key_is_heard() {
        let text = "
            public_addr = 's.example:10600'
            bind_address = '0.0.0.0:10700'
            ca = 'ca'
            certificate = 'c'
            key = 'k'
            cluster = 'farm'
            name = 'main'
            heartbeat = '5s'
            [client_auth]
            type = 'certificate'
            [server_auth]
            type = 'certificate'";
        let file = parse(text).unwrap();
        assert_eq!(file.bind, "0.0.0.0:10700".parse().unwrap());
        assert_eq!(file.certificates.own.certificate, Path::new("/etc/c"));
        assert_eq!(
            (file.heartbeat, file.cluster.unwrap().as_str()),
            (Duration::from_secs(5), "farm")
        );
    }

    #[test]
    fn the_seeds_example_is_told_about_certificates() {
        let seed = "
            public_addr = \"127.0.0.1:10600\"
            [client_auth]
            type = \"token\"
            token = \"my client token\"
            [server_auth]
            type = \"jwt_hs256\"
            secret_key = \"my secret key\"";
        check_error(
            seed,
            "/etc/s.conf: `client_auth.type`: `token` is not supported: peers of quicc know each other by \
             certificate. Make certificates with `quicc certgen`, then remove `[client_auth]` or write \
             `type = \"certificate\"`",
        );
    }

    #[test]
    fn mistakes_are_named() {
        check_error(
            "public_adr = 'a:1'",
            "/etc/s.conf:1: `public_adr`: unknown field `public_adr`, expected one of `public_addr`, \
             `bind_address`, `ca`, `certificate`, `key`, `cluster`, `name`, `heartbeat`, `client_auth`, \
             `server_auth`",
        );
        check_error(
            "name = 'main'",
            "/etc/s.conf:1: `name`: missing field `public_addr`",
        );
        check_error(
            "name = 'main'\npublic_addr = '192.0.2.1'",
            "/etc/s.conf:2: `public_addr`: `192.0.2.1` is not host:port, such as builder.example:10501, \
             192.0.2.1:10501 or [2001:db8::1]:10501",
        );
        check_error(
            "name = 'main'\npublic_addr = 'a:1'\nheartbeat = '2h'",
            "/etc/s.conf: `heartbeat`: between 1 and 60 seconds",
        );
        check_error(
            "name = 'main'\npublic_addr = 'a:1'\n[client_auth]\ntype = 'certificate'\ntoken = 'x'",
            "/etc/s.conf: `client_auth`: unknown field `token`, `type = \"certificate\"` stands alone",
        );
    }
}
